"""What a method hands to the training session is checked here: labels, objectives, loss terms.

Each error says which stage and part, what came and what was expected. They are errors of the method's code,
so `ValueError`s that keep their traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sdcl.datasets.sample import MODALITIES
from sdcl.methods.interface import Stage


def check_stage(stage: Stage, images: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse labels that do not name a cluster for each training image, and
    objectives that want to be trained.

    Args:
        images: modality -> (N,), such as the training images' cameras. where: begins the message, such as
            "epoch 3, stage joint".

    Raises:
        ValueError: what came, and what was expected.
    """
    for one in stage.label_sets:
        _check_labels(one.labels.ids, len(images[one.modality]), f"{where}: label set {one.name!r}")
    if not stage.objectives:
        return
    for modality in MODALITIES:
        if modality not in stage.labels:
            raise ValueError(f"{where}: the stage has labels of {list(stage.labels)}, none of {modality}")
        _check_labels(stage.labels[modality], len(images[modality]), f"{where}: labels[{modality!r}]")
    for name, objective in stage.objectives.items():
        wanted = [p for p, parameter in objective.named_parameters() if parameter.requires_grad]
        if wanted:
            raise ValueError(
                f"{where}: objective {name!r} has parameters that want a gradient, {wanted}, and only the "
                "model's are optimised; make them buffers, or give the model a part of its own"
            )


def _check_labels(labels: object, count: int, what: str) -> None:
    expected = f"expected a NumPy array of {count} integers, one for each training image (-1: left out)"
    if not isinstance(labels, np.ndarray):
        raise ValueError(f"{what}: {expected}, got a {type(labels).__name__}")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{what}: {expected}, got shape {labels.shape} of {labels.dtype}")


def loss_terms(objectives: Sequence[str], outputs: Sequence[object], where: str) -> dict[str, Tensor]:
    """The loss terms of one step, of all objectives together.

    Args:
        objectives: their names. outputs: what each returned. where: begins the message.

    Raises:
        ValueError: no terms, a term that is no number with a gradient, or two terms of the same name.
    """
    terms: dict[str, Tensor] = {}
    for objective, output in zip(objectives, outputs, strict=True):
        name = f"{where}: objective {objective!r}"
        if not isinstance(output, Mapping):
            raise ValueError(f"{name} must return name -> loss term, got a {type(output).__name__}")
        for term, value in output.items():
            _check_term(value, f"{name}, loss term {term!r}")
        if shared := terms.keys() & output.keys():
            raise ValueError(f"{where}: objectives share the name of a loss term: {sorted(shared)}")
        terms.update(output)
    if not terms:
        raise ValueError(f"{where}: no objective returned a loss term")
    return terms


def _check_term(value: object, what: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{what} must be a tensor, got a {type(value).__name__}")
    if value.dim() or not value.dtype.is_floating_point:
        raise ValueError(f"{what} must be one number, got shape {tuple(value.shape)} of {value.dtype}")
    if not value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{what} has no gradient, so it would train nothing: compute it from the first argument, the "
            "features of this process, not from the gathered ones"
        )
