"""`sdcl repeat`: one experiment over several seeds, with the mean, the deviation and a page at the end.

Equal runs of these methods end one to two points of mAP apart, so a single run proves little. Each seed is an
`sdcl train` of its own in the folder seed_N: a finished one is left as it is, a stopped one continues.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from sdcl.config.command_line import new_parser, parse
from sdcl.config.settings import number_list
from sdcl.runtime.errors import SettingError, TrainingError
from sdcl.runtime.files import printable
from sdcl.runtime.program import FINISHED, INTERRUPTED, Interrupted, program

DESCRIPTION = (
    "Train one experiment with several seeds, and compare the runs. Every further flag is one of "
    "`sdcl train`; --logs-dir names the folder that gets a run folder seed_N for each seed, and the page."
)
PAGE = "repeat.html"


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Exit codes: 0 all seeds trained; 2 bad input, or a seed that failed (the message names it); 75 a signal
    ended the runs with their states saved, the same command continues.
    """
    options, flags = parser().parse_known_args(argv)
    seeds = number_list(options.seeds, "--seeds")
    if options.jobs < 1:
        raise SettingError(f"--jobs {options.jobs}: at least one run at a time")
    settings, _, given = parse(flags, "sdcl repeat", DESCRIPTION)
    if "seed" in given:
        raise SettingError(f"--seed {given['seed']} and --seeds {options.seeds}: leave out --seed")
    if not settings.run.resume:
        raise SettingError(
            "--no-resume would train the finished seeds anew each time this command is repeated: choose "
            "another --logs-dir"
        )
    base = Path(settings.run.logs_dir or f"logs/{settings.run.method}_{settings.data.dataset}")
    folders = [base / f"seed_{seed}" for seed in seeds]
    Runs(options.jobs).train(seeds, folders, flags)
    compare(folders, base / PAGE)
    return FINISHED


def parser() -> argparse.ArgumentParser:
    """The options of this program; the others are those of `sdcl train`."""
    result = new_parser("sdcl repeat", DESCRIPTION)
    result.set_defaults(jobs=1)
    add = result.add_argument
    add("--seeds", required=True, metavar="LIST", help="seeds such as 1-3 or 1,2,5")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at once (default 1); they share the CPU cores evenly, and take the GPUs in turn",
    )
    return result


def last_words(output: Path) -> str:
    """What a failed run said last: its error, or the last line that it printed."""
    text = output.read_text(encoding="utf-8", errors="replace").rstrip()
    _, error, words = text.rpartition("\nerror: ")
    lines = words.splitlines() if error else text.splitlines()[-1:]
    return f"{' '.join(line.strip() for line in lines)} ({output})"


class Runs:
    """Runs of `sdcl train`, at most `jobs` at once. A signal is passed on to those under way, and no other
    begins.
    """

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.signal_name = ""
        self._lock, self._running = threading.Lock(), set[subprocess.Popen[bytes]]()
        self._gpus = self._visible_gpus() if jobs > 1 else []

    def train(self, seeds: Sequence[int], folders: Sequence[Path], flags: Sequence[str]) -> None:
        """Train every seed, and wait.

        Raises:
            Interrupted: a signal; every run has saved its state. TrainingError: a run failed; the others were
                finished all the same.
        """
        before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with ThreadPoolExecutor(self.jobs) as pool:
                waiting = [
                    pool.submit(self._run, number, seed, folder, flags)
                    for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True))
                ]
                codes = [one.result() for one in waiting]
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.signal_name or INTERRUPTED in codes:
            raise Interrupted(self.signal_name or "a signal to one of the runs")
        failed = [(folder, code) for folder, code in zip(folders, codes) if code != FINISHED]
        if failed:
            raise TrainingError(
                "not every seed could be trained; the same command goes on with these "
                "alone, when the cause is mended:\n  "
                + "\n  ".join(
                    f"{printable(folder)} ended with exit code {code}: {last_words(folder / 'output.txt')}"
                    for folder, code in failed
                )
            )

    def _run(self, number: int, seed: int, folder: Path, flags: Sequence[str]) -> int:
        """Train one seed; what it prints goes to output.txt of its folder. Returns the exit code."""
        folder.mkdir(parents=True, exist_ok=True)
        command, environment = command_of(seed, folder, flags), self._environment(number)
        with (folder / "output.txt").open("ab") as output:
            with self._lock:
                if self.signal_name:
                    return INTERRUPTED
                process = subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,  # a Ctrl-C reaches it through `_pass_on` alone
                )
                self._running.add(process)
                if self.signal_name:
                    process.terminate()
            print(f"seed {seed}: {printable(folder)}", flush=True)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        print(f"seed {seed}: {'finished' if code == FINISHED else f'exit code {code}'}", flush=True)
        return code

    def _environment(self, number: int) -> dict[str, str]:
        """The environment of run `number`: its share of the cores, and one GPU
        where several runs share several.
        """
        share = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(share))
        if len(self._gpus) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[number % len(self._gpus)]
        return environment

    @staticmethod
    def _visible_gpus() -> list[str]:
        import torch

        named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Send a signal to the runs under way. A second one goes to them too, and ends them at once."""
        self.signal_name = signal.Signals(number).name
        for process in list(self._running):
            process.send_signal(number)


def command_of(seed: int, folder: Path, flags: Sequence[str]) -> list[str]:
    """The command that trains one seed."""
    command = [sys.executable, "-m", "sdcl", "train", *flags]
    return [*command, "--seed", str(seed), "--logs-dir", str(folder)]


def compare(folders: Sequence[Path], page: Path) -> None:
    """Write the page of all seeds and its tables, and print mean and deviation."""
    from sdcl.reporting.write import write_comparison

    written = write_comparison(folders, page)
    print(page.with_suffix(".md").read_text(encoding="utf-8"))
    print(f"written: {', '.join(map(printable, written))}")


if __name__ == "__main__":
    sys.exit(main())
