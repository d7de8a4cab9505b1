"""One epoch of `sdcl train` on synthetic images, by phase.

    python benchmarks/epoch.py [--quick] [--set sysu] [-- any flag of `sdcl train`]

`--set sysu` has the counts of SYSU-MM01 (34,167 training images). On a CPU the model is that of the quick
start with images of 96 x 48; on a GPU it is SDCL's recipe. The reference is the authors' log of the released
code: 12 h 05 min for 50 epochs on two A100 GPUs, 870 s an epoch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import common
import torch

RELEASED = {
    "embed": 0.12,
    "cluster": 0.05,
    "train": 0.31,
    "test": 0.11,
}  # shares of an epoch in the authors' log
SMALL = ["-a", "vit_mini", "--height", "96", "--width", "48", "--pad", "4", "--calibrate-necks"]
QUICK = ["--iters", "2", "-b", "16", "--num-instances", "4", "--k1", "10", "--eps", "0.6"]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--set", default="quick", choices=("quick", "medium", "sysu"))
    parser.add_argument("--work", type=Path, default=Path("logs/epoch"), help="folder of images and run")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("flags", nargs="*", help="flags of `sdcl train`, after --")
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    data, run, gpu = args.work / args.set, args.work / "run", device == "cuda"
    size = ["--identities", 12, "--images-per-camera", 4] if args.quick else []
    common.sdcl(
        "synthesize", "--layout", "sysu", "--set", args.set, "--out", data, "--jobs", args.threads, *size
    )
    flags = ["-d", "sysu", "--data-dir", data, "--cache-dir", args.work / "cache", "--logs-dir", run]
    flags += ["--device", device, "--epochs", 1, "--report", "none"]
    flags += ["--pretrained", "none"] if gpu else SMALL
    flags += QUICK if args.quick else []
    shutil.rmtree(run, ignore_errors=True)
    common.sdcl("train", *flags, *args.flags)
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    steps, total = sum(row["iterations"].values()), sum(row["seconds"].values())
    print(common.machine(device))
    rows = [
        (phase, common.seconds(seconds), f"{seconds / total:.0%}", f"{RELEASED[phase]:.0%}")
        for phase, seconds in row["seconds"].items()
    ]
    rows.append(
        (f"all, {steps} steps", common.seconds(total), "100%", "59%; the rest: decoding, loops, ranking")
    )
    common.table(("phase of the epoch", "time", "share", "share in the authors' log"), rows)


if __name__ == "__main__":
    main()
