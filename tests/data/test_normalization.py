"""Mean and deviation as a value: written and read again, known by name, refused where they make no sense."""

import json

import pytest

from sdcl.data.normalization import (
    CLIP,
    HALF,
    IMAGENET,
    KEY,
    LUPERSON,
    Normalization,
    from_metadata,
    recorded,
    to_metadata,
)


@pytest.mark.parametrize("one", [IMAGENET, HALF, CLIP, LUPERSON])
def test_it_comes_back_from_checkpoints_and_metadata(one):
    assert recorded({KEY: one.plain()}) == recorded({KEY: json.loads(json.dumps(one.plain()))}) == one
    assert from_metadata({"format": "pt", **to_metadata(one)}) == one


def test_without_an_entry_a_checkpoint_means_imagenet_and_a_file_says_nothing():
    assert recorded({"model": {}}) == IMAGENET
    assert from_metadata(None) is None and from_metadata({"format": "pt"}) is None


def test_published_roundings_are_the_same_numbers():
    assert Normalization((0.481, 0.458, 0.408), (0.269, 0.261, 0.276)).close_to(CLIP)
    assert not CLIP.close_to(IMAGENET) and not HALF.close_to(IMAGENET)
    assert str(CLIP).endswith("(CLIP)") and str(IMAGENET).startswith(
        "mean 0.485 0.456 0.406, deviation 0.229"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"mean": (89.9, 79.2, 80.1), "std": (63.9, 64.3, 63.8)},  # of 0 .. 255
        {"mean": (0.5,), "std": (0.5,)},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0, 0.5)},
        {"mean": (float("nan"), 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        {"mean": (0.5, 0.5, 0.5)},
        {"mean": "abc", "std": "abc"},
        [0.5],
        None,
    ],
)
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match="mean"):
        Normalization.of(values)
