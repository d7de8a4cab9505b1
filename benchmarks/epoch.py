"""One epoch by phase, of the real program on the synthetic benchmark: what an epoch's time goes into.

    python benchmarks/epoch.py [--quick] [--set sysu] [-- any flag of sdcl.train]

`--set sysu` has SYSU-MM01's own counts (34,167 training images). On a CPU the model is the quick start's and the images 96 x 48; on a GPU it is the
recipe itself. Its plain baseline is the authors' log, which their paper's hardware made: 12 h 05 min for 50 epochs on two A100, 870 s an epoch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import common
import torch

RELEASED = {
    "embed": 0.12,
    "cluster": 0.05,
    "train": 0.31,
    "test": 0.11,
}  # shares of the released run that its log names
SMALL = ["-a", "vit_mini", "--height", "96", "--width", "48", "--pad", "4", "--calibrate-necks"]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--set", default="quick", choices=("quick", "medium", "sysu"))
    parser.add_argument("--work", type=Path, default=Path("logs/epoch"))
    parser.add_argument("flags", nargs="*", help="of sdcl.train, behind --")
    args = parser.parse_args()
    data, gpu = args.work / args.set, torch.cuda.is_available()
    call(
        "sdcl.synthetic.dataset",
        "--layout",
        "sysu",
        "--set",
        args.set,
        "--seed",
        "0",
        "--out",
        data,
        "--jobs",
        args.threads,
    )
    own = [] if gpu else SMALL
    own += ["--pretrained", "none"] if gpu else []
    own += (
        ["--iters", "2", "-b", "16", "--num-instances", "4", "--k1", "15", "--eps", "0.6"]
        if args.quick
        else []
    )
    run = args.work / "run"
    flags = [
        "-d",
        "sysu",
        "--data-dir",
        data,
        "--cache-dir",
        args.work / "cache",
        "--logs-dir",
        run,
        "--epochs",
        1,
        "--no-resume",
        "--report",
        "none",
    ]
    call("sdcl.train", *flags, *own, *args.flags)
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    steps = sum(row["iterations"].values())
    total = sum(row["seconds"].values())
    print(common.machine("cuda" if gpu else "cpu"))
    rows = [
        (p, common.seconds(s), f"{s / total:.0%}", f"{RELEASED[p]:.0%}") for p, s in row["seconds"].items()
    ]
    rows.append(
        (
            f"in all, {steps} steps",
            common.seconds(total),
            "100%",
            "59%; the rest is decoding, loops and ranking",
        )
    )
    common.table(("phase of the epoch", "time", "share", "share in the released run"), rows)


def call(module: str, *flags: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, flags)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])


if __name__ == "__main__":
    main()
