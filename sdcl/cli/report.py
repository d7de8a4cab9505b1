"""`sdcl report`: write the page of a run, of a folder of trials, or of several runs side by side.

Reads run folders, checkpoints and images; writes the report, and decoded images into the cache folder of the
run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcl.reporting.write import write_comparison, write_report
from sdcl.runtime.files import printable
from sdcl.runtime.program import program

COMPARISON = Path("report_compare.html")


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    options = parser().parse_args(argv)
    if len(options.runs) > 1:
        written = write_comparison(options.runs, options.out or COMPARISON)
    else:
        moved = {"data_dir": options.data_dir, "cache_dir": options.cache_dir, "device": options.device}
        written = [
            write_report(options.runs[0], options.out, embed=options.embed, attend=options.attend, **moved)
        ]
    print(f"written: {', '.join(map(printable, written))}")
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="sdcl report",
        description="Write the HTML report of a run or a folder of trials, or compare several runs.",
        allow_abbrev=False,
    )
    result.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folder, or folder of trial_N folders; several are compared",
    )
    result.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"page to write (default: RUN/report.html; of several runs: {COMPARISON})",
    )
    result.add_argument(
        "--no-embed",
        dest="embed",
        action="store_false",
        help="make the page from the logs, without model and images",
    )
    result.add_argument(
        "--attend",
        action="append",
        default=[],
        metavar="FILE",
        help="draw attention on test images whose path ends with FILE; repeatable",
    )
    result.add_argument(
        "--data-dir", default="", help="folder of the images, if they have moved since the run"
    )
    result.add_argument(
        "--cache-dir", default="", help="folder of the decoded images, if it has moved since the run"
    )
    result.add_argument("--device", default="", help="auto, cpu, cuda or cuda:N (default: as the run)")
    return result


if __name__ == "__main__":
    sys.exit(main())
