"""Which synthetic images a data set holds: identities, cameras, counts and list files of three raw layouts, without drawing anything.

`plan` is a pure function of layout, set, seed and sizes. Camera numbers are the layout's own; infrared cameras of LLCM add 10.
"""

from dataclasses import dataclass

import numpy as np

from sdcl.runtime.errors import UserError
from sdcl.synthetic.person import BENCHMARK, generator
from sdcl.synthetic.scene import Camera, benchmark_camera

LAYOUTS = ("sysu", "regdb", "llcm")
SETS = ("quick", "medium", "sysu")
TRIALS = tuple(range(1, 11))
SIZES = {  # (training identities, test identities, images per identity and camera); None: the real data set's own counts
    "sysu": {"quick": (40, 16, 6), "medium": (120, 60, 8), "sysu": (395, 96, None)},
    "regdb": {"quick": (24, 24, 10), "medium": (80, 80, 10), "sysu": (206, 206, 10)},
    "llcm": {"quick": (40, 16, 4), "medium": (120, 60, 4), "sysu": (713, 351, None)},
}
SYSU_PLACES = {1: "room", 2: "room", 3: "room", 4: "gate", 5: "garden", 6: "passage"}
SYSU_INFRARED = (3, 6)
# SYSU-MM01's own numbers: identities and images per camera of train+val, identities per camera of test.
SYSU_TRAIN = {1: (194, 4721), 2: (195, 5753), 3: (392, 7909), 4: (382, 5811), 5: (390, 5973), 6: (200, 4000)}
SYSU_TEST = {1: 56, 2: 56, 3: 96, 4: 94, 5: 95, 6: 96}
SYSU_TEST_VISIBLE, SYSU_QUERIES_INDOOR, SYSU_QUERIES_OUTDOOR = 6775, {3: 1088, 6: 1120}, {3: 795, 6: 800}
LLCM_TOTALS = {"train": (16946, 13975), "test": (8680, 7166)}  # visible, near-infrared


@dataclass(frozen=True)
class Shot:
    """One image to render: relative path, identity and camera number, and its number among the person's images of that camera."""

    path: str
    identity: int
    camera: int
    number: int


@dataclass(frozen=True)
class Plan:
    """All images, the list files by relative path, the counts of the manifest and RegDB's trials (empty elsewhere)."""

    shots: tuple[Shot, ...]
    texts: dict[str, str]
    counts: dict[str, int]
    trials: tuple[int, ...] = ()


def plan(layout: str, set_name: str, seed: int, identities: int | None = None, images_per_camera: int | None = None) -> Plan:
    """The images of a set.

    Args:
        identities: training identities instead of the set's own; test identities are then 40 % of them (RegDB: as many).
        images_per_camera: images per identity and camera, on average, instead of the set's own.

    Raises:
        ValueError: unknown layout or set, fewer than 4 identities, or no image.
    """
    if layout not in LAYOUTS or set_name not in SETS:
        raise UserError(f"no set {set_name!r} in layout {layout!r}; layouts are {', '.join(LAYOUTS)}, sets {', '.join(SETS)}")
    if (identities is not None and identities < 4) or (images_per_camera is not None and images_per_camera < 1):
        raise UserError("identities must be at least 4 and images-per-camera at least 1")
    train, test, images = SIZES[layout][set_name]
    if identities is not None:
        train, test = identities, identities if layout == "regdb" else max(2, round(0.4 * identities))
        images = images or SIZES[layout]["medium"][2]
    images = images_per_camera or images
    rng = generator(BENCHMARK, (*set_words(layout, set_name, seed), train, test, images or 0))
    return {"sysu": _sysu, "regdb": _regdb, "llcm": _llcm}[layout](rng, train, test, images)


def set_words(layout: str, set_name: str, seed: int) -> tuple[int, int, int]:
    """The seed words that every person and camera of a set begins with: no two sets share a person."""
    return seed, LAYOUTS.index(layout), SETS.index(set_name)


def cameras(layout: str, set_name: str, seed: int) -> dict[int, Camera]:
    """The cameras of a set by number. SYSU's cameras 2 and 3 look at the same room."""
    words = set_words(layout, set_name, seed)
    if layout == "sysu":
        room = (*words, 2)
        return {
            number: benchmark_camera(
                (*words, number),
                "near" if number in SYSU_INFRARED else "visible",
                place,
                room if number == 3 else (*words, number),
            )
            for number, place in SYSU_PLACES.items()
        }
    if layout == "regdb":
        return {number: benchmark_camera((*words, number), sensor, "gate", words) for number, sensor in ((1, "visible"), (2, "thermal"))}
    places = ("room", "gate", "garden", "passage", "gate", "room", "garden", "passage", "gate")
    return {
        number + 10 * (sensor == "near"): benchmark_camera((*words, number), sensor, places[number - 1], (*words, number))
        for sensor in ("visible", "near")
        for number in range(1, 10)
        if sensor == "visible" or number != 3
    }


def spread(rng: np.random.Generator, total: int, parts: int, low: int, high: int) -> list[int]:
    """`parts` random integers within [low, high] that sum to `total` exactly. ValueError when they cannot."""
    if not low * parts <= total <= high * parts:
        raise UserError(f"{parts} counts of {low} to {high} cannot sum to {total}")
    counts = rng.integers(low, high + 1, parts)
    while (gap := total - int(counts.sum())) != 0:
        step = 1 if gap > 0 else -1
        free = np.flatnonzero(counts < high if step > 0 else counts > low)
        counts[rng.permutation(free)[: abs(gap)]] += step
    return [int(count) for count in counts]


def _around_mean(rng, total: int, parts: int) -> list[int]:
    """Counts of about half to one and a half times the mean, that sum to `total`."""
    return spread(rng, total, parts, max(1, total // parts // 2), -(-3 * total // (2 * parts)))


def sysu_presence(rng, ids: list[int], sizes: dict[int, int]) -> dict[int, list[int]]:
    """The identities seen by each of the six cameras, `sizes[camera]` of them, everyone in a visible and an infrared camera.

    Indoor people (cameras 1 and 2) head the order, those of camera 6 end it; the few that cameras 4 and 5 miss are indoor people."""
    order = [int(i) for i in rng.permutation(ids)]
    missed = len(order) - sizes[4], len(order) - sizes[5]
    return {
        1: order[: sizes[1]], 2: order[: sizes[2]], 3: order[: sizes[3]], 4: order[missed[0] :],
        5: order[: missed[0]] + order[missed[0] + missed[1] :], 6: order[len(order) - sizes[6] :],
    }  # fmt: skip


def _scaled(real: dict[int, int], whole: int, number: int) -> dict[int, int]:
    """Identities per camera for a set of another size, in the real set's proportions; at least one each."""
    return {camera: max(1, round(number * count / whole)) for camera, count in real.items()}


def sysu_cells(rng, train_ids: list[int], test_ids: list[int], images: int | None) -> tuple[dict, dict]:
    """Images per (camera, identity) of train+val and of test; with `images` None exactly SYSU-MM01's own counts."""
    real = {camera: ids for camera, (ids, _) in SYSU_TRAIN.items()}
    train = sysu_presence(rng, train_ids, _scaled(real, 395, len(train_ids)))
    test = sysu_presence(rng, test_ids, _scaled(SYSU_TEST, 96, len(test_ids)))
    if images is None:
        counts = {camera: _around_mean(rng, SYSU_TRAIN[camera][1], len(ids)) for camera, ids in train.items()}
        return _cells(train, counts), _real_test_cells(rng, test)
    return tuple(_cells(who, {c: _around_mean(rng, images * len(ids), len(ids)) for c, ids in who.items()}) for who in (train, test))


def _cells(presence: dict[int, list[int]], counts: dict[int, list[int]]) -> dict[tuple[int, int], int]:
    return {(camera, i): n for camera, ids in presence.items() for i, n in zip(ids, counts[camera])}


def _real_test_cells(rng, presence: dict[int, list[int]]) -> dict[tuple[int, int], int]:
    """6,775 visible images, 10 or more per folder; queries such that 795 of camera 3 and 800 of camera 6 have no indoor match."""
    visible = [(camera, i) for camera in (1, 2, 4, 5) for i in presence[camera]]
    cells = dict(zip(visible, spread(rng, SYSU_TEST_VISIBLE, len(visible), 12, 33)))
    indoor = set(presence[1])
    for camera in SYSU_INFRARED:
        for total, inside in ((SYSU_QUERIES_INDOOR[camera], True), (SYSU_QUERIES_OUTDOOR[camera], False)):
            ids = [i for i in presence[camera] if (i in indoor) == inside]
            cells.update({(camera, i): n for i, n in zip(ids, spread(rng, total, len(ids), 15, 20))})
    return cells


def _sysu(rng, train: int, test: int, images: int | None) -> Plan:
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
    texts = {f"exp/{name}.txt": ",".join(str(i) for i in sorted(numbers)) + "\n" for name, numbers in lists.items()}
    totals = [sum(n for (c, _), n in part.items() if (c in SYSU_INFRARED) == infrared) for part in cells for infrared in (False, True)]
    return Plan(tuple(sorted(shots, key=lambda shot: shot.path)), texts, _counts(train, test, *totals))


def _counts(train: int, test: int, train_visible: int, train_infrared: int, test_visible: int, test_infrared: int) -> dict[str, int]:
    return {
        "train_identities": train, "train_visible": train_visible, "train_infrared": train_infrared,
        "test_identities": test, "test_visible": test_visible, "test_infrared": test_infrared,
    }  # fmt: skip


def _regdb(rng, train: int, test: int, images: int) -> Plan:
    ids = range(1, train + test + 1)
    folders = {"visible": ("Visible", "v", 1), "thermal": ("Thermal", "t", 2)}
    shots = {
        name: {i: [Shot(f"{folder}/{i}/{letter}_{i:04d}_{n:02d}.bmp", i, camera, n) for n in range(1, images + 1)] for i in ids}
        for name, (folder, letter, camera) in folders.items()
    }
    texts = {}
    for trial in TRIALS:
        order = [int(i) for i in rng.permutation(list(ids))]
        for split, chosen in (("train", sorted(order[:train])), ("test", sorted(order[train:]))):
            for name in folders:
                lines = [f"{shot.path} {label}\n" for label, i in enumerate(chosen) for shot in shots[name][i]]
                texts[f"idx/{split}_{name}_{trial}.txt"] = "".join(lines)
    flat = tuple(shot for by_id in shots.values() for i in ids for shot in by_id[i])
    return Plan(flat, texts, _counts(train, test, train * images, train * images, test * images, test * images), TRIALS)


def _llcm(rng, train: int, test: int, images: int | None) -> Plan:
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
    lists["idx/test_id.txt"] = ",".join(str(i) for i in sorted(ids[train:])) + "\n"
    return Plan(tuple(shots), lists, _counts(train, test, *totals))
