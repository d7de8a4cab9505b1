"""Each benchmark runs in its --quick form, prints its tables, and its two sides agree."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import small_runs
from helpers.process_groups import run_program
from helpers.run_folders import write_run

from sdcl import config
from sdcl.cli.main import main
from sdcl.models.factory import build_model
from sdcl.runtime.errors import CheckpointError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_quick(script, *flags):
    """Standard output of a benchmark's quick form, and its table rows as lists of cells, without rulers."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--threads", "1", *flags]
    done = run_program(command, cwd=BENCHMARKS.parent)
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
        pytest.param("sharing", 2, 5, marks=pytest.mark.long),
    ],
)
def test_both_forms_agree(script, tables, agreements):
    if script in ("clustering", "search"):
        pytest.importorskip("faiss", reason="one side of the comparison is faiss")
    output, _ = run_quick(script)
    assert sum(line.startswith("| --") for line in output.splitlines()) == tables
    assert output.count("agree") == agreements and "DIFFER" not in output


@pytest.mark.long
def test_approximate_lists_are_compared_with_the_exact_ones():
    """Recall and agreement of labels are those of other lists, but close,
    and exact lists agree with themselves.
    """
    pytest.importorskip("faiss", reason="the approximate searches are faiss's")
    _, (_, exact, few, more, graph) = run_quick("approximate")
    assert exact[3:5] == ["1.0000", "1.0000"] and graph[0].startswith("HNSW")
    assert 0.9 < float(few[3]) < float(more[3]) <= 1 and float(few[4]) > 0.9


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
    _, rows = run_quick("curves", "--work", str(tmp_path))
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
def test_start_up_by_phase():
    """No phase lies within another one."""
    _, rows = run_quick("startup")
    helps = [name for name, *_ in rows].index("command")
    phases = {name: [in_seconds(cell) for cell in cells] for name, *cells in rows[1:helps]}
    assert len(phases) > 4 and all(
        second >= 0 for seconds in phases.values() for second in seconds
    )  # the rest too
    assert len(rows[helps + 1 :]) == 4 and all(in_seconds(cell) > 0 for _, cell in rows[helps + 1 :])


def in_seconds(cell):
    """ "1.5 s" or "20 ms", as `common.seconds` writes them."""
    value, unit = cell.split()
    return float(value) * {"s": 1, "ms": 1e-3}[unit]


@pytest.mark.long
def test_the_script_for_gpus_runs_on_a_cpu(tmp_path):
    """Every measurement of gpu.sh in its small form; and a failure is in the exit code."""
    chosen = {"DEVICE": "cpu", "QUICK": "1", "WORK": str(tmp_path), "PYTHON": sys.executable}
    command = ["sh", str(BENCHMARKS / "gpu.sh")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=BENCHMARKS.parent, env=os.environ | chosen
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("phase of the epoch") == 2 and "DIFFER" not in done.stdout
    broken = os.environ | chosen | {"PYTHON": "false"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS.parent, env=broken)
    assert done.returncode == 1 and "step.py failed" in done.stderr and "epoch.py failed" in done.stderr


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


@pytest.fixture
def methods_page(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import methods_page

    return methods_page


@pytest.mark.parametrize("name", ["reference", "medium"])
def test_every_row_of_the_methods_table_is_a_run(methods, name, tmp_path):
    """Each row's flags are accepted, no two rows train the same."""
    benchmark, seen = methods.BENCHMARKS[name], set()
    values = benchmark.values
    for row in methods.rows_of(values):
        flags = methods.flags_of(benchmark, tmp_path, row, 1)
        settings, _, _ = config.parse(flags, "", "")
        before = (
            values["unify_from"] if settings.model.from_run else 0
        )  # epochs of the stage that HIL starts from
        assert before + settings.optim.epochs in (1, values["epochs"]) and settings.run.seed == 1
        program = "ceiling" if row == methods.CEILING else ""
        seen.add(program + str({n: v for n, v in config.flat(settings).items() if n != "logs_dir"}))
    assert len(seen) == len(methods.rows_of(values))


@pytest.fixture
def links(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import links

    return links


def test_right_links_of_features_that_are_known(links):
    """Two people of eight images a modality; two infrared images of each lie among those of the other one."""
    person = torch.eye(10)[[0, 1]].repeat_interleave(8, 0)
    exchanged = torch.eye(10)[[0] * 6 + [1] * 2 + [1] * 6 + [0] * 2]
    spread = 0.1 * torch.eye(10)[2:].repeat(2, 1)  # equal for the same number of an image
    made = {"visible": person + spread, "infrared": exchanged + spread}
    features = {m: {"deep": f, "shallow": 2 * f} for m, f in made.items()}
    settings, _, _ = config.parse(["--k1", "8", "--k2", "2", "--eps", "0.5", "--cra-k", "3"], "", "")
    embedded = links.Embedded(settings, features, {m: np.repeat([7, 9], 8) for m in made})
    row = dict(zip(links.HEADER[1:], links.row_of(embedded), strict=True))
    assert row["visible: clusters / outliers / purity / ARI"] == "2 / 0% / 100% / 1.00"
    assert row["infrared"].startswith("2 / 0% / 75% / 0.")
    assert row["right nearest, v to i"] == row["i to v"] == "75%"
    assert row["right centroids, v to i"] == "100%"
    assert row["CRA: linked / right"] == row["smoothed"] == "100% / 100%"  # by the majority of a cluster
    assert row["CNL v-v: neighbours / right"] == "7.0 / 100%"
    assert row["i-i"] == "7.0 / 57%" and row["i-v"] == "8.0 / 75%"


@pytest.mark.long
def test_links_of_a_run(links, data, tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run", data["sysu"], tmp_path / "cache", "sysu")
    monkeypatch.setattr("sys.argv", ["links.py", str(run)])
    assert links.main() == 0
    header, _, row = (line.split("|")[1:-1] for line in capsys.readouterr().out.split("\n")[:3])
    assert len(header) == len(row) == len(links.HEADER) and str(run) in row[0]


def test_methods_table_gives_mean_deviation_and_the_paired_difference(methods_page):
    sdcl = {1: {"R1": 1.0, "mAP": 10.0, "mINP": 5.0}, 2: {"R1": 3.0, "mAP": 11.0, "mINP": 6.0}}
    other = {1: {"R1": 1.0, "mAP": 9.0, "mINP": 5.0}, 2: {"R1": 1.0, "mAP": 10.5, "mINP": 5.0}}
    table = methods_page.to_markdown({"SDCL": sdcl, "other": other, "one": {2: sdcl[2]}}).splitlines()
    assert table[2:] == [
        "| SDCL | 2 | 2.0 ± 1.4 | 10.5 ± 0.7 | 5.5 ± 0.7 |  |",
        "| other | 2 | 1.0 ± 0.0 | 9.8 ± 1.1 | 5.0 ± 0.0 | -0.8, p 0.2 |",
        "| one | 1 | 3.0 | 11.0 | 6.0 | +0.0, one seed |",
    ]
    parts = {"SDCL": other, "TAA (visible)": sdcl, "TAA, no b (visible)": other}
    against = [line.split(" | ")[-1].strip(" |") for line in methods_page.to_markdown(parts).splitlines()[3:]]
    assert against == ["+0.8, p 0.2", "-0.8, p 0.2"]  # the method against SDCL, parts against it
    higher = {seed: {**run, "mAP": run["mAP"] + 2} for seed, run in sdcl.items()}
    assert methods_page.against(higher, sdcl) == "+2.0, p –"  # equal differences have no t-test
    part = {1: sdcl[1], 2: {"R1": 3.0, "mAP": 11.0}}  # a mean of one seed must not pass for one of both
    assert (
        methods_page.to_markdown({"part": part}).splitlines()[2]
        == "| part | 2 | 2.0 ± 1.4 | 10.5 ± 0.7 | – | ~ |"
    )


@pytest.fixture
def kept_run(methods):
    """The result of ADCA with seed 1, as the benchmark keeps it."""
    benchmark = methods.BENCHMARKS["reference"]
    flags = methods.rows_of(benchmark.values)["ADCA"]
    where = {"conditions": benchmark.conditions, "data": "d983", "commit": "abc1234", "device": "x86_64"}
    return {"row": "ADCA", "seed": 1, "flags": flags, **where, "R1": 20.0, "mAP": 30.0, "mINP": 10.0}


def test_the_methods_page_shows_finished_runs_and_names_the_missing_ones(methods, kept_run, tmp_path):
    """Results of other flags, settings or weights are no results of the row."""
    benchmark, results, page = methods.BENCHMARKS["reference"], tmp_path / "runs.jsonl", tmp_path / "page.md"
    for other in ({"flags": ["--method", "gur"]}, {"conditions": "0"}, {"seed": 2}):
        methods.records.add(results, {**kept_run, **other})
    methods.write_page(benchmark, results, 1, page)
    assert "| ADCA |" not in page.read_text()
    methods.records.add(results, {**kept_run, "note": "read from a photograph"})
    methods.write_page(benchmark, results, 1, page)
    text = page.read_text()
    assert "- ADCA (seed 1): read from a photograph.\n" in text
    assert "| ADCA | 1 | 20.0 | 30.0 | 10.0 | ~ |" in text and "abc1234 (1)" in text
    missing = text.partition("Not run yet:")[2]
    assert "GUR (seed 1)" in missing and "ADCA (seed 1)" not in missing


def test_a_kept_result_is_not_trained_again(methods, kept_run, tmp_path, monkeypatch):
    """What is trained is kept with what its run folder says, HIL after the run that it starts from."""
    results, trained = tmp_path / "runs.jsonl", []
    methods.records.add(results, kept_run)

    def train(flags, output, threads):
        folder = output.parent
        folder.mkdir(parents=True, exist_ok=True)
        trained.append(folder.name)
        environment = {"data": "d983", "commit": "f" * 40, "torch": "2.14.1", "device_name": "x86_64"}
        (folder / "environment.json").write_text(json.dumps(environment))
        test = [{"protocol": "all-search", "R1": 12.345, "mAP": 2.0, "mINP": 1.0}]
        row = {"epoch": 0, "test": test, "seconds": {"embed": 1.25, "train": 2}}
        (folder / "metrics.jsonl").write_text(json.dumps(row))

    monkeypatch.setattr(methods.common, "measured_run", train)
    places = ["--work", str(tmp_path), "--results", str(results), "--out", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", ["methods.py", *places, "--seeds", "1", "--rows", "ADCA", "HIL"])
    assert methods.main() == 0 and trained == ["SDCL_1", "HIL_1"]
    assert methods.main() == 0 and trained == ["SDCL_1", "HIL_1"]
    run = json.loads(results.read_text().splitlines()[-1])
    assert (run["row"], run["seed"], run["R1"], run["seconds"]) == ("HIL", 1, 12.35, 3)
    assert run["commit"] == "fffffff" and "| HIL | 1 | 12.3 |" in (tmp_path / "page.md").read_text()


SMALL_BENCHMARK = {
    "arch": "vit_mini_hybrid", "height": 32, "width": 16, "pad": 2, "precision": "fp32", "shallow": False,
    "bn_replicas": 1, "calibrate_necks": True, "batch_size": 8, "batch_size_visible": 8, "num_instances": 4,
    "epochs": 3, "iters": 2, "iters_unified": 2, "lr": 3e-5, "eps": 0.6, "min_samples": 2, "k1": 5,
    "k1_visible_unified": 5, "k2": 3, "unify_from": 1, "aggregate_from": 1, "cma_threshold": 0.3, "cra_k": 3,
    "refine_k": 3, "refine_clusters": 2, "camera_iters": 1, "embed_batch_size": 64,
    "test_batch_size": 64, "report": "none", "max_outliers": 1.0, "eval_step": 3,
}  # fmt: skip


@pytest.mark.long
def test_rows_that_go_on_from_a_shared_first_stage_train_the_same(
    methods, data, tmp_path, monkeypatch, capsys
):
    """Weights and metrics after the last epoch equal those of a run of the row alone,
    and its first epoch is not trained.
    """
    settings = tmp_path / "small.json"
    settings.write_text(json.dumps(SMALL_BENCHMARK))
    small = dataclasses.replace(methods.BENCHMARKS["reference"], settings=str(settings))

    def run(flags, output, threads):
        assert main(list(flags)) == 0

    monkeypatch.setattr(methods.common, "measured_run", run)
    shared, alone, cache = (tmp_path / name for name in ("shared", "alone", "cache"))
    cache.mkdir()
    for work in (shared, alone):
        work.mkdir()
        (work / "data").symlink_to(data["sysu"])
        (work / "cache").symlink_to(cache)
    for source in dict.fromkeys(methods.SAME_FIRST_STAGE.values()):
        methods.train(small, shared, source, 1, 1, "cpu")
    for row in methods.SAME_FIRST_STAGE:
        capsys.readouterr()
        here = methods.train(small, shared, row, 1, 1, "cpu")
        assert "continuing after epoch 0" in capsys.readouterr().out
        there = methods.train(small, alone, row, 1, 1, "cpu")
        ended, other = (methods.run_folder(small, work, row, 1) for work in (shared, alone))
        weights, others = small_runs.state(ended), small_runs.state(other)
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        assert [here[metric] for metric in methods.METRICS] == [there[metric] for metric in methods.METRICS]
        assert [r["losses"] for r in small_runs.rows(ended)] == [r["losses"] for r in small_runs.rows(other)]


def test_a_first_stage_of_other_flags_is_not_gone_on_from(methods, data, tmp_path):
    """A folder that an older benchmark left gives no row of this one its first stage."""
    source = write_run(tmp_path / "runs", data["sysu"], tmp_path / "cache", "sysu")
    (source / "last.pt").rename(source / "stage_contrast.pt")
    flags = ["-d", "sysu", "--data-dir", str(data["sysu"]), "--logs-dir", str(source), "--eps", "0.4"]
    with pytest.raises(CheckpointError, match=r"--eps: 0\.5 then, 0\.4 now"):
        methods.copy_first_stage(flags, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    methods.copy_first_stage([*flags[:4], "--logs-dir", str(tmp_path / "none")], tmp_path / "new")
    assert not (tmp_path / "new").exists()  # nothing to go on from: the run begins anew


def test_results_of_other_images_and_damaged_lines_are_refused(methods, kept_run, tmp_path):
    results = tmp_path / "runs.jsonl"
    methods.records.add(results, kept_run)
    with pytest.raises(SystemExit, match=r"e017.*render the set again"):
        methods.records.add(results, {**kept_run, "seed": 2, "data": "e017"})
    assert len(methods.records.read(results)) == 1
    for damaged in ('{"row": "ADCA"', '["ADCA"]', '{"row": "ADCA"}'):
        results.write_text(json.dumps(kept_run) + "\n" + damaged)
        with pytest.raises(SystemExit, match=r"line 2 .*: mend or delete it"):
            methods.records.read(results)


def test_methods_ask_for_all_seeds_and_their_forms_for_one(methods_page, tmp_path):
    """A row that is named on the command line gets them all (`main`)."""
    rows = methods_page.rows_of(methods_page.BENCHMARKS["reference"].values)
    wanted = {row: methods_page.seeds_wanted(row, rows, 3) for row in rows}
    assert all(
        wanted[row] == 3
        for row in (
            "pretrained weights, before training",
            methods_page.CEILING,
            "SDCL, no CRA",
            "GUR",
            "baseline",
        )
    )
    taa = {row: number for row, number in wanted.items() if row.startswith("TAA")}
    assert list(taa.values()) == [3, 1] and wanted["SDCL, float32"] == wanted["GUR, no CAE"] == 1
    page = tmp_path / "page.md"
    methods_page.write_page(methods_page.BENCHMARKS["reference"], tmp_path / "none.jsonl", 3, page)
    assert "GUR (seeds 1, 2, 3); GUR, no CAE (seed 1);" in page.read_text()


@pytest.mark.parametrize("name", ["reference", "medium"])
def test_the_kept_results_are_of_the_rows_and_conditions_of_today(methods, name):
    """Whoever changes a frozen setting, a weight or a row's flags must not leave results that nobody sees."""
    benchmark = methods.BENCHMARKS[name]
    rows = methods.rows_of(benchmark.values)
    for run in methods.records.read(BENCHMARKS / benchmark.results):
        assert run["conditions"] == benchmark.conditions and run["flags"] == rows[run["row"]]
        assert 0 < run["mAP"] < 100 and 0 < run["R1"] < 100


def test_the_page_says_which_rows_are_readings_and_which_read_identities(methods_page):
    notes = methods_page.notes()
    assert all(config.METHODS[name].status in notes for name in ("dccl", "taa"))
    assert "semi-supervised: visible identities" in notes


@pytest.fixture
def backbones(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import backbones

    return backbones


def test_every_cell_of_the_backbones_table_is_a_run(backbones, tmp_path, monkeypatch):
    """The flags and settings of every method on every backbone are accepted,
    and the images fit its patches.
    """
    monkeypatch.setattr(backbones.common, "sdcl", lambda *_: None)  # no rendering
    backbones.prepare(tmp_path, quick=False)
    for arch in backbones.BACKBONES:
        for method in (backbones.PRETRAINED, *config.METHODS):
            settings, _, _ = config.parse(backbones.flags_of(tmp_path, arch, method, 1), "", "")
            assert settings.model.arch == arch
        build_model(arch, height=settings.data.height, width=settings.data.width)


@pytest.mark.parametrize("method", config.METHODS)
def test_every_stage_begins_within_the_epochs_of_the_backbones_table(backbones, method):
    values = config.flat(config.from_saved(backbones.SETTINGS | {"method": method}))
    late = {n: v for n, v in values.items() if n.endswith("_from") and v >= backbones.EPOCHS}
    assert not late, f"give each of {late} a lower value in SETTINGS of benchmarks/backbones.py"


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


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scale

    return scale


def test_growth_is_fitted_and_extrapolated(scale):
    sizes = [10, 30, 100]
    assert scale.exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx(1.5)
    assert scale.exponent(sizes[:1], [1.0]) is None
    assert scale.extrapolated(100, 2.0, 1000, 2, None) == pytest.approx((200, 200))
    assert scale.extrapolated(100, 2.0, 1000, 2, 1.5) == pytest.approx((2 * 10**1.5, 200))


@pytest.mark.long
def test_every_phase_at_two_sizes_and_on_from_there(tmp_path):
    """Measurements that are finished are read again; other conditions are refused."""
    work = ["--work", str(tmp_path), "--page", str(tmp_path / "page.md")]
    output, rows = run_quick("scale", *work)
    first = (tmp_path / "measurements.json").read_text()
    kept = json.loads(first)["sizes"]
    phases = [name for name, *_ in rows[1 : 1 + len(kept["300"])]]
    assert phases == list(kept["300"]) == list(kept["600"]) and "CNL, a step" in phases
    assert (tmp_path / "page.md").read_text().strip() in output
    damaged = json.loads(first)
    del damaged["sizes"]["600"]["CRA"]  # stopped there
    (tmp_path / "measurements.json").write_text(json.dumps(damaged))
    again, _ = run_quick("scale", *work)
    assert [line.split(":")[0] for line in again.splitlines() if line.startswith("600 ")] == ["600 CRA"]
    with pytest.raises(AssertionError, match="choose another --work"):
        run_quick("scale", *work, "--seed", "1")
