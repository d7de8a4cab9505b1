"""Cameras of the synthetic data sets, and the scenes that they look at.

A scene is drawn once per camera as a panorama of palette indices. Each palette entry has a visible colour and
a near-infrared reflectance, so that cameras of two modalities can share one scene (SYSU-MM01's cameras 2 and
3).
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdcl.synthetic.person import BENCHMARK, PRETRAINING, SCENE, generator, luminance, pick

SENSORS = ("visible", "nir", "thermal")  # the index is part of a camera's seed
SCENES = ("room", "gate", "garden", "passage")
Rng = np.random.Generator
Draw = ImageDraw.ImageDraw
PANORAMA = (224, 448)  # height, width of a panorama in pixels


@dataclass(frozen=True)
class Camera:
    """One camera.

    Args:
        key: its seed with namespace and sensor.
        sensor: one of SENSORS.
        scene: one of SCENES. scene_key: the seed of that scene; cameras with one key see the same scene.
        views: relative probability of front, right, back and left views.
        tint: factor on red, green and blue.
        gain, gamma: exposure factor and exponent of the tone curve.
        blur: standard deviation in pixels of an image 144 pixels high.
        noise: standard deviation in gray levels.
        vignette: darkening of the corners, 0..1.
        light: side and strength of the light, -1 (left) to 1 (right).
    """

    key: tuple[int, ...]
    sensor: str
    scene: str
    scene_key: tuple[int, ...]
    views: tuple[float, float, float, float]
    tint: tuple[float, float, float]
    gain: float
    gamma: float
    blur: float
    noise: float
    vignette: float
    light: float

    @property
    def modality(self) -> str:
        """`visible` or `infrared`."""
        return "visible" if self.sensor == "visible" else "infrared"


def random_camera(seed: Iterable[int], modality: str, thermal: bool = False) -> Camera:
    """A camera of the pretraining namespace; an infrared one is near-infrared unless `thermal`.

    Raises:
        ValueError: unknown modality.
    """
    if modality not in ("visible", "infrared"):
        raise ValueError(f"modality must be 'visible' or 'infrared', got {modality!r}")
    numbers = tuple(int(number) for number in seed)
    sensor = "visible" if modality == "visible" else ("thermal" if thermal else "nir")
    scene = pick(generator(PRETRAINING, (*numbers, 7)), SCENES)
    return draw_camera(PRETRAINING, numbers, sensor, scene)


def benchmark_camera(
    seed: Iterable[int], sensor: str, scene: str, scene_seed: Iterable[int] | None = None
) -> Camera:
    """A camera of a benchmark set; cameras of one `scene_seed` (default: `seed`) see the same scene."""
    return draw_camera(BENCHMARK, seed, sensor, scene, scene_seed)


def draw_camera(
    namespace: int, seed: Iterable[int], sensor: str, scene: str, scene_seed: Iterable[int] | None = None
) -> Camera:
    """A camera of any namespace, its optics, light and preferred view drawn at random."""
    numbers = tuple(int(number) for number in seed)
    rng = generator(namespace ^ SCENE, (SENSORS.index(sensor), *numbers))
    a, b, c, d, e = (float(x) for x in rng.random(5))
    preferred = int(rng.integers(0, 4))
    front, right, back, left = (2.2 if i == preferred else 1.0 for i in range(4))
    visible = sensor == "visible"
    tint = [float(0.89 + 0.22 * x) for x in rng.random(3)] if visible else [1.0, 1.0, 1.0]
    return Camera(
        key=(namespace, SENSORS.index(sensor), *numbers),
        sensor=sensor,
        scene=scene,
        scene_key=(namespace, *(int(number) for number in (scene_seed or numbers))),
        views=(front, right, back, left),
        tint=(tint[0], tint[1], tint[2]),
        gain=(0.85 + 0.4 * a) if visible else (1.15 + 0.3 * a),
        gamma=0.85 + 0.4 * b,
        blur={"visible": 0.5 + 0.8 * c, "nir": 0.8 + 1.0 * c, "thermal": 2.2 + 1.0 * c}[sensor],
        noise={"visible": 2.0 + 4.0 * d, "nir": 4.0 + 5.0 * d, "thermal": 2.0 + 2.0 * d}[sensor],
        vignette={"visible": 0.15 * e, "nir": 0.45 + 0.3 * e, "thermal": 0.1 * e}[sensor],
        light=float(rng.integers(0, 2) * 2 - 1) * (0.6 + 0.4 * a),
    )


@functools.lru_cache(maxsize=64)
def panorama(camera: Camera) -> np.ndarray:
    """The scene as a camera's sensor sees it, uint8 (224, 448, C), C = 3 if visible, else 1; read-only."""
    rng = generator(SCENE, camera.scene_key)
    palette = _Palette(rng)
    canvas = Image.new("L", (PANORAMA[1], PANORAMA[0]), 0)
    _DRAW[camera.scene](rng, ImageDraw.Draw(canvas), palette)
    index = np.asarray(canvas)
    grain = rng.integers(-9, 10, size=(PANORAMA[0] // 2, PANORAMA[1] // 2)).repeat(2, 0).repeat(2, 1)
    table = palette.table(camera.sensor)
    scene = np.clip(table[index].astype(np.int16) + grain[..., None].astype(np.int16), 0, 255).astype(
        np.uint8
    )
    scene.setflags(write=False)
    return scene


class _Palette:
    """Colours of a scene and their near-infrared reflectance."""

    def __init__(self, rng: Rng):
        self.rng = rng
        self.visible: list[list[float]] = []  # RGB in 0..1
        self.nir: list[float] = []  # 0..1

    def add(self, color: Sequence[float], nir: float | None = None) -> int:
        """Index of a new entry; the default near-infrared reflectance follows the luminance only loosely."""
        self.visible.append([min(1.0, max(0.0, float(x))) for x in color])
        random_nir = 0.5 * luminance(color) + 0.5 * float(self.rng.random()) * 0.8
        self.nir.append(random_nir if nir is None else nir)
        return len(self.visible) - 1

    def variation(self, index: int, half_range: float) -> int:
        """Index of a new entry, brighter or darker than entry `index` by at most `half_range`."""
        shift = half_range * (2.0 * float(self.rng.random()) - 1.0)
        nir = min(1.0, max(0.0, self.nir[index] + shift))
        return self.add([x + shift for x in self.visible[index]], nir)

    def table(self, sensor: str) -> np.ndarray:
        """Pixel values of all entries for a sensor, uint8 (entries, C)."""
        if sensor == "visible":
            return np.rint(np.array(self.visible) * 235.0).astype(np.uint8)
        nir = np.array(self.nir)[:, None]
        level = nir * 150.0 if sensor == "nir" else 52.0 + 40.0 * nir
        return np.rint(np.clip(level, 0, 255)).astype(np.uint8)


def _muted(rng: Rng, low: float, high: float) -> list[float]:
    """A nearly gray RGB colour."""
    base = low + (high - low) * float(rng.random())
    return [base + 0.12 * (float(x) - 0.5) for x in rng.random(3)]


def _ground(rng: Rng, draw: Draw, palette: _Palette, top: int, color: Sequence[float]) -> None:
    """Draw a tiled floor below row `top`, in perspective."""
    floor, joint = palette.add(color), palette.add([x * 0.82 for x in color])
    height, width = PANORAMA
    draw.rectangle((0, top, width, height), fill=floor)
    row, step = top, 3
    while row < height and rng.random() < 0.96:
        draw.line((0, row, width, row), fill=joint)
        row, step = row + step, step + 3
    for x in range(-width, 2 * width, int(rng.integers(30, 60))):
        draw.line((x, top, width // 2 + (x - width // 2) * 2, height), fill=joint)


def _boxes(rng: Rng, draw: Draw, palette: _Palette, count: int, top: int, bottom: int) -> None:
    """Draw framed rectangles: doors, posters, cupboards."""
    for _ in range(count):
        x, w = int(rng.integers(0, PANORAMA[1])), int(rng.integers(14, 60))
        y, h = int(rng.integers(top, bottom - 20)), int(rng.integers(20, 80))
        fill = palette.add(_muted(rng, 0.15, 0.85))
        draw.rectangle((x, y, x + w, min(y + h, bottom)), fill=fill, outline=palette.variation(fill, 0.3))
        if rng.random() < 0.5:
            draw.rectangle((x + w // 4, y + 5, x + w // 2, y + 12), fill=palette.variation(fill, 0.4))


def _room(rng: Rng, draw: Draw, palette: _Palette) -> None:
    wall, top = palette.add(_muted(rng, 0.55, 0.85)), int(rng.integers(120, 150))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=wall)
    panel = palette.variation(wall, 0.12)
    for x in range(0, PANORAMA[1], int(rng.integers(40, 90))):
        draw.line((x, 0, x, top), fill=panel, width=2)
    _boxes(rng, draw, palette, int(rng.integers(5, 10)), 10, top)
    _ground(rng, draw, palette, top, _muted(rng, 0.3, 0.7))
    draw.rectangle((0, top - 4, PANORAMA[1], top), fill=palette.variation(wall, 0.3))


def _gate(rng: Rng, draw: Draw, palette: _Palette) -> None:
    brick, top = palette.add([0.55 + 0.2 * float(rng.random()), 0.42, 0.34]), int(rng.integers(115, 150))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=brick)
    tones = [palette.variation(brick, 0.12) for _ in range(5)]
    for row, y in enumerate(range(0, top, 8)):
        for x in range(-(row % 2) * 9, PANORAMA[1], 18):
            draw.rectangle((x, y, x + 16, y + 6), fill=tones[int(rng.integers(0, 5))])
    _boxes(rng, draw, palette, 3, 20, top)
    bar, left = palette.add(_muted(rng, 0.08, 0.25)), int(rng.integers(0, 250))
    draw.rectangle((left, 20, left + 150, top), fill=palette.add(_muted(rng, 0.6, 0.9)))
    for x in range(left, left + 150, 11):
        draw.line((x, 20, x, top), fill=bar, width=3)
    _ground(rng, draw, palette, top, _muted(rng, 0.45, 0.75))


def _garden(rng: Rng, draw: Draw, palette: _Palette) -> None:
    top = int(rng.integers(110, 150))
    # leaves are bright in near-infrared
    greens = [
        palette.add(
            [0.14 + 0.26 * float(x), 0.26 + 0.28 * float(y), 0.1 + 0.16 * float(x)], 0.55 + 0.4 * float(y)
        )
        for x, y in rng.random((10, 2))
    ]
    draw.rectangle((0, 0, PANORAMA[1], top), fill=palette.add(_muted(rng, 0.7, 0.95)))
    for x, y, r, tone in zip(*(rng.integers(0, n, 420) for n in (PANORAMA[1], top + 6, 16, 10))):
        draw.ellipse((x - r - 3, y - r - 2, x + r + 3, y + r + 2), fill=greens[int(tone)])
    trunk = palette.add([0.3, 0.22, 0.15])
    for x in rng.integers(0, PANORAMA[1], 5):
        draw.rectangle((x, 20, x + int(rng.integers(5, 12)), top + 4), fill=trunk)
    _ground(rng, draw, palette, top, _muted(rng, 0.4, 0.65))
    for x, y, r, tone in zip(*(rng.integers(0, n, 40) for n in (PANORAMA[1], 14, 9, 10))):
        draw.ellipse((x - r - 3, top + y - 7, x + r + 3, top + y), fill=greens[int(tone)])


def _passage(rng: Rng, draw: Draw, palette: _Palette) -> None:
    wall, top = palette.add(_muted(rng, 0.3, 0.55)), int(rng.integers(115, 145))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=wall)
    for y in range(0, top, int(rng.integers(14, 26))):
        draw.rectangle((0, y, PANORAMA[1], y + 6), fill=palette.variation(wall, 0.08))
    _boxes(rng, draw, palette, 4, 10, top)
    _ground(rng, draw, palette, top, _muted(rng, 0.35, 0.6))
    for x in range(int(rng.integers(0, 60)), PANORAMA[1], int(rng.integers(70, 110))):
        pillar = palette.variation(wall, 0.25)
        draw.rectangle((x, 0, x + 22, top + 16), fill=pillar)
        draw.rectangle((x + 15, 0, x + 22, top + 16), fill=palette.variation(pillar, 0.1))


_DRAW = {"room": _room, "gate": _gate, "garden": _garden, "passage": _passage}


def soften(image: np.ndarray, passes: int, weight: float) -> np.ndarray:
    """Blur an image float32 (H, W, C), repeating its edge pixels.

    Args:
        passes: applications of the kernel [weight, 1 - 2 weight, weight] along both axes.
    """
    for _ in range(passes):
        for axis in (0, 1):
            body = image.swapaxes(0, axis)
            soft = body * np.float32(1.0 - 2.0 * weight)
            soft[1:] += np.float32(weight) * body[:-1]
            soft[:-1] += np.float32(weight) * body[1:]
            soft[0] += np.float32(weight) * body[0]
            soft[-1] += np.float32(weight) * body[-1]
            image = soft.swapaxes(0, axis)
    return image
