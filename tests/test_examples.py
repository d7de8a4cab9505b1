"""The programs of examples/ run by their own command lines on a few identities; the shell scripts parse.

Expected numbers are exact consequences of the programs: labels counted twice, weights that moved, groups of
seeds.
"""

import json
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.process_groups import run_program

from sdcl import config

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = "--epochs 2 --iters 2".split()
SHORT = "--epochs 1 --report none --draws 1 --modes all".split()
COMMANDS = {
    "baseline_synthetic": STEPS,
    "adca_synthetic": STEPS,
    "gur_synthetic": STEPS,
    "sdcl_synthetic": STEPS,
    "pgm_synthetic": STEPS,
    "bmil_synthetic": STEPS,
    "search_synthetic": [],
    "ablation_sweep": ["--without", "cnl", "--seeds", "2", *SHORT, "--iters", "2"],
    "add_a_method": [*SHORT, "--iters", "2"],
}
METHODS = [name for name in COMMANDS if name.endswith("_synthetic") and name != "search_synthetic"]


def run(name, folder, *flags):
    """Standard output of an example on 12 identities."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--identities", "12", "--data-dir", str(folder)]
    paths = os.pathsep.join(filter(None, [str(EXAMPLES.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = run_program([*command, *flags], cwd=folder, env=environment)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def outputs(folder):
    """Program -> standard output of all examples, two at a time."""
    first, *others = COMMANDS
    outputs = {first: run(first, folder, *COMMANDS[first])}  # renders the images
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda name: run(name, folder, *COMMANDS[name]), others)
    return outputs | dict(zip(others, results, strict=True))


def scores(text, line):
    match = re.search(rf"^{line}: Rank-1 (\S+), mAP (\S+)$", text, re.M)
    assert match, text
    return [float(value) for value in match.groups()]


def check_training(text):
    """Weights moved, both epochs were clustered, and all losses are finite and positive."""
    before, after = scores(text, "before"), scores(text, "after")
    assert all(0 < value <= 100 for value in before + after) and before != after
    epochs = re.findall(
        r"^epoch \d+: (\d+) visible clusters and \d+ outliers, (\d+) infrared clusters", text, re.M
    )
    assert len(epochs) == 2 and all(int(count) >= 2 for counts in epochs for count in counts)
    losses = [float(value) for line in re.findall(r"loss (.*)$", text, re.M) for value in line.split(", ")]
    assert len(losses) >= 2 and all(math.isfinite(value) and value > 0 for value in losses)


@pytest.mark.long
def test_the_baseline_trains(tmp_path):
    check_training(run("baseline_synthetic", tmp_path, *STEPS))


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_methods_train(outputs, name):
    check_training(outputs[name])


@pytest.mark.long
def test_both_stages_of_a_method_are_reached(outputs):
    pairs = [int(n) > 0 for n in re.findall(r"(\d+) pairs of clusters", outputs["adca_synthetic"])]
    assert pairs == [False, True]
    for name, what in (("pgm", "visible clusters matched"), ("bmil", "common clusters")):
        counts = [int(n) > 0 for n in re.findall(rf"(\d+) {what}", outputs[f"{name}_synthetic"])]
        assert counts == [False, True]
    assert outputs["gur_synthetic"].count("clusters of both modalities") == 1  # until epoch 1 of 2
    line = r"^epoch .* (\d+) visible clusters .* (\d+) infrared clusters .* (\d+) visible labels trained"
    (visible, _, first), (_, infrared, second) = re.findall(line, outputs["sdcl_synthetic"], re.M)
    assert first == visible  # labels of the visible clusters, then infrared ones
    assert int(second) <= int(infrared)


@pytest.mark.long
def test_search_finds_known_and_refuses_unknown_identities(outputs):
    text = outputs["search_synthetic"]
    rank1 = [float(share) for share in re.findall(r"Rank-1 (\S+)%", text)]
    assert rank1[0] > 50 > rank1[1]  # visible queries, infrared queries without training
    known, unknown = (
        [float(s) for s in re.findall(rf"^{group}: .* accepted (\S+)%", text, re.M)]
        for group in ("known", "unknown")
    )
    assert known[0] > 40 > unknown[0] and known[0] > known[1]
    assert "not in the gallery" in text


@pytest.mark.long
def test_sweep_compares_groups_of_seeds(folder, outputs):
    runs = {path.name for path in (folder / "ablation").iterdir() if path.is_dir()}
    assert runs == {f"{row}_{seed}" for row in ("whole", "without_cnl") for seed in (1, 2)}
    rows = re.findall(r"^\| ([AB]): cnl=(\w+) \|.*\| 2 \| .*±", outputs["ablation_sweep"], re.M)
    assert rows == [("A", "True"), ("B", "False")]


@pytest.mark.long
def test_added_method_merges_clusters(folder, outputs):
    """The method trains on fewer labels than there are clusters, and its settings are stored with the run."""
    scores(outputs["add_a_method"], "baseline")
    scores(outputs["add_a_method"], "nearest")
    run_folder = folder / "add_a_method" / "nearest"
    assert json.loads((run_folder / "config.json").read_text())["min_similarity"] == 0.0
    row = json.loads((run_folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["stage"] == "nearest" and math.isfinite(row["loss"])


def test_merged_clusters_share_a_label(monkeypatch):
    """Mutually nearest clusters share a label, unless they are too dissimilar; labels have no gaps."""
    import numpy as np
    import torch

    monkeypatch.syspath_prepend(str(EXAMPLES))
    from add_a_method import merge

    rows = {"visible": [[1.0, 0.1], [0.1, 1.0], [-1.0, 0.0]], "infrared": [[0.0, 1.0], [1.0, 0.0]]}
    features = {m: {"deep": torch.tensor(values)} for m, values in rows.items()}
    labels = {"visible": np.array([0, 1, 2]), "infrared": np.array([0, 1])}
    merged = merge(features, labels, 0.0)
    assert merged["visible"].tolist() == [1, 0, 2] and merged["infrared"].tolist() == [0, 1]
    labels["visible"][2] = -1
    assert merge(features, labels, 0.0)["visible"].tolist() == [1, 0, -1]
    apart = merge(features, labels, 1.0)
    assert apart["visible"].tolist() == [2, 3, -1] and apart["infrared"].tolist() == [0, 1]


def test_the_four_gpu_recipe_is_accepted():
    flags = ["-d", "sysu", "--config", str(EXAMPLES / "sdcl_sysu_four_gpus.json")]
    settings, origin, _ = config.parse(flags, "", "")
    assert (settings.model.bn_replicas, settings.batch.batch_size_visible) == (4, 112)
    assert (settings.batch.num_instances, settings.method.intra_from) == (4, 1)
    assert [name for name, source in origin.items() if source == "config file, not read"] == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_programs_are_short_and_listed(path):
    assert len(path.read_text().splitlines()) <= 130
    assert path.name in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_settings_files_are_listed(path):
    assert path.name in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse(path):
    subprocess.run(["sh", "-n", str(path)], check=True)
