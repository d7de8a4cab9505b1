"""Maps and histograms of known features."""

import numpy as np

from sdcl.reporting import embedding


def people(count, images):
    draw = np.random.default_rng(0)
    ids = np.repeat(np.arange(count), images)
    centres = draw.normal(size=(count, 16))
    rows = centres[ids] + 0.3 * draw.normal(size=(len(ids), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), ids


def test_identities_of_both_modalities_and_no_more_than_wanted():
    ids = {"visible": np.repeat(np.arange(40), 20), "infrared": np.repeat(np.arange(20, 60), 3)}
    rows = embedding.select_images(ids)
    chosen = {m: set(ids[m][r].tolist()) for m, r in rows.items()}
    assert (
        chosen["visible"] == chosen["infrared"] <= set(range(20, 40))
        and len(chosen["visible"]) == embedding.IDENTITIES
    )
    assert np.bincount(ids["visible"][rows["visible"]]).max() == embedding.IMAGES_EACH
    assert all(np.array_equal(r, embedding.select_images(ids)[m]) for m, r in rows.items())


def test_map():
    features, ids = people(4, 6)
    points = embedding.project(features)["t-SNE"]
    assert points.shape == (24, 2)
    drawn = embedding.map_chart("t-SNE", points, ids, ["visible", "infrared"] * 12)
    assert drawn.uri.startswith("data:image/png") and "24 test images of 4 identities" in drawn.alt
    assert embedding.project(features[:4]) == {}


def test_histograms_of_pairs():
    features, ids = people(6, 8)
    cameras = np.tile(np.arange(2), 24)
    drawn = embedding.similarity_charts(*({"visible": v, "infrared": v} for v in (features, ids, cameras)))
    assert [
        d.alt.split(":")[0].removeprefix("Histograms of the similarity of pairs ") for d in drawn
    ] == list(embedding.SIDES)
    assert float(drawn[0].caption.split("%")[0].split()[-1]) > 95
    alone = embedding.similarity_charts(
        *({"visible": v, "infrared": v} for v in (features[:1], ids[:1], cameras[:1]))
    )
    assert alone == []
