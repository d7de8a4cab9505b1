"""Training methods, one file each: which labels, associations, memories and losses, and when."""

from sdcl.config.registry import METHODS
from sdcl.methods.interface import Batch, Method, NoClusters, Stage

__all__ = ["METHODS", "Batch", "Method", "NoClusters", "Stage"]
