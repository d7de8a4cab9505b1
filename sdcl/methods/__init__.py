"""WHICH labels, links, memories and losses, WHEN: one file per method."""

from sdcl.methods.sdcl import SDCL
from sdcl.methods.stage import Batch, NoClusters, Stage

METHODS = {"sdcl": SDCL}

__all__ = ["METHODS", "SDCL", "Batch", "NoClusters", "Stage"]
