"""The real report command on tiny runs: whole, without data, without model; several; in a browser without a network."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess

import pytest
import torch
from helpers import raw_trees

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import report
from sdcl.config.settings import flat, resolve
from sdcl.models.factory import build_model
from sdcl.reporting import model_views as trained
from sdcl.reporting import page_run as single
from sdcl.reporting import run_record as record
from sdcl.runtime import checkpoint

pytest.importorskip("matplotlib")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SMALL = {
    "height": 32,
    "width": 16,
    "k1": 8,
    "k1_visible_unified": 8,
    "k2": 3,
    "eps": 0.5,
    "cra_k": 3,
    "test_batch_size": 64,
    "unify_from": 5,
}
GUR = {"method": "gur", "shallow": False, "camera_eps": 0.4, "k1": 5, "min_samples": 3, "propagate_from": 1}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("seen")
    people = tuple(range(1, 9))
    return {
        "sysu": raw_trees.sysu(root / "sysu", train=people[:4], val=people[4:6], test=people[6:], images=3),
        "regdb": raw_trees.regdb(root / "regdb", people=5, images=6),
        "llcm": raw_trees.llcm(root / "llcm", train=people[:4], test=people[4:], images=2),
    }


@pytest.fixture
def make_run(data, tmp_path):
    """A run folder as training leaves it, with a model of random weights."""

    def make(dataset="sysu", name="run", **more):
        arch = "vit_mini" if more.get("shallow", True) else "resnet_mini"
        said = {"dataset": dataset, "data_dir": str(data[dataset]), "cache_dir": str(tmp_path / "cache"), "arch": arch, "device": "cpu"}
        settings, _ = resolve(SMALL | said | more)
        folder = tmp_path / name
        folder.mkdir()
        torch.manual_seed(0)
        model = build_model(arch, height=32, width=16)
        state = {"model": model.state_dict(), "epoch": 1, "settings": flat(settings), "data": "d", "rows": []}
        checkpoint.save(folder, checkpoint.LAST, state)
        (folder / "config.json").write_text(json.dumps(flat(settings)))
        (folder / "environment.json").write_text('{"data": "d", "<b>": "<i>"}')
        (folder / "log.txt").write_text("note: x is synthetic (t)\n")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(a_row(e, more.get("seed", 1))) + "\n" for e in range(2)))
        return folder

    return make


def a_row(epoch, seed):
    numbers = {"R1": 30.0 + 3 * epoch + seed, "R5": 50.0, "R10": 60.0, "R20": 80.0, "mAP": 20.0 + seed, "mINP": 10.0}
    test = [{"protocol": "SYSU-MM01 all-search single-shot, 10 seeded draws", "direction": "infrared to visible", **numbers}]
    labels = {m: {"clusters": 9, "outliers": 1, "true_identities": 8, "ari": 0.5} for m in ("visible", "infrared")}
    losses = {"cluster_visible_deep": 1.0}
    return {
        "epoch": epoch,
        "stage": "contrast",
        "lr": 1e-4,
        "loss": 1.0,
        "losses": losses,
        "labels": labels,
        "test": test,
        "seconds": {"a": 1},
    }


def body_of(path):
    return re.sub(r"data:image[^\"]*", "", path.read_text(encoding="utf-8"))


def missing_on(page):
    found = re.search(r"Not on this page, and why</h3><ul>(.*?)</ul>", page)
    return html.unescape(found[1]) if found else ""


def test_a_whole_run(make_run, capsys):
    run = make_run()
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    assert report.main([str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    page = body_of(run / "report.html")
    assert missing_on(page) == ""
    titles = (
        "Infrared to visible",
        "Visible to infrared",
        "t-SNE",
        "deep, rollout",
        "shallow, last block",
        "Largest",
        "similarity of pairs across",
    )
    for part in (*titles, "34.00", "&lt;i&gt;"):
        assert part in page, part
    assert "is synthetic" in page and "Published values are not drawn" in page and "released training log" not in page
    assert (run / "report.html").stat().st_size < 5_000_000
    after = {p.name: p.read_bytes() for p in run.iterdir() if p.name != "report.html"}
    assert after == before  # looking at a run changes nothing of it


def test_after_real_training_and_testing(data, tmp_path):
    """What training and testing write is what the report reads."""
    run = ["--data-dir", data["sysu"], "--cache-dir", tmp_path / "cache", "--logs-dir", tmp_path / "run", "--device", "cpu"]
    small = "-a vit_mini --pretrained none --calibrate-necks -b 8 --num-instances 4 --iters 2 --iters-unified 2 --epochs 2 --pad 2".split()
    small += [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert train_program.main([*map(str, run + small)]) == 0
    assert "the test after epoch 1" in body_of(tmp_path / "run/report.html")
    assert test_program.main(["-d", "sysu", *map(str, run)]) == 0
    page = body_of(tmp_path / "run/report.html")
    assert "from test.json" in page and f"`python -m sdcl.cli.report {tmp_path / 'run'}` runs the model" in missing_on(page)
    (tmp_path / "run/report.html").unlink()
    assert test_program.main(["-d", "sysu", *map(str, run), "--report", "none"]) == 0
    assert not (tmp_path / "run/report.html").exists()
    assert test_program.main(["-d", "sysu", *map(str, run), "--report", "full"]) == 0
    page = body_of(tmp_path / "run/report.html")
    assert missing_on(page) == "" and "from test.json" in page and "last in stage contrast" in page
    for part in (
        "Loss terms: cluster over epochs",
        "Clusters (thin: the true number) over epochs",
        "Label churn: 1 − ARI with the epoch before over epochs",
        "Images that became or ceased to be outliers over epochs",
        "Learning rate over epochs",
        "Bars of the seconds of each phase: embed",
    ):
        assert part in page, part


def test_regdb_and_a_resnet_without_attention(make_run):
    run = make_run("regdb", method="baseline", shallow=False, min_samples=2)
    assert report.main([str(run)]) == 0
    page = body_of(run / "report.html")
    assert "Visible to infrared" in page and "Infrared to visible" in page and "Where the branches look" not in page
    assert "Largest" in page or "Clusters of the training images: " in missing_on(page)


def test_a_checkpoint_of_another_folder(make_run, data, tmp_path):
    """The results go where the flags say, and have a page there, although nothing was trained in that folder."""
    run, new = make_run(), tmp_path / "new"
    places = ["--data-dir", data["sysu"], "--cache-dir", tmp_path / "cache", "--logs-dir", new, "--device", "cpu"]
    assert test_program.main([*map(str, ["-d", "sysu", "--checkpoint", run / "last.pt", *places])]) == 0
    page = body_of(new / "report.html")
    assert "from test.json" in page and "tested here, trained elsewhere" in page


def test_the_trials_of_regdb(make_run, data, tmp_path, capsys):
    """The test writes a page for each trial and one for all; the report takes their folder, alone and among others."""
    (tmp_path / "run").mkdir()
    for trial in (2, 10):
        make_run("regdb", name=f"run/trial_{trial}", trial=trial)
    places = ["--data-dir", data["regdb"], "--cache-dir", tmp_path / "cache", "--logs-dir", tmp_path / "run", "--device", "cpu"]
    assert test_program.main([*map(str, ["-d", "regdb", "--trials", "2,10", *places])]) == 0
    said = capsys.readouterr().out
    assert all(str(tmp_path / "run" / name) in said for name in ("trial_2/report.html", "trial_10/report.html", "report.html"))
    page = body_of(tmp_path / "run/report.html")
    shown = json.loads((tmp_path / "run/test.json").read_text())
    for row in shown:
        for one in row["per_draw"]:
            assert f'<td class="n">{one["mAP"]:.2f}</td>' in page
        assert f"<b>{row['mAP']:.2f} ± {row['std']['mAP']:.2f}</b>" in page and row["direction"] in page
    assert page.index("trial 2<") < page.index("trial 10<") and 'href="trial_10/report.html"' in page
    (tmp_path / "run/report.html").unlink()
    assert report.main([str(tmp_path / "run")]) == 0
    assert body_of(tmp_path / "run/report.html") == page
    other = make_run("regdb", name="other", trial=2, eps=0.4)
    assert report.main([str(tmp_path / "run"), str(other), "--out", str(tmp_path / "both.html")]) == 0
    assert "3 runs in 2 groups" in body_of(tmp_path / "both.html")


@pytest.mark.parametrize("method", [{}, GUR])
def test_labels_are_those_of_the_method(make_run, method):
    """Both modalities get labels through the method's own stages, which are asked but never trained."""
    run = make_run(**method)
    known = record.read(run)
    rebuilt = trained.load(run, trained.settings_of(known.settings))
    sheets = trained.cluster_sheets(rebuilt)
    assert set(sheets) == {"visible", "infrared"} and all(rows and all(c.tiles for c in rows) for rows in sheets.values())


def test_camera_3_does_not_see_camera_2(make_run):
    run = make_run()
    rebuilt = trained.load(run, trained.settings_of(record.read(run).settings))
    for view, closed in zip(trained.galleries(rebuilt), (("3", "2"), ("2", "3"))):
        for row in trained.ranked(rebuilt, view):
            assert not (str(row.query.camera) == closed[0] and any(str(t.camera) == closed[1] for t in row.gallery))
            assert all(t.right == (t.identity == row.query.identity) for t in row.gallery)
            assert [t.score for t in row.gallery] == sorted((t.score for t in row.gallery), reverse=True)


def test_llcm_is_ranked_by_its_protocol(make_run):
    """Drawn galleries, and a query does not see its own identity in its own camera."""
    run = make_run("llcm")
    rebuilt = trained.load(run, trained.settings_of(record.read(run).settings))
    for view in trained.galleries(rebuilt):
        samples = rebuilt.test_set.samples[view.gallery]
        assert len(view.draws[0].gallery) == len({(s.identity, s.camera) for s in samples}) < len(samples)
        for row in trained.ranked(rebuilt, view):
            assert not any(t.identity == row.query.identity and t.camera == row.query.camera for t in row.gallery)


def test_images_chosen_for_attention(make_run):
    run = make_run()
    rebuilt = trained.load(run, trained.settings_of(record.read(run).settings))
    path = rebuilt.test_set.samples["infrared"][0].path
    (one,) = trained.looks(rebuilt, [path])
    assert one[0].startswith("infrared") and one[1][0][0] == "image"
    with pytest.raises(ValueError, match="no test image"):
        trained.looks(rebuilt, ["nothing.jpg"])


def test_what_is_gone_is_named(make_run, tmp_path):
    run = make_run()
    assert report.main([str(run), "--data-dir", str(tmp_path / "gone"), "--out", str(tmp_path / "a.html")]) == 0
    assert str(tmp_path / "gone") in missing_on(body_of(tmp_path / "a.html"))
    (run / "last.pt").unlink()
    assert report.main([str(run)]) == 0
    page = body_of(run / "report.html")
    assert "no checkpoint" in missing_on(page) and "Loss" in page
    assert report.main([str(run), "--no-embed"]) == 0
    assert "--no-embed" in missing_on(body_of(run / "report.html"))


def test_a_checkpoint_of_another_model(make_run):
    run = make_run()
    other = json.loads((run / "config.json").read_text()) | {"arch": "resnet_mini", "not_known": 1}
    (run / "config.json").write_text(json.dumps(other))
    assert report.main([str(run)]) == 0
    assert "does not fit" in missing_on(body_of(run / "report.html"))


def test_published_values_only_for_real_data(make_run):
    known = record.read(make_run())
    for notices, drawn in (([], True), (["x is synthetic (t)"], False), (["x is incomplete, and"], False)):
        page = single.run_page(dataclasses.replace(known, notices=notices), embed=False)
        assert ("released training log" in page) is drawn and ("are not drawn" in page) is not drawn
    page = single.run_page(dataclasses.replace(known, notices=[], has_log=False), embed=False)
    assert "released training log" not in page
    gur = dataclasses.replace(known, notices=[], settings=known.settings | {"method": "gur"})
    assert "released training log" not in single.run_page(gur, embed=False)


def test_several_runs(make_run, tmp_path, capsys):
    runs = [make_run(name=f"{eps}_{seed}", eps=eps, seed=seed) for eps in (0.5, 0.4) for seed in (1, 2)]
    assert report.main([*map(str, runs), "--out", str(tmp_path / "both.html")]) == 0
    assert "both.tex" in capsys.readouterr().out
    page = body_of(tmp_path / "both.html")
    assert "A: eps=0.5" in page and "B: eps=0.4" in page and "34.50 ± 0.71" in page
    assert "34.50 ± 0.71" in (tmp_path / "both.md").read_text()


def test_bad_input(make_run, tmp_path, capsys):
    run = str(make_run())
    assert report.main([run, f"{run}/../run"]) == 2
    assert "more than once" in capsys.readouterr().err
    assert report.main([str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


# ------------------------------------------------------------------ in a browser


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH")
@pytest.mark.parametrize("several", [False, True])
def test_a_browser_opens_it_without_errors_and_without_a_network(make_run, tmp_path, several):
    runs = [make_run(name=f"run{seed}", seed=seed) for seed in ((1, 2) if several else (1,))]
    assert report.main([*map(str, runs), "--out", str(tmp_path / "page.html")]) == 0
    page = tmp_path / "page.html"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    # One line of script in a copy counts the pictures that the browser could not draw; the report itself has none and allows none.
    probe = tmp_path / "probe.html"
    count = "onload = () => { document.title = 'broken ' + [...document.images].filter(i => !i.naturalWidth).length }"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    probe.write_text(text.replace("</body>", f"<script>{count}</script></body>"), encoding="utf-8")
    for path, expected in ((page, "</main>"), (probe, "<title>broken 0</title>")):
        done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
        assert done.returncode == 0, done.stderr[-2000:]
        assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert expected in done.stdout
