"""Who a synthetic person is: body, hair, clothes, bag and gait, and how each part answers light.

Shared by both modalities: proportions, cut, pattern and its scale, hair, hat, bag, gait. Visible only: hue and saturation.
Infrared only: a reflectance per part, 0.3 luminance + 0.7 chance, so brightness does not carry over.

Seeds are lists of integers behind a namespace word. `random_person` (pre-training) draws from `PRETRAINING`, benchmark sets draw
from `BENCHMARK`; the length of the list is part of the seed, so no choice of words makes the two meet.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from sdcl.runtime.errors import UserError

PRETRAINING, BENCHMARK, IMAGE, SCENE = 0x50524554, 0x42454E43, 0x494D4147, 0x5343454E  # namespace words of the seeds
DIFFICULTIES = ("easy", "medium", "hard")

# Parts are drawn as numbers below 32; the three bits above carry the shade.
SKIN, HAIR, UPPER, UPPER2, INNER, LOWER, LOWER2, SHOE, BAG, BAG2, HAT, DARK, SOCK, SHADOW, CLUTTER, CLUTTER2 = range(1, 17)
NUM_PARTS = 32

UPPER_PATTERNS = (
    "horizontal", "vertical", "checks", "plaid", "dots", "logo", "band", "yoke", "diagonal", "patches", "sleeves", "logo",
)  # fmt: skip
LOWER_PATTERNS = ("horizontal", "vertical", "checks", "plaid", "dots", "seam", "patches", "knee")
HAIR_STYLES = ("bald", "short", "short", "crop", "bob", "long", "ponytail", "bun", "afro")
PLAIN = {"easy": (0.15, 0.45), "medium": (0.25, 0.6), "hard": (0.45, 0.8)}  # chance of no pattern (upper, lower)
SPREAD = {"easy": 1.15, "medium": 1.0, "hard": 0.75}  # how far bodies differ


def generator(namespace: int, words) -> np.random.Generator:
    """The generator of a namespace and a sequence of integers >= 0; the number of words is part of the seed."""
    words = [int(word) for word in words]
    return np.random.Generator(np.random.PCG64([namespace, len(words), *words]))


@dataclass(frozen=True)
class Pattern:
    """A pattern in body heights: `period` of its repeat, `duty` of its second colour, `phase` of its start, `shape` of a logo."""

    kind: str = "plain"
    period: float = 0.08
    duty: float = 0.5
    phase: float = 0.0
    shape: int = 0


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are in body heights; `visible` (32, 3), `near` (32,) and `thermal` (32,) answer per part in 0..1."""

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
    near: tuple[float, ...]
    thermal: tuple[float, ...]


def random_person(seed_words, difficulty: str = "medium") -> Person:
    """A person of the pre-training namespace, a pure function of the integers `seed_words`; never a person of a benchmark set."""
    return draw_person(PRETRAINING, seed_words, difficulty)


def benchmark_person(seed_words, difficulty: str = "medium") -> Person:
    """A person of the benchmark namespace; `seed_words` are (seed, layout, set, identity)."""
    return draw_person(BENCHMARK, seed_words, difficulty)


def draw_person(namespace: int, seed_words, difficulty: str) -> Person:
    """A person of any namespace. ValueError for an unknown difficulty."""
    if difficulty not in DIFFICULTIES:
        raise UserError(f"difficulty is {difficulty!r}; use one of {', '.join(DIFFICULTIES)}")
    rng = generator(namespace, seed_words)
    traits = {**_body(rng, SPREAD[difficulty]), **_clothes(rng, PLAIN[difficulty]), **_habits(rng)}
    visible = _colours(rng)
    near = _reflectances(rng, visible)
    return Person(key=(namespace, *(int(word) for word in seed_words)), **traits, visible=visible, near=near, thermal=_temperatures(rng))


def pick(rng: np.random.Generator, values, chances=None):
    """One of `values`, with relative `chances`."""
    if chances is None:
        return values[int(rng.integers(len(values)))]
    mark, total = rng.random() * sum(chances), 0.0
    for value, chance in zip(values, chances):
        total += chance
        if mark < total:
            return value
    return values[-1]


def _around(rng, centre: float, spread: float) -> float:
    return centre + spread * (2.0 * float(rng.random()) - 1.0)


def _body(rng, spread: float) -> dict:
    hair = pick(rng, HAIR_STYLES)
    return {
        "height": _around(rng, 0.95, 0.05 * spread),
        "width": _around(rng, 1.06, 0.24 * spread),
        "shoulders": _around(rng, 1.0, 0.12 * spread),
        "hips": _around(rng, 1.0, 0.14 * spread),
        "legs": _around(rng, 0.485, 0.03 * spread),
        "head": _around(rng, 1.02, 0.09 * spread),
        "hair": hair,
        "beard": hair in ("bald", "short", "crop") and rng.random() < 0.35,
        "glasses": bool(rng.random() < 0.2),
        "hat": pick(rng, ("none", "cap", "beanie", "brim"), (0.72, 0.13, 0.09, 0.06)),
    }


def _clothes(rng, plain: tuple[float, float]) -> dict:
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
        "hem": _around(rng, 0.17, 0.06) if coat else _around(rng, 0.01, 0.04),
        "flare": _around(rng, 1.04, 0.1),
        "hood": bool(rng.random() < 0.2),
        "open_front": _around(rng, 0.5, 0.25) if rng.random() < (0.5 if coat else 0.25) else 0.0,
        "lower": lower,
        "lower_length": low + (high - low) * float(rng.random()),
        "loose": 0.92 if lower == "leggings" else _around(rng, 1.16, 0.2),
        "boots": pick(rng, (0.0, 0.07, 0.16), (0.65, 0.2, 0.15)),
        "upper_pattern": _pattern(rng, UPPER_PATTERNS, plain[0]),
        "lower_pattern": _pattern(rng, LOWER_PATTERNS, plain[1]),
    }


def _pattern(rng, kinds: tuple[str, ...], plain: float) -> Pattern:
    chance, kind = rng.random(), pick(rng, kinds)
    period, duty = pick(rng, (0.042, 0.06, 0.085, 0.125)) * _around(rng, 1.0, 0.12), _around(rng, 0.48, 0.14)
    phase, shape = float(rng.random()), int(rng.integers(0, 6))
    return Pattern("plain" if chance < plain else kind, period, duty, phase, shape)


def _habits(rng) -> dict:
    return {
        "bag": pick(rng, ("none", "backpack", "handbag", "strap"), (0.42, 0.24, 0.16, 0.18)),
        "bag_size": _around(rng, 1.0, 0.3),
        "bag_side": int(rng.integers(0, 2)) * 2 - 1,
        "stride": _around(rng, 0.34, 0.14),
        "swing": _around(rng, 0.8, 0.35),
        "lean": _around(rng, 0.01, 0.03),
        "arms": pick(rng, ("swing", "pockets", "phone"), (0.7, 0.16, 0.14)),
    }


def _cloth(rng) -> tuple[float, float, float]:
    """A garment's colour: a third nearly grey (black and white included), the rest of any hue."""
    grey, hue = rng.random() < 0.33, float(rng.random())
    saturation = _around(rng, 0.06, 0.06) if grey else _around(rng, 0.62, 0.3)
    return colorsys.hsv_to_rgb(hue, saturation, _around(rng, 0.5, 0.42))


def luminance(colour) -> float:
    """Rec. 601 luminance of an RGB triple."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _contrasting(rng, colour):
    """A second colour at least 0.25 in luminance away from `colour`, so that a pattern is a pattern."""
    for _ in range(20):
        other = _cloth(rng)
        if abs(luminance(other) - luminance(colour)) > 0.25:
            return other
    return (0.92, 0.92, 0.92) if luminance(colour) < 0.5 else (0.08, 0.08, 0.1)


def _colours(rng) -> tuple[tuple[float, float, float], ...]:
    parts = [(0.0, 0.0, 0.0)] * NUM_PARTS
    skin = pick(rng, ((0.93, 0.76, 0.65), (0.85, 0.64, 0.5), (0.68, 0.47, 0.34), (0.45, 0.3, 0.22)))
    hair = pick(rng, ((0.09, 0.07, 0.06), (0.24, 0.15, 0.09), (0.45, 0.3, 0.16), (0.75, 0.62, 0.38), (0.6, 0.6, 0.6)), (5, 3, 2, 1, 1))
    parts[SKIN], parts[HAIR] = skin, hair
    parts[UPPER] = _cloth(rng)
    parts[UPPER2], parts[INNER] = _contrasting(rng, parts[UPPER]), _contrasting(rng, parts[UPPER])
    parts[LOWER] = _cloth(rng)
    parts[LOWER2] = _contrasting(rng, parts[LOWER])
    parts[SHOE], parts[HAT], parts[BAG] = _cloth(rng), _cloth(rng), _cloth(rng)
    parts[BAG2], parts[SOCK] = _contrasting(rng, parts[BAG]), pick(rng, ((0.9, 0.9, 0.9), (0.12, 0.12, 0.14)))
    parts[DARK] = (0.06, 0.05, 0.05)
    return tuple(tuple(float(x) for x in part) for part in parts)


def _reflectances(rng, visible) -> tuple[float, ...]:
    """Near-infrared reflectance per part, (32,): dyes turn transparent there, so it is mostly chance; skin is bright."""
    near = [0.3 * luminance(colour) + 0.7 * _around(rng, 0.55, 0.4) for colour in visible]
    near[SKIN], near[DARK], near[HAIR] = _around(rng, 0.78, 0.06), 0.1, _around(rng, 0.3, 0.15)
    for base, second in ((UPPER, UPPER2), (UPPER, INNER), (LOWER, LOWER2), (BAG, BAG2)):
        gap = _around(rng, 0.32, 0.08)  # a pattern stays visible, in either direction
        sign = 1.0 if near[base] < 0.35 or (near[base] < 0.6 and rng.random() < 0.5) else -1.0
        near[second] = near[base] + sign * gap
    return tuple(min(0.97, max(0.05, float(value))) for value in near)


def _temperatures(rng) -> tuple[float, ...]:
    """Apparent temperature per part, (32,): warm skin, garments by insulation, patterns almost gone."""
    heat = [_around(rng, 0.55, 0.15) for _ in range(NUM_PARTS)]
    heat[SKIN], heat[DARK], heat[HAIR] = _around(rng, 0.94, 0.03), 0.8, _around(rng, 0.62, 0.08)
    heat[UPPER2] = heat[UPPER] + pick(rng, (-1, 1)) * _around(rng, 0.07, 0.03)
    heat[LOWER2] = heat[LOWER] + pick(rng, (-1, 1)) * _around(rng, 0.06, 0.03)
    heat[INNER] = heat[UPPER] + 0.14
    heat[SHOE], heat[BAG], heat[HAT] = _around(rng, 0.4, 0.08), _around(rng, 0.3, 0.08), _around(rng, 0.45, 0.08)
    heat[BAG2], heat[SOCK] = heat[BAG] + 0.05, 0.6
    return tuple(min(1.0, float(value)) for value in heat)
