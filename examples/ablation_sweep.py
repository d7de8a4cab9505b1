"""Ablation: SDCL without some of its parts, over seeds, on synthetic images: mean ± std and paired tests.

    python examples/ablation_sweep.py --without cnl cra --seeds 3
    python examples/ablation_sweep.py --without shallow --seeds 2 --epochs 10 --lr 3e-5

A part is a switch of `sdcl train`; each row of the table is SDCL with one of them off. Further flags go to
every training. A finished run is not repeated and a stopped one continues: rows and seeds can be added later.
"""

import argparse
import json
import sys
from pathlib import Path

from sdcl import train
from sdcl.cli import report
from sdcl.synthetic.dataset import build

BUDGET = {
    "epochs": 6,
    "unify_from": 3,
    "iters": 20,
    "iters_unified": 20,
    "optimizer": "adam",
    "eval_step": 1000,
}

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
)
add = parser.add_argument
add("--without", nargs="+", default=["cnl", "cra"], metavar="PART", help="parts, one a row (default cnl cra)")
add("--seeds", type=int, default=3, help="runs of each row")
add("--identities", type=int, default=60, help="identities to train on; 0.4 times as many others are tested")
add("--data-dir", type=Path, default=Path("logs/examples"), help="folder of images and runs")
args, train_flags = parser.parse_known_args()

images, out = args.data_dir / f"reference_{args.identities}", args.data_dir / "ablation"
build(images, "sysu", "reference", "clear", identities=args.identities)
# A settings file may name settings that a switched-off part would read; flags may not.
config = json.loads((Path(__file__).parent / "quickstart.json").read_text()) | BUDGET
out.mkdir(parents=True, exist_ok=True)
(out / "config.json").write_text(json.dumps(config, indent=2))
shared = ["--config", str(out / "config.json"), "--data-dir", str(images)]
shared += ["--cache-dir", str(args.data_dir / "cache"), *train_flags]

runs = []
for part in ["", *args.without]:
    for seed in range(1, args.seeds + 1):
        run = out / f"{f'without_{part}' if part else 'whole'}_{seed}"
        switch = [f"--no-{part}"] if part else []
        print(f"---- {run.name}", flush=True)
        exit_code = train.main([*shared, *switch, "--seed", str(seed), "--logs-dir", str(run)])
        if exit_code:
            sys.exit(exit_code)
        runs.append(str(run))

# The report groups runs that differ in the seed only, and lists the settings that differ between groups.
exit_code = report.main([*runs, "--out", str(out / "comparison.html")])
if exit_code == 0:
    print((out / "comparison.md").read_text())
sys.exit(exit_code)
