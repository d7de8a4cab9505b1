"""Plan a synthetic data set in the layout of a real one: identities, cameras, image counts and list files.

`plan` is a pure function of layout, set, seed and sizes, and renders nothing. Cameras are numbered as in the
layout; the near-infrared cameras of LLCM and of the sets of tracks are numbered from 11.
"""

import json
from dataclasses import dataclass

import numpy as np

from sdcl.runtime.errors import SettingError
from sdcl.synthetic.person import BENCHMARK, generator
from sdcl.synthetic.scene import Camera, benchmark_camera

Rng = np.random.Generator
Cells = dict[tuple[int, int], int]  # (camera, identity) -> number of images
LAYOUTS = ("sysu", "regdb", "llcm", "vcm", "buptcampus")  # in this order: the index is part of the seeds
SETS = ("quick", "medium", "sysu", "reference")  # in this order, too; reference: SYSU's layout alone
TRIALS = tuple(range(1, 11))
# Training identities, test identities, images per identity and camera (None: the counts of the real set);
# sets of tracks: frames per track.
SIZES: dict[str, dict[str, tuple[int, int, int | None]]] = {
    "sysu": {
        "quick": (40, 16, 6),
        "medium": (120, 60, 8),
        "sysu": (395, 96, None),
        "reference": (1000, 60, 4),
    },
    "regdb": {"quick": (24, 24, 10), "medium": (80, 80, 10), "sysu": (206, 206, 10)},
    "llcm": {"quick": (40, 16, 4), "medium": (120, 60, 4), "sysu": (713, 351, None)},
    "vcm": {"quick": (40, 16, 12), "medium": (120, 60, 12), "sysu": (500, 427, 24)},
    "buptcampus": {"quick": (40, 16, 8), "medium": (120, 60, 12), "sysu": (1074, 1076, 24)},
}
SYSU_SCENES = {1: "room", 2: "room", 3: "room", 4: "gate", 5: "garden", 6: "passage"}
SYSU_INFRARED = (3, 6)
LLCM_SCENES = ("room", "gate", "garden", "passage", "gate", "room", "garden", "passage", "gate")
# Counts of SYSU-MM01: identities and images per camera of train+val, identities per camera of test.
SYSU_TRAIN = {1: (194, 4721), 2: (195, 5753), 3: (392, 7909), 4: (382, 5811), 5: (390, 5973), 6: (200, 4000)}
SYSU_TEST = {1: 56, 2: 56, 3: 96, 4: 94, 5: 95, 6: 96}
SYSU_TEST_VISIBLE, SYSU_QUERIES_INDOOR, SYSU_QUERIES_OUTDOOR = 6775, {3: 1088, 6: 1120}, {3: 795, 6: 800}
VCM_MIN_FRAMES = 12  # of a track that readers use
TRACK_SCENES = {1: "room", 2: "gate", 3: "garden", 4: "passage", 5: "gate", 6: "garden"}
BUPT_CAMERAS = ("LS3", "G25", "CQ1", "W4", "TSG1", "TSG2")
LLCM_TOTALS = {"train": (16946, 13975), "test": (8680, 7166)}  # visible, near-infrared


@dataclass(frozen=True)
class Shot:
    """One image to render: relative path, identity, camera, and its number for that identity and camera; in
    sets of tracks the number of the track, and of the frame in it.
    """

    path: str
    identity: int
    camera: int
    number: int
    frame: int = 0


@dataclass(frozen=True)
class Plan:
    """Images, list files by relative path, counts for the manifest, and trials (RegDB only)."""

    shots: tuple[Shot, ...]
    texts: dict[str, str]
    counts: dict[str, int]
    trials: tuple[int, ...] = ()


def plan(
    layout: str, set_name: str, seed: int, identities: int | None = None, images_per_camera: int | None = None
) -> Plan:
    """Plan the images and list files of a set.

    Args:
        identities: training identities instead of the set's number; 40 % as many test identities are added
            (RegDB: as many).
        images_per_camera: mean number of images per identity and camera, or of frames per track, instead of
            the set's number.

    Raises:
        SettingError: unknown layout or set, fewer than 4 identities, no image, or tracks that are too short.
    """
    if set_name not in SIZES.get(layout, {}):
        choices = f"layouts are {', '.join(LAYOUTS)}, sets are {', '.join(SIZES.get(layout, SETS))}"
        raise SettingError(f"no set {set_name!r} in layout {layout!r}; {choices}")
    if identities is not None and identities < 4:
        raise SettingError(f"--identities must be at least 4, got {identities}")
    if images_per_camera is not None and images_per_camera < 1:
        raise SettingError(f"--images-per-camera must be at least 1, got {images_per_camera}")
    if layout == "vcm" and images_per_camera is not None and images_per_camera < VCM_MIN_FRAMES:
        raise SettingError(
            f"--images-per-camera must be at least {VCM_MIN_FRAMES} for --layout vcm, got "
            f"{images_per_camera}: shorter tracks of HITSZ-VCM are not read"
        )
    train, test, images = SIZES[layout][set_name]
    if identities is not None:
        train, test = identities, identities if layout == "regdb" else max(2, round(0.4 * identities))
        images = images or SIZES[layout]["medium"][2]
    images = images_per_camera or images
    rng = generator(BENCHMARK, (*set_seed(layout, set_name, seed), train, test, images or 0))
    planners = {"sysu": _sysu, "regdb": _regdb, "llcm": _llcm, "vcm": _vcm, "buptcampus": _buptcampus}
    return planners[layout](rng, train, test, images)


def set_seed(layout: str, set_name: str, seed: int) -> tuple[int, int, int]:
    """The beginning of the seed of every identity and camera of a set, which differs between any two sets."""
    return seed, LAYOUTS.index(layout), SETS.index(set_name)


def cameras(layout: str, set_name: str, seed: int) -> dict[int, Camera]:
    """Camera number -> camera of a set. SYSU's cameras 2 and 3 see the same room."""
    key = set_seed(layout, set_name, seed)
    if layout == "sysu":
        sensors = {n: "nir" if n in SYSU_INFRARED else "visible" for n in SYSU_SCENES}
        scene_seeds = {n: (*key, 2 if n == 3 else n) for n in SYSU_SCENES}
        return {
            n: benchmark_camera((*key, n), sensors[n], scene, scene_seeds[n])
            for n, scene in SYSU_SCENES.items()
        }
    if layout == "regdb":
        sensors = {1: "visible", 2: "thermal"}
        return {n: benchmark_camera((*key, n), sensor, "gate", key) for n, sensor in sensors.items()}
    numbered = dict(enumerate(LLCM_SCENES, 1)) if layout == "llcm" else TRACK_SCENES
    visible = {n: benchmark_camera((*key, n), "visible", scene) for n, scene in numbered.items()}
    infrared = {
        n + 10: benchmark_camera((*key, n), "nir", scene)
        for n, scene in numbered.items()
        if layout != "llcm" or n != 3
    }
    return visible | infrared


def random_counts(rng: Rng, total: int, parts: int, low: int, high: int) -> list[int]:
    """`parts` random integers within [low, high] that sum to `total`. Raises ValueError if there are none."""
    if not low * parts <= total <= high * parts:
        raise ValueError(f"{parts} counts of {low} to {high} cannot sum to {total}")
    counts = rng.integers(low, high + 1, parts)
    while (gap := total - int(counts.sum())) != 0:
        step = 1 if gap > 0 else -1
        free = np.flatnonzero(counts < high if step > 0 else counts > low)
        counts[rng.permutation(free)[: abs(gap)]] += step
    return [int(count) for count in counts]


def _around_mean(rng: Rng, total: int, parts: int) -> list[int]:
    """`parts` random counts that sum to `total`, each about half to one and a half times the mean."""
    return random_counts(rng, total, parts, max(1, total // parts // 2), -(-3 * total // (2 * parts)))


def sysu_presence(rng: Rng, ids: list[int], sizes: dict[int, int]) -> dict[int, list[int]]:
    """Camera -> `sizes[camera]` identities, such that each identity has a visible and an infrared camera.

    The indoor cameras 1 and 2 see the first identities of a random order and camera 6 the last ones; cameras
    4 and 5 miss a few of the first.
    """
    order = [int(i) for i in rng.permutation(ids)]
    missed = len(order) - sizes[4], len(order) - sizes[5]
    return {
        1: order[: sizes[1]],
        2: order[: sizes[2]],
        3: order[: sizes[3]],
        4: order[missed[0] :],
        5: order[: missed[0]] + order[missed[0] + missed[1] :],
        6: order[len(order) - sizes[6] :],
    }


def _scaled(real: dict[int, int], real_total: int, number: int) -> dict[int, int]:
    """Identities per camera of a set of `number` identities in the real proportions, at least one."""
    return {camera: max(1, round(number * count / real_total)) for camera, count in real.items()}


def sysu_cells(
    rng: Rng, train_ids: list[int], test_ids: list[int], images: int | None
) -> tuple[Cells, Cells]:
    """The images of train+val and of test; exactly the counts of SYSU-MM01 if `images` is None."""
    real = {camera: ids for camera, (ids, _) in SYSU_TRAIN.items()}
    train = sysu_presence(rng, train_ids, _scaled(real, 395, len(train_ids)))
    test = sysu_presence(rng, test_ids, _scaled(SYSU_TEST, 96, len(test_ids)))
    if images is None:
        counts = {camera: _around_mean(rng, SYSU_TRAIN[camera][1], len(ids)) for camera, ids in train.items()}
        return _cells(train, counts), _real_test_cells(rng, test)
    train_cells, test_cells = (
        _cells(presence, {c: _around_mean(rng, images * len(ids), len(ids)) for c, ids in presence.items()})
        for presence in (train, test)
    )
    return train_cells, test_cells


def _cells(presence: dict[int, list[int]], counts: dict[int, list[int]]) -> Cells:
    return {(camera, i): n for camera, ids in presence.items() for i, n in zip(ids, counts[camera])}


def _real_test_cells(rng: Rng, presence: dict[int, list[int]]) -> Cells:
    """The counts of SYSU-MM01's test set.

    6,775 visible images, 10 or more per identity and camera; 795 queries of camera 3 and 800 of camera 6 have
    no match in the indoor search.
    """
    visible = [(camera, i) for camera in (1, 2, 4, 5) for i in presence[camera]]
    cells = dict(zip(visible, random_counts(rng, SYSU_TEST_VISIBLE, len(visible), 12, 33)))
    indoor = set(presence[1])
    for camera in SYSU_INFRARED:
        for total, inside in ((SYSU_QUERIES_INDOOR[camera], True), (SYSU_QUERIES_OUTDOOR[camera], False)):
            ids = [i for i in presence[camera] if (i in indoor) == inside]
            cells.update({(camera, i): n for i, n in zip(ids, random_counts(rng, total, len(ids), 15, 20))})
    return cells


def _sysu(rng: Rng, train: int, test: int, images: int | None) -> Plan:
    ids = [int(i) for i in rng.permutation(train + test) + 1]
    train_ids, test_ids = ids[:train], ids[train:]
    val = max(1, round(train * 99 / 395))
    cells = sysu_cells(rng, train_ids, test_ids, images)
    shots = [
        Shot(f"cam{camera}/{i:04d}/{n:04d}.jpg", i, camera, n)
        for part in cells
        for (camera, i), count in part.items()
        for n in range(1, count + 1)
    ]
    lists = {"train_id": train_ids[val:], "val_id": train_ids[:val], "test_id": test_ids, "available_id": ids}
    texts = {f"exp/{name}.txt": _comma_separated(numbers) for name, numbers in lists.items()}
    totals = [
        sum(n for (c, _), n in part.items() if (c in SYSU_INFRARED) == infrared)
        for part in cells
        for infrared in (False, True)
    ]
    return Plan(tuple(sorted(shots, key=lambda shot: shot.path)), texts, _counts(train, test, *totals))


def _comma_separated(identities: list[int]) -> str:
    return ",".join(str(i) for i in sorted(identities)) + "\n"


def _counts(
    train: int, test: int, train_visible: int, train_infrared: int, test_visible: int, test_infrared: int
) -> dict[str, int]:
    return {
        "train_identities": train,
        "train_visible": train_visible,
        "train_infrared": train_infrared,
        "test_identities": test,
        "test_visible": test_visible,
        "test_infrared": test_infrared,
    }


def _regdb(rng: Rng, train: int, test: int, images: int | None) -> Plan:
    assert images is not None  # every set of RegDB has a fixed number
    ids = range(1, train + test + 1)
    folders = {"visible": ("Visible", "v", 1), "thermal": ("Thermal", "t", 2)}
    shots = {
        (name, i): [
            Shot(f"{folder}/{i}/{letter}_{i:04d}_{n:02d}.bmp", i, camera, n) for n in range(1, images + 1)
        ]
        for name, (folder, letter, camera) in folders.items()
        for i in ids
    }
    texts = {}
    for trial in TRIALS:
        order = [int(i) for i in rng.permutation(list(ids))]
        for split, chosen in (("train", sorted(order[:train])), ("test", sorted(order[train:]))):
            for name in folders:
                lines = [
                    f"{shot.path} {label}\n" for label, i in enumerate(chosen) for shot in shots[name, i]
                ]
                texts[f"idx/{split}_{name}_{trial}.txt"] = "".join(lines)
    counts = _counts(train, test, train * images, train * images, test * images, test * images)
    return Plan(tuple(shot for group in shots.values() for shot in group), texts, counts, TRIALS)


def _llcm(rng: Rng, train: int, test: int, images: int | None) -> Plan:
    ids = [int(i) for i in rng.permutation(train + test) + 1]
    shots, lists, totals = [], {}, []
    for split, chosen in (("train", sorted(ids[:train])), ("test", sorted(ids[train:]))):
        seen = {i: sorted(int(c) + 1 for c in rng.permutation(9)[: int(rng.integers(3, 8))]) for i in chosen}
        for infrared, name in ((False, "vis"), (True, "nir")):
            cells = [(i, c) for i in chosen for c in seen[i] if not (infrared and c == 3)]
            total = LLCM_TOTALS[split][infrared] if images is None else images * len(cells)
            folder = name if split == "train" else f"test_{name}"
            part = [
                (label, Shot(f"{folder}/cam{c}/{i:04d}/{n:04d}.jpg", i, c + 10 * infrared, n))
                for (i, c), count in zip(cells, _around_mean(rng, total, len(cells)))
                for label in (chosen.index(i),)
                for n in range(1, count + 1)
            ]
            shots += [shot for _, shot in part]
            totals.append(len(part))
            if split == "train":
                lists[f"idx/train_{name}.txt"] = "".join(f"{shot.path} {label}\n" for label, shot in part)
    lists["idx/test_id.txt"] = _comma_separated(ids[train:])
    return Plan(tuple(shots), lists, _counts(train, test, *totals))


# ------------------------------------------------------------------ sets of tracks

Track = tuple[int, int, int]  # identity, camera, number of the track for these two


def _tracks(rng: Rng, identities: list[int]) -> list[Track]:
    """One or two tracks of each identity in two to four of the six cameras."""
    tracks = []
    for i in identities:
        for camera in sorted(int(c) + 1 for c in rng.permutation(6)[: int(rng.integers(2, 5))]):
            tracks += [(i, camera, n) for n in range(1, int(rng.integers(2, 4)))]
    return tracks


def _track_counts(people: dict[str, int], tracks: dict[str, dict[str, int]], frames: int) -> dict[str, int]:
    """Counts for the manifest: identities, frames and tracks of each split.

    Args:
        people: split -> identities. tracks: split -> modality -> tracks.
    """
    counts = {}
    for split, of_modality in tracks.items():
        counts[f"{split}_identities"] = people[split]
        counts |= {f"{split}_{m}": n * frames for m, n in of_modality.items()}
        counts |= {f"{split}_{m}_tracks": n for m, n in of_modality.items()}
    return counts


def _vcm(rng: Rng, train: int, test: int, images: int | None) -> Plan:
    assert images is not None  # every set of tracks has a fixed number
    shots, texts, tracks = [], {}, {}
    splits = {"train": range(1, train + 1), "test": range(train + 1, train + test + 1)}
    for split, identities in splits.items():
        names: list[str] = []
        rows: list[str] = []
        queries: list[int] = []
        planned = _tracks(rng, list(identities))
        for kind, folder, nir in ((1, "ir", 10), (2, "rgb", 0)):
            for i, camera, number in planned:
                first = len(names) + 1
                for frame in range(images):
                    n = (number - 1) * images + frame + 1  # over the tracks of a camera
                    path = f"{split.capitalize()}/{i:04d}/{folder}/D{camera}/{n}.jpg"
                    shots.append(Shot(path, i, camera + nir, number, frame))
                    names.append(f"{i:04d}M{kind}D{camera}T{number}F{n}.jpg")
                rows.append(f"{kind} {first} {len(names)} {i} {camera}")
                queries += [len(rows)] if kind == 1 else []
        tracks[split] = {m: len(planned) for m in ("visible", "infrared")}
        texts[f"info/{split}_name.txt"] = "".join(f"{name}\n" for name in names)
        texts[f"info/track_{split}_info.txt"] = "".join(f"{row}\n" for row in rows)
        if split == "test":
            texts["info/query_IDX.txt"] = " ".join(map(str, queries)) + "\n"
    return Plan(tuple(shots), texts, _track_counts({"train": train, "test": test}, tracks, images))


def _buptcampus(rng: Rng, train: int, test: int, images: int | None) -> Plan:
    """Both modalities have every track; a test identity's first one is a query, in one of the modalities."""
    assert images is not None  # every set of tracks has a fixed number
    shots: list[Shot] = []
    files: dict[str, dict[str, dict[str, dict[str, list[str]]]]] = {}

    def add(word: str, i: int, camera: int, number: int) -> str:
        """Plan a track; returns its modality, camera and number as the lists name it."""
        name, nir = BUPT_CAMERAS[camera - 1], 10 * (word == "IR")
        paths = [
            f"{i}/{word}/{name}/{i}_{word}_{name}_{number}_{frame + 1:05d}.jpg" for frame in range(images)
        ]
        shots.extend(Shot(f"DATA/{p}", i, camera + nir, number, frame) for frame, p in enumerate(paths))
        files.setdefault(str(i), {}).setdefault(word, {}).setdefault(name, {})[str(number)] = paths
        return f"{i} {word} {name} {number}\n"

    training = _tracks(rng, list(range(1, train + 1)))
    rows: dict[str, list[str]] = {"train": [], "query": [], "gallery": []}
    for track in training:
        rows["train"].append(add("RGB", *track).replace(" RGB ", " RGB/IR "))
        add("IR", *track)
    searched: set[int] = set()
    for track in _tracks(rng, list(range(train + 1, train + test + 1))):
        if track[0] in searched:
            rows["gallery"] += [add(word, *track) for word in ("RGB", "IR")]
        else:  # its other modality is in no list, as in the real set
            rows["query"].append(add(("RGB", "IR")[track[0] % 2], *track))
            searched.add(track[0])
    tracks = {
        "train": {m: len(training) for m in ("visible", "infrared")},
        "test": {
            m: sum(f" {word} " in row for row in rows["query"] + rows["gallery"])
            for m, word in (("visible", "RGB"), ("infrared", "IR"))
        },
    }
    texts = {f"{name}.txt": "".join(lines) for name, lines in rows.items()}
    texts["data_paths.json"] = json.dumps(files)
    return Plan(tuple(shots), texts, _track_counts({"train": train, "test": test}, tracks, images))
