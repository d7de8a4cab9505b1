"""Test: checkpoint -> CMC, mAP, mINP by the data set's protocol. `python -m sdcl.test --help`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdcl.cli.report import say_report
from sdcl.config.settings import Settings, describe, flat, from_flat, parse
from sdcl.datasets import Dataset, open_dataset, source_of
from sdcl.evaluation.protocols import Result, mean_results
from sdcl.evaluation.tables import latex_rows, markdown_rows, markdown_trials, results_table, to_json
from sdcl.inference.test_set import TestSet
from sdcl.models.pretrained import model_of
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import write_text
from sdcl.runtime.program import program

# What a checkpoint's own settings decide, whatever the command line of the test says by default.
FROM_CHECKPOINT = ("method", "dataset", "arch", "shallow", "drop_path", "height", "width")


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 tested, 2 bad input (the message says why)."""
    settings, origin, said = parse(argv, "python -m sdcl.test", "Test a trained model.")
    test(settings, said, describe(settings, origin))
    distributed.stop()
    for folder in result_folders(settings, said):
        say_report(folder, settings.run.report)
    return 0


def test(settings: Settings, said: dict[str, Any], text: str = "") -> list[Result]:
    """Test one model, or on RegDB the models of several trials, each on its own split. Writes test.json, .md and .tex.

    Of several trials each folder gets its own results, and the folder around them the means, the deviations and every trial's numbers.
    """
    processes = distributed.start(settings.run.device)
    trials, folders = tested_trials(settings, said), result_folders(settings, said)
    datasets, results = zip(*(test_one(of_trial(settings, trial), said, processes) for trial in trials))
    means = mean_results(results) if len(results) > 1 else results[0]
    if processes.main:
        for notice in datasets[0].notices:
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
    """The trial of --trial, else those of --trials, if the data set has trials."""
    several = source_of(settings.data.dataset).trials and "trial" not in said
    return numbers(settings.test.trials) if several else [settings.data.trial]


def of_trial(settings: Settings, trial: int) -> Settings:
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, trial=trial))


def result_folders(settings: Settings, said: dict[str, Any]) -> list[Path]:
    """The run folder of each tested trial; where there are several, the folder around them last."""
    folders = [of_trial(settings, trial).run_dir for trial in tested_trials(settings, said)]
    return [*folders, settings.run_dir.parent] if len(folders) > 1 else folders


def test_one(settings: Settings, said: dict[str, Any], processes: distributed.Processes) -> tuple[Dataset, list[Result]]:
    """The data set, and results of one checkpoint on it.

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
    d = settings.data
    dataset = open_dataset(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete)
    return dataset, TestSet(dataset, settings, processes).evaluate(model, processes.bf16(settings.run.precision))


test_one.__test__ = False


def refuse_leak(trained: dict[str, Any], settings: Settings, path: Path) -> None:
    source = source_of(settings.data.dataset)
    if source_of(trained["dataset"]) != source:
        raise UserError(f"{path} was trained on {trained['dataset']}, this test is of {settings.data.dataset}: say -d {trained['dataset']}")
    if source.trials and trained["trial"] != settings.data.trial:
        raise UserError(
            f"{path} was trained on {source.title} trial {trained['trial']}, this test is of trial {settings.data.trial}: people it trained "
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
