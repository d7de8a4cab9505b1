"""Stand-in until the data set's own arrives."""

from typing import Any

from sdcl.datasets import Dataset
from sdcl.runtime.distributed import Processes


class TestSet:
    __test__ = False

    def __init__(self, dataset: Dataset, settings: Any, processes: Processes):
        from sdcl.test import TestSet as Old

        self.old = Old(settings, processes)

    def evaluate(self, model: Any, bf16: bool) -> list:
        return self.old.evaluate(model, bf16)
