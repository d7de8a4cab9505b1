"""Input checks of clustering, association, memories and losses. Legend: N images, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.errors import TrainingError


def as_features(name: str, value: Tensor | np.ndarray) -> Tensor:
    """Features as a float32 matrix (N, D) with N and D of at least 1; a float32 tensor is returned as it is.

    Args:
        name: what a message calls the value.

    Raises:
        ValueError: another shape, or no entry.
    """
    features = torch.as_tensor(value)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} must be a non-empty (N, D) matrix, got shape {tuple(features.shape)}")
    return features.float()


def require_finite(features: Tensor) -> None:
    """Check that no entry of a non-empty tensor is NaN or infinite, without a copy of its size.

    Raises:
        TrainingError: one is.
    """
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(features)):  # NaN is handed through
        raise TrainingError(
            "features hold NaN or infinite values: if a model in training gave them it has diverged; "
            "lower --lr or use --precision fp32"
        )


def as_labels(name: str, value: np.ndarray | Tensor, count: int) -> np.ndarray:
    """Labels as int64 (count,), -1 being an outlier.

    Raises:
        ValueError: another length, not integers, or a label below -1.
    """
    labels = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {count} integers, one for each image, got {labels.dtype} of shape {labels.shape}"
        )
    if count and labels.min() < -1:
        raise ValueError(f"{name} must be -1 (outlier) or more, got {labels.min()}")
    return labels.astype(np.int64, copy=False)


def as_rows(name: str, value: np.ndarray | Tensor, count: int, size: int) -> np.ndarray:
    """Row indexes of a matrix with `size` rows, as an integer vector (count,).

    Raises:
        ValueError: another length, not integers, or an index out of range; -1 is the label of an outlier and
            never a row.
    """
    rows = as_labels(name, value, count)
    if count and not (rows.min() >= 0 and rows.max() < size):
        raise ValueError(
            f"{name} must be rows 0..{size - 1} (outliers, -1, have none), got {rows.min()}..{rows.max()}"
        )
    return rows


def at_least_one(**values: int) -> None:
    """Check that every named value is 1 or more. Raises ValueError with the name of the first that is not."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
