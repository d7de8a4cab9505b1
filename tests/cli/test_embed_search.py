"""The embed and search commands on tiny images: both file formats, hostile names, thresholds, pictures, and
what is refused.
"""

import json
import os

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.checkpoints import run_folder
from PIL import Image

from sdcl import test as test_program
from sdcl.cli import embed, search
from sdcl.data.image_cache import open_cache
from sdcl.inference.embeddings import load_embeddings
from sdcl.inference.extract import extract_features, joined
from sdcl.inference.trained_model import TrainedModel

HOSTILE = (b"a b.JPG", b"line\nbreak.png", "ü/$(x).png".encode(), b"not\xffutf8.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve people, two images of each modality, in folders of their names; two sets of weights."""
    root = tmp_path_factory.mktemp("own")
    for person in range(12):
        for modality in ("visible", "infrared"):
            for shot in range(2):
                raw_trees.picture(
                    root / modality / f"{person:02d}" / f"{shot}.png",
                    person,
                    (shot, 7),
                    modality == "infrared",
                )
    run_folder(root / "run", 0)
    run_folder(root / "other", 1)
    return root


def embedded(place, out, modality="visible", run="run", *more):
    images = more[0] if more else place / modality
    said = [
        "--weights",
        place / run,
        "--images",
        images,
        "--modality",
        modality,
        "--out",
        out,
        "--device",
        "cpu",
    ]
    return embed.main([str(s) for s in said])


def searched(place, out, query, gallery, *more):
    said = ["--query", query, "--gallery", gallery, "--out", out, "--device", "cpu", *more]
    return search.main([str(s) for s in said])


FOLDERS = ("--query-modality", "infrared", "--gallery-modality", "visible")


def test_both_formats_hold_the_test_feature(place, tmp_path, capsys):
    for name in ("v.npz", "v.safetensors"):
        assert embedded(place, tmp_path / name) == 0, capsys.readouterr().err
    a, b = (load_embeddings(tmp_path / name) for name in ("v.npz", "v.safetensors"))
    assert (
        a.paths == b.paths == [f"{p:02d}/{s}.png" for p in range(12) for s in range(2)] and a.about == b.about
    )
    assert (a.rows == b.rows).all()
    trained = TrainedModel.open(place / "run")
    store = open_cache(
        a.files, 32, 16, "lanczos", tmp_path / "cache", torch.device("cpu"), workers=1, title="x"
    )
    wanted = joined(extract_features(trained.model, store, "visible", batch_size=64, bf16=False, title="x"))
    np.testing.assert_allclose(a.rows, wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(a.rows, axis=1), 1, atol=1e-5)


def test_hostile_names_and_unreadable_images(place, tmp_path, capsys):
    images = tmp_path / "images"
    for name in HOSTILE:
        path = os.path.join(os.fsencode(images), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            Image.new("RGB", (16, 32), (len(name), 5, 9)).save(file, "PNG")
    (images / "notes.txt").write_text("no image")
    for out in ("h.npz", "h.safetensors"):
        assert embedded(place, tmp_path / out, "visible", "run", images) == 0, capsys.readouterr().err
        found = load_embeddings(tmp_path / out)
        assert sorted(os.fsencode(p) for p in found.paths) == sorted(HOSTILE) and found.paths == sorted(
            found.paths
        )
    assert (
        searched(
            place,
            tmp_path / "h.json",
            tmp_path / "h.npz",
            tmp_path / "h.safetensors",
            "--picture",
            tmp_path / "h.png",
        )
        == 0
    )
    shown = json.loads((tmp_path / "h.json").read_text())["queries"]
    assert {q["query"] for q in shown} == {r["path"] for r in shown[0]["results"]} == set(found.paths)
    (images / "broken.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert embedded(place, tmp_path / "b.npz", "visible", "run", images) == 2
    error = capsys.readouterr().err
    assert "broken.png" in error and "--skip-unreadable" in error and not (tmp_path / "b.npz").exists()
    assert (
        searched(
            place,
            tmp_path / "b.json",
            images,
            tmp_path / "h.npz",
            "--weights",
            place / "run",
            *FOLDERS[:1],
            "visible",
        )
        == 2
    )
    capsys.readouterr()
    said = ["--query-modality", "visible", "--weights", place / "run", "--skip-unreadable"]
    assert searched(place, tmp_path / "b.json", images, tmp_path / "h.npz", *said) == 0
    assert "1 image(s) cannot be used and are left out" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "b.json").read_text())["queries"]) == len(HOSTILE)


def test_search_ranks_by_cosine_and_draws_a_picture(place, tmp_path, capsys):
    out, picture = tmp_path / "r.json", tmp_path / "r.png"
    said = ["--weights", place / "run", *FOLDERS, "--top", "5", "--threshold", "0.9999", "--picture", picture]
    assert searched(place, out, place / "infrared", place / "visible", *said) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    assert result["about"]["ranking"] == "cosine similarity" and len(result["queries"]) == 24
    for modality in ("visible", "infrared"):
        assert embedded(place, tmp_path / f"{modality}.npz", modality) == 0
    query, gallery = (load_embeddings(tmp_path / f"{m}.npz") for m in ("infrared", "visible"))
    similarity = query.rows.astype(float) @ gallery.rows.astype(float).T
    for row, one in enumerate(result["queries"]):
        best = np.argsort(-similarity[row], kind="stable")[:5]
        assert [r["path"] for r in one["results"]] == [gallery.paths[g] for g in best]
        assert one["in_gallery"] == (similarity[row].max() > 0.9999)
    with Image.open(picture) as drawn:
        assert (
            drawn.width > 6 * 72
            and drawn.height > 24 * 144
            and len(set(drawn.convert("RGB").resize((64, 64)).tobytes())) > 20
        )
    assert (
        searched(place, out, place / "infrared/03/0.png", tmp_path / "visible.npz", "--rerank", *said[:4])
        == 0
    )
    again = json.loads(out.read_text())
    assert again["about"]["ranking"].startswith("k-reciprocal re-ranking (k1 20") and [
        q["query"] for q in again["queries"]
    ] == ["0.png"]


def test_labelled_calibration_leaves_the_own_person_out(place, tmp_path, capsys):
    said = [
        "--weights",
        place / "run",
        *FOLDERS[:1],
        "visible",
        *FOLDERS[2:],
        "--calibrate",
        "0.2",
        "--reference",
        place / "visible",
    ]
    out = tmp_path / "r.json"
    assert searched(place, out, place / "visible", place / "visible", *said, "--labelled") == 0, (
        capsys.readouterr().err
    )
    labelled = json.loads(out.read_text())["about"]["calibration"]
    assert searched(place, out, place / "visible", place / "visible", *said) == 0
    plain = json.loads(out.read_text())["about"]["calibration"]
    assert plain["threshold"] > labelled["threshold"] and plain["true_accept_rate"] is None
    assert (
        labelled["true_accept_rate"] == 1.0 and labelled["images"] == 24
    )  # each image is in the gallery itself


def test_what_must_not_be_compared_is_refused(place, tmp_path, capsys):
    assert (
        embedded(place, tmp_path / "a.npz") == 0
        and embedded(place, tmp_path / "b.npz", "infrared", "other") == 0
    )
    assert embedded(place, tmp_path / "e.npz", "infrared") == 0
    out = tmp_path / "r.json"
    cases = {
        "cannot be compared: weights": (tmp_path / "b.npz", tmp_path / "a.npz"),
        "embed its images again": (tmp_path / "b.npz", tmp_path / "a.npz", "--weights", place / "run"),
        "name --weights and --query-modality": (place / "infrared", tmp_path / "a.npz"),
        "there is nothing at": (tmp_path / "none", tmp_path / "a.npz"),
        "must end with .json": (tmp_path / "a.npz", tmp_path / "a.npz", "--out", tmp_path / "x.txt"),
        "--calibrate finds the threshold from --reference": (
            tmp_path / "a.npz",
            tmp_path / "a.npz",
            "--calibrate",
            "0.1",
        ),
        "is no file of embeddings": (tmp_path / "c.npz", tmp_path / "a.npz"),
        "holds visible images, the queries are infrared": (
            tmp_path / "e.npz",
            tmp_path / "a.npz",
            *f"--calibrate 0.5 --reference {tmp_path / 'a.npz'}".split(),
        ),
        "between -1 and 1, got nan": (tmp_path / "a.npz", tmp_path / "a.npz", "--threshold", "nan"),
        "no folder of images": None,
    }
    (tmp_path / "c.npz").write_bytes(b"PK\3\4 damaged")
    for words, said in cases.items():
        code = (
            searched(place, out, *said)
            if said
            else embedded(place, tmp_path / "d.npz", "visible", "run", tmp_path / "none")
        )
        assert code == 2 and words in capsys.readouterr().err, words
    assert not out.exists()


def test_the_test_program_reranks_and_says_so(flags, data, place, tmp_path, capsys):
    said = [
        *flags("sysu")[:8],
        "--checkpoint",
        str(place / "run/last.pt"),
        "--draws",
        "2",
        "--modes",
        "all",
        "--device",
        "cpu",
    ]
    (tmp_path / "run").mkdir()
    assert test_program.main(said) == 0 and test_program.main([*said, "--rerank"]) == 0, (
        capsys.readouterr().err
    )
    shown = json.loads((tmp_path / "run/test.json").read_text())
    assert shown[0]["protocol"] == (
        "SYSU-MM01 all-search single-shot, 2 seeded draws, k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)"
    )
