"""Draw shapes given in body heights onto a label map of body parts.

A label map is uint8 (H, W): the low five bits are the body part (constants of `person.py`; 0 is background),
the high three its shade (4 is neutral). Lengths are in body heights, x to the right and y up from the ground.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdcl.synthetic.person import Person

SHOULDER_Y, NECK_Y, CHIN_Y, HEAD_Y = 0.815, 0.845, 0.868, 0.927
Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """One frame of a walk.

    Args:
        yaw: body orientation in radians, 0 facing the camera, pi/2 walking to the right.
        phase: phase of the gait cycle in radians.
        stride: swing of the legs in radians.
        turn: rotation of the head relative to the body in radians.
        scale: pixels per body height.
        x, ground: column of the body's axis and row of the ground in pixels.
        light: side of the light, -1 (left) to 1 (right).
        elevation: how much further down a nearer foot appears, per body height of depth.
    """

    yaw: float
    phase: float
    stride: float
    turn: float
    scale: float
    x: float
    ground: float
    light: float
    elevation: float


def sin(angle: float) -> float:
    """Sine rounded to 1e-6, so that math libraries that differ in the last digit draw the same pixels."""
    return round(math.sin(angle), 6)


def cos(angle: float) -> float:
    """Cosine rounded to 1e-6."""
    return round(math.cos(angle), 6)


class Pen:
    """Draws shapes given in body heights onto a label map in pixels."""

    def __init__(self, label_map: Image.Image, person: Person, pose: Pose):
        self.draw, self.pose, self.person = ImageDraw.Draw(label_map), pose, person
        self.sin, self.cos = sin(pose.yaw), cos(pose.yaw)
        self.unit = pose.scale * person.height

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Pixel (column, row) of a body point; the whole body leans."""
        leaning = x + self.person.lean * self.sin * y
        return round(self.pose.x + leaning * self.unit), round(self.pose.ground - y * self.unit)

    def polygon(self, points: Iterable[Point], part: int, shade: int = 4) -> None:
        """Draw a filled polygon of body points."""
        self.draw.polygon([self.point(x, y) for x, y in points], fill=part | shade << 5)

    def box(self, left: float, right: float, top: float, bottom: float, part: int, shade: int = 4) -> None:
        """Draw a filled upright rectangle."""
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), part, shade)

    def ellipse(self, x: float, y: float, rx: float, ry: float, part: int, shade: int = 4) -> None:
        """Draw a filled ellipse with centre (x, y) and half axes rx, ry."""
        (left, top), (right, bottom) = self.point(x - rx, y + ry), self.point(x + rx, y - ry)
        self.draw.ellipse((left, top, max(left, right), max(top, bottom)), fill=part | shade << 5)

    def tube(self, start: Point, end: Point, r0: float, r1: float, part: int, shade: int = 4) -> None:
        """Draw a limb that tapers from radius r0 to r1, darker on the side away from the light."""
        for size, tone, shift in ((1.0, shade - 1, 0.0), (0.62, shade, 0.3 * self.pose.light)):
            dx, dy = end[0] - start[0], end[1] - start[1]
            length = math.sqrt(dx * dx + dy * dy) or 1.0
            nx, ny = -dy / length * size, dx / length * size
            x0, x1 = start[0] + shift * r0, end[0] + shift * r1
            one_side = (x0 + nx * r0, start[1] + ny * r0), (x1 + nx * r1, end[1] + ny * r1)
            other_side = (x1 - nx * r1, end[1] - ny * r1), (x0 - nx * r0, start[1] - ny * r0)
            self.polygon((*one_side, *other_side), part, tone)
            self.ellipse(x0, start[1], r0 * size, r0 * size, part, tone)
            self.ellipse(x1, end[1], r1 * size, r1 * size, part, tone)

    def half_width(self, a: float, b: float) -> float:
        """Projected half width of an elliptic cylinder with half axes a (sideways) and b (forward)."""
        return math.sqrt((a * self.cos) ** 2 + (b * self.sin) ** 2)

    def on_trunk(self, angle: float, a: float, b: float) -> tuple[float, float]:
        """(x, depth) of a cylinder's point at `angle`, 0 chest to pi back; depth > 0 is the near side."""
        return self.project(a * sin(angle), b * cos(angle))

    def project(self, side: float, front: float) -> tuple[float, float]:
        """(x, depth) of a point `side` to the right and `front` ahead of the body's axis."""
        return side * self.cos + front * self.sin, front * self.cos - side * self.sin


def part_mask(label_map: np.ndarray, part: int) -> np.ndarray:
    """Mask of a body part in a label map, bool (H, W)."""
    return (label_map & 31) == part
