"""Where a synthetic person walks: cameras, the places they look at, and what a sensor does to light.

A place is drawn once per camera as a panorama of palette numbers; the palette has a visible colour and a near-infrared reflectance
per entry, so that two cameras of different modalities can share one room (SYSU-MM01's cameras 2 and 3).
"""

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdcl.runtime.errors import UserError
from sdcl.synthetic.person import BENCHMARK, PRETRAINING, SCENE, generator, luminance, pick

SENSORS = ("visible", "near", "thermal")
PLACES = ("room", "gate", "garden", "passage")
PANORAMA = (224, 448)  # height, width of a place in pixels


@dataclass(frozen=True)
class Camera:
    """One camera. `views` weighs front, right, back and left; `tint` (3,), `gain`, `gamma`, `noise` (grey levels), `vignette` 0..1."""

    key: tuple[int, ...]
    sensor: str
    place: str
    scene_key: tuple[int, ...]
    views: tuple[float, float, float, float]
    tint: tuple[float, float, float]
    gain: float
    gamma: float
    blur: float
    noise: float
    vignette: float
    light: float
    horizon: float

    @property
    def modality(self) -> str:
        """`visible` or `infrared`."""
        return "visible" if self.sensor == "visible" else "infrared"


def random_camera(seed_words, modality: str, thermal: bool = False) -> Camera:
    """A camera of the pre-training namespace, of `visible` or `infrared` (near-infrared, or `thermal`). ValueError otherwise."""
    if modality not in ("visible", "infrared"):
        raise UserError(f"modality is {modality!r}; use 'visible' or 'infrared'")
    sensor = "visible" if modality == "visible" else ("thermal" if thermal else "near")
    words = tuple(int(word) for word in seed_words)
    place = pick(generator(PRETRAINING, (*words, 7)), PLACES)
    return draw_camera(PRETRAINING, words, sensor, place)


def benchmark_camera(seed_words, sensor: str, place: str, scene_words=None) -> Camera:
    """A camera of a benchmark set; cameras with the same `scene_words` look at the same place."""
    return draw_camera(BENCHMARK, seed_words, sensor, place, scene_words)


def draw_camera(namespace: int, seed_words, sensor: str, place: str, scene_words=None) -> Camera:
    """A camera of any namespace: tint, gain, gamma, blur, noise, vignette and viewpoint bias are drawn."""
    words = tuple(int(word) for word in seed_words)
    rng = generator(namespace ^ SCENE, (SENSORS.index(sensor), *words))
    a, b, c, d, e = (float(x) for x in rng.random(5))
    favourite = int(rng.integers(0, 4))
    visible = sensor == "visible"
    return Camera(
        key=(namespace, SENSORS.index(sensor), *words),
        sensor=sensor,
        place=place,
        scene_key=(namespace, *(int(word) for word in (scene_words or words))),
        views=tuple(2.2 if i == favourite else 1.0 for i in range(4)),
        tint=tuple(float(0.89 + 0.22 * x) for x in rng.random(3)) if visible else (1.0, 1.0, 1.0),
        gain=(0.85 + 0.4 * a) if visible else (1.15 + 0.3 * a),
        gamma=0.85 + 0.4 * b,
        blur={"visible": 0.5 + 0.8 * c, "near": 0.8 + 1.0 * c, "thermal": 2.2 + 1.0 * c}[sensor],
        noise={"visible": 2.0 + 4.0 * d, "near": 4.0 + 5.0 * d, "thermal": 2.0 + 2.0 * d}[sensor],
        vignette={"visible": 0.15 * e, "near": 0.45 + 0.3 * e, "thermal": 0.1 * e}[sensor],
        light=float(rng.integers(0, 2) * 2 - 1) * (0.6 + 0.4 * a),
        horizon=0.5 + 0.16 * float(rng.random()),
    )


@functools.lru_cache(maxsize=64)
def panorama(camera: Camera) -> np.ndarray:
    """The place of a camera as its sensor sees it, uint8 (224, 448, C), C 3 for visible and 1 otherwise; read-only."""
    rng = generator(SCENE, camera.scene_key)
    palette = _Palette(rng)
    canvas = Image.new("L", (PANORAMA[1], PANORAMA[0]), 0)
    _DRAW[camera.place](rng, ImageDraw.Draw(canvas), palette)
    index = np.asarray(canvas)
    grain = rng.integers(-9, 10, size=(PANORAMA[0] // 2, PANORAMA[1] // 2)).repeat(2, 0).repeat(2, 1)
    table = palette.table(camera.sensor)
    scene = np.clip(table[index].astype(np.int16) + grain[..., None].astype(np.int16), 0, 255).astype(np.uint8)
    scene.setflags(write=False)
    return scene


class _Palette:
    """Colours of a place with what each sensor makes of them."""

    def __init__(self, rng):
        self.rng, self.visible, self.near = rng, [], []

    def add(self, colour, near: float | None = None) -> int:
        """The number of a new entry; without `near` its reflectance is only loosely tied to its luminance."""
        self.visible.append([min(1.0, max(0.0, float(x))) for x in colour])
        chance = 0.5 * luminance(colour) + 0.5 * float(self.rng.random()) * 0.8
        self.near.append(chance if near is None else near)
        return len(self.visible) - 1

    def near_to(self, number: int, spread: float) -> int:
        """A variation of an entry."""
        shift = spread * (2.0 * float(self.rng.random()) - 1.0)
        return self.add([x + shift for x in self.visible[number]], min(1.0, max(0.0, self.near[number] + shift)))

    def table(self, sensor: str) -> np.ndarray:
        """uint8 (entries, C)."""
        if sensor == "visible":
            return np.rint(np.array(self.visible) * 235.0).astype(np.uint8)
        near = np.array(self.near)[:, None]
        level = near * 150.0 if sensor == "near" else 52.0 + 40.0 * near
        return np.rint(np.clip(level, 0, 255)).astype(np.uint8)


def _muted(rng, low: float, high: float):
    base = low + (high - low) * float(rng.random())
    return [base + 0.12 * (float(x) - 0.5) for x in rng.random(3)]


def _ground(rng, draw, palette, top: int, colour) -> None:
    """A floor below row `top` with joints that come closer towards the horizon."""
    floor, joint = palette.add(colour), palette.add([x * 0.82 for x in colour])
    height, width = PANORAMA
    draw.rectangle((0, top, width, height), fill=floor)
    row, step = top, 3
    while row < height and rng.random() < 0.96:
        draw.line((0, row, width, row), fill=joint)
        row, step = row + step, step + 3
    for x in range(-width, 2 * width, int(rng.integers(30, 60))):
        draw.line((x, top, width // 2 + (x - width // 2) * 2, height), fill=joint)


def _boxes(rng, draw, palette, count: int, top: int, bottom: int) -> None:
    """Doors, posters, cupboards: framed rectangles."""
    for _ in range(count):
        x, w = int(rng.integers(0, PANORAMA[1])), int(rng.integers(14, 60))
        y, h = int(rng.integers(top, bottom - 20)), int(rng.integers(20, 80))
        fill = palette.add(_muted(rng, 0.15, 0.85))
        draw.rectangle((x, y, x + w, min(y + h, bottom)), fill=fill, outline=palette.near_to(fill, 0.3))
        if rng.random() < 0.5:
            draw.rectangle((x + w // 4, y + 5, x + w // 2, y + 12), fill=palette.near_to(fill, 0.4))


def _room(rng, draw, palette) -> None:
    wall, top = palette.add(_muted(rng, 0.55, 0.85)), int(rng.integers(120, 150))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=wall)
    panel = palette.near_to(wall, 0.12)
    for x in range(0, PANORAMA[1], int(rng.integers(40, 90))):
        draw.line((x, 0, x, top), fill=panel, width=2)
    _boxes(rng, draw, palette, int(rng.integers(5, 10)), 10, top)
    _ground(rng, draw, palette, top, _muted(rng, 0.3, 0.7))
    draw.rectangle((0, top - 4, PANORAMA[1], top), fill=palette.near_to(wall, 0.3))


def _gate(rng, draw, palette) -> None:
    brick, top = palette.add([0.55 + 0.2 * float(rng.random()), 0.42, 0.34]), int(rng.integers(115, 150))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=brick)
    tones = [palette.near_to(brick, 0.12) for _ in range(5)]
    for row, y in enumerate(range(0, top, 8)):
        for x in range(-(row % 2) * 9, PANORAMA[1], 18):
            draw.rectangle((x, y, x + 16, y + 6), fill=tones[int(rng.integers(0, 5))])
    _boxes(rng, draw, palette, 3, 20, top)
    bar, left = palette.add(_muted(rng, 0.08, 0.25)), int(rng.integers(0, 250))
    draw.rectangle((left, 20, left + 150, top), fill=palette.add(_muted(rng, 0.6, 0.9)))
    for x in range(left, left + 150, 11):
        draw.line((x, 20, x, top), fill=bar, width=3)
    _ground(rng, draw, palette, top, _muted(rng, 0.45, 0.75))


def _garden(rng, draw, palette) -> None:
    top = int(rng.integers(110, 150))
    greens = [
        palette.add([0.14 + 0.26 * float(x), 0.26 + 0.28 * float(y), 0.1 + 0.16 * float(x)], 0.55 + 0.4 * float(y))
        for x, y in rng.random((10, 2))
    ]  # leaves are bright in near-infrared
    draw.rectangle((0, 0, PANORAMA[1], top), fill=palette.add(_muted(rng, 0.7, 0.95)))
    for x, y, r, tone in zip(*(rng.integers(0, n, 420) for n in (PANORAMA[1], top + 6, 16, 10))):
        draw.ellipse((x - r - 3, y - r - 2, x + r + 3, y + r + 2), fill=greens[int(tone)])
    trunk = palette.add([0.3, 0.22, 0.15])
    for x in rng.integers(0, PANORAMA[1], 5):
        draw.rectangle((x, 20, x + int(rng.integers(5, 12)), top + 4), fill=trunk)
    _ground(rng, draw, palette, top, _muted(rng, 0.4, 0.65))
    for x, y, r, tone in zip(*(rng.integers(0, n, 40) for n in (PANORAMA[1], 14, 9, 10))):
        draw.ellipse((x - r - 3, top + y - 7, x + r + 3, top + y), fill=greens[int(tone)])


def _passage(rng, draw, palette) -> None:
    wall, top = palette.add(_muted(rng, 0.3, 0.55)), int(rng.integers(115, 145))
    draw.rectangle((0, 0, PANORAMA[1], top), fill=wall)
    for y in range(0, top, int(rng.integers(14, 26))):
        draw.rectangle((0, y, PANORAMA[1], y + 6), fill=palette.near_to(wall, 0.08))
    _boxes(rng, draw, palette, 4, 10, top)
    _ground(rng, draw, palette, top, _muted(rng, 0.35, 0.6))
    for x in range(int(rng.integers(0, 60)), PANORAMA[1], int(rng.integers(70, 110))):
        pillar = palette.near_to(wall, 0.25)
        draw.rectangle((x, 0, x + 22, top + 16), fill=pillar)
        draw.rectangle((x + 15, 0, x + 22, top + 16), fill=palette.near_to(pillar, 0.1))


_DRAW = {"room": _room, "gate": _gate, "garden": _garden, "passage": _passage}


def soften(image: np.ndarray, passes: int, weight: float) -> np.ndarray:
    """float32 (H, W, C) after `passes` of the kernel [weight, 1 - 2 weight, weight] in both directions, edges kept."""
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
