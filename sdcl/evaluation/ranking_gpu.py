"""Scores of queries against a ranked gallery in PyTorch, for similarities on a GPU; see also ranking_cpu.py.

Legend: q queries of a chunk, v of them valid, G gallery images, P gallery identities, m the most matches of a
query.
"""

from __future__ import annotations

import torch
from torch import Tensor

Scores = tuple[Tensor, Tensor, Tensor]


def query_scores(
    similarity: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    keep: Tensor | None,
    identity_index: Tensor | None,
) -> Scores:
    """Scores of the valid queries of a chunk; equal similarities keep gallery order.

    Args:
        similarity: float (q, G), finite. query_ids, gallery_ids: (q,), (G,).
        keep: bool (q, G), whether a query sees an image; None: all of them.
        identity_index: int64 (G,) in 0..P-1 for a CMC over distinct identities; None: over images.

    Returns:
        CMC position of the first match, from 1, int64 (v,); AP and INP, float64 (v,).
    """
    return match_scores(similarity, query_ids[:, None] == gallery_ids[None], keep, identity_index)


def match_scores(
    similarity: Tensor, match: Tensor, keep: Tensor | None, identity_index: Tensor | None
) -> Scores:
    """`query_scores` from match, bool (q, G), whether an image shows the identity of the query.

    Only the ranks of the matches are needed, so values are sorted without their gallery rows and the matches
    looked up among them. Where a match is tied with another image the gallery order decides: those queries
    are ranked image by image.
    """
    if keep is not None:
        similarity = similarity.masked_fill(~keep, -torch.inf)  # behind all others
        match = match & keep
    matches = match.sum(1)  # (q,)
    valid = matches > 0
    if not valid.all():
        similarity, match, matches = similarity[valid], match[valid], matches[valid]
    if not len(matches):
        return matches, matches.double(), matches.double()
    value = _match_values(similarity, match, matches)  # (v, m) best first
    gallery = similarity.shape[1]
    count = torch.arange(1, value.shape[1] + 1, device=value.device)  # (m,)
    ascending = similarity.sort(dim=1).values
    rank = 1 + gallery - torch.searchsorted(ascending, value, right=True)  # (v, m)
    last_rank = gallery - torch.searchsorted(ascending, value)  # if all its equals came before it
    real = count <= matches[:, None]
    precision = (count.double() / rank * real).sum(1) / matches
    penalty = matches.double() / rank.gather(1, matches[:, None] - 1)[:, 0]
    position = rank[:, 0].clone()
    if identity_index is not None:
        best = similarity.new_full((len(rank), int(identity_index.max()) + 1), -torch.inf)  # (v, P)
        best.scatter_reduce_(1, identity_index.expand_as(similarity), similarity, "amax")
        position = 1 + (best > value[:, :1]).sum(1)  # identities that rank before it
    tied = ((last_rank > rank) & real).any(1)
    if tied.any():
        scores = _stable_scores(similarity[tied], match[tied], identity_index)
        position[tied], precision[tied], penalty[tied] = scores
    return position, precision, penalty


def _match_values(similarity: Tensor, match: Tensor, matches: Tensor) -> Tensor:
    """Similarities of each query's matches, best first, filled up with -inf. -> (v, m)"""
    row, column = match.nonzero(as_tuple=True)
    position = torch.arange(len(row), device=row.device) - (matches.cumsum(0) - matches)[row]
    value = similarity.new_full((len(matches), int(matches.max())), -torch.inf)
    value[row, position] = similarity[row, column]
    return value.sort(dim=1, descending=True).values


def _stable_scores(similarity: Tensor, match: Tensor, identity_index: Tensor | None) -> Scores:
    """`match_scores` of valid queries from the whole stable order, removed images (-inf) at its end."""
    order = similarity.argsort(dim=1, descending=True, stable=True)  # (v, G) gallery rows, best first
    match = match.gather(1, order)
    matches = match.sum(1)  # (v,)
    never = order.shape[1] + 1  # a rank behind all others
    rank = torch.arange(1, never, device=order.device).expand_as(order)  # (v, G) from 1
    precision = (match.cumsum(1).double() / rank * match).sum(1) / matches
    penalty = matches.double() / (rank * match).amax(1)
    position = torch.where(match, rank, never).amin(1)  # of the first match, over images
    if identity_index is not None:
        # (v, P) rank of each identity's best image
        first = rank.new_full((len(rank), int(identity_index.max()) + 1), never)
        first.scatter_reduce_(1, identity_index[order], rank, "amin")
        position = 1 + (first < position[:, None]).sum(1)  # identities that rank before it
    return position, precision, penalty
