"""Tiny raw layouts, drawn with nothing but PIL: what the real data sets look like on disk."""

import json

import numpy as np
from PIL import Image

from sdcl.synthetic.plan import plan

CAMERAS = {1: "visible", 2: "visible", 3: "infrared", 4: "visible", 5: "visible", 6: "infrared"}


def picture(path, person, shot, infrared=False, size=(20, 40)):
    """A coarse pattern that is the person's own, in all cameras, with a little noise that is the shot's:
    any network clusters these.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = (
        np.random.default_rng(person)
        .integers(0, 200, (8, 4, 1))
        .repeat(size[1] // 8, 0)
        .repeat(size[0] // 4, 1)
    )
    pattern = pattern * np.array((1.0, 1.0, 1.0) if infrared else (1.0, 0.98, 0.96))
    noise = np.random.default_rng((person, *shot)).integers(0, 40, pattern.shape)
    Image.fromarray((pattern + noise).astype(np.uint8)).save(
        path, **({"quality": 95} if path.suffix == ".jpg" else {})
    )


def sysu(root, train=(2, 7), val=(5,), test=(1, 9), images=2):
    """Every identity in every camera; identities are out of order in the split files, as in the original."""
    for camera in CAMERAS:
        for identity in (*train, *val, *test):
            for n in range(1, images + 1):
                picture(
                    root / f"cam{camera}" / f"{identity:04d}" / f"{n:04d}.jpg",
                    identity,
                    (camera, n),
                    camera in (3, 6),
                )
    (root / "exp").mkdir()
    for name, ids in (("train", train), ("val", val), ("test", test)):
        (root / "exp" / f"{name}_id.txt").write_text(",".join(str(i) for i in reversed(ids)) + "\n")
    people, tested = len(train) + len(val), len(test)
    claim(
        root,
        "sysu",
        people,
        people * images * 4,
        people * images * 2,
        tested,
        tested * images * 4,
        tested * images * 2,
    )
    return root


def regdb(root, people=2, images=3, trials=range(1, 11)):
    """`people` identities to train and as many to test; trial t swaps them when t is even."""
    (root / "idx").mkdir(parents=True)
    for word in ("Visible", "Thermal"):
        for person in range(2 * people):
            for n in range(images):
                picture(
                    root / word / str(person) / f"{word[0].lower()}_{person}_{n}.bmp",
                    person,
                    (ord(word[0]), n),
                    word == "Thermal",
                )
    for t in trials:
        for split, first in (("train", people * (t % 2)), ("test", people * ((t + 1) % 2))):
            for word in ("Visible", "Thermal"):
                lines = [
                    f"{word}/{first + label}/{word[0].lower()}_{first + label}_{n}.bmp {label}"
                    for label in reversed(range(people))
                    for n in range(images)
                ]
                (root / "idx" / f"{split}_{word.lower()}_{t}.txt").write_text("\n".join(lines) + "\n")
    claim(root, "regdb", people, people * images, people * images, people, people * images, people * images)
    return root


def llcm(root, train=(2, 7, 5), test=(1, 9), images=2, cameras=(1, 2, 3)):
    """Every identity in every camera, infrared not in camera 3; training names as in the original, with
    the camera in the file name.
    """
    for word, infrared in (("vis", False), ("nir", True)):
        lines = []
        for identity in (*train, *test):
            for camera in cameras[: len(cameras) - infrared]:
                for n in range(1, images + 1):
                    name = f"{identity:04d}_c{camera:02d}_s1_f{n}_{word}.jpg"
                    path = (
                        f"{word}/{identity:04d}/{name}"
                        if identity in train
                        else f"test_{word}/cam{camera}/{identity:04d}/{name}"
                    )
                    picture(root / path, identity, (camera, n + 100 * infrared), infrared)
                    lines += [f"{path} {sorted(train).index(identity)}\n"] if identity in train else []
        (root / "idx").mkdir(exist_ok=True)
        (root / f"idx/train_{word}.txt").write_text("".join(reversed(lines)))
    (root / "idx/test_id.txt").write_text(",".join(str(i) for i in reversed(test)) + "\n")
    each = [len(cameras) * images, (len(cameras) - 1) * images]
    claim(
        root, "llcm", len(train), *(len(train) * n for n in each), len(test), *(len(test) * n for n in each)
    )
    return root


def own(root, train=(1, 2, 3, 4), test=(5, 6), images=2):
    """A researcher's own set: visible/cam1, visible/cam2 and infrared/cam3, and images.csv, which knows
    who is on them.
    """
    lines = ["path,camera,modality,identity,split"]
    for modality, cameras in (("visible", (1, 2)), ("infrared", (3,))):
        for camera in cameras:
            for person in (*train, *test):
                for n in range(images):
                    path = f"{modality}/cam{camera}/{person}_{n}.jpg"
                    picture(root / path, person, (camera, n), modality == "infrared")
                    lines.append(f"{path},{camera},{modality},{person},{'test' if person in test else ''}")
    (root / "images.csv").write_text("\n".join(lines) + "\n")
    return root


COUNTED = (
    "train_identities",
    "train_visible",
    "train_infrared",
    "test_identities",
    "test_visible",
    "test_infrared",
)


def claim(root, layout, *numbers, names=COUNTED):
    """Declare the tree a synthetic set with its own counts."""
    about = {
        "version": "t",
        "set": "tiny",
        "difficulty": "easy",
        "seed": 0,
        "layout": layout,
        "counts": dict(zip(names, numbers)),
    }
    (root / "synthetic.json").write_text(json.dumps(about))


def tracks(root, layout, frames=12, identities=4):
    """A set of tracks as `sdcl synthesize --layout LAYOUT` plans it, with these pictures instead of rendered
    ones.
    """
    made = plan(layout, "quick", 0, identities, frames)
    for shot in made.shots:
        picture(root / shot.path, shot.identity, (shot.camera, shot.number, shot.frame), shot.camera > 10)
    for path, text in made.texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    claim(root, layout, *made.counts.values(), names=tuple(made.counts))
    return root
