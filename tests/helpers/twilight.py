"""Twilight, an invented data set: folders, known counts, and protocol. docs/extending.md shows this file.

{train,test}/camC/IIII/NNNN.jpg and {train,test}_id.txt; cameras 1 and 2 are visible, 3 is infrared.

Protocol: all infrared images query all visible ones; a query does not see camera 1, the doorway that camera 3
stands in; CMC over distinct identities.
"""

from pathlib import Path

from sdcl.datasets.base import Draw, Protocol, all_rows
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import folder_samples, read_ids, without_images

CAMERAS = {"visible": (1, 2), "infrared": (3,)}
KNOWN = {
    "train_identities": 6,
    "train_visible": 36,
    "train_infrared": 18,
    "test_identities": 2,
    "test_visible": 12,
    "test_infrared": 6,
}


def find(data_dir: Path) -> Path | None:
    return data_dir if (data_dir / "train_id.txt").is_file() else None


def read(root, split, trial):
    identities = read_ids(root / f"{split}_id.txt")
    samples = {m: folder_samples(root / split, cameras, identities, m) for m, cameras in CAMERAS.items()}
    return samples, without_images(identities, samples, f"{split}_id.txt")


def in_the_doorway(query_ids, query_cameras, gallery_ids, gallery_cameras):
    return (query_cameras == 3) & (gallery_cameras == 1)


def protocols(dataset, options):
    draw = Draw(all_rows(dataset.test, "infrared"), all_rows(dataset.test, "visible"))
    return [
        Protocol(
            "Twilight",
            "infrared to visible",
            query="infrared",
            gallery="visible",
            removed=in_the_doorway,
            distinct_identities=True,
            draws=(draw,),
            note="All visible test images but those of the doorway.",
        )
    ]


SOURCE = PublishedSource(
    name="twilight",
    title="Twilight",
    protocols=protocols,
    recipe_of="sysu",
    shared_identities="error",
    shared_remedy="unpack the original archive again",
    read=read,
    find=find,
    known=KNOWN,
    compare=lambda train, test: [],
    expects="train, test, train_id.txt and test_id.txt",
)
