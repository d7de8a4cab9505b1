"""Identities that a run may read (--labels): the words for it, and the methods that can use them."""

from __future__ import annotations

from sdcl.config.registry import METHODS, method_class
from sdcl.runtime.errors import SettingError

NO_LABELS = "none"


def supervision(labels: str) -> str:
    """What logs, tables, pages and cards call a run: "semi-supervised: visible identities", or "" if it reads
    no identity.

    Args:
        labels: value of --labels.
    """
    return "" if labels == NO_LABELS else f"semi-supervised: {labels} identities"


def usable_labels(method: str) -> tuple[str, ...]:
    """Values of --labels that a method can work with."""
    return tuple(getattr(method_class(method), "labels", (NO_LABELS,)))


def refuse_labels(method: str, labels: str) -> None:
    """Refuse a value of --labels that the method cannot work with.

    Raises:
        SettingError: naming the values that it can, and the methods that can use this one.
    """
    usable = usable_labels(method)
    if labels not in usable:
        others = ", ".join(name for name in METHODS if labels in usable_labels(name))
        raise SettingError(
            f"--method {method} works with --labels {' or '.join(usable)}, got {labels}; "
            f"--labels {labels} is for --method {others}"
        )


def status(method: str) -> str:
    """What readers of a result must know of the method, "" if nothing."""
    return getattr(method_class(method), "status", "")


def cautions(method: str, labels: str) -> list[str]:
    """What every result of a run must say of it: its supervision, and the status of its method."""
    return [text for text in (supervision(labels), status(method)) if text]
