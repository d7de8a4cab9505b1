"""A file of embeddings kept up to date: unchanged images are not embedded again, a stopped run continues."""

import os

import numpy as np
import pytest
from helpers import raw_trees
from helpers.checkpoints import run_folder

from sdcl.inference import embedding_file
from sdcl.inference.embedding_file import update_embeddings
from sdcl.inference.embeddings import embed_folder, load_embeddings
from sdcl.inference.trained_model import TrainedModel
from sdcl.runtime.errors import DataError

COUNT = 10


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [TrainedModel.open(run_folder(root / str(seed), seed)) for seed in (0, 1)]


@pytest.fixture
def images(tmp_path):
    for n in range(COUNT):
        raw_trees.picture(tmp_path / "images" / f"{n}.png", n, (n, 7), False)
    return tmp_path / "images"


@pytest.fixture
def embedded(monkeypatch):
    """Names of the images that the model saw, in order, since the list was cleared."""
    seen = []
    decode_all = embedding_file.embedded_chunks

    def spy(trained, root, paths, *rest, **more):
        seen.extend(paths)
        return decode_all(trained, root, paths, *rest, **more)

    monkeypatch.setattr(embedding_file, "embedded_chunks", spy)
    return seen


@pytest.mark.parametrize("name", ["e.npz", "e.safetensors"])
def test_only_new_and_changed_images_are_embedded(models, images, tmp_path, embedded, name):
    file = tmp_path / name
    first = update_embeddings(models[0], images, "visible", file)
    np.testing.assert_allclose(first.rows, embed_folder(models[0], images, "visible").rows, atol=1e-6)
    embedded.clear()
    again = update_embeddings(models[0], images, "visible", file)
    assert embedded == [] and (again.rows == first.rows).all()
    raw_trees.picture(images / "3.png", 99, (5, 5), False)
    os.utime(images / "3.png", ns=(1, 1))
    raw_trees.picture(images / "new.png", 55, (5, 5), False)
    (images / "7.png").unlink()
    changed = update_embeddings(models[0], images, "visible", file)
    assert embedded == ["3.png", "new.png"]
    fresh = embed_folder(models[0], images, "visible")
    assert changed.paths == fresh.paths == load_embeddings(file).paths
    np.testing.assert_allclose(load_embeddings(file).rows, fresh.rows, atol=1e-6)
    embedded.clear()
    update_embeddings(models[0], images, "visible", file, anew=True)
    assert len(embedded) == COUNT


def test_other_weights_or_modality_take_nothing_over(models, images, tmp_path, embedded):
    file = tmp_path / "e.npz"
    for trained, modality in ((models[0], "visible"), (models[1], "visible"), (models[1], "infrared")):
        embedded.clear()
        result = update_embeddings(trained, images, modality, file)
        assert len(embedded) == COUNT and load_embeddings(file).about == result.about


def test_a_stopped_run_continues(models, images, tmp_path, monkeypatch, embedded):
    monkeypatch.setattr(embedding_file, "PART", 3)
    file = tmp_path / "e.npz"
    reports = []

    def stop_after_six(done, total):
        reports.append((done, total))
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_embeddings(models[0], images, "visible", file, progress=stop_after_six)
    assert reports == [(0, COUNT), (3, COUNT), (6, COUNT)] and not file.exists()
    os.utime(images / "1.png", ns=(1, 1))  # changed while the run was stopped
    embedded.clear()
    rows = update_embeddings(models[0], images, "visible", file).rows
    assert embedded == ["1.png", "6.png", "7.png", "8.png", "9.png"]
    np.testing.assert_allclose(rows, embed_folder(models[0], images, "visible").rows, atol=1e-6)
    assert not (tmp_path / "e.npz.parts").exists()


def test_two_at_once_leave_one_whole_file(models, images, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_file, "PART", 3)
    file = tmp_path / "e.npz"

    def let_another_finish(done, total):
        if done == 3:  # it removes the parts, the first one's among them
            update_embeddings(models[0], images, "visible", file)

    result = update_embeddings(models[0], images, "visible", file, progress=let_another_finish)
    assert result.paths == load_embeddings(file).paths and len(result.paths) == COUNT
    assert (result.rows == load_embeddings(file).rows).all()
    assert not (tmp_path / "e.npz.parts").exists()


def test_a_damaged_file_or_part_is_made_again(models, images, tmp_path):
    file = tmp_path / "e.npz"
    whole = update_embeddings(models[0], images, "visible", file)
    file.write_bytes(file.read_bytes()[:-40])
    (tmp_path / "e.npz.parts").mkdir()
    (tmp_path / "e.npz.parts" / "000000.npz").write_bytes(b"cut off")
    assert (update_embeddings(models[0], images, "visible", file).rows == whole.rows).all()


def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, embeddings=np.zeros((2**25, 1), np.float32))
    with pytest.raises(DataError, match="unpacks to"):
        load_embeddings(file)


def test_unreadable_images_are_named_and_the_rest_is_kept(models, images, tmp_path, embedded, capsys):
    (images / "5.png").write_bytes(b"no image")
    file = tmp_path / "e.npz"
    with pytest.raises(DataError, match=r"(?s)--skip-unreadable.*5\.png"):
        update_embeddings(models[0], images, "visible", file)
    assert not file.exists()
    result = update_embeddings(models[0], images, "visible", file, skip_unreadable=True)
    assert len(result.paths) == COUNT - 1 and "5.png" in capsys.readouterr().err
