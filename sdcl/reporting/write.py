"""Write report pages: of one run, of a folder of trials, of several runs side by side.

The page modules draw with matplotlib and scikit-learn, so they are imported when a page is made.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sdcl.runtime.errors import UserError
from sdcl.runtime.files import printable


def write_report(
    run: Path | str, out: Path | None = None, *, embed: bool = True, attend: Sequence[str] = (), **moved: str
) -> Path:
    """Write the page of one run, or of a folder of trials, and return its path. Call it on one process only.

    Args:
        run: run folder, or a folder that holds trial_1, trial_2, ...
        out: page to write; default: report.html in `run`.
        embed: load model and images; without, and for a folder of trials, the page is made from the logs
            alone.
        attend: ends of the paths of test images whose attention is drawn.
        moved: settings that no longer hold on this machine: data_dir, cache_dir, device. Empty: as in the
            run.

    Raises:
        UserError: not a run folder. OutputError: the page cannot be written.
    """
    from sdcl.reporting.html import write_page
    from sdcl.reporting.page_run import run_page
    from sdcl.reporting.page_trials import trials_page
    from sdcl.reporting.run_record import read_run, trial_folders

    run = Path(run)
    target = out or run / "report.html"
    trials = trial_folders(run)
    if trials:
        page = trials_page(
            printable(run.absolute().name), [read_run(folder) for folder in trials], linked=out is None
        )
    else:
        page = run_page(read_run(run), embed=embed, attend=attend, **moved)
    write_page(target, page)
    return target


def write_comparison(runs: Sequence[Path | str], out: Path) -> list[Path]:
    """Write the page of several runs, and its results as .md, .tex and .csv beside it; return the paths.

    Args:
        runs: run folders; a folder of trials stands for its trials.

    Raises:
        UserError: not a run folder, or one named twice. OutputError: a file cannot be written.
    """
    from sdcl.reporting.html import write_page
    from sdcl.reporting.page_comparison import comparison_page
    from sdcl.reporting.run_record import read_run, trial_folders
    from sdcl.reporting.statistics import csv_table, group_runs, latex_table, markdown_table, summarize

    folders = [folder for run in map(Path, runs) for folder in trial_folders(run) or [run]]
    resolved = [folder.resolve() for folder in folders]
    repeated = sorted({printable(path) for path in resolved if resolved.count(path) > 1})
    if repeated:
        raise UserError(
            f"named more than once, which would count a run twice: {', '.join(repeated)}; name each run once"
        )
    records = [read_run(folder) for folder in folders]
    summaries = summarize(group_runs(records))
    texts = {
        out: comparison_page(records),
        out.with_suffix(".md"): markdown_table(summaries),
        out.with_suffix(".tex"): latex_table(summaries),
        out.with_suffix(".csv"): csv_table(summaries),
    }
    for path, text in texts.items():
        write_page(path, text)
    return list(texts)


def report_after_run(run: Path | str, kind: str) -> None:
    """Write a run's page at the end of training or test. A failure is reported on stderr and never raised.

    Args:
        kind: value of --report: "none", "logs" (no model, no images) or "full".
    """
    if kind == "none":
        return
    try:
        print(f"written: {printable(write_report(run, embed=kind == 'full'))}")
    except UserError as error:
        print(f"warning: no report: {error}", file=sys.stderr)
    except Exception:  # a finished run must not fail because of its report
        print("warning: no report, because of this error:", file=sys.stderr)
        traceback.print_exc()
