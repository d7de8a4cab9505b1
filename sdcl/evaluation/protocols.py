"""The evaluation protocols: which images are query and gallery, how often the gallery is drawn, what is averaged.

SYSU-MM01 (Wu et al., ICCV 2017): infrared queries, visible gallery; all-search (cameras 1, 2, 4, 5) and indoor-search (1, 2);
one random image per identity and camera (or several: multi-shot); camera-3 queries do not see camera 2; CMC over distinct
identities; mean of ten draws of the gallery. Every image is embedded once, the draws only select rows.
RegDB (Nguyen et al., Sensors 2017): all test images of one modality against all of the other, in both directions; a model is
trained for each of ten splits and `mean_results` averages them.
LLCM (Zhang and Wang, CVPR 2023): all test images of one modality query one random image per identity and camera of the other, in both
directions; a query does not see its identity in its own camera; CMC over distinct identities; mean of ten draws. The released test
program, asked for visible to infrared, swaps the two: its queries are the drawn infrared images, its gallery all visible ones. Papers
report either as "visible to infrared", so both are computed, and their names say which is which.
One's own data: as RegDB, every test image of one modality against all of the other, in both directions.

`features` and `samples` are dicts keyed by modality: unit rows (N, D) float32 and the N test samples they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcl.datasets import llcm
from sdcl.datasets.sample import MODALITIES, Sample
from sdcl.evaluation.metrics import Metrics, RemovalRule, mean, rank_metrics, same_identity_and_camera, same_room
from sdcl.evaluation.rerank import Rerank
from sdcl.evaluation.rerank import rerank as reranked

Features = Mapping[str, Tensor | np.ndarray]
Samples = Mapping[str, Sequence[Sample]]

# LLCM: what is drawn, in the protocol's name and as a side of the comparison; query and gallery modality.
LLCM_ROWS = (
    ("drawn gallery", "gallery", "visible", "infrared"),
    ("drawn gallery", "gallery", "infrared", "visible"),
    ("drawn queries (visible to infrared of the released code)", "query", "infrared", "visible"),
)


@dataclass(frozen=True, eq=False)
class Result:
    """One row of a results table.

    Args:
        protocol: data set, search mode, shots, and where the gallery draws come from.
        direction: "<query modality> to <gallery modality>".
        metrics: mean over `per_draw`.
        per_draw: one per draw (SYSU-MM01, LLCM) or per trial (RegDB); a single one for own data.
        gallery_size: images in the gallery.
    """

    protocol: str
    direction: str
    metrics: Metrics
    per_draw: list[Metrics]
    gallery_size: int


def evaluate(dataset: str, features: Features, samples: Samples, **settings: Any) -> list[Result]:
    """`evaluate_sysu(..., **settings)` for "sysu", `evaluate_llcm` for "llcm"; those for "regdb" and "own" know `rerank` only.

    With `rerank`, a `Rerank`, each gallery is re-ranked and the protocol's name says so.

    Raises:
        ValueError: another data set, or what the protocol raises.
    """
    if dataset == "sysu":
        return evaluate_sysu(features, samples, **settings)
    if dataset == "regdb":
        return evaluate_regdb(features, samples, rerank=settings.get("rerank"))
    if dataset == "llcm":
        return evaluate_llcm(features, samples, **settings)
    if dataset == "own":
        return evaluate_own(features, samples, rerank=settings.get("rerank"))
    raise ValueError(f"no evaluation protocol for data set {dataset!r}; there are 'sysu', 'regdb', 'llcm' and 'own'")


def evaluate_sysu(
    features: Features,
    samples: Samples,
    *,
    modes: Sequence[str] = ("all", "indoor"),
    shots: Sequence[int] = (1,),
    draws: int = 10,
    permutations: Any = None,
    rerank: Rerank | None = None,
) -> list[Result]:
    """SYSU-MM01, one result per mode and number of shots.

    Args:
        features: unit rows of all test images of each modality, (Nv, D) and (Ni, D).
        samples: the test samples in the same order.
        modes: of "all", "indoor".
        shots: images per identity and camera in the gallery; 1 is single-shot, 10 the usual multi-shot.
        draws: trials 0..draws-1 are averaged. ADCA, GUR and SDCL report 10.
        permutations: the official permutations (rand_perm_cam), in the form that `sdcl.datasets.sysu.draw_gallery` takes, or None
            for the draws seeded with the trial number that the Python evaluators use. The two give slightly different numbers.
        rerank: re-rank each drawn gallery with these numbers, before removed images are dropped; None ranks by cosine.

    Raises:
        ValueError: features that do not fit the samples or are not unit rows, no draw, or a gallery without any match.
    """
    from sdcl.datasets.sysu import draw_gallery  # the only protocol that needs it

    _require_draws(draws)
    visible, infrared = (_unit_rows(features, samples, modality) for modality in ("visible", "infrared"))
    results = []
    for mode in modes:
        for shot in shots:
            per_draw = []
            for trial in range(draws):
                rows = draw_gallery(samples["visible"], trial, mode=mode, shots=shot, permutation=permutations)
                gallery = [samples["visible"][row] for row in rows]
                per_draw.append(_match(infrared, samples["infrared"], visible[rows], gallery, same_room, distinct=True, rerank=rerank))
            protocol = _sysu_name(mode, shot, draws, official=permutations is not None) + _rerank_name(rerank)
            results.append(Result(protocol, "infrared to visible", mean(per_draw), per_draw, len(rows)))
    return results


def evaluate_regdb(features: Features, samples: Samples, *, rerank: Rerank | None = None) -> list[Result]:
    """RegDB, one trial. Raises as `evaluate_sysu`."""
    return _whole_galleries("RegDB", {"visible": "visible", "infrared": "thermal"}, features, samples, rerank)


def evaluate_own(features: Features, samples: Samples, *, rerank: Rerank | None = None) -> list[Result]:
    """One's own data; a query whose person the other modality does not show counts nowhere. Raises as `evaluate_sysu`."""
    return _whole_galleries("own data, all images against all of the other modality", {m: m for m in MODALITIES}, features, samples, rerank)


def _whole_galleries(name: str, words: Mapping[str, str], features: Features, samples: Samples, rerank: Rerank | None) -> list[Result]:
    """All images of a modality against all of the other, both directions: nothing is drawn, nothing removed, plain CMC over images.

    Args:
        words: modality -> what the direction calls it.
    """
    rows = {modality: _unit_rows(features, samples, modality) for modality in MODALITIES}
    results = []
    for query, gallery in (MODALITIES, MODALITIES[::-1]):
        metrics = _match(rows[query], samples[query], rows[gallery], samples[gallery], None, distinct=False, rerank=rerank)
        direction = f"{words[query]} to {words[gallery]}"
        results.append(Result(name + _rerank_name(rerank), direction, metrics, [metrics], len(samples[gallery])))
    return results


def evaluate_llcm(features: Features, samples: Samples, *, draws: int = 10, rerank: Rerank | None = None) -> list[Result]:
    """LLCM, one result per row of `LLCM_ROWS`: both directions with a drawn gallery, and the released code's drawn queries.

    Args:
        draws: trials 0..draws-1 are averaged; the released code averages 10.

    Raises:
        ValueError: as `evaluate_sysu`.
    """
    _require_draws(draws)
    rows = {modality: _unit_rows(features, samples, modality) for modality in ("visible", "infrared")}
    results = []
    for words, drawn, query, gallery in LLCM_ROWS:
        modality = {"query": query, "gallery": gallery}
        chosen = {side: list(range(len(rows[m]))) for side, m in modality.items()}
        per_draw = []
        for trial in range(draws):
            chosen[drawn] = llcm.draw(samples[modality[drawn]], trial)
            features_of = {side: rows[m][chosen[side]] for side, m in modality.items()}
            samples_of = {side: [samples[m][row] for row in chosen[side]] for side, m in modality.items()}
            per_draw.append(
                _match(
                    features_of["query"], samples_of["query"], features_of["gallery"], samples_of["gallery"],
                    same_identity_and_camera, distinct=True, rerank=rerank,
                )
            )  # fmt: skip
        name = f"LLCM {words}, {draws} seeded draw{'s' if draws > 1 else ''}{_rerank_name(rerank)}"
        results.append(Result(name, f"{query} to {gallery}", mean(per_draw), per_draw, len(chosen["gallery"])))
    return results


def mean_results(trials: Sequence[Sequence[Result]]) -> list[Result]:
    """Row-wise mean over separately trained models, e.g. RegDB's ten trials; `per_draw` keeps each trial's own mean.

    Raises:
        ValueError: no trials, or trials whose rows are not the same protocols and directions in the same order.
    """
    if not trials:
        raise ValueError("no trials to average")
    headings = [[(result.protocol, result.direction) for result in trial] for trial in trials]
    if any(heading != headings[0] for heading in headings):
        raise ValueError("trials hold different protocols or directions")
    means = []
    for rows in zip(*trials, strict=True):
        per_trial = [row.metrics for row in rows]
        size = round(float(np.mean([row.gallery_size for row in rows])))
        name = f"{rows[0].protocol}, mean of {len(rows)} trial{'s' if len(rows) > 1 else ''}"
        means.append(Result(name, rows[0].direction, mean(per_trial), per_trial, size))
    return means


def _require_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"at least one gallery draw is needed, got {draws}")


def _match(
    query: Tensor,
    query_samples: Sequence[Sample],
    gallery: Tensor,
    gallery_samples: Sequence[Sample],
    removed: RemovalRule | None,
    *,
    distinct: bool,
    rerank: Rerank | None,
) -> Metrics:
    """Metrics of query (Q, D) against gallery (G, D) by cosine similarity, or by re-ranked distance."""
    # float64 products: TF32 and autocast, which a training run may have switched on, would reorder near neighbours
    return rank_metrics(
        -reranked(query, gallery, rerank) if rerank else query.double() @ gallery.double().T,  # (Q, G)
        [sample.identity for sample in query_samples],
        [sample.identity for sample in gallery_samples],
        [sample.camera for sample in query_samples],
        [sample.camera for sample in gallery_samples],
        removed=removed,
        distinct_identities=distinct,
    )


def _rerank_name(rerank: Rerank | None) -> str:
    return f", {rerank.title}" if rerank else ""


def _unit_rows(features: Features, samples: Samples, modality: str) -> Tensor:
    rows = torch.as_tensor(features[modality])
    if rows.ndim != 2 or len(rows) != len(samples[modality]):
        raise ValueError(f"{len(samples[modality])} {modality} samples need as many rows of features, got {tuple(rows.shape)}")
    if not ((rows.norm(dim=1) - 1).abs() < 1e-2).all():
        raise ValueError(f"{modality} features must be finite unit rows")
    return rows


def _sysu_name(mode: str, shot: int, draws: int, official: bool) -> str:
    shots = "single-shot" if shot == 1 else f"{shot}-shot"
    source = "official rand_perm_cam" if official else "seeded"
    return f"SYSU-MM01 {mode}-search {shots}, {draws} {source} draw{'s' if draws > 1 else ''}"
