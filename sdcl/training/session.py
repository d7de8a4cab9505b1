"""A training run: everything that lasts from its first epoch to its last, and survives an interruption.

session = TrainingSession(settings, dataset, images, model, method, ...)
for epoch in session.epochs():
    for stage in method.stages(epoch, session.extract, session.once):
        session.train_stage(stage)
    session.finish_epoch(session.test())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sdcl.analysis.label_churn import LabelChurn
from sdcl.analysis.label_quality import LabelQuality
from sdcl.clustering import neighbors_faiss
from sdcl.config import Settings, flat
from sdcl.config.supervision import status, supervision
from sdcl.data.image_cache import ImageSource
from sdcl.datasets import Dataset
from sdcl.datasets.sample import MODALITIES
from sdcl.evaluation.protocols import Result
from sdcl.evaluation.tables import to_rows
from sdcl.inference.extract import calibrate_necks, extract_features
from sdcl.inference.test_set import TestSet
from sdcl.methods.interface import Features, Indexes, Method, Stage
from sdcl.methods.parts.labels import search_of
from sdcl.models.backbone import Backbone
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.devices import require_precision, tf32_products
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import CheckpointError, TrainingError
from sdcl.runtime.interruption import Interruption
from sdcl.runtime.profiler import StepProfiler
from sdcl.runtime.program import Interrupted
from sdcl.runtime.run_log import RunLog, environment
from sdcl.runtime.trackers import Trackers
from sdcl.training import run_state
from sdcl.training.clock import Clock
from sdcl.training.contract import check_stage
from sdcl.training.epoch_journal import EpochJournal, decode, encode, require_recordable
from sdcl.training.images import TrainingImages
from sdcl.training.monitor import Monitor
from sdcl.training.stage_summary import summarize_stages
from sdcl.training.trainer import (
    StageTrainer,
    complete_momentum,
    learning_rate,
    make_optimizer,
    parallel_model,
)

BATCHES_TO_AGREE = 8  # embedded on a GPU between two looks for signals, where there are several processes


class TrainingSession:
    """One method's run on one data set. Continues the run that its folder holds, if there is one.

    Owns optimiser, epoch journal, label churn, clock, monitor, trackers and profiler. The model is trained
    in place.

    Args:
        dataset: its identities reach the log alone. images: the same training images without identities.
        test_set: for test metrics, which nothing is ever chosen by; None: no metrics.
        interruption: entered, if signals are to end the run with its state saved.

    Raises:
        CheckpointError: the folder's run is of another experiment, or cannot be read.
        SettingError: the batch cannot be split evenly, or --precision needs other hardware.
    """

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        images: TrainingImages,
        model: Backbone,
        method: Method,
        *,
        test_set: TestSet | None,
        processes: Processes,
        log: RunLog,
        interruption: Interruption,
    ):
        self.settings, self.images, self.model, self.method = settings, images, model, method
        self.test_set, self.processes, self.log, self.interruption = test_set, processes, log, interruption
        require_precision(settings.run.precision, processes.device)
        self.search = search_of(settings.cluster)
        for note in neighbors_faiss.notes(self.search, processes.device):
            log.line(f"note: {note}")
        self.bf16, self.tf32 = processes.bf16(settings.run.precision), settings.run.precision == "tf32"
        self.optimizer = make_optimizer(model, settings)
        self.churn, self.quality = LabelChurn(), LabelQuality(dataset.train)
        self.clock, self.journal = Clock(processes.device), EpochJournal()
        self._trainers: list[StageTrainer | None] = []  # of the stage under way, and of its alternate
        self.first_epoch = self.epoch = self._resume()
        if self.first_epoch == 0 and not self.journal.values and settings.model.calibrate_necks:
            self._calibrate_necks()
        self.parallel_model = parallel_model(model, settings, processes)
        self._record(dataset)
        comparable = dataset.complete and not dataset.synthetic and not supervision(settings.run.labels)
        self.monitor = Monitor(settings, images.cameras, log, comparable=comparable)
        self.trackers: Trackers | None = None
        self.profiler: StepProfiler | None = None
        if processes.main:
            self.trackers = Trackers(settings.run_dir, flat(settings), self.first_epoch, settings.run.wandb)
            self.profiler = StepProfiler(settings.run_dir, settings.run.profile)
        self._begin_epoch(self.first_epoch)

    def epochs(self) -> Iterator[int]:
        """The epochs that are left to train.

        Each begins with its learning rate, and a method's restart with a new optimiser.
        """
        last = self.settings.optim.epochs
        if self.first_epoch >= last:
            self.log.line(f"nothing to do: {self.settings.run_dir} holds all {last} epochs")
        for epoch in range(self.first_epoch, last):
            self._begin_epoch(epoch)
            starts = [0, *(e for e in self.method.restarts if e <= epoch)]
            if epoch in self.method.restarts and not self.journal.stages:
                self.optimizer = make_optimizer(self.model, self.settings)
            self.learning_rate = learning_rate(self.settings, epoch - max(starts))
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate
            yield epoch
        if self.profiler is not None:
            self.profiler.close()
        if self.trackers is not None:
            self.trackers.close()

    def extract(self, rows: Indexes | None = None, *, translated: bool = False) -> Features:
        """Features of the training images; see `sdcl.methods.interface.Extract`.

        Raises:
            TrainingError: the features have collapsed. Interrupted: a signal; the state is saved.
        """

        def compute() -> Features:
            with self.clock("embed"), tf32_products(self.tf32):
                chosen = rows or dict.fromkeys(MODALITIES)
                return {m: self._embed(m, r, translated=translated) for m, r in chosen.items()}

        return self._recall(compute, self.monitor.check_features)

    def once(self, make: Callable[[], Any]) -> Any:
        """A value computed on one process for all; see `sdcl.methods.interface.Once`.

        Raises:
            TypeError: a value of a type that cannot be saved within an epoch.
            Interrupted: a signal; the state is saved.
        """

        def compute() -> Any:
            with self.clock("cluster"):
                value = distributed.once(lambda: require_recordable(make()))
                # its tensors lie where process 0 made them
                return value if distributed.single_process() else decode(encode(value), self.processes.device)

        return self._recall(compute)

    def train_stage(self, stage: Stage) -> None:
        """Take the optimiser steps of a stage, those that an interrupted run has not taken yet.

        Raises:
            TrainingError: a loss that is not finite. Interrupted: a signal; the state is saved.
        """
        stages = [stage] if stage.alternate is None else [stage, stage.alternate]
        trainers = self._trainers = [
            self._stage_trainer(one, number) for number, one in enumerate(stages, len(self._trained))
        ]
        with self.clock("train"), tf32_products(self.tf32):
            for batches in zip(*(trainer.batches() for trainer in trainers if trainer), strict=True):
                for trainer, batch in zip(filter(None, trainers), batches):
                    features, gathered = trainer.embed(batch)
                    outputs = []
                    for objective in trainer.stage.objectives.values():
                        outputs.append(objective(features, gathered, batch))
                    trainer.update(outputs)
                self._check_signals(together=trainer.reporting)
            losses = [trainer.mean_losses() if trainer else {} for trainer in trainers]
            for trainer in filter(None, trainers):
                trainer.share_history()
        self._trainers = []
        self._trained += zip(stages, losses)
        distributed.broadcast_buffers(self.model)

    def test(self) -> list[Result] | None:
        """Test metrics of the present weights, in the epochs of --eval-step.

        Raises:
            Interrupted: a signal; the state is saved.
        """
        every, last = self.settings.run.eval_step, self.settings.optim.epochs - 1
        if self.test_set is None or not (self.epoch % every == every - 1 or self.epoch == last):
            return None
        with self.clock("test"), tf32_products(self.tf32):
            return self.test_set.evaluate(self.model, self.bf16, self._check_within_embedding)

    def finish_epoch(self, results: list[Result] | None = None) -> None:
        """Save the state after the epoch, then log it.

        Args:
            results: test metrics for the log.

        Raises:
            TrainingError: nothing was trained. OutputError: the run folder cannot be written. Interrupted: a
                signal.
        """
        if not any(losses for _, losses in self._trained):
            names = ", ".join(stage.name for stage, _ in self._trained) or "none"
            raise TrainingError(
                f"epoch {self.epoch}: no stage trained anything (stages: {names}). Switch a part of the "
                "method on again, or end the run before with --epochs"
            )
        row = {
            "epoch": self.epoch,
            "lr": self.learning_rate,
            **summarize_stages(self._trained, self.quality),
            "skipped_steps": self.journal.skipped,
            "features": self.monitor.features,
        }
        if neighbors_faiss.approximation(self.search):
            row["search"] = self.search
        if results is not None:
            row["test"] = to_rows(results)
        self.monitor.compare(row)
        if self.processes.main:
            self.churn.update([s for stage, _ in self._trained for s in stage.label_sets], row["labels"])
        row["seconds"] = self.clock.seconds
        if self.processes.main:
            note = run_state.save_epoch(self.settings.run_dir, self._state([*self.log.rows, row]))
            if note:
                self.log.line(f"note: {note}")
        self.log.epoch(row)
        if self.trackers is not None:
            self.trackers.epoch(row)
        distributed.barrier()
        self.journal = EpochJournal()
        self._stop_if_signalled()

    # ------------------------------------------------------------------ resume and save

    def _resume(self) -> int:
        """Take over the state of the run folder, if there is one. Returns the first epoch to train."""
        settings, log, folder = self.settings, self.log, self.settings.run_dir
        state, notes = None, list[str]()
        if settings.run.resume:
            state, notes = run_state.newest_state(folder)
        else:
            self._set_aside()
        for note in notes:
            log.line(f"note: {note}")
        at = None if state is None else (state["epoch"], "journal" in state, len(state["rows"]))
        if not distributed.equal_everywhere(at):
            raise CheckpointError(
                f"the processes do not see the same checkpoints in {folder} (this one: {at or 'none'}); "
                "--logs-dir must be a folder that all machines share"
            )
        if state is None:
            log.restore([])
            return 0
        changed = run_state.refuse_differences(state, settings, self.images.fingerprint)
        if changed:
            log.line(f"note: continuing although these changed:\n{changed}")
        if self.processes.main:
            checkpoint.put_back(folder)
        self.model.load_state_dict(state["model"])
        self._keep_normalization(state)
        if state["settings"].get("optimizer", settings.optim.optimizer) == settings.optim.optimizer:
            run_state.continue_optimizer(self.optimizer, state["optimizer"])
            complete_momentum(self.optimizer)
        else:
            log.line(f"note: --optimizer {settings.optim.optimizer} begins with an empty state")
        log.restore(state["rows"])
        if state["data"] == self.images.fingerprint:
            # checkpoints of early versions have none
            self.churn.load(state.get("labels", {}), state.get("label_sets", {}))
        within = "journal" in state
        if within:
            self.journal = EpochJournal.from_state(state["journal"], self.processes.device)
        log.line(f"continuing {'within' if within else 'after'} epoch {state['epoch']} of {folder}")
        return state["epoch"] if within else state["epoch"] + 1

    def _set_aside(self) -> None:
        """Begin anew (--no-resume): what an earlier run left in the folder does
        not mix with this one's files.
        """
        distributed.barrier()  # all have read what they begin with
        if self.processes.main and (aside := checkpoint.set_aside(self.settings.run_dir)):
            self.log.line(f"note: --no-resume: the run that was in this folder is now in {aside}")
        distributed.barrier()

    def _keep_normalization(self, state: dict[str, Any]) -> None:
        """Continue with the checkpoint's mean and deviation, which the model has been trained
        with since, whatever the pretrained file says by now. Other flags have been refused,
        or --resume-anyway wants them.
        """
        before = run_state.saved_normalization(state)
        if self.settings.model.mean or before == self.model.normalization:
            return
        self.log.line(
            f"note: pixels stay normalised as in the checkpoint, {before}; the pretrained weights say "
            f"{self.model.normalization}"
        )
        self.model.normalization = before

    def _state(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return run_state.state_of(
            self.model,
            self.optimizer,
            self.settings,
            epoch=self.epoch,
            rows=rows,
            data=self.images.fingerprint,
            churn=self.churn,
        )

    def _stop_if_signalled(self, *, together: bool = True) -> None:
        """Raise `Interrupted` if there was a signal; see `Interruption.check`."""
        try:
            self.interruption.check(together=together)
        except Interrupted as signal:
            if not self.settings.run.resume:
                signal.continuation = "the same command without --no-resume continues"
            raise

    def _check_signals(self, *, together: bool = True) -> None:
        """If there was a signal, save the state within the epoch and raise `Interrupted`."""
        try:
            self._stop_if_signalled(together=together)
        except Interrupted:
            for trainer in filter(None, self._trainers):
                trainer.count_skipped()
                trainer.share_history()
            if self.processes.main:
                state = self._state(self.log.rows)
                path = run_state.save_unfinished(
                    self.settings.run_dir, state, self.journal, self.clock.so_far()
                )
                self.log.line(f"saved within epoch {self.epoch}: {path}")
            distributed.barrier()
            raise

    def _check_within_embedding(self, number: int) -> None:
        """`_check_signals` before a batch; what is embedded already is
        embedded again by the continued run.
        """
        self._check_signals(together=self._agreeing(number))

    def _agreeing(self, number: int) -> bool:
        """Whether the processes agree on signals before this batch of an
        embedding. On a GPU that waits for it.
        """
        return number % (BATCHES_TO_AGREE if self.processes.device.type == "cuda" else 1) == 0

    def _record(self, dataset: Dataset) -> None:
        """Write config.json and environment.json."""
        facts = environment(self.processes.device, self.processes.count, self.images.fingerprint)
        facts |= {
            "synthetic": dataset.synthetic,
            "complete": dataset.complete,
            "notices": [*dataset.notices, *neighbors_faiss.approximation(self.search)],
            "supervision": supervision(self.settings.run.labels),
            "status": status(self.settings.run.method),
        }
        self.log.write_json("config.json", flat(self.settings))
        self.log.write_json("environment.json", facts)

    # ------------------------------------------------------------------ parts of an epoch

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.monitor.begin(epoch)
        self.clock.restart(self.journal.seconds)
        self._trained: list[tuple[Stage, dict[str, float]]] = []  # stages of the epoch, and their mean losses
        self._trainers = []

    def _stage_trainer(self, stage: Stage, number: int) -> StageTrainer | None:
        """What takes the steps of stage `number` of the epoch; None for a stage that only reports."""
        check_stage(stage, self.images.cameras, f"epoch {self.epoch}, stage {stage.name}")
        self.monitor.check_labels(stage)
        self.monitor.tell(stage)
        progress = self.journal.stage(number)
        if not stage.objectives:
            return None
        return StageTrainer(
            stage,
            (self.settings.run.seed, self.epoch, number),
            progress,
            model=self.parallel_model,
            optimizer=self.optimizer,
            images=self.images,
            normalization=self.model.normalization,
            settings=self.settings,
            processes=self.processes,
            before_restart=not any(start <= self.epoch for start in self.method.restarts),
            profiler=self.profiler,
        )

    def _recall(self, compute: Callable[[], Any], check: Callable[[Any], None] | None = None) -> Any:
        """A value that the journal has recorded, or a new one.

        `check` is given either; signals are checked after a new one.
        """
        replaying = self.journal.replaying
        value = self.journal.recall(compute)
        if check is not None:
            check(value)
        if not replaying:
            self._check_signals()
        return value

    def _embed(self, modality: str, rows: Any, *, translated: bool) -> dict[str, Any]:
        images: ImageSource = self.images.extract[modality]
        if translated and modality == "visible" and self.images.translated is not None:
            images = self.images.translated
        return extract_features(
            self.model,
            images,
            modality,
            rows=rows,
            batch_size=self.settings.model.embed_batch_size,
            bf16=self.bf16,
            unit_views=self.method.unit_views,
            title="training",
            before_batch=self._check_within_embedding,
        )

    def _calibrate_necks(self) -> None:
        with tf32_products(self.tf32):
            calibrate_necks(
                self.model,
                self.images.extract,
                batch_size=self.settings.model.embed_batch_size,
                bf16=self.bf16,
                seed=self.settings.run.seed,
                before_batch=lambda number: self.interruption.check(together=self._agreeing(number)),
            )
