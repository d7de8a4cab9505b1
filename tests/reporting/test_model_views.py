"""Views of a model on its images: removal rules of the protocols, labels of the method, attention."""

import numpy as np
import pytest
from helpers import raw_trees
from helpers.run_folders import OF_GUR, RESNET, write_run

from sdcl.reporting import model_views as views
from sdcl.runtime.errors import DataError, UserError


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root, people = tmp_path_factory.mktemp("trees"), tuple(range(1, 9))
    return {
        "sysu": raw_trees.sysu(root / "sysu", train=people[:4], val=people[4:6], test=people[6:], images=3),
        "regdb": raw_trees.regdb(root / "regdb", people=5, images=6),
        "llcm": raw_trees.llcm(root / "llcm", train=people[:4], test=people[4:], images=2),
        "vcm": raw_trees.tracks(root / "vcm", "vcm", frames=17, identities=4),
    }


@pytest.fixture
def tested(trees, tmp_path):
    """tested(dataset, ...) -> TestedModel of a run with random weights."""

    def make(dataset="sysu", **changed):
        trained = views.open_model(
            write_run(tmp_path / "run", trees[dataset], tmp_path / "cache", dataset, **changed)
        )
        return views.embed_test_images(trained, views.open_images(trained))

    return make


def test_features_are_unit_rows(tested):
    model = tested()
    for m, features in model.features.items():
        assert len(features) == len(model.dataset.test[m]) and np.allclose(
            np.linalg.norm(features, axis=1), 1, atol=1e-5
        )


def test_camera_3_does_not_see_camera_2(tested):
    """Both ways round: the view with visible queries is an extra one."""
    rankings = views.rankings(tested())
    assert [r.title for r in rankings] == ["Infrared to visible", "Visible to infrared"]
    for ranking, hidden in zip(rankings, ((3, 2), (2, 3)), strict=True):
        for query in ranking.queries:
            assert not any((query.image.camera, t.camera) == hidden for t in query.gallery)
            assert all(t.correct == (t.identity == query.image.identity) for t in query.gallery)
            similarities = [t.similarity for t in query.gallery]
            assert similarities == sorted(similarities, reverse=True)


def test_llcm_has_drawn_galleries_and_its_removal_rule(tested):
    model = tested("llcm")
    rankings = views.rankings(model)
    assert len(rankings) == 2
    for protocol in {p.query: p for p in reversed(model.test_set.protocols)}.values():
        samples = model.dataset.test[protocol.gallery]
        assert len(protocol.draws[0].gallery) == len({(s.identity, s.camera) for s in samples}) < len(samples)
    for query in (q for ranking in rankings for q in ranking.queries):
        assert not any(
            (t.identity, t.camera) == (query.image.identity, query.image.camera) for t in query.gallery
        )


def test_regdb_ranks_all_images(tested):
    model = tested("regdb", **RESNET)
    assert [{p.query, p.gallery} for p in model.test_set.protocols] == [{"visible", "infrared"}] * 2
    assert all(len(q.gallery) == views.GALLERY_IMAGES for r in views.rankings(model) for q in r.queries)
    assert views.attention_views(model) == []  # a ResNet has none


def test_tracks_are_ranked_and_shown_by_one_frame(tested):
    """A gallery has each track once: its middle frame, by the mean of its three frames' features."""
    model = tested("vcm")
    for ranking, protocol in zip(views.rankings(model), model.test_set.protocols[::2], strict=True):
        samples = model.dataset.test[protocol.gallery]
        mean = {
            t: np.mean([f for f, s in zip(model.features[protocol.gallery], samples) if s.track == t], axis=0)
            for t in {s.track for s in samples}
        }
        similarity, match, keep = views.compare(model, protocol, np.array([0]))
        features = model.entries(protocol, protocol.query).features.numpy()[0]
        rows = np.stack([mean[t] / np.linalg.norm(mean[t]) for t in sorted(mean)])
        assert np.allclose(similarity[0], rows @ features, atol=1e-5) and not (match & keep).all()
        middle = [model.test_set.caches[protocol.gallery].images[i] for i in range(1, len(samples), 3)]
        for query in ranking.queries:
            shown = [t.pixels for t in query.gallery]
            assert all(sum(np.array_equal(image, m) for m in middle) == 1 for image in shown)
            assert not any(
                (t.identity, t.camera) == (query.image.identity, query.image.camera) for t in query.gallery
            )


@pytest.mark.parametrize("changed", [{}, OF_GUR])
def test_clusters_are_those_of_the_method(tested, changed):
    """Both modalities get labels through the stages of the method, none of which is trained."""
    model = tested(**changed)
    clusters = views.cluster_views(model.trained, model.dataset)
    assert set(clusters) == {"visible", "infrared"} and all(c.images for of in clusters.values() for c in of)
    for cluster in (c for of in clusters.values() for c in of):
        assert len(cluster.images) == min(cluster.size, views.CLUSTER_IMAGES) and 0 < cluster.purity <= 1


def test_images_chosen_for_attention(tested):
    model = tested()
    (view,) = views.attention_views(model, [model.dataset.test["infrared"][0].path])
    assert view.title.startswith("infrared") and view.images[0][0] == "image"
    assert {pixels.shape for _, pixels in view.images} == {(32, 16, 3)}
    assert len(views.attention_views(model)) == 4  # two of each modality
    with pytest.raises(DataError):
        views.attention_views(model, ["nothing.jpg"])


def test_settings_that_moved(trees, tmp_path):
    run = write_run(tmp_path / "run", "/gone", tmp_path / "cache")
    with pytest.raises(UserError):
        views.open_images(views.open_model(run))
    trained = views.open_model(run, data_dir=str(trees["sysu"]), cache_dir="", device="cpu")
    assert views.open_images(trained).name == "sysu" and trained.settings.data.cache_dir == str(
        tmp_path / "cache"
    )
