"""Draw a walking person as a label map of body parts, given the pose and the appearance attributes.

The trunk is an elliptic cylinder, so that whatever is worn on the chest or the back turns with the viewpoint.
Units and label maps are those of `pen.py`.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sdcl.synthetic.head import draw_hair_behind, draw_head
from sdcl.synthetic.pen import NECK_Y, SHOULDER_Y, Pen, Point, Pose, cos, sin
from sdcl.synthetic.person import (
    BAG,
    BAG2,
    INNER,
    LOWER,
    LOWER2,
    SHADOW,
    SHOE,
    SKIN,
    SOCK,
    UPPER,
    UPPER2,
    Person,
)


def draw_figure(person: Person, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """Label map of a person in a pose, uint8 (H, W) for size (H, W)."""
    label_map = Image.new("L", (size[1], size[0]), 0)
    pen = Pen(label_map, person, pose)
    pen.ellipse(0.03 * pose.light, 0.0, 0.15, 0.022, SHADOW)
    arms = sorted((_arm(pen, side) for side in (-1, 1)), key=lambda limb: limb.depth)
    _backpack(pen, behind=True)
    draw_hair_behind(pen)
    _draw_arm(pen, arms[0])
    for leg in sorted((_leg(pen, side) for side in (-1, 1)), key=lambda limb: limb.depth):
        _draw_leg(pen, leg)
    _skirt(pen)
    _trunk(pen)
    _jacket_opening(pen)
    _logo(pen)
    draw_head(pen)
    _backpack(pen, behind=False)
    _strap(pen)
    _draw_arm(pen, arms[1])
    return np.asarray(label_map)


@dataclass(frozen=True)
class Limb:
    """A leg or an arm: its joints (x, y), its depth (> 0 is nearer to the camera) and its side, -1 or 1."""

    joints: tuple[Point, Point, Point]
    depth: float
    side: int


def _leg(pen: Pen, side: int) -> Limb:
    """Hip, knee and ankle in the current phase of the gait."""
    person, pose = pen.person, pen.pose
    swing = pose.stride * sin(pose.phase + (math.pi if side > 0 else 0.0))
    bend = pose.stride * (0.9 * max(0.0, cos(pose.phase + (math.pi if side > 0 else 0.0))) + 0.15)
    thigh, shin = person.legs * 0.5, person.legs * 0.5 - 0.035
    lateral = side * 0.05 * person.hips * person.width
    forward = [0.0, thigh * sin(swing), thigh * sin(swing) + shin * sin(swing - bend)]
    height = [
        person.legs,
        person.legs - thigh * cos(swing),
        person.legs - thigh * cos(swing) - shin * cos(swing - bend),
    ]
    projected = [pen.project(lateral, f) for f in forward]
    hip, knee, ankle = ((x, y - pose.elevation * depth) for (x, depth), y in zip(projected, height))
    return Limb((hip, knee, ankle), projected[-1][1], side)


def _draw_leg(pen: Pen, leg: Limb) -> None:
    """Draw leg, shoe and whatever covers them."""
    person = pen.person
    hip, knee, ankle = leg.joints
    thick, shade = 0.85 + 0.25 * (person.width - 0.75), 4 if leg.depth >= 0 else 3
    thigh, calf, shank = 0.056 * thick, 0.039 * thick, 0.024 * thick
    pen.tube(hip, knee, thigh, calf, SKIN, shade)
    pen.tube(knee, ankle, calf, shank, SKIN, shade)
    _shoe(pen, knee, ankle, shank, shade)
    if person.lower in ("trousers", "leggings"):
        hem = _interpolate(ankle, knee, (person.lower_length - 0.02) / (person.legs * 0.5))
        pen.tube(hip, knee, thigh * 1.06 * person.loose, calf * 1.1 * person.loose, LOWER, shade)
        pen.tube(knee, hem, calf * 1.1 * person.loose, shank * 1.25 * person.loose, LOWER, shade)
    elif person.lower == "shorts":
        end = _interpolate(knee, hip, (person.lower_length - 0.24) / 0.24)
        pen.tube(hip, end, thigh * 1.1 * person.loose, thigh * 1.02 * person.loose, LOWER, shade)
    if person.lower_pattern.kind == "knee" and person.lower in ("trousers", "leggings"):
        pen.ellipse(*knee, calf * 1.1, calf * 1.6, LOWER2, shade)
    if person.boots > 0.1:
        shaft = _interpolate(ankle, knee, person.boots / (person.legs * 0.5))
        pen.tube(shaft, ankle, shank * 1.5, shank * 1.35, SHOE, shade)


def _shoe(pen: Pen, knee: Point, ankle: Point, shank: float, shade: int) -> None:
    """Draw sock or boot shaft, and the shoe."""
    person, (toe, depth) = pen.person, pen.project(0.0, 0.07)
    if person.boots == 0.0:
        pen.tube(_interpolate(ankle, knee, 0.16), ankle, shank * 1.05, shank * 1.05, SOCK, shade)
    else:
        shaft = _interpolate(ankle, knee, person.boots / (person.legs * 0.5))
        pen.tube(shaft, ankle, shank * 1.2, shank * 1.2, SHOE, shade)
    tip = (ankle[0] + toe, ankle[1] - 0.024 - 0.12 * max(0.0, depth))
    pen.tube((ankle[0] - 0.2 * toe, ankle[1] - 0.018), tip, 0.02, 0.016, SHOE, shade)


def _interpolate(start: Point, end: Point, fraction: float) -> Point:
    """The point at a fraction, clipped to 0..1, of the way from start to end."""
    fraction = min(1.0, max(0.0, fraction))
    return start[0] + (end[0] - start[0]) * fraction, start[1] + (end[1] - start[1]) * fraction


def _skirt(pen: Pen) -> None:
    """Draw a skirt, or the lower half of a dress (part UPPER, as its upper half)."""
    person = pen.person
    if person.lower not in ("skirt", "dress"):
        return
    part = LOWER if person.lower == "skirt" else UPPER
    waist = _widths(pen)[2] * 0.95
    hem = pen.half_width(0.115, 0.09) * person.hips * person.width * person.loose
    top, bottom = person.legs + 0.09, person.legs - person.lower_length
    sway = 0.03 * sin(pen.pose.phase) * pen.sin
    pen.polygon(((-waist, top), (waist, top), (hem + sway, bottom), (-hem + sway, bottom)), part, 3)
    lit = ((-waist * 0.5, top), (waist * 0.8, top), (hem * 0.85 + sway, bottom), (-hem * 0.45 + sway, bottom))
    pen.polygon(lit, part, 4)
    for fold in (-0.35, 0.15, 0.55):
        ends = pen.point(waist * fold, top - 0.05), pen.point(hem * fold + sway, bottom)
        pen.draw.line(ends, fill=part | 3 << 5)


def _widths(pen: Pen) -> tuple[float, float, float, float]:
    """Projected half widths of shoulders, chest, waist and hips."""
    person = pen.person
    w = person.width
    return (
        pen.half_width(0.112 * person.shoulders * w, 0.05 * w),
        pen.half_width(0.106 * person.shoulders * w, 0.072 * w),
        pen.half_width(0.088 * w, 0.066 * w),
        pen.half_width(0.094 * person.hips * w, 0.076 * w),
    )


def _trunk(pen: Pen) -> None:
    """Draw hips, upper garment and hood."""
    person, (shoulder, chest, waist, hip) = pen.person, _widths(pen)
    pelvis = person.legs - 0.03
    if person.lower in ("trousers", "shorts", "leggings"):
        pen.box(-hip, hip, person.legs + 0.09, pelvis, LOWER, 4)
    hem, flare = person.legs - person.hem, hip * person.flare
    middle = person.legs + 0.12
    left = (
        (-flare, hem),
        (-waist * 1.02, middle),
        (-chest, 0.73),
        (-shoulder, SHOULDER_Y - 0.012),
        (-0.042, NECK_Y),
    )
    right = tuple((-x, y) for x, y in reversed(left))
    pen.polygon((*left, *right), UPPER, 3)
    inner = 0.25 * pen.pose.light
    pen.polygon([(x * 0.7 + inner * waist, y) for x, y in (*left[:4], *right[1:])], UPPER, 4)
    if person.hood:
        rx, ry = 0.075 * (0.75 + 0.25 * abs(pen.cos)), 0.03 if pen.cos > 0 else 0.05
        pen.ellipse(-0.05 * pen.sin, NECK_Y + 0.002, rx, ry, UPPER, 3)
    if person.upper_pattern.kind == "sleeves":
        pen.ellipse(0.0, NECK_Y, 0.05, 0.018, UPPER2)


def _jacket_opening(pen: Pen) -> None:
    """Draw the shirt inside an open jacket, as far as the opening faces the camera."""
    person = pen.person
    if person.open_front == 0.0 or person.lower == "dress":
        return
    a, b = 0.1 * person.width, 0.07 * person.width
    left, right = pen.on_trunk(-person.open_front, a, b), pen.on_trunk(person.open_front, a, b)
    if pen.cos < -0.1 or right[0] <= left[0]:
        return
    bottom = person.legs - max(-0.03, min(person.hem, 0.02))
    points = (
        (left[0] * 0.55, NECK_Y - 0.005),
        (right[0] * 0.55, NECK_Y - 0.005),
        (right[0], bottom),
        (left[0], bottom),
    )
    pen.polygon(points, INNER, 4)


def _logo(pen: Pen) -> None:
    """Draw a print on the chest; odd shapes are printed on the back as well."""
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


def _arm(pen: Pen, side: int) -> Limb:
    """Shoulder, elbow and wrist in the current phase of the gait."""
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
    body_points = ((lateral * 0.93, 0.0, SHOULDER_Y - 0.022), elbow, wrist)  # sideways, forward, up
    a, b, c = ((pen.project(x, front)[0], y) for x, front, y in body_points)
    return Limb((a, b, c), pen.project(lateral, 0.01 * side)[1], side)


def _draw_arm(pen: Pen, arm: Limb) -> None:
    """Draw arm, sleeve and a handbag in that hand."""
    person = pen.person
    shoulder, elbow, wrist = arm.joints
    thick, shade = 0.9 + 0.3 * (person.width - 0.75), 4 if arm.depth >= 0 else 3
    part = UPPER2 if person.upper_pattern.kind == "sleeves" else UPPER
    r0, r1, r2 = 0.032 * thick, 0.025 * thick, 0.019 * thick
    pen.tube(shoulder, elbow, r0, r1, SKIN, shade)
    pen.tube(elbow, wrist, r1, r2, SKIN, shade)
    pen.ellipse(*wrist, 0.021, 0.025, SKIN, shade)
    if person.sleeve >= 0.9:
        pen.tube(shoulder, elbow, r0 * 1.2, r1 * 1.25, part, shade)
        pen.tube(elbow, _interpolate(wrist, elbow, 0.08), r1 * 1.25, r2 * 1.3, part, shade)
    elif person.sleeve > 0:
        end = _interpolate(shoulder, elbow, person.sleeve * 1.9)
        pen.tube(shoulder, end, r0 * 1.22, r0 * 1.15, part, shade)
    if person.bag == "handbag" and arm.side == person.bag_side:
        _handbag(pen, wrist)


def _handbag(pen: Pen, wrist: Point) -> None:
    """Draw a handbag below a wrist."""
    size, (x, y) = 0.055 * pen.person.bag_size, wrist
    rx = size * (0.55 + 0.45 * abs(pen.sin))
    top, bottom = y - 0.05, y - 0.05 - 2 * size
    handle = pen.point(x - rx * 0.6, y - 0.06), pen.point(x, y), pen.point(x + rx * 0.6, y - 0.06)
    pen.draw.line(handle, fill=BAG2 | 4 << 5, width=2)
    pen.polygon(((x - rx, top), (x + rx, top), (x + rx * 1.15, bottom), (x - rx * 1.15, bottom)), BAG)
    pen.box(x - rx, x + rx, top, y - 0.05 - size * 0.6, BAG, 3)


def _backpack(pen: Pen, behind: bool) -> None:
    """Draw the backpack, and its straps on the chest.

    Called before (`behind`) and after the body is drawn; the pack is drawn by the call that occludes
    correctly.
    """
    person = pen.person
    if person.bag != "backpack":
        return
    back_visible = pen.cos < 0
    width, tall = 0.085 * person.bag_size, 0.2 * person.bag_size
    if behind != back_visible:
        x = pen.project(0.0, -0.1)[0]
        rx, top = pen.half_width(width, 0.06 * person.bag_size), SHOULDER_Y - 0.005
        rounded = ((x - rx, top - 0.03), (x - rx * 0.7, top), (x + rx * 0.7, top), (x + rx, top - 0.03))
        pen.polygon((*rounded, (x + rx, top - tall), (x - rx, top - tall)), BAG, 3)
        pen.box(x - rx * 0.75, x + rx * 0.85, top - 0.03, top - tall, BAG, 4)
        pen.box(x - rx * 0.6, x + rx * 0.6, top - tall * 0.55, top - tall * 0.9, BAG2, 3)
    if not behind:
        for side in (-0.65, 0.65):
            x, depth = pen.on_trunk(side, 0.1 * person.width, 0.07 * person.width)
            if depth > 0:
                pen.box(x - 0.013, x + 0.013, SHOULDER_Y + 0.01, 0.66, BAG, 3)


def _strap(pen: Pen) -> None:
    """Draw a shoulder bag whose strap crosses the body."""
    person = pen.person
    if person.bag != "strap":
        return
    top = pen.project(-person.bag_side * 0.07 * person.width, 0.0)[0]
    low, depth = pen.project(person.bag_side * 0.11 * person.width, 0.0)
    y = person.legs + 0.02
    ends = pen.point(top, NECK_Y - 0.01), pen.point(low, y)
    pen.draw.line(ends, fill=BAG2 | 4 << 5, width=max(2, round(0.02 * pen.unit)))
    if depth > -0.03:
        rx, ry = 0.055 * person.bag_size * (0.6 + 0.4 * abs(pen.sin)), 0.05 * person.bag_size
        pen.box(low - rx, low + rx, y + ry, y - ry, BAG)
        pen.box(low - rx, low + rx, y + ry, y + ry * 0.2, BAG, 3)
