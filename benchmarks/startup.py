"""Seconds from the command to the first training step, phase by phase, with the quick start's settings.

    python benchmarks/startup.py [--quick] [--data-dir DIR] [--threads 2]

DIR holds images in SYSU-MM01's layout and is rendered first if it is missing. `sdcl train` runs in a process
of its own, which ends after its first optimiser step: once with empty folders of decoded images and of
Numba's machine code, then with both filled. The last table times `--help`.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHILD = "--child"
PHASES = (  # (name, module, function or method), in the order of the run
    ("lists of the data set", "sdcl.train", "open_dataset"),
    ("training images, decoded or opened", "sdcl.training.images", "TrainingImages.open"),
    ("test images, decoded or opened", "sdcl.inference.test_set", "TestSet.__init__"),
    ("model and pretrained weights", "sdcl.training.initial_model", "pretrained_model"),
    ("session: optimiser, logs, necks", "sdcl.training.session", "TrainingSession.__init__"),
    ("first embedding", "sdcl.training.session", "TrainingSession.extract"),
    ("first clustering", "sdcl.training.session", "TrainingSession.once"),
    ("first step", "sdcl.training.session", "TrainingSession.train_stage"),
)
HELPS = (("sdcl",), ("sdcl", "train"), ("sdcl.train",), ("sdcl.test",))


class FirstStepTaken(Exception):
    """Ends the child."""


def main() -> None:
    import common

    parser = common.arguments(__doc__)
    parser.add_argument("--data-dir", help="images of SYSU-MM01's layout (default: rendered for this call)")
    args = parser.parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory() as folder:
        data = args.data_dir or f"{folder}/data"
        if not Path(data).is_dir():
            people = ("--identities", 12 if args.quick else 100)
            few = ("--images-per-camera", 2) if args.quick else ()
            common.sdcl("synthesize", "--layout", "sysu", "--set", "quick", *people, *few, "--out", data)
        small = "--height 32 --width 16 -b 8 --num-instances 2 --k1 4 --k2 2".split() if args.quick else []
        flags = ["--config", ROOT / "examples/quickstart.json", "--data-dir", data, "--device", "cpu"]
        flags += ["--precision", "fp32", "--cache-dir", f"{folder}/cache", *small]
        environment = {"NUMBA_CACHE_DIR": f"{folder}/numba", "OMP_NUM_THREADS": str(args.threads)}
        first, later = (
            json.loads(run(environment, __file__, CHILD, *flags, "--logs-dir", f"{folder}/{name}")[0])
            for name in ("first", "later")
        )
    common.table(
        ["phase", "first run", "later runs"],
        [[phase, *(common.seconds(times[phase]) for times in (first, later))] for phase in first],
    )
    common.table(
        ["command", "time"],
        [
            [f"`python -m {' '.join(words)} --help`", common.seconds(run({}, "-m", *words, "--help")[1])]
            for words in HELPS
        ],
    )


def run(environment: dict[str, str], *arguments: object) -> tuple[str, float]:
    """Run Python. Returns the last line of its output, and its seconds; its failure ends this program."""
    begin = time.time()
    shown = {**os.environ, "PYTHONPATH": str(ROOT), "BEGIN": str(begin), **environment}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=shown)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return done.stdout.splitlines()[-1], time.time() - begin


def child(flags: list[str]) -> None:
    """Train until the first step is taken, and print {phase: seconds} as the last line."""
    begin = float(os.environ["BEGIN"])
    for _, module, _ in PHASES:
        importlib.import_module(module)
    times = {"interpreter and imports": time.time() - begin}
    for phase, module, name in PHASES:
        timed(importlib.import_module(module), name, phase, times)
    from sdcl.config import parse
    from sdcl.train import train
    from sdcl.training.trainer import StageTrainer

    update = StageTrainer.update

    def last_update(self: StageTrainer, *arguments: Any) -> None:
        update(self, *arguments)
        raise FirstStepTaken

    StageTrainer.update = last_update  # type: ignore[method-assign]
    try:
        train(parse(flags, "", "")[0])
    except FirstStepTaken:
        whole = time.time() - begin
        times["the rest"] = whole - sum(times.values())
        times["in all"] = whole
        times["in all, CPU time"] = time.process_time()
    print("\n" + json.dumps(times))


def timed(module: Any, name: str, phase: str, times: dict[str, float]) -> None:
    """Add the seconds of a function, or of a method, of the module to its phase."""
    *owners, attribute = name.split(".")
    owner = functools.reduce(getattr, owners, module)
    function: Callable[..., Any] = getattr(owner, attribute)
    times[phase] = 0.0

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        begin = time.time()
        try:
            return function(*arguments, **options)
        finally:
            times[phase] += time.time() - begin

    setattr(owner, attribute, call)


if __name__ == "__main__":
    if CHILD in sys.argv[1:2]:
        child(sys.argv[2:])
    else:
        main()
