"""Appearance attributes of synthetic identities and their visible, near-infrared and thermal reflectance.

Both modalities share proportions, cut, pattern, hair, hat, bag and gait. Hue and saturation are visible only.
The near-infrared reflectance of a part is 0.3 luminance + 0.7 chance, so that brightness does not carry over
from one modality to the other.

A seed is a namespace constant and a sequence of integers whose length counts too. `random_person`
(pretraining) draws from `PRETRAINING` and the benchmark sets draw from `BENCHMARK`, so no choice of integers
makes the two share an identity.
"""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RGB = tuple[float, float, float]

PRETRAINING, BENCHMARK, IMAGE, SCENE = 0x50524554, 0x42454E43, 0x494D4147, 0x5343454E  # seed namespaces
DIFFICULTIES = ("clear", "easy", "medium", "hard")

# Body parts of a label map, below 32: the three bits above carry the shade.
SKIN, HAIR, UPPER, UPPER2, INNER, LOWER, LOWER2, SHOE = range(1, 9)
BAG, BAG2, HAT, DARK, SOCK, SHADOW, CLUTTER, CLUTTER2 = range(9, 17)
NUM_PARTS = 32

UPPER_PATTERNS = (
    *("horizontal", "vertical", "checks", "plaid", "dots", "logo"),
    *("band", "yoke", "diagonal", "patches", "sleeves", "logo"),
)
LOWER_PATTERNS = ("horizontal", "vertical", "checks", "plaid", "dots", "seam", "patches", "knee")
HAIR_STYLES = ("bald", "short", "short", "crop", "bob", "long", "ponytail", "bun", "afro")
PLAIN_PROBABILITY = {  # upper, lower garment
    "clear": (0.05, 0.2),
    "easy": (0.15, 0.45),
    "medium": (0.25, 0.6),
    "hard": (0.45, 0.8),
}
BODY_VARIATION = {
    "clear": 1.4,
    "easy": 1.15,
    "medium": 1.0,
    "hard": 0.75,
}  # factor on the range of body proportions


def generator(namespace: int, seed: Iterable[int]) -> np.random.Generator:
    """The generator of a namespace and a sequence of integers >= 0, whose length is part of the seed."""
    numbers = [int(number) for number in seed]
    return np.random.Generator(np.random.PCG64([namespace, len(numbers), *numbers]))


@dataclass(frozen=True)
class Pattern:
    """The pattern of a garment.

    Args:
        kind: one of UPPER_PATTERNS or LOWER_PATTERNS, or "plain".
        period: distance between two repeats in body heights.
        duty: share of a period in the second colour.
        phase: offset of the first repeat, 0..1.
        shape: number of a logo's or of patches' shape.
    """

    kind: str = "plain"
    period: float = 0.08
    duty: float = 0.5
    phase: float = 0.0
    shape: int = 0


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are in body heights.

    `visible` (32, 3), `nir` (32,) and `thermal` (32,) hold the RGB reflectance, the near-infrared reflectance
    and the apparent temperature of each body part, in 0..1.
    """

    key: tuple[int, ...]
    height: float
    width: float
    shoulders: float
    hips: float
    legs: float
    head: float
    hair: str
    beard: bool
    glasses: bool
    hat: str
    sleeve: float
    hem: float
    flare: float
    hood: bool
    open_front: float
    lower: str
    lower_length: float
    loose: float
    boots: float
    bag: str
    bag_size: float
    bag_side: int
    stride: float
    swing: float
    lean: float
    arms: str
    upper_pattern: Pattern
    lower_pattern: Pattern
    visible: tuple[tuple[float, float, float], ...]
    nir: tuple[float, ...]
    thermal: tuple[float, ...]


def random_person(seed: Sequence[int], difficulty: str = "medium") -> Person:
    """An identity of the pretraining namespace, a pure function of `seed`; never one of a benchmark set."""
    return sample_person(PRETRAINING, seed, difficulty)


def benchmark_person(seed: Sequence[int], difficulty: str = "medium") -> Person:
    """An identity of the benchmark namespace; `seed` is (seed, layout, set, identity)."""
    return sample_person(BENCHMARK, seed, difficulty)


def sample_person(namespace: int, seed: Sequence[int], difficulty: str) -> Person:
    """An identity of any namespace. Raises ValueError for an unknown difficulty."""
    check_difficulty(difficulty)
    rng = generator(namespace, seed)
    body = _body(rng, BODY_VARIATION[difficulty])
    clothes = _clothes(rng, PLAIN_PROBABILITY[difficulty])
    bag_and_gait = _bag_and_gait(rng)
    visible = _colors(rng)
    nir = _nir_reflectances(rng, visible)
    thermal = _temperatures(rng)
    key = (namespace, *(int(number) for number in seed))
    return Person(key=key, **body, **clothes, **bag_and_gait, visible=visible, nir=nir, thermal=thermal)


def check_difficulty(difficulty: str) -> None:
    """Raise ValueError for an unknown difficulty."""
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be one of {', '.join(DIFFICULTIES)}, got {difficulty!r}")


def pick(rng: np.random.Generator, values, chances=None):
    """Draw one of `values`, with relative weights `chances` (None: uniformly)."""
    if chances is None:
        return values[int(rng.integers(len(values)))]
    threshold, total = rng.random() * sum(chances), 0.0
    for value, chance in zip(values, chances):
        total += chance
        if threshold < total:
            return value
    return values[-1]


def _uniform(rng: np.random.Generator, center: float, half_range: float) -> float:
    return center + half_range * (2.0 * float(rng.random()) - 1.0)


def _body(rng: np.random.Generator, variation: float) -> dict[str, Any]:
    hair = pick(rng, HAIR_STYLES)
    return {
        "height": _uniform(rng, 0.95, 0.05 * variation),
        "width": _uniform(rng, 1.06, 0.24 * variation),
        "shoulders": _uniform(rng, 1.0, 0.12 * variation),
        "hips": _uniform(rng, 1.0, 0.14 * variation),
        "legs": _uniform(rng, 0.485, 0.03 * variation),
        "head": _uniform(rng, 1.02, 0.09 * variation),
        "hair": hair,
        "beard": hair in ("bald", "short", "crop") and rng.random() < 0.35,
        "glasses": bool(rng.random() < 0.2),
        "hat": pick(rng, ("none", "cap", "beanie", "brim"), (0.72, 0.13, 0.09, 0.06)),
    }


def _clothes(rng: np.random.Generator, plain: tuple[float, float]) -> dict[str, Any]:
    lower = pick(rng, ("trousers", "shorts", "skirt", "dress", "leggings"), (0.45, 0.2, 0.13, 0.1, 0.12))
    coat = lower != "dress" and rng.random() < 0.16
    lengths = {
        "trousers": (0.02, 0.07),
        "shorts": (0.24, 0.36),
        "skirt": (0.12, 0.36),
        "dress": (0.12, 0.34),
        "leggings": (0.03, 0.1),
    }
    low, high = lengths[lower]
    return {
        "sleeve": 1.0 if coat else pick(rng, (0.0, 0.28, 0.5, 1.0), (0.12, 0.25, 0.15, 0.48)),
        "hem": _uniform(rng, 0.17, 0.06) if coat else _uniform(rng, 0.01, 0.04),
        "flare": _uniform(rng, 1.04, 0.1),
        "hood": bool(rng.random() < 0.2),
        "open_front": _uniform(rng, 0.5, 0.25) if rng.random() < (0.5 if coat else 0.25) else 0.0,
        "lower": lower,
        "lower_length": low + (high - low) * float(rng.random()),
        "loose": 0.92 if lower == "leggings" else _uniform(rng, 1.16, 0.2),
        "boots": pick(rng, (0.0, 0.07, 0.16), (0.65, 0.2, 0.15)),
        "upper_pattern": _pattern(rng, UPPER_PATTERNS, plain[0]),
        "lower_pattern": _pattern(rng, LOWER_PATTERNS, plain[1]),
    }


def _pattern(rng: np.random.Generator, kinds: tuple[str, ...], plain: float) -> Pattern:
    chance, kind = rng.random(), pick(rng, kinds)
    period = pick(rng, (0.042, 0.06, 0.085, 0.125)) * _uniform(rng, 1.0, 0.12)
    duty = _uniform(rng, 0.48, 0.14)
    phase, shape = float(rng.random()), int(rng.integers(0, 6))
    return Pattern("plain" if chance < plain else kind, period, duty, phase, shape)


def _bag_and_gait(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "bag": pick(rng, ("none", "backpack", "handbag", "strap"), (0.42, 0.24, 0.16, 0.18)),
        "bag_size": _uniform(rng, 1.0, 0.3),
        "bag_side": int(rng.integers(0, 2)) * 2 - 1,
        "stride": _uniform(rng, 0.34, 0.14),
        "swing": _uniform(rng, 0.8, 0.35),
        "lean": _uniform(rng, 0.01, 0.03),
        "arms": pick(rng, ("swing", "pockets", "phone"), (0.7, 0.16, 0.14)),
    }


def _garment_color(rng: np.random.Generator) -> RGB:
    """The colour of a garment: a third nearly gray (black and white included), the rest of any hue."""
    gray, hue = rng.random() < 0.33, float(rng.random())
    saturation = _uniform(rng, 0.06, 0.06) if gray else _uniform(rng, 0.62, 0.3)
    return colorsys.hsv_to_rgb(hue, saturation, _uniform(rng, 0.5, 0.42))


def luminance(color: Sequence[float]) -> float:
    """Rec. 601 luminance of an RGB triple."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def _contrasting(rng: np.random.Generator, color: RGB) -> RGB:
    """A second colour whose luminance differs by more than 0.25, so that a pattern can be seen."""
    for _ in range(20):
        other = _garment_color(rng)
        if abs(luminance(other) - luminance(color)) > 0.25:
            return other
    return (0.92, 0.92, 0.92) if luminance(color) < 0.5 else (0.08, 0.08, 0.1)


def _colors(rng: np.random.Generator) -> tuple[RGB, ...]:
    """RGB reflectance of each body part, (32, 3)."""
    parts = [(0.0, 0.0, 0.0)] * NUM_PARTS
    skin = pick(rng, ((0.93, 0.76, 0.65), (0.85, 0.64, 0.5), (0.68, 0.47, 0.34), (0.45, 0.3, 0.22)))
    hair = pick(
        rng,
        ((0.09, 0.07, 0.06), (0.24, 0.15, 0.09), (0.45, 0.3, 0.16), (0.75, 0.62, 0.38), (0.6, 0.6, 0.6)),
        (5, 3, 2, 1, 1),
    )
    parts[SKIN], parts[HAIR] = skin, hair
    parts[UPPER] = _garment_color(rng)
    parts[UPPER2], parts[INNER] = _contrasting(rng, parts[UPPER]), _contrasting(rng, parts[UPPER])
    parts[LOWER] = _garment_color(rng)
    parts[LOWER2] = _contrasting(rng, parts[LOWER])
    parts[SHOE], parts[HAT], parts[BAG] = _garment_color(rng), _garment_color(rng), _garment_color(rng)
    parts[BAG2], parts[SOCK] = _contrasting(rng, parts[BAG]), pick(rng, ((0.9, 0.9, 0.9), (0.12, 0.12, 0.14)))
    parts[DARK] = (0.06, 0.05, 0.05)
    return tuple((float(r), float(g), float(b)) for r, g, b in parts)


def _nir_reflectances(rng: np.random.Generator, visible: tuple[RGB, ...]) -> tuple[float, ...]:
    """Near-infrared reflectance of each body part, (32,): mostly random (dyes turn transparent)."""
    nir = [0.3 * luminance(color) + 0.7 * _uniform(rng, 0.55, 0.4) for color in visible]
    nir[SKIN], nir[DARK], nir[HAIR] = _uniform(rng, 0.78, 0.06), 0.1, _uniform(rng, 0.3, 0.15)
    for base, second in ((UPPER, UPPER2), (UPPER, INNER), (LOWER, LOWER2), (BAG, BAG2)):
        gap = _uniform(rng, 0.32, 0.08)  # a pattern stays visible, as a brighter or a darker second colour
        sign = 1.0 if nir[base] < 0.35 or (nir[base] < 0.6 and rng.random() < 0.5) else -1.0
        nir[second] = nir[base] + sign * gap
    return tuple(min(0.97, max(0.05, float(value))) for value in nir)


def _temperatures(rng: np.random.Generator) -> tuple[float, ...]:
    """Apparent temperature of each body part, (32,): warm skin, insulating garments, faint patterns."""
    heat = [_uniform(rng, 0.55, 0.15) for _ in range(NUM_PARTS)]
    heat[SKIN], heat[DARK], heat[HAIR] = _uniform(rng, 0.94, 0.03), 0.8, _uniform(rng, 0.62, 0.08)
    heat[UPPER2] = heat[UPPER] + pick(rng, (-1, 1)) * _uniform(rng, 0.07, 0.03)
    heat[LOWER2] = heat[LOWER] + pick(rng, (-1, 1)) * _uniform(rng, 0.06, 0.03)
    heat[INNER] = heat[UPPER] + 0.14
    heat[SHOE], heat[BAG], heat[HAT] = (
        _uniform(rng, 0.4, 0.08),
        _uniform(rng, 0.3, 0.08),
        _uniform(rng, 0.45, 0.08),
    )
    heat[BAG2], heat[SOCK] = heat[BAG] + 0.05, 0.6
    return tuple(min(1.0, float(value)) for value in heat)
