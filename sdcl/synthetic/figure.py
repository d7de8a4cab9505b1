"""How a synthetic person stands in front of a camera, drawn as numbers of parts.

Lengths are in body heights, x to the right and y up from the ground. A canvas is uint8: the low five bits name the part, the high three
its shade (4 is plain). The trunk is an elliptic cylinder, so that what is worn in front or on the back turns with the viewpoint.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdcl.synthetic.person import BAG, BAG2, DARK, HAIR, HAT, INNER, LOWER, LOWER2, SHADOW, SHOE, SKIN, SOCK, UPPER, UPPER2, Person

SHOULDER_Y, NECK_Y, CHIN_Y, HEAD_Y = 0.815, 0.845, 0.868, 0.927


@dataclass(frozen=True)
class Pose:
    """One moment of a walk: `yaw` (0 faces the camera, pi/2 walks to the right) and `phase` of the step in radians, `stride`, head turn,
    `scale` pixels per body height, `x` of the middle and `ground` row in canvas pixels, `light` side (-1..1), `elevation` of the camera."""

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
    """Sine rounded to 1e-6, so that libraries that differ in the last digit draw the same pixels."""
    return round(math.sin(angle), 6)


def cos(angle: float) -> float:
    """Cosine rounded to 1e-6."""
    return round(math.cos(angle), 6)


class Pen:
    """Draws in body heights on a canvas of parts."""

    def __init__(self, canvas: Image.Image, person: Person, pose: Pose):
        self.draw, self.pose, self.person = ImageDraw.Draw(canvas), pose, person
        self.sin, self.cos = sin(pose.yaw), cos(pose.yaw)
        self.unit = pose.scale * person.height

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Canvas pixel of a point; the body leans as a whole."""
        return round(self.pose.x + (x + self.person.lean * self.sin * y) * self.unit), round(self.pose.ground - y * self.unit)

    def polygon(self, points, part: int, shade: int = 4) -> None:
        """A filled polygon of body points."""
        self.draw.polygon([self.point(x, y) for x, y in points], fill=part | shade << 5)

    def box(self, left: float, right: float, top: float, bottom: float, part: int, shade: int = 4) -> None:
        """A filled upright rectangle."""
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), part, shade)

    def ellipse(self, x: float, y: float, rx: float, ry: float, part: int, shade: int = 4) -> None:
        """A filled ellipse."""
        (left, top), (right, bottom) = self.point(x - rx, y + ry), self.point(x + rx, y - ry)
        self.draw.ellipse((left, top, max(left, right), max(top, bottom)), fill=part | shade << 5)

    def tube(self, start, end, r0: float, r1: float, part: int, shade: int = 4) -> None:
        """A tapered limb, darker on the side away from the light."""
        for size, tone, shift in ((1.0, shade - 1, 0.0), (0.62, shade, 0.3 * self.pose.light)):
            dx, dy = end[0] - start[0], end[1] - start[1]
            length = math.sqrt(dx * dx + dy * dy) or 1.0
            nx, ny = -dy / length * size, dx / length * size
            x0, x1 = start[0] + shift * r0, end[0] + shift * r1
            corners = ((x0 + nx * r0, start[1] + ny * r0), (x1 + nx * r1, end[1] + ny * r1))
            corners += ((x1 - nx * r1, end[1] - ny * r1), (x0 - nx * r0, start[1] - ny * r0))
            self.polygon(corners, part, tone)
            self.ellipse(x0, start[1], r0 * size, r0 * size, part, tone)
            self.ellipse(x1, end[1], r1 * size, r1 * size, part, tone)

    def half(self, a: float, b: float) -> float:
        """Half width, as seen, of an ellipse with half axes a (side) and b (front)."""
        return math.sqrt((a * self.cos) ** 2 + (b * self.sin) ** 2)

    def around(self, angle: float, a: float, b: float) -> tuple[float, float]:
        """(x, depth) of the point at `angle` (0 front, pi back) of that ellipse; depth > 0 faces the camera."""
        side, front = a * sin(angle), b * cos(angle)
        return side * self.cos + front * self.sin, front * self.cos - side * self.sin

    def place(self, side: float, front: float) -> tuple[float, float]:
        """(x, depth) of a point beside and in front of the body's axis."""
        return side * self.cos + front * self.sin, front * self.cos - side * self.sin


def draw_person(person: Person, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """The canvas of a person, uint8 (H, W) for size (H, W); 0 where nobody is."""
    canvas = Image.new("L", (size[1], size[0]), 0)
    pen = Pen(canvas, person, pose)
    pen.ellipse(0.03 * pose.light, 0.0, 0.15, 0.022, SHADOW)
    arms = sorted((_arm(pen, side) for side in (-1, 1)), key=lambda arm: arm["depth"])
    _backpack(pen, behind=True)
    _hair_behind(pen)
    _draw_arm(pen, arms[0])
    for leg in sorted((_leg(pen, side) for side in (-1, 1)), key=lambda leg: leg["depth"]):
        _draw_leg(pen, leg)
    _skirt(pen)
    _trunk(pen)
    _front(pen)
    _logo(pen)
    _neck_and_head(pen)
    _backpack(pen, behind=False)
    _strap(pen)
    _draw_arm(pen, arms[1])
    return np.asarray(canvas)


def _leg(pen: Pen, side: int) -> dict:
    """Hip, knee, ankle of a leg in the moment of the step, and its depth."""
    person, pose = pen.person, pen.pose
    swing = pose.stride * sin(pose.phase + (math.pi if side > 0 else 0.0))
    bend = pose.stride * (0.9 * max(0.0, cos(pose.phase + (math.pi if side > 0 else 0.0))) + 0.15)
    thigh, shin = person.legs * 0.5, person.legs * 0.5 - 0.035
    lateral = side * 0.05 * person.hips * person.width
    forward = [0.0, thigh * sin(swing), thigh * sin(swing) + shin * sin(swing - bend)]
    height = [person.legs, person.legs - thigh * cos(swing), person.legs - thigh * cos(swing) - shin * cos(swing - bend)]
    points, depth = [], 0.0
    for f, y in zip(forward, height):
        x, depth = pen.place(lateral, f)
        points.append((x, y - pose.elevation * depth))
    return {"points": points, "depth": depth, "foot": pen.place(0.0, 0.07)}


def _draw_leg(pen: Pen, leg: dict) -> None:
    person = pen.person
    hip, knee, ankle = leg["points"]
    thick, shade = 0.85 + 0.25 * (person.width - 0.75), 4 if leg["depth"] >= 0 else 3
    thigh, calf, shank = 0.056 * thick, 0.039 * thick, 0.024 * thick
    pen.tube(hip, knee, thigh, calf, SKIN, shade)
    pen.tube(knee, ankle, calf, shank, SKIN, shade)
    _shoe(pen, knee, ankle, leg["foot"], shank, shade)
    if person.lower in ("trousers", "leggings"):
        hem = _between(ankle, knee, (person.lower_length - 0.02) / (person.legs * 0.5))
        pen.tube(hip, knee, thigh * 1.06 * person.loose, calf * 1.1 * person.loose, LOWER, shade)
        pen.tube(knee, hem, calf * 1.1 * person.loose, shank * 1.25 * person.loose, LOWER, shade)
    elif person.lower == "shorts":
        end = _between(knee, hip, (person.lower_length - 0.24) / 0.24)
        pen.tube(hip, end, thigh * 1.1 * person.loose, thigh * 1.02 * person.loose, LOWER, shade)
    if person.lower_pattern.kind == "knee" and person.lower in ("trousers", "leggings"):
        pen.ellipse(*knee, calf * 1.1, calf * 1.6, LOWER2, shade)
    if person.boots > 0.1:
        pen.tube(_between(ankle, knee, person.boots / (person.legs * 0.5)), ankle, shank * 1.5, shank * 1.35, SHOE, shade)


def _shoe(pen: Pen, knee, ankle, foot, shank: float, shade: int) -> None:
    toe, depth = foot
    if pen.person.boots == 0.0:
        pen.tube(_between(ankle, knee, 0.16), ankle, shank * 1.05, shank * 1.05, SOCK, shade)
    else:
        pen.tube(_between(ankle, knee, pen.person.boots / (pen.person.legs * 0.5)), ankle, shank * 1.2, shank * 1.2, SHOE, shade)
    tip = (ankle[0] + toe, ankle[1] - 0.024 - 0.12 * max(0.0, depth))
    pen.tube((ankle[0] - 0.2 * toe, ankle[1] - 0.018), tip, 0.02, 0.016, SHOE, shade)


def _between(start, end, fraction: float):
    fraction = min(1.0, max(0.0, fraction))
    return start[0] + (end[0] - start[0]) * fraction, start[1] + (end[1] - start[1]) * fraction


def _skirt(pen: Pen) -> None:
    """A skirt or the lower half of a dress (which carries the upper garment's part)."""
    person = pen.person
    if person.lower not in ("skirt", "dress"):
        return
    part = LOWER if person.lower == "skirt" else UPPER
    waist, hem = _widths(pen)[2] * 0.95, pen.half(0.115, 0.09) * person.hips * person.width * person.loose
    top, bottom = person.legs + 0.09, person.legs - person.lower_length
    sway = 0.03 * sin(pen.pose.phase) * pen.sin
    pen.polygon(((-waist, top), (waist, top), (hem + sway, bottom), (-hem + sway, bottom)), part, 3)
    pen.polygon(((-waist * 0.5, top), (waist * 0.8, top), (hem * 0.85 + sway, bottom), (-hem * 0.45 + sway, bottom)), part, 4)
    for fold in (-0.35, 0.15, 0.55):
        pen.draw.line((pen.point(waist * fold, top - 0.05), pen.point(hem * fold + sway, bottom)), fill=part | 3 << 5)


def _widths(pen: Pen) -> tuple[float, float, float, float]:
    """Half widths as seen: shoulders, chest, waist, hips."""
    person = pen.person
    w = person.width
    return (
        pen.half(0.112 * person.shoulders * w, 0.05 * w), pen.half(0.106 * person.shoulders * w, 0.072 * w),
        pen.half(0.088 * w, 0.066 * w), pen.half(0.094 * person.hips * w, 0.076 * w),
    )  # fmt: skip


def _trunk(pen: Pen) -> None:
    person, (shoulder, chest, waist, hip) = pen.person, _widths(pen)
    pelvis = person.legs - 0.03
    if person.lower in ("trousers", "shorts", "leggings"):
        pen.box(-hip, hip, person.legs + 0.09, pelvis, LOWER, 4)
    hem, flare = person.legs - person.hem, hip * person.flare
    middle = person.legs + 0.12
    left = ((-flare, hem), (-waist * 1.02, middle), (-chest, 0.73), (-shoulder, SHOULDER_Y - 0.012), (-0.042, NECK_Y))
    right = tuple((-x, y) for x, y in reversed(left))
    pen.polygon((*left, *right), UPPER, 3)
    inner = 0.25 * pen.pose.light
    pen.polygon([(x * 0.7 + inner * waist, y) for x, y in (*left[:4], *right[1:])], UPPER, 4)
    if person.hood:
        pen.ellipse(*((-0.05 * pen.sin), NECK_Y + 0.002), 0.075 * (0.75 + 0.25 * abs(pen.cos)), 0.03 if pen.cos > 0 else 0.05, UPPER, 3)
    if person.upper_pattern.kind == "sleeves":
        pen.ellipse(0.0, NECK_Y, 0.05, 0.018, UPPER2)


def _front(pen: Pen) -> None:
    """The opening of a jacket with the shirt below it, as far as it faces the camera."""
    person = pen.person
    if person.open_front == 0.0 or person.lower == "dress":
        return
    a, b = 0.1 * person.width, 0.07 * person.width
    left, right = pen.around(-person.open_front, a, b), pen.around(person.open_front, a, b)
    if pen.cos < -0.1 or right[0] <= left[0]:
        return
    bottom = person.legs - max(-0.03, min(person.hem, 0.02))
    points = ((left[0] * 0.55, NECK_Y - 0.005), (right[0] * 0.55, NECK_Y - 0.005), (right[0], bottom), (left[0], bottom))
    pen.polygon(points, INNER, 4)


def _logo(pen: Pen) -> None:
    """A print on the chest; odd shapes are also printed on the back."""
    pattern = pen.person.upper_pattern
    if pattern.kind != "logo" or pen.person.open_front > 0.0:
        return
    facing = pen.cos > 0.25 or (pen.cos < -0.25 and pattern.shape % 2 == 1)
    if not facing:
        return
    size = 0.03 + 0.45 * pattern.period
    x, y, rx = 0.07 * pen.sin * (1 if pen.cos > 0 else -1), 0.75 - 0.07 * pattern.phase, size * abs(pen.cos)
    shape = pattern.shape % 5
    if shape == 0:
        pen.box(x - rx, x + rx, y + size * 0.7, y - size * 0.7, UPPER2)
    elif shape == 1:
        pen.ellipse(x, y, rx, size, UPPER2)
    elif shape == 2:
        pen.polygon(((x - rx, y - size), (x + rx, y - size), (x, y + size)), UPPER2)
    elif shape == 3:
        pen.box(x - rx, x + rx, y + size / 3, y - size / 3, UPPER2)
        pen.box(x - rx / 3, x + rx / 3, y + size, y - size, UPPER2)
    else:
        pen.polygon(((x - rx, y), (x, y + size), (x + rx, y), (x, y - size)), UPPER2)


def _arm(pen: Pen, side: int) -> dict:
    """Shoulder, elbow and wrist of an arm, and its depth."""
    person, pose = pen.person, pen.pose
    swing = -person.swing * pose.stride * sin(pose.phase + (math.pi if side > 0 else 0.0))
    bend = 0.25 + 0.4 * abs(swing)
    if person.arms == "pockets":
        swing, bend = -0.25, 0.75
    elif person.arms == "phone" and side == person.bag_side:
        swing, bend = 0.3, 2.1
    lateral = side * 0.113 * person.shoulders * person.width
    spread = side * 0.03 + lateral
    elbow = (spread, 0.165 * sin(swing), SHOULDER_Y - 0.02 - 0.165 * cos(swing))
    wrist_side = spread * (0.8 if person.arms != "swing" else 1.02)
    wrist = (wrist_side, elbow[1] + 0.15 * sin(swing + bend), elbow[2] - 0.15 * cos(swing + bend))
    points = []
    for x, front, y in ((lateral * 0.93, 0.0, SHOULDER_Y - 0.022), elbow, wrist):
        points.append((pen.place(x, front)[0], y))
    return {"points": points, "depth": pen.place(lateral, 0.01 * side)[1], "side": side}


def _draw_arm(pen: Pen, arm: dict) -> None:
    person = pen.person
    shoulder, elbow, wrist = arm["points"]
    thick, shade = 0.9 + 0.3 * (person.width - 0.75), 4 if arm["depth"] >= 0 else 3
    part = UPPER2 if person.upper_pattern.kind == "sleeves" else UPPER
    r0, r1, r2 = 0.032 * thick, 0.025 * thick, 0.019 * thick
    pen.tube(shoulder, elbow, r0, r1, SKIN, shade)
    pen.tube(elbow, wrist, r1, r2, SKIN, shade)
    pen.ellipse(*wrist, 0.021, 0.025, SKIN, shade)
    if person.sleeve >= 0.9:
        pen.tube(shoulder, elbow, r0 * 1.2, r1 * 1.25, part, shade)
        pen.tube(elbow, _between(wrist, elbow, 0.08), r1 * 1.25, r2 * 1.3, part, shade)
    elif person.sleeve > 0:
        pen.tube(shoulder, _between(shoulder, elbow, person.sleeve * 1.9), r0 * 1.22, r0 * 1.15, part, shade)
    if person.bag == "handbag" and arm["side"] == person.bag_side:
        _handbag(pen, wrist)


def _handbag(pen: Pen, wrist) -> None:
    size, (x, y) = 0.055 * pen.person.bag_size, wrist
    rx = size * (0.55 + 0.45 * abs(pen.sin))
    pen.draw.line((pen.point(x - rx * 0.6, y - 0.06), pen.point(x, y), pen.point(x + rx * 0.6, y - 0.06)), fill=BAG2 | 4 << 5, width=2)
    pen.polygon(((x - rx, y - 0.05), (x + rx, y - 0.05), (x + rx * 1.15, y - 0.05 - 2 * size), (x - rx * 1.15, y - 0.05 - 2 * size)), BAG)
    pen.box(x - rx, x + rx, y - 0.05, y - 0.05 - size * 0.6, BAG, 3)


def _backpack(pen: Pen, behind: bool) -> None:
    """The pack itself before the body is drawn (`behind`) or after it, and its straps in front."""
    person = pen.person
    if person.bag != "backpack":
        return
    seen = pen.cos < 0
    width, tall = 0.085 * person.bag_size, 0.2 * person.bag_size
    if behind != seen:
        x = pen.place(0.0, -0.1)[0]
        rx, top = pen.half(width, 0.06 * person.bag_size), SHOULDER_Y - 0.005
        pen.polygon(((x - rx, top - 0.03), (x - rx * 0.7, top), (x + rx * 0.7, top), (x + rx, top - 0.03),
                     (x + rx, top - tall), (x - rx, top - tall)), BAG, 3)  # fmt: skip
        pen.box(x - rx * 0.75, x + rx * 0.85, top - 0.03, top - tall, BAG, 4)
        pen.box(x - rx * 0.6, x + rx * 0.6, top - tall * 0.55, top - tall * 0.9, BAG2, 3)
    if not behind:
        for side in (-0.65, 0.65):
            x, depth = pen.around(side, 0.1 * person.width, 0.07 * person.width)
            if depth > 0:
                pen.box(x - 0.013, x + 0.013, SHOULDER_Y + 0.01, 0.66, BAG, 3)


def _strap(pen: Pen) -> None:
    """A bag on a strap across the body."""
    person = pen.person
    if person.bag != "strap":
        return
    top = pen.place(-person.bag_side * 0.07 * person.width, 0.0)[0]
    low, depth = pen.place(person.bag_side * 0.11 * person.width, 0.0)
    y = person.legs + 0.02
    pen.draw.line((pen.point(top, NECK_Y - 0.01), pen.point(low, y)), fill=BAG2 | 4 << 5, width=max(2, round(0.02 * pen.unit)))
    if depth > -0.03:
        rx, ry = 0.055 * person.bag_size * (0.6 + 0.4 * abs(pen.sin)), 0.05 * person.bag_size
        pen.box(low - rx, low + rx, y + ry, y - ry, BAG)
        pen.box(low - rx, low + rx, y + ry, y + ry * 0.2, BAG, 3)


def _hair_behind(pen: Pen) -> None:
    """Long hair that a front view sees on both sides of the neck."""
    person = pen.person
    if person.hair in ("long", "bob") and pen.cos > 0:
        x, low = -0.03 * pen.sin, 0.76 if person.hair == "long" else 0.85
        pen.polygon(((x - 0.062, HEAD_Y), (x + 0.062, HEAD_Y), (x + 0.068, low), (x - 0.068, low)), HAIR, 3)


def _neck_and_head(pen: Pen) -> None:
    person = pen.person
    yaw = pen.pose.yaw + pen.pose.turn
    side, front = sin(yaw), cos(yaw)
    pen.tube((0.0, NECK_Y - 0.012), (0.008 * side, CHIN_Y + 0.01), 0.03, 0.027, SKIN, 3)
    x, size = 0.018 * side, person.head
    rx, ry = (0.047 + 0.008 * abs(side)) * size, 0.066 * size
    pen.ellipse(x, HEAD_Y, rx, ry, SKIN, 4)
    pen.ellipse(x + 0.012 * pen.pose.light, HEAD_Y, rx * 0.75, ry * 0.85, SKIN, 5)
    if person.hair != "bald":
        _hair(pen, x, rx, ry, side, front)
    if front > -0.35:
        _face(pen, x, rx, ry, side, front)
    if person.hat != "none":
        _hat(pen, x, rx, ry, side, front)


def _hair(pen: Pen, x: float, rx: float, ry: float, side: float, front: float) -> None:
    style = pen.person.hair
    grow = {"crop": 1.02, "short": 1.1, "bob": 1.2, "long": 1.15, "ponytail": 1.06, "bun": 1.06, "afro": 1.5}[style]
    back = x - 0.012 * side
    pen.ellipse(back, HEAD_Y + 0.01, rx * grow, ry * (1.0 + 0.7 * (grow - 1.0)), HAIR, 4)
    if style in ("long", "bob") and front <= 0.3:
        low = 0.745 if style == "long" else 0.86
        ends = ((back + rx * 0.75 - 0.02 * side, low), (back - rx * grow, low))
        pen.polygon(((back - rx * grow, HEAD_Y), (back + rx * 0.9, HEAD_Y), *ends), HAIR, 4)
    if style == "ponytail":
        tail = x - 0.075 * side
        if abs(side) > 0.3 or front < 0:
            pen.tube((x - 0.05 * side, HEAD_Y + 0.03), (tail, HEAD_Y - 0.1), 0.02, 0.012, HAIR, 4)
    if style == "bun":
        pen.ellipse(x - 0.05 * side, HEAD_Y + 0.06, 0.028, 0.026, HAIR, 3)
    if front > -0.45:  # the face is cut out of the hair again
        pen.ellipse(x + 0.02 * side, HEAD_Y - 0.014, rx * (0.62 + 0.22 * max(0.0, front)), ry * 0.8, SKIN, 5)


def _face(pen: Pen, x: float, rx: float, ry: float, side: float, front: float) -> None:
    for angle in (-0.42, 0.42):
        eye, depth = sin(angle) * front + cos(angle) * side, cos(angle) * front - sin(angle) * side
        if depth > 0.1:
            pen.ellipse(x + eye * rx * 0.85, HEAD_Y + 0.004, 0.006, 0.005, DARK, 4)
            if pen.person.glasses:
                ex = x + eye * rx * 0.85
                pen.box(ex - 0.016, ex + 0.016, HEAD_Y + 0.014, HEAD_Y, DARK, 4)
    if front > 0.0 or abs(side) > 0.8:
        if pen.person.beard:
            pen.ellipse(x + 0.025 * side, HEAD_Y - ry * 0.62, rx * 0.7, ry * 0.38, HAIR, 4)
        pen.ellipse(x + 0.035 * side, HEAD_Y - ry * 0.52, 0.007, 0.001, DARK, 6)


def _hat(pen: Pen, x: float, rx: float, ry: float, side: float, front: float) -> None:
    top, low = HEAD_Y + ry * 1.12, HEAD_Y + 0.022
    pen.polygon(((x - rx * 1.1, low), (x - rx * 0.95, low + 0.03), (x - rx * 0.5, top), (x + rx * 0.5, top), (x + rx * 0.95, low + 0.03),
                 (x + rx * 1.1, low)), HAT, 4)  # fmt: skip
    if pen.person.hat == "beanie":
        pen.box(x - rx * 1.15, x + rx * 1.15, low + 0.01, low - 0.015, HAT, 3)
    elif pen.person.hat == "brim":
        pen.ellipse(x, low, rx * 1.9, 0.014, HAT, 3)
    elif front > -0.3:
        pen.ellipse(x + 0.05 * side, low - 0.002, rx * 0.9, 0.01, HAT, 3)


def part_mask(canvas: np.ndarray, part: int) -> np.ndarray:
    """bool (H, W): where a part shows."""
    return (canvas & 31) == part
