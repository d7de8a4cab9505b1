"""SDCL with each of some parts switched off, over seeds, on synthetic people: mean ± standard deviation, and paired tests.

    python examples/ablation_sweep.py --without cnl cra --seeds 3
    python examples/ablation_sweep.py --without shallow --seeds 2 --epochs 10 --lr 3e-5     # further flags go to every training

A part is any switch of `python -m sdcl.train`; each row is the whole method but for one of them. A run that is complete is not repeated and
one that was stopped goes on, so rows and seeds can be added later. The numbers are a renderer's and say nothing about real data sets.
"""

import argparse
import sys
from pathlib import Path

from sdcl import train
from sdcl.cli import report
from sdcl.synthetic.dataset import build

flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
)
flags.add_argument(
    "--without",
    nargs="+",
    default=["cnl", "cra"],
    metavar="PART",
    help="switched off, one a row (default cnl cra)",
)
flags.add_argument("--seeds", type=int, default=3, help="runs of each row")
flags.add_argument(
    "--identities", type=int, default=60, help="people to train on; 0.4 times as many others are searched for"
)
flags.add_argument(
    "--data-dir", type=Path, default=Path("logs/examples"), help="where people are drawn and runs are kept"
)
own, more = flags.parse_known_args()

people, out = own.data_dir / f"people_{own.identities}", own.data_dir / "ablation"
build(people, "sysu", "quick", identities=own.identities)
# The settings of the quick start, for fewer steps; they come first, so that what was said on the command line overrides them.
budget = "--epochs 6 --unify-from 3 --iters 20 --iters-unified 20 --optimizer adam --lr 1e-4 --eval-step 1000".split()
shared = [
    "--config",
    str(Path(__file__).parent / "quickstart.json"),
    "--data-dir",
    str(people),
    "--cache-dir",
    str(own.data_dir / "cache"),
]

runs = []
for part in ["", *own.without]:
    for seed in range(1, own.seeds + 1):
        run = out / f"{'without_' + part if part else 'whole'}_{seed}"
        switch = [f"--no-{part}"] if part else []
        print(f"---- {run.name}", flush=True)
        status = train.main([*shared, *budget, *more, *switch, "--seed", str(seed), "--logs-dir", str(run)])
        if status:
            sys.exit(status)
        runs.append(str(run))

# Runs of equal settings but for the seed are one group; what differs between the groups is found by the report, not said here.
status = report.main([*runs, "--out", str(out / "comparison.html")])
print((out / "comparison.md").read_text() if status == 0 else "no comparison")
sys.exit(status)
