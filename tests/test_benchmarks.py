"""Each benchmark runs in its --quick form, prints its table, and both of its sides agree."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "script,tables,agreements",
    [("clustering", 5, 3), ("evaluation", 1, 2), ("memory", 1, 5), ("step", 2, 2), ("input", 2, 1)],
)
def test_quick_form(script, tables, agreements):
    if script == "clustering":
        pytest.importorskip("faiss", reason="one of the five tables is its own")
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("| --") for line in done.stdout.splitlines()) == tables
    assert done.stdout.count("agree") == agreements and "DIFFER" not in done.stdout


def test_trivial_features_against_chance(tmp_path):
    """Random features lie at chance: in a gallery of few people, one image each and camera, that is no small number."""
    command = [
        sys.executable,
        str(BENCHMARKS / "fairness.py"),
        "--quick",
        "--threads",
        "1",
        "--work",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    assert [row[1] for row in table[2:]] == [
        f"SYSU-MM01 {mode}-search single-shot, infrared to visible" for mode in ("all", "indoor")
    ]
    assert (
        all(0 <= float(cell) <= 100 for row in table[2:] for cell in row[2:]) and 10 < float(table[2][2]) < 60
    )


def test_fast_and_plain_curves(tmp_path):
    """Both forms train to the end of both stages; each epoch has a row with both, and then what a run of each cost."""
    command = [
        sys.executable,
        str(BENCHMARKS / "curves.py"),
        "--quick",
        "--threads",
        "1",
        "--work",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, timeout=600)
    assert done.returncode == 0, done.stderr
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    assert [row[0] for row in table] == ["epoch", "-" * 5, "0", "1", "form", "-" * 5, "fast", "plain"]
    assert all(0 <= float(cell) <= 100 for cell in table[2][1:5])
