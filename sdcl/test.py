"""Test: checkpoint -> CMC, mAP, mINP by the data set's protocol. `python -m sdcl.test --help`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sdcl.reporting.write import report_after_run
from sdcl.config.settings import Settings, describe, flat, from_flat, parse
from sdcl.data.image_cache import build_cache, open_store
from sdcl.datasets import notices, test_samples
from sdcl.datasets.sysu import load_permutations
from sdcl.evaluation.protocols import Result, evaluate, mean_results
from sdcl.evaluation.rerank import Rerank
from sdcl.evaluation.tables import latex_rows, markdown_rows, markdown_trials, results_table, to_json
from sdcl.inference.extract import embed, joined
from sdcl.models.pretrained import model_of
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import write_text
from sdcl.runtime.program import program

# What a checkpoint's own settings decide, whatever the command line of the test says by default.
FROM_CHECKPOINT = ("method", "dataset", "arch", "shallow", "drop_path", "height", "width")


class TestSet:
    """All test images of a data set, decoded once, and their protocol."""

    __test__ = False  # not a pytest class

    def __init__(self, settings: Settings, processes: distributed.Processes):
        d, self.own = settings.data, settings.test
        self.dataset, self.processes = d.dataset, processes
        self.samples = test_samples(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete)
        self.stores = {}
        for m, samples in self.samples.items():
            place = ([s.path for s in samples], d.height, d.width, d.resize_test, Path(d.cache_dir))
            if processes.local_rank == 0:
                build_cache(*place, d.workers, f"test {m}")
            distributed.barrier()
            self.stores[m] = open_store(*place, processes.device, workers=d.workers, title=f"test {m}")
        self.protocol: dict[str, Any] = {"draws": self.own.draws} if d.dataset == "llcm" else {}
        if d.dataset == "sysu":
            self.protocol = {"modes": listed(self.own.modes), "shots": [int(s) for s in listed(self.own.shots)], "draws": self.own.draws}
            if self.own.official_draws:
                self.protocol["permutations"] = load_permutations(settings.data_dir)
                if self.protocol["permutations"] is None:
                    raise UserError(f"--official-draws needs {settings.data_dir}/exp/rand_perm_cam.mat; copy it there from the data set")

    def evaluate(self, model: nn.Module, bf16: bool) -> list[Result]:
        """Embed every test image once; all modes, shots, draws and directions use the same features."""
        size = self.own.test_batch_size
        features = {m: joined(embed(model, store, m, batch_size=size, bf16=bf16, title="test")).cpu() for m, store in self.stores.items()}
        return evaluate(self.dataset, features, self.samples, rerank=Rerank() if self.own.rerank else None, **self.protocol)


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 tested, 2 bad input (the message says why)."""
    settings, origin, said = parse(argv, "python -m sdcl.test", "Test a trained model.")
    test(settings, said, describe(settings, origin))
    distributed.stop()
    for folder in result_folders(settings, said):
        report_after_run(folder, settings.run.report)
    return 0


def test(settings: Settings, said: dict[str, Any], text: str = "") -> list[Result]:
    """Test one model, or on RegDB the models of several trials, each on its own split. Writes test.json, .md and .tex.

    Of several trials each folder gets its own results, and the folder around them the means, the deviations and every trial's numbers.
    """
    processes = distributed.start(settings.run.device)
    trials, folders = tested_trials(settings, said), result_folders(settings, said)
    results = [test_one(of_trial(settings, trial), said, processes) for trial in trials]
    means = mean_results(results) if len(results) > 1 else results[0]
    if processes.main:
        for notice in notices(settings.data.dataset, settings.data_dir, trials[0]):
            print(f"note: {notice}")
        print(results_table(means))
        for folder, one in zip(folders, results):
            write_results(folder, one)
        if len(trials) > 1:
            write_results(folders[-1], means, trials)
        print(f"written: {folders[-1]}/test.json, test.md, test.tex")
    return means


test.__test__ = False  # not a pytest function


def tested_trials(settings: Settings, said: dict[str, Any]) -> list[int]:
    """The trial that was said, else on RegDB those of --trials."""
    return numbers(settings.test.trials) if settings.data.dataset == "regdb" and "trial" not in said else [settings.data.trial]


def of_trial(settings: Settings, trial: int) -> Settings:
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, trial=trial))


def result_folders(settings: Settings, said: dict[str, Any]) -> list[Path]:
    """The run folder of each tested trial; where there are several, the folder around them last."""
    folders = [of_trial(settings, trial).run_dir for trial in tested_trials(settings, said)]
    return [*folders, settings.run_dir.parent] if len(folders) > 1 else folders


def test_one(settings: Settings, said: dict[str, Any], processes: distributed.Processes) -> list[Result]:
    """Results of one checkpoint.

    Raises:
        ValueError: no checkpoint, or one of another RegDB trial than the test's: its training people are this test's people.
    """
    path = Path(settings.test.checkpoint) if settings.test.checkpoint else settings.run_dir / checkpoint.LAST
    state = checkpoint.load(path)
    trained = state["settings"]
    refuse_leak(trained, settings, path)
    clash = [n for n in FROM_CHECKPOINT if n in said and said[n] != trained[n]]
    if clash:
        raise UserError(
            f"{path} was trained with " + ", ".join(f"--{n.replace('_', '-')} {trained[n]}" for n in clash) + "; leave that out"
        )
    settings = from_flat(flat(settings) | {n: trained[n] for n in FROM_CHECKPOINT})
    model = model_of(settings)
    model.load_state_dict(state["model"])
    model.to(processes.device).eval()
    if processes.main:
        print(f"testing {path}: epoch {state['epoch']}, {trained['method']} {trained['dataset']}, {trained['arch']}")
    return TestSet(settings, processes).evaluate(model, processes.bf16(settings.run.precision))


test_one.__test__ = False


def refuse_leak(trained: dict[str, Any], settings: Settings, path: Path) -> None:
    if trained["dataset"] != settings.data.dataset:
        raise UserError(f"{path} was trained on {trained['dataset']}, this test is of {settings.data.dataset}: say -d {trained['dataset']}")
    if settings.data.dataset == "regdb" and trained["trial"] != settings.data.trial:
        raise UserError(
            f"{path} was trained on RegDB trial {trained['trial']}, this test is of trial {settings.data.trial}: people it trained "
            f"on would be tested. Say --trial {trained['trial']}, or name the checkpoint of trial {settings.data.trial}"
        )


def write_results(folder: Path, results: list[Result], trials: Sequence[int] = ()) -> None:
    """test.json, test.md and test.tex; of means over `trials` each trial's numbers, too, below the rows that papers have."""
    folder.mkdir(parents=True, exist_ok=True)  # --checkpoint may name one of another folder
    markdown = markdown_rows(results) + (f"\n\n{markdown_trials(results, trials)}" if trials else "")
    for name, text in (("json", to_json(results, trials)), ("md", markdown), ("tex", latex_rows(results, header=True))):
        write_text(folder / f"test.{name}", text + "\n")


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """ "1-3,7" -> [1, 2, 3, 7]. ValueError for anything else."""
    try:
        spans = [[int(n) for n in part.split("-")] for part in listed(text)]
        return [n for span in spans for n in range(span[0], span[-1] + 1)]
    except ValueError:
        raise UserError(f"--trials must look like 1-10 or 1,3,5, got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
