"""Draw neck, head, hair, face and hat of a person."""

from sdcl.synthetic.pen import CHIN_Y, HEAD_Y, NECK_Y, Pen, cos, sin
from sdcl.synthetic.person import DARK, HAIR, HAT, SKIN

HAIR_VOLUME = {
    "crop": 1.02,
    "short": 1.1,
    "bob": 1.2,
    "long": 1.15,
    "ponytail": 1.06,
    "bun": 1.06,
    "afro": 1.5,
}


def draw_hair_behind(pen: Pen) -> None:
    """Draw long hair that shows on both sides of the neck in a front view."""
    person = pen.person
    if person.hair in ("long", "bob") and pen.cos > 0:
        x, low = -0.03 * pen.sin, 0.76 if person.hair == "long" else 0.85
        pen.polygon(((x - 0.062, HEAD_Y), (x + 0.062, HEAD_Y), (x + 0.068, low), (x - 0.068, low)), HAIR, 3)


def draw_head(pen: Pen) -> None:
    """Draw neck, head, hair, face and hat."""
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
    """Draw the hair style on the head."""
    style = pen.person.hair
    volume = HAIR_VOLUME[style]
    back = x - 0.012 * side
    pen.ellipse(back, HEAD_Y + 0.01, rx * volume, ry * (1.0 + 0.7 * (volume - 1.0)), HAIR, 4)
    if style in ("long", "bob") and front <= 0.3:
        low = 0.745 if style == "long" else 0.86
        ends = ((back + rx * 0.75 - 0.02 * side, low), (back - rx * volume, low))
        pen.polygon(((back - rx * volume, HEAD_Y), (back + rx * 0.9, HEAD_Y), *ends), HAIR, 4)
    if style == "ponytail":
        tail = x - 0.075 * side
        if abs(side) > 0.3 or front < 0:
            pen.tube((x - 0.05 * side, HEAD_Y + 0.03), (tail, HEAD_Y - 0.1), 0.02, 0.012, HAIR, 4)
    if style == "bun":
        pen.ellipse(x - 0.05 * side, HEAD_Y + 0.06, 0.028, 0.026, HAIR, 3)
    if front > -0.45:  # draw the face over the hair
        pen.ellipse(x + 0.02 * side, HEAD_Y - 0.014, rx * (0.62 + 0.22 * max(0.0, front)), ry * 0.8, SKIN, 5)


def _face(pen: Pen, x: float, rx: float, ry: float, side: float, front: float) -> None:
    """Draw eyes, glasses, beard and mouth, as far as they face the camera."""
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
    """Draw a cap, beanie or brimmed hat."""
    top, low = HEAD_Y + ry * 1.12, HEAD_Y + 0.022
    outline = ((-1.1, low), (-0.95, low + 0.03), (-0.5, top), (0.5, top), (0.95, low + 0.03), (1.1, low))
    pen.polygon([(x + rx * side, y) for side, y in outline], HAT, 4)
    if pen.person.hat == "beanie":
        pen.box(x - rx * 1.15, x + rx * 1.15, low + 0.01, low - 0.015, HAT, 3)
    elif pen.person.hat == "brim":
        pen.ellipse(x, low, rx * 1.9, 0.014, HAT, 3)
    elif front > -0.3:
        pen.ellipse(x + 0.05 * side, low - 0.002, rx * 0.9, 0.01, HAT, 3)
