"""Build the method of a run, with the identities that it may read (--labels) and no others."""

from __future__ import annotations

from sdcl.config import METHODS, Settings
from sdcl.config.supervision import NO_LABELS
from sdcl.datasets import Dataset
from sdcl.methods.interface import Indexes, Method


def build_method(settings: Settings, dataset: Dataset, cameras: Indexes) -> Method:
    """The method of --method.

    Args:
        dataset: its identities are read only of the modality that --labels names. cameras: modality -> int
            (N,).

    Raises:
        DataError: identities that --labels names are unknown. TypeError: it does not say its restarts.
    """
    side = settings.run.labels
    identities = () if side == NO_LABELS else ({side: dataset.identities(side)},)
    method = METHODS[settings.run.method](settings, cameras, *identities)
    if not hasattr(method, "restarts"):
        raise TypeError(
            f"method {settings.run.method!r} has no attribute restarts, the epochs that begin with a new "
            "optimiser and learning rate; () for none"
        )
    return method
