"""Global batches and their shards: each image looks the same on any process and in any batch."""

import numpy as np
import pytest
import torch

from sdcl.config import resolve
from sdcl.data.image_cache import ImageCache
from sdcl.data.normalization import IMAGENET
from sdcl.methods.interface import Stage
from sdcl.runtime.distributed import Processes
from sdcl.training.batches import draw_batches, load_views, make_batch, training_views

CPU = torch.device("cpu")
LABELS = {"visible": np.repeat(np.arange(6), 4), "infrared": np.repeat(np.arange(4), 4)}
STAGE = Stage("contrast", LABELS, 3)
CAMERAS = {m: np.zeros(len(ids), int) for m, ids in LABELS.items()}
SETTINGS, _ = resolve({"batch_size": 8, "num_instances": 4, "batch_size_visible": 4, "pad": 2})


def test_sizes_and_seeds():
    drawn = draw_batches(STAGE, CAMERAS, SETTINGS, (1, 0, 0))
    assert drawn["visible"].shape == (3, 4) and drawn["infrared"].shape == (3, 8)
    again, other = (draw_batches(STAGE, CAMERAS, SETTINGS, (1, 0, n)) for n in (0, 1))
    assert (again["visible"] == drawn["visible"]).all() and (other["infrared"] != drawn["infrared"]).any()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_make_up_the_batch(count):
    views = training_views(SETTINGS)
    images = {m: drawn[0] for m, drawn in draw_batches(STAGE, CAMERAS, SETTINGS, (1, 0, 0)).items()}
    batches = [make_batch(STAGE, images, views, Processes(rank, count, rank, CPU)) for rank in range(count)]
    assert batches[0].indexes["visible"].tolist() == [
        *images["visible"],
        *images["visible"],
    ]  # plain views, then exchanged ones
    for m in LABELS:
        assert (batches[0].labels[m] == LABELS[m][batches[0].indexes[m]]).all()
        ranges = [range(*b.local[m].indices(8)) for b in batches]
        assert [i for part in ranges for i in part] == list(range(8))

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 16, 3), np.uint8)
    cache = ImageCache(pixels, CPU)
    named = (views["visible"], (1, 0, 0, 0, 0))
    whole = load_views(cache, images["visible"], *named, slice(0, 8), IMAGENET)
    parts = [load_views(cache, images["visible"], *named, b.local["visible"], IMAGENET) for b in batches]
    assert whole.shape == (8, 3, 32, 16) and torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole[:4], whole[4:])
    last = load_views(cache, images["visible"][::-1], *named, slice(0, 8), IMAGENET)
    assert not torch.equal(
        last[[3, 2, 1, 0]], whole[:4]
    )  # seeds belong to the place in the batch, not to the image


@pytest.mark.parametrize(
    ("choice", "first", "later"),
    [
        ("all", (0.4, 0.4, 0.4), (0.4, 0.4, 0.4)),
        ("exchanged", (0, 0.4, 0), (0, 0.4, 0)),
        ("first-stage", (0, 0.4, 0.4), (0, 0.4, 0)),
    ],
)
def test_colour_jitter_of_each_view(choice, first, later):
    settings, _ = resolve({"color_jitter": 0.4, "jitter_views": choice})
    for before_restart, expected in ((True, first), (False, later)):
        views = training_views(settings, before_restart=before_restart)
        assert tuple(view.jitter for m in ("visible", "infrared") for view in views[m]) == expected


def test_recipes_jitter_the_views_that_the_releases_jitter():
    expected = {
        ("sdcl", "sysu"): (0.5, 0.5, 0.5), ("adca", "sysu"): (0, 0, 0),
        ("pgm", "sysu"): (0, 0.5, 0), ("pgm", "regdb"): (0, 0.5, 0),
        ("bmil", "sysu"): (0, 0.5, 0.5), ("bmil", "regdb"): (0, 0.5, 0),
    }  # fmt: skip
    for (method, dataset), jitter in expected.items():
        views = training_views(resolve({"method": method, "dataset": dataset})[0])
        assert tuple(view.jitter for m in ("visible", "infrared") for view in views[m]) == jitter
