"""WHICH labels, links, memories and losses, WHEN: one file per method."""

from sdcl.methods.adca import ADCA
from sdcl.methods.baseline import Baseline
from sdcl.methods.gur import GUR
from sdcl.methods.interface import Batch, Method, NoClusters, Stage
from sdcl.methods.sdcl import SDCL

METHODS: dict[str, type[Method]] = {"sdcl": SDCL, "gur": GUR, "adca": ADCA, "baseline": Baseline}

__all__ = ["ADCA", "GUR", "METHODS", "SDCL", "Baseline", "Batch", "Method", "NoClusters", "Stage"]
