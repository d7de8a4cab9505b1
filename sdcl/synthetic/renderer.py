"""Render images of synthetic identities: the same pixels for the same seeds on any machine.

    image = render(random_person((7,)), random_camera((3,), "visible"), (0,))  # uint8 (H, W, 3)

The figure is drawn as integer polygons at twice the size and reduced by exact integer sums; all later steps
are element-wise arithmetic. H, W image size; C = 3 for a visible sensor, else 1; label maps (2H, 2W) as in
`pen.py`.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sdcl.synthetic.figure import draw_figure
from sdcl.synthetic.pen import Pose, part_mask
from sdcl.synthetic.person import (
    CLUTTER,
    CLUTTER2,
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
    check_difficulty,
    generator,
    pick,
    random_person,
)
from sdcl.synthetic.scene import PANORAMA, Camera, benchmark_camera, panorama, random_camera, soften

__all__ = [
    "Camera",
    "Person",
    "benchmark_camera",
    "benchmark_person",
    "random_camera",
    "random_person",
    "render",
]

Rng = np.random.Generator
STRENGTH = {
    "clear": 0.35,
    "easy": 0.55,
    "medium": 1.0,
    "hard": 1.5,
}  # of pose, crop, light, occlusion and clutter
OVERSAMPLING = 2


def render(
    person: Person,
    camera: Camera,
    seed: Sequence[int],
    difficulty: str = "medium",
    size: tuple[int, int] | None = None,
    frame: int = 0,
) -> np.ndarray:
    """Render one image of an identity by a camera.

    Args:
        seed: integers that distinguish this image, or this track, from others
            of the same identity and camera.
        difficulty: strength of the variation in pose, crop, light, occlusion and clutter.
        size: (H, W). None: 120 to 160 pixels high and 0.40 to 0.50 of that wide, as a detector's crops vary.
        frame: number in the track that begins with this image: some steps further, with sensor noise of its
            own, in the same light and before the same background.

    Returns:
        uint8 (H, W, 3); infrared sensors repeat one channel.

    Raises:
        ValueError: unknown difficulty.
    """
    check_difficulty(difficulty)
    key = (len(person.key), *person.key, *camera.key, *seed)
    rng = generator(IMAGE, key)
    strength = STRENGTH[difficulty]
    height, width = size or _crop_size(rng)
    label_size = (height * OVERSAMPLING, width * OVERSAMPLING)
    pose = _walked(_pose(rng, person, camera, *label_size, strength), frame, label_size[1])
    label_map = draw_figure(person, pose, label_size).copy()
    _apply_patterns(label_map, person, pose)
    _occlude(rng, label_map, strength)
    pixel_values = _pixel_values(rng, person, camera)
    image = _compose(label_map, pixel_values, _background(rng, camera, height, width, strength))
    image = _expose(rng, image, camera, strength, generator(IMAGE, (*key, frame)) if frame else rng)
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def _crop_size(rng: Rng) -> tuple[int, int]:
    height = int(rng.integers(120, 161))
    return height, round(height * (0.40 + 0.10 * float(rng.random())))


def _normal(rng: Rng) -> float:
    """A nearly Gaussian number of unit variance: the sum of four uniform ones."""
    return (float(rng.random(4).sum()) - 2.0) * 1.7320508


def _pose(rng: Rng, person: Person, camera: Camera, height: int, width: int, strength: float) -> Pose:
    """A random pose in a label map of `height` by `width` pixels."""
    half_turns = pick(rng, (0.0, 0.5, 1.0, 1.5), camera.views)
    scale = height * (0.9 + 0.035 * strength * _normal(rng))
    return Pose(
        yaw=math.pi * half_turns + 0.3 * strength * _normal(rng),
        phase=2.0 * math.pi * float(rng.random()),
        stride=person.stride * (1.0 + 0.25 * strength * _normal(rng)),
        turn=0.15 * _normal(rng),
        scale=scale,
        x=width * (0.5 + 0.03 * strength * _normal(rng)),
        ground=height * (0.955 + 0.022 * strength * _normal(rng)),
        light=camera.light,
        elevation=0.12 + 0.1 * abs(camera.light),
    )


def _walked(pose: Pose, frame: int, width: int) -> Pose:
    """The pose some frames later: legs and arms swing, the box wanders a little from side to side."""
    if not frame:
        return pose
    swing = abs((frame + 2) % 8 - 4) / 4 - 0.5  # -0.5 .. 0.5, 0 in frame 0
    return dataclasses.replace(
        pose, phase=pose.phase + 0.6 * frame, yaw=pose.yaw + 0.1 * swing, x=pose.x + 0.05 * width * swing
    )


def _apply_patterns(label_map: np.ndarray, person: Person, pose: Pose) -> None:
    """Relabel garment pixels under their pattern as the second colour, in place."""
    unit = pose.scale * person.height
    rows = ((pose.ground - np.arange(label_map.shape[0])) / unit)[:, None]  # (2H, 1), height above the ground
    squeeze = 0.6 + 0.4 * abs(math.cos(pose.yaw))
    columns = ((np.arange(label_map.shape[1]) - pose.x) / (unit * squeeze))[None]  # (1, 2W)
    garments = ((person.upper_pattern, UPPER, UPPER2), (person.lower_pattern, LOWER, LOWER2))
    for pattern, part, second in garments:
        mask = _pattern_mask(pattern, rows, columns)
        if mask is not None:
            where = part_mask(label_map, part) & mask
            np.add(label_map, np.uint8(second - part), out=label_map, where=where)


def _pattern_mask(pattern: Pattern, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """Pixels of a pattern's second colour, bool, broadcastable to (2H, 2W); None if `figure.py` draws it."""
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


def _occlude(rng: Rng, label_map: np.ndarray, strength: float) -> None:
    """Sometimes cover a part of the person by a bench, another body or a pole, in place."""
    if rng.random() > 0.10 * strength:
        return
    height, width = label_map.shape
    kind, share, offset = int(rng.integers(0, 3)), 0.12 + 0.2 * float(rng.random()), float(rng.random())
    shade = np.uint8(CLUTTER | 4 << 5)
    if kind == 0:  # a low obstacle
        label_map[int(height * (1.0 - share)) :] = shade
    elif kind == 1:  # a side
        edge = int(width * share)
        label_map[
            int(height * 0.3 * offset) :, slice(0, edge) if offset < 0.5 else slice(width - edge, width)
        ] = shade
    else:  # a pole
        left = int(width * (0.15 + 0.6 * offset))
        label_map[:, left : left + max(3, width // 14)] = np.uint8(CLUTTER2 | 4 << 5)


def _pixel_values(rng: Rng, person: Person, camera: Camera) -> np.ndarray:
    """Pixel value of every body part in every shade for a sensor, uint8 (256, C)."""
    values = {
        "visible": np.array(person.visible),
        "nir": np.array(person.nir)[:, None],
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


def _background(rng: Rng, camera: Camera, height: int, width: int, strength: float) -> np.ndarray:
    """A random window of the camera's scene with a few passing objects, uint8 (H, W, C)."""
    scene, window_size = panorama(camera), (170, 96)
    top = int((PANORAMA[0] - window_size[0]) * min(1.0, max(0.0, 0.5 + 0.3 * _normal(rng))))
    left = int(rng.integers(0, PANORAMA[1] - window_size[1]))
    rows = top + np.arange(height) * window_size[0] // height
    columns = left + np.arange(width) * min(window_size[1], window_size[0] * width // height) // width
    window = scene[rows[:, None], columns[None]]
    for _ in range(int(rng.integers(0, 1 + round(2 * strength)))):
        y, x, h, w = (int(rng.integers(0, n)) for n in (height, width, height // 2, max(2, width // 3)))
        gray = int(rng.integers(55, 110) if camera.sensor == "thermal" else rng.integers(30, 190))
        tone = gray + rng.integers(-25, 26, window.shape[2])
        window[y : y + h, x : x + w] = tone.astype(np.uint8)
    return window


def _compose(label_map: np.ndarray, pixel_values: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Paste the figure over the background, float32 (H, W, C)."""
    height, width, channels = background.shape
    figure = pixel_values[label_map].astype(np.uint16)  # (2H, 2W, C)
    cover = (label_map != 0).astype(np.uint16)
    figure *= cover[..., None]  # the background, part 0, may have a colour
    figure = figure.reshape(height, OVERSAMPLING, width, OVERSAMPLING, channels).sum(
        axis=(1, 3), dtype=np.uint16
    )
    cover = cover.reshape(height, OVERSAMPLING, width, OVERSAMPLING).sum(axis=(1, 3), dtype=np.uint16)
    share = np.float32(1.0 / (OVERSAMPLING * OVERSAMPLING))
    return (
        figure.astype(np.float32) * share
        + background * (np.float32(1.0) - cover.astype(np.float32) * share)[..., None]
    )


def _expose(rng: Rng, image: np.ndarray, camera: Camera, strength: float, noise: Rng) -> np.ndarray:
    """Apply light, tint, lens blur, noise and tone curve of a camera; uint8 (H, W, C).

    Args:
        noise: generator of the sensor's noise.
    """
    height, width, channels = image.shape
    image = image * _illumination(rng, camera, height, width, strength)
    image *= np.array([camera.tint[c] for c in range(channels)], dtype=np.float32)
    blur = camera.blur * height / 144.0 * (1.0 + 0.4 * strength * (float(rng.random()) - 0.3))
    image = soften(image, max(1, round(blur * 1.5)), min(0.25, 0.2 * blur))
    deviation = camera.noise * (0.7 + 0.6 * strength * float(rng.random()))
    amplitude = deviation / 104.5  # which is the standard deviation of the sum of two random bytes
    grain = (
        np.frombuffer(noise.bytes(2 * image.size), dtype=np.uint8).reshape(2, *image.shape).astype(np.float32)
    )
    image += (grain[0] + grain[1] - np.float32(255.0)) * np.float32(amplitude)
    levels = np.arange(256) / 255.0
    curve = np.rint(255.0 * np.round(levels**camera.gamma, 9)).astype(np.uint8)
    return curve[np.clip(image, 0, 255).astype(np.uint8)]


def _illumination(rng: Rng, camera: Camera, height: int, width: int, strength: float) -> np.ndarray:
    """Gain, gradient of the light and the spot of an infrared lamp, float32 (H, W, 1)."""
    y, x = np.linspace(-1.0, 1.0, height)[:, None], np.linspace(-1.0, 1.0, width)[None]
    gain = camera.gain * (1.0 + 0.1 * strength * _normal(rng))
    slope = (
        1.0 + (0.1 * camera.light + 0.06 * strength * _normal(rng)) * x + 0.06 * strength * _normal(rng) * y
    )
    shift = 0.25 * _normal(rng)
    spot = 1.0 - camera.vignette * 0.45 * ((y - shift) ** 2 + x * x)
    return (gain * np.clip(slope * spot, 0.15, 2.0)).astype(np.float32)[..., None]
