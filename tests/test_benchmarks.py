"""Each benchmark runs in its --quick form, prints its tables, and its two sides agree."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdcl import config
from sdcl.models.factory import build_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_quick(script, *flags, timeout=300):
    """Standard output of a benchmark's quick form, and its table rows as lists of cells, without rulers."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--threads", "1", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, timeout=timeout)
    assert done.returncode == 0, done.stderr
    lines = [
        line for line in done.stdout.splitlines() if line.startswith("|") and not line.startswith("| --")
    ]
    return done.stdout, [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


@pytest.mark.parametrize(
    ("script", "tables", "agreements"),
    [
        pytest.param("step", 2, 2),
        pytest.param("memory", 1, 5, marks=pytest.mark.long),
        pytest.param("clustering", 5, 3, marks=pytest.mark.long),
        pytest.param("evaluation", 1, 2, marks=pytest.mark.long),
        pytest.param("input", 2, 1, marks=pytest.mark.long),
        pytest.param("search", 1, 1, marks=pytest.mark.long),
    ],
)
def test_both_forms_agree(script, tables, agreements):
    if script in ("clustering", "search"):
        pytest.importorskip("faiss", reason="one side of the comparison is faiss")
    output, _ = run_quick(script)
    assert sum(line.startswith("| --") for line in output.splitlines()) == tables
    assert output.count("agree") == agreements and "DIFFER" not in output


@pytest.mark.long
def test_trivial_features_against_chance(tmp_path):
    """In a gallery of three identities with one image per camera, random features find a third of the
    queries.
    """
    _, (_, *rows) = run_quick("fairness", "--work", str(tmp_path))
    modes = [f"SYSU-MM01 {mode}-search single-shot, infrared to visible" for mode in ("all", "indoor")]
    assert [row[1] for row in rows] == modes
    chance, *trivial = map(float, rows[0][2:])
    assert 10 < chance < 60 and len(set(trivial)) > 1
    assert all(0 <= rank1 <= 90 for rank1 in trivial)  # none of them solves the set


@pytest.mark.long
def test_fast_and_plain_curves(tmp_path):
    """Both forms train through both stages from the same weights; then the cost of a run of each."""
    _, rows = run_quick("curves", "--work", str(tmp_path), timeout=600)
    assert [row[0] for row in rows] == ["epoch", "0", "1", "form", "fast", "plain"]
    for row in rows[1:3]:
        fast, plain = map(float, row[1:3])
        assert 0 < fast <= 100 and abs(fast - plain) < 15  # two steps an epoch
    assert all(cell.endswith("s") for cell in (rows[4][1], rows[5][1]))


@pytest.mark.long
def test_an_epoch_by_phase(tmp_path):
    _, (_, *rows) = run_quick("epoch", "--work", str(tmp_path))
    assert [row[0] for row in rows] == ["embed", "cluster", "train", "test", "all, 2 steps"]
    shares = [int(row[2].rstrip("%")) for row in rows[:-1]]
    assert 97 <= sum(shares) <= 103 and min(shares) >= 0


@pytest.mark.long
def test_the_ceiling_trains_on_identities(tmp_path):
    """With the true labels every image of the training set is in a cluster of its identity."""
    images, cache = tmp_path / "images", tmp_path / "cache"
    size = ["--identities", "4", "--images-per-camera", "2"]
    small = "--height 32 --width 16 --pad 2 -b 8 --num-instances 2 --epochs 1 --iters 2 --report none".split()
    places = ["--data-dir", str(images), "--cache-dir", str(cache), "--logs-dir", str(tmp_path / "run")]
    quickstart = BENCHMARKS.parent / "examples" / "quickstart.json"
    for command in (
        ["-m", "sdcl", "synthesize", "--out", str(images), *size],
        [str(BENCHMARKS / "ceiling.py"), "-d", "sysu", "--config", str(quickstart), *places, *small],
    ):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=BENCHMARKS.parent
        )
        assert done.returncode == 0, done.stderr
    assert " 4/4 " in done.stdout and " 0/0 " in done.stdout  # clusters and outliers of both modalities


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import methods

    return methods


def test_every_row_of_the_methods_table_is_a_run(methods, tmp_path):
    """Each row's flags are accepted, and no two rows train the same."""
    seen = set()
    for row in methods.ROWS:
        flags = methods.flags_of(tmp_path, tmp_path / "x.safetensors", row, 1)
        settings, _, _ = config.parse(flags, "", "")
        before = 3 if settings.model.from_run else 0  # epochs of the stage that HIL starts from
        assert before + settings.optim.epochs in (1, 6) and settings.run.seed == 1
        seen.add(str({name: value for name, value in config.flat(settings).items() if name != "logs_dir"}))
    assert len(seen) == len(methods.ROWS)


def test_methods_table_gives_mean_and_deviation(methods):
    seeds = [{"R1": 1.0, "mAP": 10.0, "mINP": 5.0}, {"R1": 3.0, "mAP": 10.0, "mINP": 6.0}]
    table = methods.to_markdown({"SDCL": seeds, "one": seeds[:1]}).splitlines()
    assert table[2:] == [
        "| SDCL | 2 | 2.0 ± 1.4 | 10.0 ± 0.0 | 5.5 ± 0.7 |",
        "| one | 1 | 1.0 | 10.0 | 5.0 |",
    ]


def test_the_page_says_which_rows_are_readings_and_which_read_identities(methods):
    notes = methods.notes()
    assert all(config.METHODS[name].status in notes for name in ("dccl", "taa"))
    assert "semi-supervised: visible identities" in notes


@pytest.fixture
def backbones(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import backbones

    return backbones


def test_every_cell_of_the_backbones_table_is_a_run(backbones, tmp_path, monkeypatch):
    """The flags and settings of every method on every backbone are accepted, and the images fit its patches."""
    monkeypatch.setattr(backbones.common, "sdcl", lambda *_: None)  # no rendering
    backbones.prepare(tmp_path, quick=False)
    for arch in backbones.BACKBONES:
        for method in (backbones.PRETRAINED, *config.METHODS):
            settings, _, _ = config.parse(backbones.flags_of(tmp_path, arch, method, 1), "", "")
            assert settings.model.arch == arch
        build_model(arch, height=settings.data.height, width=settings.data.width)


def test_backbones_table_says_what_ran_and_what_failed(backbones):
    cell = {
        "arch": "vit_mini",
        "seed": 1,
        "R1": 10.0,
        "mAP": 12.3,
        "peak_bytes": 2**30,
        "seconds_per_step": 0.25,
    }
    cells = [
        {**cell, "method": backbones.PRETRAINED},
        {**cell, "method": "sdcl", "R1": 20.0},
        {"arch": "clip_mini", "method": "sdcl", "seed": 1, "failed": "exit code 2: error: too few"},
    ]
    page = backbones.to_markdown(cells, threads=2, jobs=1, seed=1)
    assert f"1 of {6 * len(config.METHODS)} cells ran" in page
    lines = page.splitlines()
    for line in (
        "| `vit_mini` | 10.0 / 12.3 | 20.0 / 12.3 |",
        "| `clip_mini` | – | failed |",
        "| `vit_mini` | 250 |",
        "| `vit_mini` | 1024 |",
        "- `clip_mini`, sdcl failed: exit code 2: error: too few",
    ):
        assert line in lines


@pytest.mark.long
def test_a_cell_of_the_backbones_table(backbones, tmp_path, monkeypatch):
    """Trained once, read the second time."""
    flags = "--quick --backbones clip_mini --methods baseline --work".split()
    monkeypatch.setattr(
        sys, "argv", ["backbones.py", *flags, str(tmp_path), "--out", str(tmp_path / "page.md")]
    )
    assert backbones.main() == 0
    cell = tmp_path / "cells" / "clip_mini baseline 1.json"
    assert "failed" not in cell.read_text() and "1 of" in (tmp_path / "page.md").read_text()
    monkeypatch.setattr(backbones.common, "measured_run", lambda *_: pytest.fail("trained again"))
    assert backbones.main() == 0
