"""Test images of a data set, decoded once, and the protocols that a model is tested by."""

from __future__ import annotations

from pathlib import Path

from sdcl.config.groups import TestSettings
from sdcl.config.settings import Settings
from sdcl.config.supervision import supervision
from sdcl.data.image_cache import build_cache, open_cache
from sdcl.datasets import Dataset, ProtocolOptions
from sdcl.evaluation.protocols import Result, evaluate
from sdcl.evaluation.rerank import Rerank
from sdcl.inference.extract import BeforeBatch, extract_features, joined
from sdcl.models.backbone import Backbone
from sdcl.runtime.distributed import Processes, barrier


class TestSet:
    """All test images of a data set and its protocols. The names of the results say if training read
    identities (--labels).

    Attributes:
        samples: modality -> test samples. caches: modality -> their decoded images in the same order.
        protocols: rows of the results table, and extra views for the report.

    Raises:
        DataError: no test images, images that cannot be read, or test options that the data set cannot serve.
    """

    __test__ = False  # not a pytest class

    def __init__(self, dataset: Dataset, settings: Settings, processes: Processes):
        self.settings, self.supervision = settings.test, supervision(settings.run.labels)
        self.samples, self.protocols = dataset.test, dataset.protocols(protocol_options(settings.test))
        data = settings.data
        self.caches = {}
        for m, samples in self.samples.items():
            source = (
                [s.path for s in samples],
                data.height,
                data.width,
                data.resize_test,
                Path(data.cache_dir),
            )
            if processes.local_rank == 0:
                build_cache(*source, data.workers, f"test {m}")
            barrier()
            self.caches[m] = open_cache(*source, processes.device, workers=data.workers, title=f"test {m}")

    def evaluate(self, model: Backbone, bf16: bool, before_batch: BeforeBatch | None = None) -> list[Result]:
        """Embed every test image once; all protocols and draws use the same features.

        Args:
            before_batch: as in `extract_features`.
        """
        size = self.settings.test_batch_size
        features = {}
        for m, cache in self.caches.items():
            branches = extract_features(
                model, cache, m, batch_size=size, bf16=bf16, title="test", before_batch=before_batch
            )
            features[m] = joined(branches).cpu()  # (N, D)
        rerank = Rerank() if self.settings.rerank else None
        return evaluate(features, self.samples, self.protocols, rerank, self.supervision)


def protocol_options(test: TestSettings) -> ProtocolOptions:
    """The protocol's options from the test settings, whose modes and shots are comma separated."""
    modes, shots = (
        [part.strip() for part in text.split(",") if part.strip()] for text in (test.modes, test.shots)
    )
    return ProtocolOptions(tuple(modes), tuple(map(int, shots)), test.draws, test.official_draws)
