"""Figures: what a viewpoint shows and hides, and garments in their parts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sdcl.synthetic.figure import draw_figure
from sdcl.synthetic.pen import Pose, part_mask
from sdcl.synthetic.person import BAG, DARK, HAIR, HAT, LOWER, SKIN, SOCK, UPPER, random_person

SIZE = (288, 144)
FRONT = Pose(0.0, 0.5, 0.3, 0.0, 260.0, 72.0, 275.0, 0.5, 0.15)
PLAIN = replace(
    random_person((0,)), bag="none", hat="none", hair="short", lower="trousers", lower_length=0.04, sleeve=1.0
)


def areas(person, pose=FRONT):
    """Body part -> pixels."""
    label_map = draw_figure(person, pose, SIZE)
    assert label_map.shape == SIZE and label_map.dtype == np.uint8
    return {part: int(part_mask(label_map, part).sum()) for part in range(32)}


def test_a_person_fills_the_crop_and_stands_on_the_ground():
    body = draw_figure(PLAIN, FRONT, SIZE) != 0
    rows = np.flatnonzero(body.any(1))
    assert rows[0] > 5 and 270 < rows[-1] < 288 and 0.1 < body.mean() < 0.4


def test_eyes_show_from_the_front_only():
    assert areas(PLAIN)[DARK] > 0 and areas(PLAIN, replace(FRONT, yaw=math.pi))[DARK] == 0


def test_a_backpack_shows_most_from_behind():
    person = replace(PLAIN, bag="backpack", bag_size=1.0)
    front, back = areas(person)[BAG], areas(person, replace(FRONT, yaw=math.pi))[BAG]
    assert 0 < front < back / 2 and areas(PLAIN)[BAG] == 0


@pytest.mark.parametrize(("lower", "length"), [("shorts", 0.3), ("skirt", 0.2), ("dress", 0.2)])
def test_short_garments_show_skin(lower, length):
    short = areas(replace(PLAIN, lower=lower, lower_length=length, boots=0.0))
    assert short[SKIN] > areas(PLAIN)[SKIN] and short[SOCK] > 0
    assert (short[LOWER] == 0) == (lower == "dress") and short[UPPER] > 0


@pytest.mark.parametrize("hat", ["cap", "beanie", "brim"])
def test_hats_cover_hair(hat):
    covered = areas(replace(PLAIN, hat=hat))
    assert covered[HAT] > 0 and covered[HAIR] < areas(PLAIN)[HAIR]
