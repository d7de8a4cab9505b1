"""Test trained models by the protocols of their data set: checkpoint -> CMC, mAP, mINP. `sdcl test --help`.

A model of RegDB is trained for each of ten splits of the people (trials); the results of several trials are
averaged.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdcl.config import Settings, flat, from_saved, parse
from sdcl.config.fields import EVALUATION, OUTPUT, SPEED, flag_of
from sdcl.config.settings import fields_by_name, model_names, names_affecting, number_list
from sdcl.config.supervision import cautions
from sdcl.datasets import open_dataset, source_of
from sdcl.runtime.errors import CheckpointError, SettingError
from sdcl.runtime.files import write_text
from sdcl.runtime.program import program

if TYPE_CHECKING:
    from sdcl.evaluation.protocols import Result
    from sdcl.inference.trained_model import TrainedModel
    from sdcl.runtime.distributed import Processes


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Exit codes: 0 tested, 2 bad input."""
    settings, origin, given = parse(
        argv, "sdcl test", "Test trained models by the protocols of their data set."
    )
    if origin["resize_test"] == "config file":
        given["resize_test"] = settings.data.resize_test
    # imported when the flags are known to be right, as in the functions below:
    # torch and the rest take seconds
    from sdcl.evaluation.protocols import mean_results
    from sdcl.evaluation.tables import results_table
    from sdcl.reporting.write import report_after_run
    from sdcl.runtime import distributed

    processes = distributed.start(settings.run.device)
    idle = read_by_training_alone(given, settings.run.method)
    if idle and processes.main:
        print(f"note: {', '.join(idle)}: read by training alone, without effect on a test")
    runs = trial_settings(settings, "trial" in given)
    tested = [evaluate_run(run, given, processes) for run in runs]
    results = [of_run.results for of_run in tested]
    distributed.stop()
    if not processes.main:
        return 0
    for run, of_run in zip(runs, tested):
        write_results(run.run_dir, of_run.results, checkpoint=str(of_run.checkpoint), epoch=of_run.epoch)
    folders = [run.run_dir for run in runs]
    if len(runs) == 1:
        print(results_table(results[0]))
    else:
        means = mean_results(results)
        print(results_table(means))
        folders.append(settings.run_dir.parent)
        write_results(folders[-1], means, trials=[run.data.trial for run in runs])
    print(f"written: {folders[-1]}/test.json, test.md, test.tex")
    for folder in folders:
        report_after_run(folder, settings.run.report)
    return 0


def read_by_training_alone(given: Iterable[str], method: str) -> list[str]:
    """Those of the given flags that no test reads.

    Args:
        given: names of settings. method: of --method.
    """
    known = fields_by_name(method)
    read = {*names_affecting(EVALUATION, SPEED, OUTPUT), *model_names()}
    read |= {name for name, one in known.items() if one.about.of_test}
    return [flag_of(name) for name in given if name in known and name not in read]


def trial_settings(settings: Settings, one_trial: bool) -> list[Settings]:
    """The settings of each tested run: of --trial if given, else of --trials if the data set has trials.

    Raises:
        SettingError: a trial that the data set does not have.
    """
    named, all_of_set = settings.test.trials, source_of(settings.data.dataset).trials
    if one_trial or not all_of_set:
        trials = [settings.data.trial]
    else:
        trials = number_list(named, "--trials") if named else list(all_of_set)
    if absent := [t for t in trials if all_of_set and t not in all_of_set]:
        raise SettingError(f"--trials must lie in {all_of_set[0]}..{all_of_set[-1]}, got {absent}")
    return [dataclasses.replace(settings, data=dataclasses.replace(settings.data, trial=t)) for t in trials]


class Tested(NamedTuple):
    """What a test gave. checkpoint, epoch: of the model."""

    results: list[Result]
    checkpoint: Path
    epoch: int


def refuse_other_run(settings: Settings) -> None:
    """Refuse a --checkpoint from elsewhere if the run folder holds a training, whose
    results its own would replace.

    Raises:
        SettingError: naming the flag that says where the results go.
    """
    named, folder = settings.test.checkpoint, settings.run_dir
    trained = any((folder / name).exists() for name in ("metrics.jsonl", "last.pt"))
    of_run = (Path(named).resolve(), Path(named).resolve().parent)
    if named and trained and folder.resolve() not in of_run:
        raise SettingError(
            f"--checkpoint {named} is not of the run in {folder}, whose results this test would replace: say "
            "with --logs-dir where its results go"
        )


def evaluate_run(settings: Settings, given: dict[str, Any], processes: Processes) -> Tested:
    """Test the model of --checkpoint, or of the run folder, by all protocols of its data set.

    Args:
        given: flags of the command line; they may not contradict the checkpoint.

    Raises:
        CheckpointError: no checkpoint, or one whose training people are among the test's.
        SettingError: a flag that describes another network than the checkpoint's, a run folder of another
            training, or --precision needs other hardware.
        DataError: no test images.
    """
    from sdcl.inference.test_set import TestSet
    from sdcl.inference.trained_model import TrainedModel
    from sdcl.runtime.devices import require_precision, tf32_products

    trained = TrainedModel.open(settings.test.checkpoint or settings.run_dir)
    refuse_leak(trained, settings)
    refuse_other_run(settings)
    network = {name: flat(trained.settings)[name] for name in model_names()}
    contradicted = [n for n, value in network.items() if n in given and flat(settings)[n] != value]
    if contradicted:
        flags = ", ".join(f"{flag_of(name)} {network[name]}" for name in contradicted)
        raise SettingError(f"{trained.path} was trained with {flags}; leave that out")
    refuse_other_pixels(trained, settings)
    as_trained = {} if "resize_test" in given else {"resize_test": trained.settings.data.resize_test}
    settings = from_saved(flat(settings) | network | as_trained)
    data, data_dir = settings.data, settings.data_dir
    if "data_dir" not in given and not data_dir.exists() and trained.settings.data_dir.exists():
        data_dir = trained.settings.data_dir
        if processes.main:
            print(f"note: images of {data_dir}, as in training")
    dataset = open_dataset(data.dataset, data_dir, trial=data.trial, allow_incomplete=data.allow_incomplete)
    if processes.main:
        origin = f"{settings.run.method} {data.dataset}, {settings.model.arch}"
        print(f"testing {trained.path}: epoch {trained.epoch}, {origin}")
        notes = [trained.note] if trained.note else []
        for note in (*cautions(settings.run.method, settings.run.labels), *notes, *dataset.notices):
            print(f"note: {note}")
    trained.model.to(processes.device)
    test_set = TestSet(dataset, settings, processes)
    precision = settings.run.precision
    require_precision(precision, processes.device)
    with tf32_products(precision == "tf32"):
        results = test_set.evaluate(trained.model, processes.bf16(precision))
    return Tested(results, trained.path, trained.epoch)


def refuse_other_pixels(trained: TrainedModel, settings: Settings) -> None:
    """Refuse --mean and --std that are not those of training. Raises SettingError."""
    from sdcl.models.pretrained import chosen_normalization

    chosen = chosen_normalization(settings)
    if chosen and not trained.normalization.close_to(chosen):
        raise SettingError(
            f"{trained.path} was trained with pixels of {trained.normalization}; leave --mean and --std out"
        )


def refuse_leak(trained: TrainedModel, settings: Settings) -> None:
    """Refuse a model of another data set, or of another trial, whose training people are among the test's.

    Raises:
        CheckpointError: naming the flag that makes the test fit.
    """
    source, path = source_of(settings.data.dataset), trained.path
    theirs, ours = trained.settings.data, settings.data
    if source_of(theirs.dataset) != source:
        raise CheckpointError(
            f"{path} was trained on {theirs.dataset}, this test is of {ours.dataset}: use -d {theirs.dataset}"
        )
    if source.trials and theirs.trial != ours.trial:
        raise CheckpointError(
            f"{path} was trained on {source.title} trial {theirs.trial}, this test is of trial {ours.trial}: "
            f"people it trained on would be tested. Use --trial {theirs.trial}, or name the checkpoint of "
            f"trial {ours.trial}"
        )


def write_results(
    folder: Path, results: list[Result], *, trials: Sequence[int] = (), **about: str | int
) -> None:
    """Write test.json, test.md and test.tex.

    Args:
        trials: numbers of the trials that `results` are means of; their results are listed below the means.
        about: what else test.json says of every result: its checkpoint, and that one's epoch.

    Raises:
        OutputError: the folder cannot be written.
    """
    from sdcl.evaluation.tables import latex_rows, markdown_rows, markdown_trials, to_json

    markdown = markdown_rows(results) + (f"\n\n{markdown_trials(results, trials)}" if trials else "")
    write_text(folder / "test.json", to_json(results, trials, **about) + "\n")
    write_text(folder / "test.md", markdown + "\n")
    write_text(folder / "test.tex", latex_rows(results, header=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
