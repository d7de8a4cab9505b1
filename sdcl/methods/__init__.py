"""Which labels, links, memories and losses, and when: one file per method."""

from sdcl.config.registry import METHODS
from sdcl.methods.interface import Batch, Method, NoClusters, Stage

__all__ = ["METHODS", "Batch", "Method", "NoClusters", "Stage"]
