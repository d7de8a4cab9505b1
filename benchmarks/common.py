"""Tables, timing, peak memory of a child process and measured rates of this machine, for all benchmarks."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def sdcl(command: str, *flags: object) -> None:
    """Run `sdcl COMMAND FLAGS` and end this program with its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "sdcl", command, *map(str, flags)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])


class RunFailed(Exception):
    """A run of `sdcl` that ended with an error; its last lines."""


def measured_run(flags: Iterable[object], output: Path, threads: int) -> int:
    """Run `sdcl FLAGS` with its output in a file. Returns the peak memory of its process, in bytes.

    Raises:
        RunFailed: it did not end with exit code 0.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    peak = output.with_suffix(".peak")
    command = [sys.executable, str(Path(__file__).parent / "measured.py"), str(peak), *map(str, flags)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with output.open("w") as lines:
        status = subprocess.run(
            command, stdout=lines, stderr=subprocess.STDOUT, check=False, env=environment
        ).returncode
    if status:
        last = [line for line in output.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise RunFailed(f"exit code {status}: {' '.join(last)}")
    return int(peak.read_text())


def all_search(run: Path, metrics: Iterable[str] = ("R1", "mAP", "mINP")) -> dict[str, float]:
    """The all-search metrics, in percent, after the last epoch of a run folder."""
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    result = next(r for r in last["test"] if "all-search" in r["protocol"])
    return {metric: result[metric] for metric in metrics}


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the flags of every benchmark."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, for a few seconds: a test of the script, not of speed",
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads of the arithmetic (default: all cores)"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a Markdown table, its columns aligned."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


def timed(work: Callable[[], Any], repeat: int = 1) -> tuple[Any, float]:
    """(result, seconds of the fastest of `repeat` calls, with the GPU synchronised)."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return result, best


def in_child(
    work: Callable[..., Any], arrays: Iterable[np.ndarray], *args: Any, threads: int = 1
) -> tuple[Any, int]:
    """Run `work(*arrays, *args)` in a fresh process.

    Returns:
        Its result, and the growth of peak memory in bytes while it ran, without the arrays; on a GPU the peak
        of allocated memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.npy") for number, _ in enumerate(arrays)]
        for file, array in zip(files, arrays, strict=True):
            np.save(file, array)
        child = context.Process(target=_report, args=(sender, threads, work, files, args))
        child.start()
        sender.close()
        try:
            return receiver.recv()
        except EOFError:
            child.join()
            raise RuntimeError(
                f"{work.__name__} ended without a result (exit status {child.exitcode})"
            ) from None
        finally:
            child.join()


def _report(sender: Any, threads: int, work: Callable[..., Any], files: list[Path], args: tuple) -> None:
    torch.set_num_threads(threads)
    arrays = [np.load(file) for file in files]
    before = peak_memory()
    result = work(*arrays, *args)
    grown = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else peak_memory() - before
    sender.send((result, grown))


def peak_memory() -> int:
    """Largest resident size of this program so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts a parent's size in its child's ru_maxrss
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def product_rate(device: str = "cpu", size: int = 2048, dtype: torch.dtype = torch.float32) -> float:
    """Measured matrix products, in FLOP/s."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    result = torch.empty(size, size, device=device, dtype=dtype)
    return 2 * size**3 / timed(lambda: torch.mm(left, right, out=result), repeat=5)[1]


def copy_rate(device: str = "cpu", size: int = 2**26) -> float:
    """Measured memory bandwidth (bytes read plus bytes written per second)."""
    source, target = torch.ones(size, device=device), torch.ones(size, device=device)
    return 8 * size / timed(lambda: target.copy_(source), repeat=5)[1]


def machine(device: str = "cpu") -> str:
    """One line that describes device, threads and measured rates."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return (
        f"{name}; torch {torch.__version__}; {product_rate(device) / 1e9:.0f} GFLOP/s float32, "
        f"{copy_rate(device) / 1e9:.1f} GB/s\n"
    )
