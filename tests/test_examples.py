"""Each program in examples/ runs by its own command line on a few people, says finite numbers, and stays short; the shell examples parse.

The programs run two at a time and share the people; importing torch is most of their time.
"""

import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PEOPLE = "--identities 12".split()
STEPS = "--epochs 2 --iters 2".split()
TINY = "--epochs 1 --iters 2 --iters-unified 2 --unify-from 0 --report none --draws 1 --modes all".split()
COMMANDS = {
    "baseline_synthetic": STEPS,
    "adca_synthetic": STEPS,
    "gur_synthetic": STEPS,
    "sdcl_synthetic": STEPS,
    "search_synthetic": [],
    "ablation_sweep": ["--without", "cra", "--seeds", "2", *TINY],
    "add_a_method": TINY,
}
METHODS = [name for name in COMMANDS if name.endswith("_synthetic") and name != "search_synthetic"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def said(place):
    """Program -> what it printed."""

    def run(name):
        command = [
            sys.executable,
            str(EXAMPLES / f"{name}.py"),
            *PEOPLE,
            "--data-dir",
            str(place),
            *COMMANDS[name],
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=place, env=environment, timeout=300
        )

    first, *others = COMMANDS
    done = {first: run(first)}  # draws the people
    with ThreadPoolExecutor(2) as pool:
        done |= dict(zip(others, pool.map(run, others)))
    for name, one in done.items():
        assert one.returncode == 0, f"{name}: {one.stderr}"
    return {name: one.stdout for name, one in done.items()}


def scores(text, line):
    found = re.search(rf"^{line}: Rank-1 (\S+), mAP (\S+)$", text, re.M)
    assert found, text
    return [float(value) for value in found.groups()]


@pytest.mark.parametrize("name", METHODS)
def test_method_trains_and_says_what_it_did(said, name):
    text = said[name]
    before, after = scores(text, "before"), scores(text, "after")
    assert all(0 < value <= 100 for value in before + after)
    assert before != after  # the weights moved
    epochs = re.findall(
        r"^epoch \d+: (\d+) visible clusters and \d+ outliers, (\d+) infrared clusters", text, re.M
    )
    assert len(epochs) == 2 and all(int(count) >= 2 for counts in epochs for count in counts)
    losses = [float(value) for line in re.findall(r"loss (.*)$", text, re.M) for value in line.split(", ")]
    assert losses and all(math.isfinite(value) and value > 0 for value in losses)


def test_both_stages_of_a_method_were_reached(said):
    assert [int(n) > 0 for n in re.findall(r"(\d+) pairs of clusters", said["adca_synthetic"])] == [
        False,
        True,
    ]
    assert said["gur_synthetic"].count("clusters of both modalities") == 1  # until epoch 1 of 2
    trained = re.findall(
        r"^epoch .* (\d+) visible clusters .* (\d+) infrared clusters .* trained on (\d+) labels",
        said["sdcl_synthetic"],
        re.M,
    )
    assert trained[0][2] == trained[0][0] and int(trained[1][2]) <= int(
        trained[1][1]
    )  # own labels, then infrared ones


def test_search_says_who_is_not_there(said):
    shares = re.findall(r"said to be there (\S+)%", said["search_synthetic"])
    assert len(shares) == 4 and all(0 <= float(share) <= 100 for share in shares)
    right = [float(share) for share in re.findall(r"right at rank 1 (\S+)%", said["search_synthetic"])]
    assert right[0] > 50 > right[1]  # within visible, and across: chance is some percent
    assert "not in the gallery" in said["search_synthetic"]


def test_sweep_compares_groups_of_seeds(place, said):
    assert {p.name for p in (place / "ablation").iterdir() if p.is_dir()} == {
        f"{row}_{seed}" for row in ("whole", "without_cra") for seed in (1, 2)
    }
    rows = re.findall(r"^\| ([AB]): cra=(\w+) \|.*\| 2 \| .*±", said["ablation_sweep"], re.M)
    assert rows == [("A", "True"), ("B", "False")]


def test_own_method_trains(said):
    assert scores(said["add_a_method"], "baseline") != scores(said["add_a_method"], "nearest")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_short_and_told_of(path):
    assert len(path.read_text().splitlines()) < 100
    assert path.name in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_shell_examples_parse(path):
    subprocess.run(["sh", "-n", str(path)], check=True)
