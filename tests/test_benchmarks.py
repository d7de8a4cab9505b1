"""Each benchmark runs in its --quick form, prints its table, and both of its sides agree."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "script,tables,agreements", [("clustering", 4, 3), ("evaluation", 1, 2), ("memory", 1, 5), ("step", 2, 2), ("input", 2, 1)]
)
def test_quick_form(script, tables, agreements):
    if script == "clustering":
        pytest.importorskip("faiss", reason="one of the four tables is its own")
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("| --") for line in done.stdout.splitlines()) == tables
    assert done.stdout.count("agree") == agreements and "DIFFER" not in done.stdout
