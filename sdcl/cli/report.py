"""Report: run folder -> report.html; RegDB's trials, or several runs, -> side by side. `python -m sdcl.cli.report --help`.

Reads run folders, checkpoints and images; writes nothing but the report (and decoded images into the run's cache folder).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcl.runtime.errors import UserError, writing
from sdcl.runtime.program import program

COMPARISON = Path("report_compare.html")


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    said = parser().parse_args(argv)
    with writing("the report"):
        if len(said.runs) > 1:
            written = write_comparison(said.runs, said.out or COMPARISON)
        else:
            places = {"data_dir": said.data_dir, "cache_dir": said.cache_dir, "device": said.device}
            written = [write_report(said.runs[0], said.out, embed=said.embed, attend=said.attend, **places)]
    print(f"written: {', '.join(map(str, written))}")
    return 0


def write_report(run: Path, out: Path | None = None, *, embed: bool = True, attend: Sequence[str] = (), **places: str) -> Path:
    """Write one run's page, or that of a folder of trials, and say where. Uses this process alone; call it after `distributed.stop()`.

    Args:
        embed: rebuild model and images; without, and for a folder of trials, the page is made of the logs alone.
        attend: ends of paths of test images whose attention is drawn. places: data_dir, cache_dir, device, where they changed.

    Raises:
        ValueError: no run folder, or matplotlib is not installed. OSError: the page cannot be written.
    """
    require_matplotlib()
    from sdcl.reporting import page_run as single
    from sdcl.reporting import page_trials as trials
    from sdcl.reporting import run_record as record  # matplotlib is an extra

    found = record.trials_in(Path(run))
    if found:
        return trials.write(Path(run), [record.read(folder) for folder in found], out)
    return single.write(Path(run), record.read(Path(run)), out, embed=embed, wanted=attend, **places)


def write_comparison(runs: Sequence[Path], out: Path) -> list[Path]:
    """Write several runs' page and its .md, .tex and .csv. A folder of trials stands for its trials. Raises as `write_report`."""
    require_matplotlib()
    from sdcl.reporting import page_comparison as several
    from sdcl.reporting import run_record as record

    runs = [folder for run in runs for folder in record.trials_in(Path(run)) or [run]]
    places = [Path(run).resolve() for run in runs]
    twice = sorted({str(p) for p in places if places.count(p) > 1})
    if twice:
        raise UserError(f"named more than once, which would count it twice: {', '.join(twice)}")
    return several.write([record.read(Path(run)) for run in runs], Path(out))


def say_report(run: Path, kind: str) -> None:
    """The page at the end of a program, on one process: of the "logs", "full" or "none". What hinders it is said and fails nothing."""
    if kind == "none" or os.environ.get("RANK", "0") != "0":
        return
    try:
        print(f"written: {write_report(run, embed=kind == 'full')}")
    except (UserError, OSError) as error:
        print(f"note: no report: {error}", file=sys.stderr)


def require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("reports are drawn with matplotlib, which is not installed: pip install 'sdcl[report]'") from None


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m sdcl.cli.report", description="Look at one run, or compare several.", allow_abbrev=False
    )
    result.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or folder of trial_N folders; several are compared")
    result.add_argument("--out", type=Path, metavar="FILE", help=f"page to write (default RUN/report.html; several: {COMPARISON})")
    result.add_argument("--no-embed", dest="embed", action="store_false", help="logs alone: no model, no images")
    result.add_argument("--attend", action="append", default=[], metavar="FILE", help="draw attention on test images whose path ends so")
    result.add_argument("--data-dir", default="", help="where the images are now, if not where config.json says")
    result.add_argument("--cache-dir", default="", help="the same for the decoded images")
    result.add_argument("--device", default="", help="auto, cpu, cuda or cuda:N, if not as the run")
    return result


if __name__ == "__main__":
    sys.exit(main())
