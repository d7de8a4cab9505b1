"""One's own images: both layouts, how they are numbered and ordered, and every bad input with its message."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import raw_trees

from sdcl.cli import doctor
from sdcl.config import resolve
from sdcl.datasets import UNKNOWN, custom, open_dataset
from sdcl.evaluation import evaluate

HEADER = "path,camera,modality,identity,split"


@pytest.fixture
def root(tmp_path):
    """Four people to train on and two to test, two visible cameras and one infrared one, as folders and
    as a table of them.
    """
    return raw_trees.own(tmp_path / "own", train=(1, 2, 3, 4), test=(5, 6), images=2)


def table(root, text, name="images.csv"):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def lines_of(root):
    return (root / "images.csv").read_text().splitlines()


def refused(place, *parts, split="train"):
    with pytest.raises(ValueError) as error:
        dataset = open_dataset("custom", place)
        dataset.require_train() if split == "train" else dataset.require_test()
    for part in parts:
        assert part in str(error.value), error.value


def names(split):
    return {m: [os.path.basename(s.path) for s in rows] for m, rows in split.items()}


# ------------------------------------------------------------------ what is read


def test_a_table_tells_all_of_an_image(root):
    train, test = open_dataset("custom", root).train, open_dataset("custom", root).test
    assert {s.identity for rows in train.values() for s in rows} == {1, 2, 3, 4} and {
        s.identity for s in test["visible"]
    } == {5, 6}
    assert [len(train[m]) for m in train] == [16, 8] and [len(test[m]) for m in test] == [8, 4]
    for modality, cameras in (("visible", {1, 2}), ("infrared", {3})):
        assert {s.camera for s in train[modality]} == cameras and {s.modality for s in train[modality]} == {
            modality
        }
        assert all(
            os.path.isabs(s.path) and f"/cam{s.camera}/{s.identity}_" in s.path for s in train[modality]
        )
    table_itself = open_dataset("custom", root / "images.csv")
    assert (table_itself.train, table_itself.test) == (train, test)


def test_folders_give_the_same_images_without_identities(root):
    listed = open_dataset("custom", root)
    (root / "images.csv").unlink()
    found = open_dataset("custom", root).train
    for m in found:
        assert {s.path for s in found[m]} == {
            s.path for split in (listed.train, listed.test) for s in split[m]
        }
        assert {s.identity for s in found[m]} == {UNKNOWN} and [s.camera for s in found[m]] == sorted(
            s.camera for s in found[m]
        )
    assert open_dataset("custom", root).test == {}
    refused(root, "no labelled test image", "split 'test'", split="test")


def test_the_order_depends_on_neither_identities_nor_lines(root):
    header, *rows = lines_of(root)
    expected = [s.path for rows in open_dataset("custom", root).train.values() for s in rows]
    blank = [
        ",".join([*line.split(",")[:3], "", line.split(",")[4]]) if line.endswith(",") else line
        for line in rows
    ]
    table(root, "\n".join([header, *blank[::-1]]))
    train = open_dataset("custom", root).train
    assert [s.path for rows in train.values() for s in rows] == expected
    assert {s.identity for s in train["visible"]} == {UNKNOWN} and len(
        open_dataset("custom", root).test["visible"]
    ) == 8


def test_cameras_without_folders_and_with_names(tmp_path):
    for n in range(4):
        raw_trees.picture(tmp_path / "a/visible" / f"{n}.jpg", n, (0, n))
        raw_trees.picture(
            tmp_path / "a/infrared" / ("gate", "door")[n % 2] / "deep/er" / f"{n}.png", n, (1, n), True
        )
    raw_trees.picture(tmp_path / "a/infrared/.hidden/9.png", 9, (1, 9), True)
    (tmp_path / "a/infrared/gate/readme.txt").write_text("no image")
    found = open_dataset("custom", tmp_path / "a").train
    assert {s.camera for s in found["visible"]} == {1} and [s.camera for s in found["infrared"]] == [
        2,
        2,
        3,
        3,
    ]
    assert names(found)["infrared"] == ["1.png", "3.png", "0.png", "2.png"]
    assert "1 '1', 2 'door', 3 'gate'" in open_dataset("custom", tmp_path / "a").notices[0]


def test_own_numbers_are_kept_and_names_are_counted():
    assert custom.numbers(["cam2", "Camera 10", "c3", "7"], custom.CAMERA) == {
        "cam2": 2,
        "Camera 10": 10,
        "c3": 3,
        "7": 7,
    }
    assert custom.numbers(["cam1", "1"], custom.CAMERA) == {"1": 1, "cam1": 2}  # both would be 1
    assert custom.numbers(["12", "anna"], custom.IDENTITY) == {"12": 1, "anna": 2}


def test_a_byte_order_mark_is_not_part_of_the_header(root):
    expected = open_dataset("custom", root).train
    table(root, b"\xef\xbb\xbf" + (root / "images.csv").read_bytes())
    assert open_dataset("custom", root).train == expected


def test_columns_in_any_order_with_blanks_quotes_and_windows_lines(root):
    rows = [line.split(",") for line in lines_of(root)[1:]]
    text = (
        "modality , split, path,camera\r\n"
        + "".join(f' {m},train,"{p}", {c} \r\n' for p, c, m, _, _ in rows)
        + "\r\n"
    )
    table(root, text)
    assert [len(r) for r in open_dataset("custom", root).train.values()] == [24, 12]


def test_notices_say_what_was_understood(root):
    first, *more = open_dataset("custom", root).notices
    assert (
        "16 visible images of 2 cameras and 8 infrared images of 1 camera to train on, "
        "8 visible and 4 infrared images to test with"
    ) in first
    assert more == []
    header, *rows = lines_of(root)
    table(
        root,
        "\n".join(
            [
                header,
                *(line.replace(",4,", ",,") for line in rows),
                rows[0].replace("/1_0", "/6_1").replace(",1,", ",6,"),
            ]
        ),
    )
    with pytest.raises(ValueError, match="listed in line"):
        open_dataset("custom", root)
    table(root, "\n".join([header, *(line.replace(",4,", ",,").replace(",3,", ",5,") for line in rows)]))
    said = " ".join(open_dataset("custom", root).notices)
    assert (
        "4 of 16 visible and 2 of 8 infrared training images have no identity" in said
        and "1 identity in both the training and" in said
    )
    (root / "images.csv").unlink()
    assert any("no labelled test image" in line for line in open_dataset("custom", root).notices)
    for n in range(custom.MANY_CAMERAS):
        raw_trees.picture(root / "visible" / f"person{n}" / "1.jpg", n, (1, n))
    assert any("one level lower" in line for line in open_dataset("custom", root).notices)


def test_default_folder():
    assert str(resolve({"dataset": "custom"})[0].data_dir) == "data/custom"


def test_the_protocol_is_both_directions_over_all_images(root):
    samples = open_dataset("custom", root).test
    features = {m: np.eye(4, dtype=np.float32)[[s.identity % 4 for s in rows]] for m, rows in samples.items()}
    found = evaluate(features, samples, open_dataset("own", root).protocols())
    assert [r.direction for r in found] == ["visible to infrared", "infrared to visible"] and [
        r.gallery_size for r in found
    ] == [4, 8]
    assert {r.protocol for r in found} == {"own data, all images against all of the other modality"}
    assert [r.metrics.mINP for r in found] == [1.0, 1.0]


# ------------------------------------------------------------------ bad input


def test_places_without_own_data(root, tmp_path):
    refused(tmp_path / "nowhere", "no data at", "--data-dir")
    refused(table(root, "x", "notes.txt"), "notes.txt", "no .csv")
    (tmp_path / "empty").mkdir()
    refused(
        tmp_path / "empty", "neither images.csv nor the folder visible and the folder infrared", "nothing"
    )
    (root / "images.csv").unlink()
    (root / "infrared").rename(root / "Thermal")
    refused(root, "nor the folder infrared", "Thermal/", "visible/")


@pytest.mark.parametrize(
    "header,parts",
    [
        ("path,camera", ("lacks the column modality;",)),
        ("camera", ("lacks the columns path, modality;",)),
        ("path,camera,modality,identiy", ("'identiy' is no column", "is 'identity' meant?")),
        ("Path,camera,modality", ("'Path' is no column", "is 'path' meant?")),
        ("path,camera,modality,weather", ("'weather' is no column", "remove it")),
        ("path,camera,modality,camera", ("'camera' stands there twice",)),
        ("visible/cam1/1_0.jpg,1,visible", ("line 1 must name the columns",)),
        ("path;camera;modality", ("separated by semicolons", "commas")),
        ("path\tcamera\tmodality", ("separated by tabs",)),
        ("", ("lacks the columns path, camera, modality;",)),
    ],
)
def test_headers(root, header, parts):
    refused(
        table(root, header + "\n"),
        "images.csv, line 1",
        *parts,
        custom.HEADER if "twice" not in parts[0] else "",
    )


@pytest.mark.parametrize(
    "content,parts",
    [
        (
            "path,camera,modality\nvisible/ü.jpg,1,visible\n".encode("latin-1"),
            ("line 2", "0xfc", "not UTF-8"),
        ),
        ("path,camera,modality\n".encode("utf-16"), ("line 1", "not UTF-8")),
        (b'path,camera,modality\n"visible/cam1/1_0.jpg,1,visible\n', ("line 2", "quotation marks")),
        (b"path,camera,modality\n\n", ("lists no image",)),
    ],
)
def test_files_that_are_no_tables(root, content, parts):
    refused(table(root, content), "images.csv", *parts)


@pytest.mark.parametrize(
    "line,parts",
    [
        ("visible/cam1/gone.jpg,1,visible,,", ("gone.jpg is not there",)),
        ("visible\\cam1\\1_0.jpg,1,visible,,", ("is not there", "write / between folders")),
        ("../own/visible/cam1/1_0.jpg,1,visible,,", ("lies outside",)),
        ("/etc/passwd,1,visible,,", ("lies outside",)),
        (",1,visible,,", ("the path '' is empty",)),
        ("a\x00b.jpg,1,visible,,", ("unprintable",)),
        ("visible/cam1,1,visible,,", ("no image that is read", ".jpg")),
        ("images.csv,1,visible,,", ("no image that is read",)),
        ("./visible//cam1/1_0.jpg,1,visible,,", ("listed in line 2 already",)),
        ("visible/cam1/7.jpg,1,RGB,,", ("modality must be visible or infrared, got 'RGB'",)),
        ("visible/cam1/7.jpg,,visible,,", ("camera is empty", "1 if there is only one")),
        ("visible/cam1/7.jpg,1,visible,,query", ("'query'", "write test")),
        ("visible/cam1/7.jpg,1,visible,,val", ("train or test (or empty", "'val'")),
        ("visible/cam1/7.jpg,1,visible,-1,", ("'-1' is no identity", "leave the cell empty")),
        ("visible/cam1/7.jpg,1,visible,NaN,", ("'NaN' is no identity",)),
        ("visible/cam1/7.jpg,1,visible,,test", ("test image needs an identity",)),
        ("visible/cam1/7.jpg,1,visible", ("3 cells under 5 columns",)),
        ("visible/cam1/7.jpg,1,visible,,,,", ("7 cells under 5 columns",)),
    ],
)
def test_lines(root, line, parts):
    table(root, "\n".join([*lines_of(root), line]) + "\n")
    refused(root, "images.csv: 1 of 37 lines cannot be used", "line 38: ", *parts)


def test_only_some_of_many_faults_are_named(root):
    table(root, HEADER + "\n" + "".join(f"visible/{n}.png,1,visible,,\n" for n in range(30)))
    refused(root, "30 of 30 lines", "line 2: image", "line 11: image", "and 20 more")


def test_folders_that_cannot_be_used(root):
    (root / "images.csv").unlink()
    outside = root / "cam7"
    outside.mkdir()
    (root / "visible/cam9").symlink_to(outside)
    refused(root, "visible/cam9 is a link to a folder", "images.csv")
    (root / "visible/cam9").unlink()
    raw_trees.picture(root / "visible/loose.jpg", 1, (9, 9))
    refused(root, "1 beside them, such as 'loose.jpg'")
    (root / "visible/loose.jpg").rename(root / "infrared/cam3/a.TIFF")
    refused(root, "a.TIFF", "convert it")
    (root / "infrared/cam3/a.TIFF").unlink()
    for path in sorted((root / "infrared/cam3").iterdir())[3:]:
        path.unlink()
    refused(root, "3 infrared images to train on", "at least 4")
    for path in (root / "infrared/cam3").iterdir():
        path.unlink()
    refused(root, "no image below", "infrared")


def test_a_folder_that_cannot_be_listed(root, monkeypatch):
    (root / "images.csv").unlink()

    def denied(path, *rest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    refused(root, "visible cannot be listed: Permission denied")


def test_parts_that_are_too_small(root):
    header, *rows = lines_of(root)
    table(root, "\n".join([header, *(line for line in rows if "visible" in line)]))
    refused(root, "0 infrared images to train on")
    refused(root, "no infrared test image", split="test")
    table(
        root,
        "\n".join(
            [
                header,
                *(
                    line.replace(",6,", ",5,") if "visible" in line else line.replace(",5,", ",6,")
                    for line in rows
                ),
            ]
        ),
    )
    refused(root, "no identity", "both modalities", split="test")
    table(root, "\n".join([header, *(line for line in rows if line.endswith("test"))]))
    open_dataset("custom", root).require_test()  # a table of test images alone is one to test with
    refused(root, "0 visible images to train on")


# ------------------------------------------------------------------ doctor


def examined(root, *more):
    settings, _ = resolve(
        {
            "dataset": "custom",
            "data_dir": str(root),
            "k1": 2,
            "cache_dir": str(root.parent / "c"),
            **dict(more),
        }
    )
    return [
        (f.severity, f.what, " ".join(f.where))
        for f in doctor.examine_data(settings, open_dataset("custom", root))
    ]


def test_the_doctor_knows_own_data(root, tmp_path):
    assert {severity for severity, _, _ in examined(root)} == {"note"}
    assert any("1 modalities" in what for _, what, _ in examined(root, ("k1", 3)))
    picture = root / "visible/cam1/1_0.jpg"
    (root / "visible/cam1/2_0.jpg").write_bytes(picture.read_bytes())
    os.replace(picture, tmp_path / "away.jpg")
    picture.symlink_to(tmp_path / "away.jpg")
    for data_dir in (root, root / "images.csv"):
        findings = examined(data_dir)
        assert ("warning", "1 images are symbolic links out of the data folder", str(picture)) in findings
        assert any("under several identities" in what for _, what, _ in findings)
    table(root, (root / "images.csv").read_text().replace(",5,", ",3,"))
    assert ("warning", "1 identities are in both the training and the test split", "identity 3") in examined(
        root
    )
    (root / "images.csv").unlink()
    assert any(what == "1 images appear several times, by content" for _, what, _ in examined(root))


def test_the_example_in_the_documentation(tmp_path):
    text = (
        (Path(__file__).parents[2] / "docs/datasets/custom.md")
        .read_text()
        .partition("```csv\n")[2]
        .partition("```")[0]
    )
    for n, line in enumerate(text.splitlines()[1:]):
        raw_trees.picture(tmp_path / line.split(",")[0], n, (0, n), "infrared" in line)
    table(tmp_path, text)
    dataset = open_dataset("custom", tmp_path)
    train, test = dataset.train, dataset.test
    assert [s.identity for rows in train.values() for s in rows] == [
        UNKNOWN,
        2,
        UNKNOWN,
    ]  # "7" comes before "anna"
    assert [(s.identity, s.camera) for rows in test.values() for s in rows] == [(1, 1), (1, 2)]
