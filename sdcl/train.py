"""Train a method on a data set. `python -m sdcl.train --help`.

Identities stay in the data set: a method sees pixels and cameras, and of identities those alone that --labels
names. Labels are compared with identities for the log alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdcl.config import Settings, differences_from_recipe, notes_on_late_starts, notes_on_released_line, parse
from sdcl.config.supervision import cautions
from sdcl.datasets import open_dataset
from sdcl.runtime.program import program

if TYPE_CHECKING:
    from sdcl.runtime.distributed import Processes
    from sdcl.runtime.interruption import Interruption


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry.

    Exit codes: 0 finished; 2 bad input or a run that cannot go on (the message says why); 75 a signal ended
    it, the same command continues; 1 anything else, with its traceback.
    """
    settings, origin, given = parse(argv, "sdcl train", "Train one method on one data set.")
    # imported when the flags are known to be right, as in `train`: torch and the rest take seconds
    from sdcl.reporting.write import report_after_run
    from sdcl.runtime import distributed
    from sdcl.runtime.interruption import Interruption

    differences = [
        *differences_from_recipe(settings, origin),
        *notes_on_released_line(settings, given),
        *notes_on_late_starts(settings),
    ]
    with Interruption() as interruption:
        processes = distributed.start(settings.run.device)
        train(settings, differences, processes, interruption)
    distributed.stop()
    if processes.main:
        report_after_run(settings.run_dir, settings.run.report)
    return 0


def train(
    settings: Settings,
    differences: Sequence[str] = (),
    processes: Processes | None = None,
    interruption: Interruption | None = None,
) -> dict[str, Any]:
    """The whole run, in the folder `settings.run_dir`.

    Args:
        differences: from the recipe, for the log. processes: of `distributed.start`; None: start them here.
        interruption: entered, if signals are to end the run with its state saved; None: they end the program.

    Returns:
        The last epoch's row of metrics.jsonl.

    Raises:
        UserError: bad input, or a run that cannot go on. Interrupted: a signal; the same call continues.
    """
    import torch

    from sdcl.inference.test_set import TestSet
    from sdcl.methods.build import build_method
    from sdcl.runtime import distributed
    from sdcl.runtime.interruption import Interruption
    from sdcl.runtime.run_log import RunLog
    from sdcl.training.images import TrainingImages
    from sdcl.training.initial_model import initial_model
    from sdcl.training.session import TrainingSession

    processes = processes or distributed.start(settings.run.device)
    interruption = interruption or Interruption()
    log = RunLog(settings.run_dir, processes.main)
    run = settings.run
    title = f"{run.method} on {settings.data.dataset} in {settings.run_dir}"
    log.line("\n  ".join([title, *cautions(run.method, run.labels), *differences]))

    # images
    data = settings.data
    dataset = open_dataset(
        data.dataset, settings.data_dir, trial=data.trial, allow_incomplete=data.allow_incomplete
    )
    dataset.require_train()
    for notice in dataset.notices:
        log.line(f"note: {notice}")
    images = TrainingImages.open(dataset, settings, processes)
    test_set = TestSet(dataset, settings, processes) if settings.run.eval_step and dataset.test else None

    # model and method
    torch.manual_seed(settings.run.seed)
    model, loaded = initial_model(settings, images.fingerprint)
    log.line(loaded)
    model.to(processes.device)
    method = build_method(settings, dataset, images.cameras)

    session = TrainingSession(
        settings,
        dataset,
        images,
        model,
        method,
        test_set=test_set,
        processes=processes,
        log=log,
        interruption=interruption,
    )
    for epoch in session.epochs():  # resumes, sets the learning rate
        for stage in method.stages(epoch, session.extract, session.once):
            session.train_stage(stage)
        session.finish_epoch(session.test())
    return log.rows[-1]


if __name__ == "__main__":
    sys.exit(main())
