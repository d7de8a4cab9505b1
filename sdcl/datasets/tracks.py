"""Sets of tracks: which frames are images, and the protocols that compare tracks.

A track is a sequence of frames of one person who walks past one camera. One frame in N of each is an image of
the data set (`PublishedSource.every`), so that every method trains on tracks as it does on images. A track is
no identity: methods get the cameras of their images, as of any data set.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sdcl.datasets.base import Draw, Protocol, RemovalRule
from sdcl.datasets.sample import MODALITIES, NO_TRACK, Sample, Split, in_order


def one_in(every: int) -> str:
    """How frames are chosen, for people: "every frame", "one frame in 8"."""
    return "every frame" if every == 1 else f"one frame in {every}"


def images_of(frames: Split, every: int, split: str) -> tuple[Split, list[str]]:
    """The images of a split, and a sentence for each modality of which some files are not there.

    Args:
        frames: all frames of the split's tracks, those of a track in their order.
        every: the first of each `every` frames of a track is an image.
        split: "train" or "test", for the sentences.
    """
    images: Split = {}
    absent: list[str] = []
    for m in MODALITIES:
        chosen = every_nth(frames[m], every)
        images[m] = in_order(s for s in chosen if os.path.isfile(s.path))
        if len(images[m]) < len(chosen):
            first = next(s for s in chosen if not os.path.isfile(s.path))
            absent.append(
                f"{len(chosen) - len(images[m])} of {len(chosen)} {split} {m} frames are not there, such as "
                f"{first.path} of track {first.track}"
            )
    return images, absent


def every_nth(frames: Sequence[Sample], every: int) -> list[Sample]:
    """The frames 0, `every`, 2 * `every`, ... of each track, in their order."""
    position: dict[int, int] = defaultdict(int)  # track -> frames so far
    chosen = []
    for frame in frames:
        if position[frame.track] % every == 0:
            chosen.append(frame)
        position[frame.track] += 1
    return chosen


def track_counts(samples: Split, split: str) -> dict[str, int]:
    """Numbers of tracks of each modality, as "train_visible_tracks"; empty for a set of images."""
    tracks = {m: {s.track for s in samples[m]} - {NO_TRACK} for m in MODALITIES}
    return {f"{split}_{m}_tracks": len(tracks[m]) for m in MODALITIES} if any(tracks.values()) else {}


def track_protocols(
    title: str, test: Split, *, removed: RemovalRule | None, listed_queries: bool, note: str
) -> list[Protocol]:
    """Tracks against tracks in both directions, and the same with each frame as an image of its own.

    The CMC counts tracks, or images.

    Args:
        title: of the data set. test: test images, each with its track.
        listed_queries: tracks that are listed as queries search the others; else all tracks of one modality
            search all of the other.
        note: what the report says of the gallery.
    """
    tracks = {m: np.unique([s.track for s in test[m]], return_inverse=True)[1] for m in MODALITIES}  # (N,)
    by_image = {m: np.array([s.query for s in test[m]], bool) for m in MODALITIES}  # (N,)
    by_track = {m: by_image[m][np.unique(tracks[m], return_index=True)[1]] for m in MODALITIES}  # (T,)
    protocols = []
    for query, gallery in (MODALITIES[::-1], MODALITIES):
        for name, listed in (("tracks", by_track), ("single frames", by_image)):
            if listed_queries:
                draw = Draw(np.flatnonzero(listed[query]), np.flatnonzero(~listed[gallery]))
            else:
                draw = Draw(np.arange(len(listed[query])), np.arange(len(listed[gallery])))
            protocols.append(
                Protocol(
                    f"{title} {name}",
                    f"{query} to {gallery}",
                    query=query,
                    gallery=gallery,
                    removed=removed,
                    distinct_identities=False,
                    draws=(draw,),
                    tracks=tracks if name == "tracks" else None,
                    note=f"{note} A track is shown by its middle frame.",
                )
            )
    return protocols
