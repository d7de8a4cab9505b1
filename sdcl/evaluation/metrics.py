"""CMC, mAP and mINP of a ranked gallery, as the data sets' protocols count them.

    similarity (Q, G) -> rank (stable, best first) -> drop removed images -> CMC, AP, INP per query -> mean over valid queries

A query is valid if the gallery still holds an image of its identity after removal; the others count nowhere.
AP = mean over the matches of (k-th match) / (its rank). INP = (number of matches) / (rank of the last match) (AGW, Ye et al.,
TPAMI 2022). Both count images. The CMC counts images (RegDB) or distinct identities in order of first appearance (SYSU-MM01, LLCM).
Equal similarities keep gallery order: the lower gallery row ranks first.

Legend: Q queries, G gallery images, q queries of one chunk, P gallery identities, R ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcl.datasets.base import RemovalRule, same_identity_and_camera, same_room  # noqa: F401  (the rules stand there, once)
from sdcl.evaluation import ranking_cpu
from sdcl.runtime.errors import DataError

CHUNK_ELEMENTS = 2**22  # entries of the similarity ranked at once; about ten arrays of this many int64 are alive


def other_identity_and_camera(query_ids: Tensor, query_cameras: Tensor, gallery_ids: Tensor, gallery_cameras: Tensor) -> Tensor:
    """What the released single-modality evaluator removes under its RegDB switch; kept to reproduce its numbers only."""
    return (query_ids != gallery_ids) & (query_cameras != gallery_cameras)


@dataclass(frozen=True, eq=False)
class Metrics:
    """Fractions in [0, 1].

    Args:
        cmc: (R,) float64; entry r is the fraction of valid queries matched within the first r + 1 ranks.
        mAP: mean average precision.
        mINP: mean inverse negative penalty.
        num_valid: queries with a match left in the gallery; what the means run over.
        num_queries: all queries.
    """

    cmc: np.ndarray
    mAP: float
    mINP: float
    num_valid: int
    num_queries: int

    def rank(self, r: int) -> float:
        """Rank-r accuracy; ValueError if the CMC was not computed that far."""
        if not 1 <= r <= len(self.cmc):
            raise ValueError(f"the CMC holds ranks 1..{len(self.cmc)}, not {r}")
        return float(self.cmc[r - 1])

    @property
    def r1(self) -> float:
        return self.rank(1)

    @property
    def r5(self) -> float:
        return self.rank(5)

    @property
    def r10(self) -> float:
        return self.rank(10)

    @property
    def r20(self) -> float:
        return self.rank(20)


def rank_metrics(
    similarity: Tensor | np.ndarray,
    query_ids: Sequence[int] | np.ndarray | Tensor,
    gallery_ids: Sequence[int] | np.ndarray | Tensor,
    query_cameras: Sequence[int] | np.ndarray | Tensor | None = None,
    gallery_cameras: Sequence[int] | np.ndarray | Tensor | None = None,
    *,
    removed: RemovalRule | None = None,
    distinct_identities: bool,
    max_rank: int = 20,
) -> Metrics:
    """Metrics of a gallery ranked by descending similarity; the work is done on the device of `similarity`,
    on a host in compiled loops (`host.py`).

    Args:
        similarity: (Q, G), larger is nearer. Ties keep gallery order.
        query_ids, gallery_ids: (Q,), (G,) identities.
        query_cameras, gallery_cameras: (Q,), (G,); needed by `removed` only.
        removed: which gallery images a query does not see, e.g. `same_room`; None removes nothing.
        distinct_identities: True for a CMC over distinct identities (SYSU-MM01, LLCM), False over images (RegDB).
        max_rank: R, the length of the CMC. If fewer images or identities remain, its last value is repeated.

    Raises:
        ValueError: shapes that do not fit, a similarity that is not finite, a rule without cameras, or no valid query at all.
    """
    similarity = torch.as_tensor(similarity)
    similarity = similarity if similarity.is_floating_point() else similarity.double()
    if similarity.ndim != 2 or not _finite(similarity):
        raise ValueError(f"similarity must be a finite (Q, G) matrix, got shape {tuple(similarity.shape)}")
    num_queries, num_gallery = similarity.shape
    query_ids = _column("query_ids", query_ids, num_queries, similarity.device)
    gallery_ids = _column("gallery_ids", gallery_ids, num_gallery, similarity.device)
    if removed is not None:
        if query_cameras is None or gallery_cameras is None:
            raise ValueError("a removal rule needs query_cameras and gallery_cameras")
        query_cameras = _column("query_cameras", query_cameras, num_queries, similarity.device)
        gallery_cameras = _column("gallery_cameras", gallery_cameras, num_gallery, similarity.device)
    identity_of = torch.unique(gallery_ids, return_inverse=True)[1] if distinct_identities else None

    chunks = []
    step = max(1, CHUNK_ELEMENTS // max(1, num_gallery))
    for start in range(0, num_queries if num_gallery else 0, step):
        part = slice(start, start + step)
        ids = query_ids[part, None]  # (q, 1)
        keep = None
        if removed is not None:
            keep = ~removed(ids, query_cameras[part, None], gallery_ids[None], gallery_cameras[None])  # (q, G)
        if similarity.device.type == "cpu":
            chunks.append(_host_scores(similarity[part], ids[:, 0], gallery_ids, keep, identity_of))
        else:
            chunks.append(device_scores(similarity[part], ids == gallery_ids[None], keep, identity_of))
    if not any(len(position) for position, _, _ in chunks):
        raise DataError(f"none of the {num_queries} queries has a match among the {num_gallery} gallery images")
    position, precision, penalty = (torch.cat(column) for column in zip(*chunks, strict=True))
    hits = torch.bincount(position - 1, minlength=max_rank)[:max_rank].cumsum(0)
    cmc = hits.double().cpu().numpy() / len(position)
    return Metrics(cmc, precision.mean().item(), penalty.mean().item(), len(position), num_queries)


def mean(metrics: Sequence[Metrics]) -> Metrics:
    """Arithmetic mean, entry by entry, of several draws or trials (query counts are rounded). ValueError if there are none."""
    if not metrics:
        raise ValueError("no metrics to average")
    return Metrics(
        cmc=np.mean([m.cmc for m in metrics], axis=0),
        mAP=float(np.mean([m.mAP for m in metrics])),
        mINP=float(np.mean([m.mINP for m in metrics])),
        num_valid=round(float(np.mean([m.num_valid for m in metrics]))),
        num_queries=round(float(np.mean([m.num_queries for m in metrics]))),
    )


def _host_scores(similarity: Tensor, query_ids: Tensor, gallery_ids: Tensor, keep: Tensor | None, identity_of: Tensor | None) -> tuple:
    """`device_scores` in compiled loops."""
    values = similarity if similarity.dtype == torch.float64 else similarity.float()
    keep = torch.zeros(0, 0, dtype=torch.bool) if keep is None else keep.expand(len(values), -1)
    identity_of = torch.zeros(0, dtype=torch.long) if identity_of is None else identity_of
    columns = (values, query_ids, gallery_ids, keep, identity_of)
    return tuple(map(torch.from_numpy, ranking_cpu.query_scores(*(c.contiguous().numpy() for c in columns))))


def device_scores(similarity: Tensor, same: Tensor, keep: Tensor | None, identity_of: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Of each valid query of a chunk: CMC position of its first match (from 1), AP, INP.

    Only the ranks of the matches are wanted, so values are sorted without their gallery rows and the matches looked up among
    them. Where a match is tied with another image the gallery order decides: those queries are ranked one image after another.

    Args:
        similarity, same, keep: (q, G) similarity, whether the identity is the query's, whether the image stays (None: all do).
        identity_of: (G,) in 0..P-1 for a CMC over distinct identities, or None.
    """
    if keep is not None:
        similarity, same = similarity.masked_fill(~keep, -torch.inf), same & keep  # behind all others, and no match
    matches = same.sum(1)  # (q,)
    valid = matches > 0
    if not valid.all():
        similarity, same, matches = similarity[valid], same[valid], matches[valid]
    if not len(matches):
        return matches, matches.double(), matches.double()
    value = _match_values(similarity, same, matches)  # (v, m) best first
    gallery, count = similarity.shape[1], torch.arange(1, value.shape[1] + 1, device=value.device)  # count: (m,)
    ascending = similarity.sort(dim=1).values
    rank = 1 + gallery - torch.searchsorted(ascending, value, right=True)  # (v, m)
    last_rank = gallery - torch.searchsorted(ascending, value)  # if all its equals came before it
    real = count <= matches[:, None]
    precision = (count.double() / rank * real).sum(1) / matches
    penalty = matches.double() / rank.gather(1, matches[:, None] - 1)[:, 0]
    position = rank[:, 0].clone()
    if identity_of is not None:
        best = similarity.new_full((len(rank), int(identity_of.max()) + 1), -torch.inf)  # (v, P)
        best.scatter_reduce_(1, identity_of.expand_as(similarity), similarity, "amax")
        position = 1 + (best > value[:, :1]).sum(1)  # identities seen before it
    tied = ((last_rank > rank) & real).any(1)
    if tied.any():
        position[tied], precision[tied], penalty[tied] = _ordered_scores(similarity[tied], same[tied], identity_of)
    return position, precision, penalty


def _finite(similarity: Tensor) -> bool:
    """Whether no entry is NaN or infinite, in one pass without Q x G temporaries: the extremes carry either."""
    return similarity.numel() == 0 or bool(torch.isfinite(torch.stack(similarity.aminmax())).all())


def _match_values(similarity: Tensor, same: Tensor, matches: Tensor) -> Tensor:
    """Similarities of each query's matches, best first, filled up with -inf. -> (v, m), m the most matches of any query."""
    row, column = same.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (matches.cumsum(0) - matches)[row]
    value = similarity.new_full((len(matches), int(matches.max())), -torch.inf)
    value[row, place] = similarity[row, column]
    return value.sort(dim=1, descending=True).values


def _ordered_scores(similarity: Tensor, match: Tensor, identity_of: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """`device_scores` of valid queries from the whole stable order, removed images (-inf) at its end."""
    order = similarity.argsort(dim=1, descending=True, stable=True)  # (v, G) gallery rows, best first
    match = match.gather(1, order)
    matches = match.sum(1)  # (v,)
    never = order.shape[1] + 1  # a rank behind all others
    rank = torch.arange(1, never, device=order.device).expand_as(order)  # (v, G) from 1
    precision = (match.cumsum(1).double() / rank * match).sum(1) / matches
    penalty = matches.double() / (rank * match).amax(1)
    position = torch.where(match, rank, never).amin(1)  # of the first match, over images
    if identity_of is not None:
        first = rank.new_full((len(rank), int(identity_of.max()) + 1), never)  # (v, P) rank of each identity's best image
        first.scatter_reduce_(1, identity_of[order], rank, "amin")
        position = 1 + (first < position[:, None]).sum(1)  # identities seen before it
    return position, precision, penalty


def _column(name: str, values: Sequence[int] | np.ndarray | Tensor, length: int, device: torch.device) -> Tensor:
    column = torch.as_tensor(values, device=device)
    if column.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {tuple(column.shape)}")
    return column
