"""CMC, mAP and mINP of a ranked gallery, as the protocols of the data sets count them.

    similarity (Q, G) -> stable ranking -> drop removed images -> CMC, AP, INP per query -> mean over valid
    queries

A query is valid if the gallery still holds an image of its identity after removal; the others are left out of
every mean. AP = mean over the matches of (k-th match) / (its rank). INP = (number of matches) / (rank of the
last match) (AGW, Ye et al., TPAMI 2022, https://arxiv.org/abs/2001.04193). Both count images. The CMC counts
images (RegDB) or distinct identities in order of first appearance (SYSU-MM01, LLCM). Equal similarities keep
gallery order: the lower gallery row ranks first.

Ranking a chunk of queries exists as compiled loops for the CPU (`ranking_cpu.py`) and in PyTorch for the GPU
(`ranking_gpu.py`).

Legend: Q queries, G gallery images, q queries of one chunk, R ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcl.datasets.base import RemovalRule
from sdcl.evaluation import ranking_cpu, ranking_gpu
from sdcl.runtime.errors import DataError

CHUNK_ELEMENTS = 2**22  # entries of the similarity ranked at once, in about ten int64 arrays of this size


@dataclass(frozen=True, eq=False)
class Metrics:
    """Fractions in [0, 1].

    Args:
        cmc: float64 (R,); entry r is the fraction of valid queries matched within the first r + 1 ranks.
        mAP: mean average precision.
        mINP: mean inverse negative penalty.
        num_valid: queries with a match left in the gallery, over which the means run.
        num_queries: all queries.
    """

    cmc: np.ndarray
    mAP: float
    mINP: float
    num_valid: int
    num_queries: int

    def rank(self, r: int) -> float:
        """Rank-r accuracy. Raises ValueError if the CMC is shorter."""
        if not 1 <= r <= len(self.cmc):
            raise ValueError(f"the CMC holds ranks 1..{len(self.cmc)}, not {r}")
        return float(self.cmc[r - 1])

    @property
    def r1(self) -> float:
        """Rank-1 accuracy."""
        return self.rank(1)

    @property
    def r5(self) -> float:
        """Rank-5 accuracy."""
        return self.rank(5)

    @property
    def r10(self) -> float:
        """Rank-10 accuracy."""
        return self.rank(10)

    @property
    def r20(self) -> float:
        """Rank-20 accuracy."""
        return self.rank(20)


@dataclass(frozen=True, eq=False)
class Products:
    """Dot products of rows, a (Q, G) matrix that is never held as a whole.

    Args:
        query: (Q, D). gallery: (G, D), on the same device.
    """

    query: Tensor
    gallery: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.query), len(self.gallery)

    @property
    def device(self) -> torch.device:
        return self.query.device


Integers = Sequence[int] | np.ndarray | Tensor


def rank_metrics(
    similarity: Tensor | np.ndarray | Products,
    query_ids: Integers,
    gallery_ids: Integers,
    query_cameras: Integers | None = None,
    gallery_cameras: Integers | None = None,
    *,
    removed: RemovalRule | None = None,
    distinct_identities: bool,
    max_rank: int = 20,
) -> Metrics:
    """Metrics of a gallery ranked by descending similarity, computed on the device of `similarity`.

    Args:
        similarity: (Q, G), larger is nearer. Ties keep gallery order.
        query_ids, gallery_ids: int (Q,), (G,), identities.
        query_cameras, gallery_cameras: int (Q,), (G,); needed by `removed` only.
        removed: gallery images that a query does not see, e.g. `same_room`; None removes nothing.
        distinct_identities: True for a CMC over distinct identities (SYSU-MM01, LLCM), False over images
            (RegDB).
        max_rank: R, the length of the CMC. If fewer images or identities remain, its last value is repeated.

    Raises:
        ValueError: shapes that do not fit, a similarity that is not finite, or a removal rule without
            cameras.
        DataError: no valid query at all.
    """
    if not isinstance(similarity, Products):
        similarity = torch.as_tensor(similarity)
        similarity = similarity if similarity.is_floating_point() else similarity.double()
    if len(similarity.shape) != 2:
        raise ValueError(f"similarity must be a (Q, G) matrix, got shape {tuple(similarity.shape)}")
    num_queries, num_gallery = similarity.shape
    query_ids = _column("query_ids", query_ids, num_queries, similarity.device)
    gallery_ids = _column("gallery_ids", gallery_ids, num_gallery, similarity.device)
    if removed is not None:
        if query_cameras is None or gallery_cameras is None:
            raise ValueError("a removal rule needs query_cameras and gallery_cameras")
        of_query = _column("query_cameras", query_cameras, num_queries, similarity.device)
        of_gallery = _column("gallery_cameras", gallery_cameras, num_gallery, similarity.device)
    identity_index = torch.unique(gallery_ids, return_inverse=True)[1] if distinct_identities else None
    kernels = ranking_cpu if similarity.device.type == "cpu" else ranking_gpu

    chunks = []
    step = max(1, CHUNK_ELEMENTS // max(1, num_gallery))
    for part, values in _chunks_of(similarity, step):  # (q, G)
        if not _finite(values):
            raise ValueError(f"similarities of queries {part.start} to {part.stop - 1} are not finite")
        ids, keep = query_ids[part], None
        if removed is not None:
            keep = ~removed(ids[:, None], of_query[part, None], gallery_ids[None], of_gallery[None])  # (q, G)
        chunks.append(kernels.query_scores(values, ids, gallery_ids, keep, identity_index))
    if not any(len(position) for position, _, _ in chunks):
        raise DataError(
            f"none of the {num_queries} queries has a match among {num_gallery} gallery images; check that "
            "the identities of both occur in the other"
        )
    position, precision, penalty = (torch.cat(column) for column in zip(*chunks, strict=True))
    hits = torch.bincount(position - 1, minlength=max_rank)[:max_rank].cumsum(0)
    cmc = hits.double().cpu().numpy() / len(position)
    return Metrics(cmc, precision.mean().item(), penalty.mean().item(), len(position), num_queries)


def _chunks_of(similarity: Tensor | Products, step: int) -> Iterator[tuple[slice, Tensor]]:
    """Up to `step` rows of the similarity at a time; a chunk of products is
    valid until the next one is read.
    """
    count, gallery = similarity.shape
    parts = [slice(start, min(start + step, count)) for start in range(0, count if gallery else 0, step)]
    if isinstance(similarity, Products):
        # one buffer: chunks that are freed were seen to stay with the process, 1 GB of 48 chunks
        buffer = similarity.query.new_empty(min(step, count), gallery)
        for part in parts:
            query = similarity.query[part]
            yield part, torch.mm(query, similarity.gallery.T, out=buffer[: len(query)])
    else:
        yield from ((part, similarity[part]) for part in parts)


def average_precision(similarity: np.ndarray, match: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Average precision of each query, NaN where the gallery holds no match.

    Args:
        similarity: float (Q, G), finite. match: bool (Q, G), the image shows the identity of the query.
        keep: bool (Q, G), the query sees the image.

    Returns:
        float64 (Q,).
    """
    values, seen = torch.as_tensor(similarity), torch.as_tensor(keep)
    matched = torch.as_tensor(match) & seen
    result = np.full(len(values), np.nan)
    scores = ranking_gpu.match_scores(values, matched, seen, None)
    result[matched.any(1).cpu().numpy()] = scores[1].cpu().numpy()
    return result


def mean(metrics: Sequence[Metrics]) -> Metrics:
    """Mean of draws or trials, entry by entry; query counts are rounded. Raises ValueError for none."""
    if not metrics:
        raise ValueError("no metrics to average")
    return Metrics(
        cmc=np.mean([m.cmc for m in metrics], axis=0),
        mAP=float(np.mean([m.mAP for m in metrics])),
        mINP=float(np.mean([m.mINP for m in metrics])),
        num_valid=round(float(np.mean([m.num_valid for m in metrics]))),
        num_queries=round(float(np.mean([m.num_queries for m in metrics]))),
    )


def _finite(similarity: Tensor) -> bool:
    """Whether all entries are finite, in one pass without (Q, G) temporaries: the extremes carry NaN."""
    return similarity.numel() == 0 or bool(torch.isfinite(torch.stack(similarity.aminmax())).all())


def _column(name: str, values: Integers, length: int, device: torch.device) -> Tensor:
    column = torch.as_tensor(values, device=device)
    if column.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {tuple(column.shape)}")
    return column
