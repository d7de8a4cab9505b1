"""Images of synthetic people: `random_person`, `random_camera` and `render`, the same pixels for the same seeds on any machine.

Drawing is integer polygons at twice the size, reduced by a box of exact integer sums; everything after is element-wise arithmetic.
Legend: H, W the image; C 3 for a visible sensor and 1 otherwise; a canvas is (2H, 2W) numbers of parts (see `figure.py`).
"""

import math

import numpy as np

from sdcl.runtime.errors import UserError
from sdcl.synthetic.figure import Pose, draw_person, part_mask
from sdcl.synthetic.person import (
    CLUTTER,
    CLUTTER2,
    DIFFICULTIES,
    IMAGE,
    LOWER,
    LOWER2,
    NUM_PARTS,
    SHADOW,
    UPPER,
    UPPER2,
    Pattern,
    Person,
    benchmark_person,
    generator,
    pick,
    random_person,
)  # fmt: skip
from sdcl.synthetic.scene import PANORAMA, Camera, benchmark_camera, panorama, random_camera, soften

__all__ = ["Camera", "Person", "benchmark_camera", "benchmark_person", "random_camera", "random_person", "render"]

STRENGTH = {"easy": 0.55, "medium": 1.0, "hard": 1.5}  # how strong every nuisance is
OVER = 2  # supersampling


def render(person: Person, camera: Camera, seed_words, difficulty: str = "medium", size: tuple[int, int] | None = None) -> np.ndarray:
    """One image of a person by a camera.

    Args:
        seed_words: integers that tell this image from others of the same person and camera.
        difficulty: strength of pose, crop, light, occlusion and clutter.
        size: (H, W); without it 120-160 high and 0.40-0.50 of that wide, as crops of a detector vary.

    Returns:
        uint8 (H, W, 3); infrared sensors repeat one channel.

    Raises:
        ValueError: unknown difficulty.
    """
    if difficulty not in DIFFICULTIES:
        raise UserError(f"difficulty is {difficulty!r}; use one of {', '.join(DIFFICULTIES)}")
    rng, strength = generator(IMAGE, (len(person.key), *person.key, *camera.key, *seed_words)), STRENGTH[difficulty]
    height, width = size or _crop_size(rng)
    pose = _pose(rng, person, camera, height * OVER, width * OVER, strength)
    canvas = draw_person(person, pose, (height * OVER, width * OVER)).copy()
    _dress(canvas, person, pose)
    _occlude(rng, canvas, strength)
    image = _compose(canvas, _lookup(rng, person, camera), _background(rng, camera, height, width, strength))
    image = _sense(rng, image, camera, strength)
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def _crop_size(rng) -> tuple[int, int]:
    height = int(rng.integers(120, 161))
    return height, round(height * (0.40 + 0.10 * float(rng.random())))


def _normal(rng) -> float:
    """Nearly Gaussian, unit variance: the sum of four uniform numbers."""
    return (float(rng.random(4).sum()) - 2.0) * 1.7320508


def _pose(rng, person: Person, camera: Camera, height: int, width: int, strength: float) -> Pose:
    """A pose on a canvas of `height` by `width` pixels."""
    views = pick(rng, (0.0, 0.5, 1.0, 1.5), camera.views)
    scale = height * (0.9 + 0.035 * strength * _normal(rng))
    return Pose(
        yaw=math.pi * views + 0.3 * strength * _normal(rng),
        phase=2.0 * math.pi * float(rng.random()),
        stride=person.stride * (1.0 + 0.25 * strength * _normal(rng)),
        turn=0.15 * _normal(rng),
        scale=scale,
        x=width * (0.5 + 0.03 * strength * _normal(rng)),
        ground=height * (0.955 + 0.022 * strength * _normal(rng)),
        light=camera.light,
        elevation=0.12 + 0.1 * abs(camera.light),
    )


def _dress(canvas: np.ndarray, person: Person, pose: Pose) -> None:
    """Turns garment pixels into their second part where the pattern says so; in place."""
    unit = pose.scale * person.height
    rows = ((pose.ground - np.arange(canvas.shape[0])) / unit)[:, None]  # (2H, 1), heights above the ground
    squeeze = 0.6 + 0.4 * abs(math.cos(pose.yaw))
    columns = ((np.arange(canvas.shape[1]) - pose.x) / (unit * squeeze))[None]  # (1, 2W)
    for pattern, part, second in ((person.upper_pattern, UPPER, UPPER2), (person.lower_pattern, LOWER, LOWER2)):
        marks = _marks(pattern, rows, columns)
        if marks is not None:
            np.add(canvas, np.uint8(second - part), out=canvas, where=part_mask(canvas, part) & marks)


def _marks(pattern: Pattern, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """bool, broadcastable to (2H, 2W): where a pattern's second colour is; None for patterns that are drawn otherwise."""
    period, duty = pattern.period, pattern.duty
    v, u = (rows / period + pattern.phase) % 1.0, (columns / period + 0.5) % 1.0
    match pattern.kind:
        case "horizontal":
            return v < duty
        case "vertical":
            return (u + 0.5 * (1.0 - duty)) % 1.0 < duty
        case "checks":
            return (v < 0.5) ^ (u < 0.5)
        case "plaid":
            return (v < 0.3) | (u < 0.3)
        case "dots":
            return (v - 0.5) ** 2 + (u - 0.5) ** 2 < 0.1
        case "diagonal":
            return ((rows + columns) / (1.3 * period) + pattern.phase) % 1.0 < duty
        case "band":
            return np.abs(rows - 0.72 + 0.06 * pattern.phase) < 0.35 * period + 0.015
        case "yoke":
            return rows > 0.68 + 0.08 * pattern.phase
        case "seam":
            return np.abs(np.abs(columns) - 0.07) < 0.014
        case "patches":
            i, j = np.floor(rows / period).astype(np.int64), np.floor(columns / period + 0.5).astype(np.int64)
            return ((i * 7 + j * 13 + i * j * 5 + pattern.shape * 3) & 7) < 3
    return None


def _occlude(rng, canvas: np.ndarray, strength: float) -> None:
    """Sometimes a pole, a bench or another body covers a part of the person; in place."""
    if rng.random() > 0.10 * strength:
        return
    height, width = canvas.shape
    kind, share, at = int(rng.integers(0, 3)), 0.12 + 0.2 * float(rng.random()), float(rng.random())
    shade = np.uint8(CLUTTER | 4 << 5)
    if kind == 0:  # a low obstacle
        canvas[int(height * (1.0 - share)) :] = shade
    elif kind == 1:  # a side
        edge = int(width * share)
        canvas[int(height * 0.3 * at) :, slice(0, edge) if at < 0.5 else slice(width - edge, width)] = shade
    else:  # a pole
        left = int(width * (0.15 + 0.6 * at))
        canvas[:, left : left + max(3, width // 14)] = np.uint8(CLUTTER2 | 4 << 5)


def _lookup(rng, person: Person, camera: Camera) -> np.ndarray:
    """uint8 (256, C): the light of every part in every shade for a sensor."""
    values = {
        "visible": np.array(person.visible),
        "near": np.array(person.near)[:, None],
        "thermal": np.array(person.thermal)[:, None],
    }[camera.sensor].copy()
    wobble = 0.06 * rng.random((NUM_PARTS, 1)) - 0.03
    values = values + wobble * (camera.sensor != "visible")
    thermal = camera.sensor == "thermal"
    values[SHADOW] = 0.27 if thermal else 0.2
    values[CLUTTER] = 0.3 if thermal else 0.3 + 0.3 * float(rng.random()) + 0.12 * rng.random(values.shape[1])
    values[CLUTTER2] = 0.28 if thermal else 0.1 + 0.4 * float(rng.random())
    shade = np.arange(8)[:, None, None]
    light = 1.0 + (0.03 if thermal else 0.1) * (shade - 4)
    return np.rint(np.clip(values[None] * light * 220.0, 0, 255)).astype(np.uint8).reshape(256, -1)


def _background(rng, camera: Camera, height: int, width: int, strength: float) -> np.ndarray:
    """uint8 (H, W, C): a window of the camera's place at a random spot, with a few things that pass by."""
    place, need = panorama(camera), (170, 96)
    top = int((PANORAMA[0] - need[0]) * min(1.0, max(0.0, 0.5 + 0.3 * _normal(rng))))
    left = int(rng.integers(0, PANORAMA[1] - need[1]))
    rows = top + np.arange(height) * need[0] // height
    columns = left + np.arange(width) * min(need[1], need[0] * width // height) // width
    window = place[rows[:, None], columns[None]]
    for _ in range(int(rng.integers(0, 1 + round(2 * strength)))):
        y, x, h, w = (int(rng.integers(0, n)) for n in (height, width, height // 2, max(2, width // 3)))
        grey = int(rng.integers(55, 110) if camera.sensor == "thermal" else rng.integers(30, 190))
        tone = grey + rng.integers(-25, 26, window.shape[2])
        window[y : y + h, x : x + w] = tone.astype(np.uint8)
    return window


def _compose(canvas: np.ndarray, lookup: np.ndarray, background: np.ndarray) -> np.ndarray:
    """float32 (H, W, C): the figure over the background."""
    height, width, channels = background.shape
    figure = lookup[canvas].astype(np.uint16)  # (2H, 2W, C)
    cover = (canvas != 0).astype(np.uint16)
    figure *= cover[..., None]  # part 0 may carry a colour
    figure = figure.reshape(height, OVER, width, OVER, channels).sum(axis=(1, 3), dtype=np.uint16)
    cover = cover.reshape(height, OVER, width, OVER).sum(axis=(1, 3), dtype=np.uint16)
    share = np.float32(1.0 / (OVER * OVER))
    return figure.astype(np.float32) * share + background * (np.float32(1.0) - cover.astype(np.float32) * share)[..., None]


def _sense(rng, image: np.ndarray, camera: Camera, strength: float) -> np.ndarray:
    """uint8 (H, W, C): light, lens, noise and tone curve of a camera."""
    height, width, channels = image.shape
    image = image * _illumination(rng, camera, height, width, strength)
    image *= np.array([camera.tint[c] for c in range(channels)], dtype=np.float32)
    blur = camera.blur * height / 144.0 * (1.0 + 0.4 * strength * (float(rng.random()) - 0.3))
    image = soften(image, max(1, round(blur * 1.5)), min(0.25, 0.2 * blur))
    spread = camera.noise * (0.7 + 0.6 * strength * float(rng.random())) / 104.5  # deviation of the sum of two bytes
    grain = np.frombuffer(rng.bytes(2 * image.size), dtype=np.uint8).reshape(2, *image.shape).astype(np.float32)
    image += (grain[0] + grain[1] - np.float32(255.0)) * np.float32(spread)
    levels = np.arange(256) / 255.0
    curve = np.rint(255.0 * np.round(levels**camera.gamma, 9)).astype(np.uint8)
    return curve[np.clip(image, 0, 255).astype(np.uint8)]


def _illumination(rng, camera: Camera, height: int, width: int, strength: float) -> np.ndarray:
    """float32 (H, W, 1): gain, a slope of light, folds and the lamp's spot of an infrared camera."""
    y, x = np.linspace(-1.0, 1.0, height)[:, None], np.linspace(-1.0, 1.0, width)[None]
    gain = camera.gain * (1.0 + 0.1 * strength * _normal(rng))
    slope = 1.0 + (0.1 * camera.light + 0.06 * strength * _normal(rng)) * x + 0.06 * strength * _normal(rng) * y
    shift = 0.25 * _normal(rng)
    spot = 1.0 - camera.vignette * 0.45 * ((y - shift) ** 2 + x * x)
    return (gain * np.clip(slope * spot, 0.15, 2.0)).astype(np.float32)[..., None]
