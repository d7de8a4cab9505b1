"""The report command and reports after training and test, on tiny runs; in a browser without a network."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers.pages import Page
from helpers.process_groups import PATIENCE
from helpers.run_folders import FACTS, OF_GUR, OF_SDCL, RESNET, SETTINGS, write_run

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import report
from sdcl.reporting.write import report_after_run
from sdcl.runtime import checkpoint

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SYNTHETIC = {"synthetic": True, "complete": True, "notices": ["x is a rendered set"]}
MODEL_SECTIONS = {"ranked", "embedding", "attention", "clusters"}


@pytest.fixture
def make_run(data, tmp_path):
    """make_run(dataset, name, ...) -> run folder."""
    return lambda dataset="sysu", name="run", **more: write_run(
        tmp_path / name, data[dataset], tmp_path / "cache", dataset, **more
    )


def missing_on(page):
    """What the page names as missing."""
    return page.sections["summary"].bullets


def test_a_whole_run(make_run, capsys):
    run = make_run(facts=SYNTHETIC)
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    assert report.main([str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    page = Page(run / "report.html")
    assert missing_on(page) == [] and set(page.sections) >= MODEL_SECTIONS
    assert page.sections["ranked"].headings == ["Infrared to visible", "Visible to infrared"]
    assert page.sections["clusters"].headings == ["Visible", "Infrared"]
    assert len(page.sections["embedding"].images) == 4  # a map, three histograms
    assert any("deep, rollout" in alt for alt in page.sections["attention"].images)
    assert page.sections["results"].rows[1][2] == "34.00" and ["<b>", "<i>"] in page.sections["settings"].rows
    assert SYNTHETIC["notices"][0] in page.sections["summary"].paragraphs
    assert (run / "report.html").stat().st_size < 5_000_000
    after = {p.name: p.read_bytes() for p in run.iterdir() if p.name != "report.html"}
    assert after == before  # a report changes nothing of the run


def test_after_real_training_and_testing(data, tmp_path):
    """What training and testing write is what the report reads."""
    run = [
        "--data-dir",
        data["sysu"],
        "--cache-dir",
        tmp_path / "cache",
        "--logs-dir",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    small = (
        "-a vit_mini --pretrained none --calibrate-necks -b 8 --num-instances 4 --iters 2 --iters-unified 2 "
        "--epochs 2 --pad 2"
    ).split()
    for name, value in (SETTINGS | OF_SDCL).items():
        small += [f"--{name.replace('_', '-')}", value]
    path = tmp_path / "run/report.html"
    assert train_program.main([*map(str, run + small)]) == 0
    page = Page(path)
    assert not MODEL_SECTIONS & set(page.sections) and len(page.sections["results"].rows) == 3
    assert test_program.main(["-d", "sysu", *map(str, run)]) == 0
    assert not MODEL_SECTIONS & set(Page(path).sections) and len(missing_on(Page(path))) == 1
    path.unlink()
    assert test_program.main(["-d", "sysu", *map(str, run), "--report", "none"]) == 0
    assert not path.exists()
    assert test_program.main(["-d", "sysu", *map(str, run), "--report", "full"]) == 0
    page = Page(path)
    assert missing_on(page) == [] and set(page.sections) >= MODEL_SECTIONS
    charts = " ".join(
        page.sections["curves"].images + page.sections["labels"].images + page.sections["time"].images
    )
    for name in (
        "Loss terms: cluster",
        "Learning rate",
        "Clusters",
        "Label churn",
        "Images that became",
        "embed",
    ):
        assert name in charts, name


def test_regdb_and_a_resnet_without_attention(make_run):
    run = make_run("regdb", **RESNET)
    assert report.main([str(run)]) == 0
    page = Page(run / "report.html")
    assert len(page.sections["ranked"].headings) == 2 and "attention" not in page.sections
    assert "clusters" in page.sections or len(missing_on(page)) == 1


def test_a_checkpoint_of_another_folder(make_run, data, tmp_path):
    """The results are written where the flags say, and have a page there, although nothing was trained in
    that folder.
    """
    run, new = make_run(), tmp_path / "new"
    folders = [
        "--data-dir",
        data["sysu"],
        "--cache-dir",
        tmp_path / "cache",
        "--logs-dir",
        new,
        "--device",
        "cpu",
    ]
    assert test_program.main([*map(str, ["-d", "sysu", "--checkpoint", run / "last.pt", *folders])]) == 0
    assert len(Page(new / "report.html").sections["results"].rows) == 3


def test_the_trials_of_regdb(make_run, data, tmp_path, capsys):
    """The test writes a page for each trial and one for all; the report takes their folder, alone and
    among others.
    """
    for trial in (2, 10):
        make_run("regdb", name=f"run/trial_{trial}", trial=trial)
    folders = [
        "--data-dir",
        data["regdb"],
        "--cache-dir",
        tmp_path / "cache",
        "--logs-dir",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    assert test_program.main([*map(str, ["-d", "regdb", "--trials", "2,10", *folders])]) == 0
    printed = capsys.readouterr().out
    names = ("trial_2/report.html", "trial_10/report.html", "report.html")
    assert all(str(tmp_path / "run" / name) in printed for name in names)
    text = (tmp_path / "run/report.html").read_text()
    page = Page(text)
    results = page.sections["results"]
    for index, row in enumerate(json.loads((tmp_path / "run/test.json").read_text())):
        table = results.rows[4 * index : 4 * index + 4]
        assert row["direction"] in results.headings[index] and [line[0] for line in table[1:3]] == [
            "trial 2",
            "trial 10",
        ]
        assert [line[5] for line in table[1:3]] == [f"{one['mAP']:.2f}" for one in row["per_draw"]]
        assert table[3][5] == f"{row['mAP']:.2f} ± {row['std']['mAP']:.2f}"
    assert "trial_10/report.html" in [a["href"] for a in page.all("a")]
    (tmp_path / "run/report.html").unlink()
    assert report.main([str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/report.html").read_text() == text
    other = make_run("regdb", name="other", trial=2, eps=0.4)
    assert report.main([str(tmp_path / "run"), str(other), "--out", str(tmp_path / "both.html")]) == 0
    assert [row[:2] for row in Page(tmp_path / "both.html").sections["groups"].rows[1:3]] == [
        ["A", "2"],
        ["B", "1"],
    ]


def test_what_is_gone_is_named(make_run, tmp_path):
    run = make_run()
    assert (
        report.main([str(run), "--data-dir", str(tmp_path / "gone"), "--out", str(tmp_path / "a.html")]) == 0
    )
    (line,) = missing_on(Page(tmp_path / "a.html"))
    assert str(tmp_path / "gone") in line
    (run / checkpoint.LAST).unlink()
    for flags in ([], ["--no-embed"]):
        assert report.main([str(run), *flags]) == 0
        page = Page(run / "report.html")
        assert (
            len(missing_on(page)) == 1
            and not MODEL_SECTIONS & set(page.sections)
            and "curves" in page.sections
        )


def test_a_checkpoint_that_does_not_fit(make_run):
    run = make_run()
    state = checkpoint.load(run / checkpoint.LAST)
    checkpoint.save(run, checkpoint.LAST, state | {"settings": state["settings"] | {"height": 64}})
    assert report.main([str(run)]) == 0
    assert len(missing_on(Page(run / "report.html"))) == 1


@pytest.mark.parametrize("method", ["sdcl", "gur"])
@pytest.mark.parametrize("facts", [FACTS, SYNTHETIC, FACTS | {"complete": False}, {}])
def test_published_values_stand_beside_real_data_only(make_run, facts, method):
    """Beside the method that they were published for, and only if environment.json records complete real
    data.
    """
    run = make_run(facts=facts, **({} if method == "sdcl" else OF_GUR))
    assert report.main([str(run), "--no-embed"]) == 0
    page = Page(run / "report.html")
    drawn = method == "sdcl" and facts is FACTS
    assert ("released training log" in (run / "report.html").read_text()) is drawn
    assert any("Published values" in text for text in page.sections["curves"].paragraphs) is (
        method == "sdcl" and not drawn
    )


def test_several_runs(make_run, tmp_path, capsys):
    runs = [make_run(name=f"{eps}_{seed}", eps=eps, seed=seed) for eps in (0.5, 0.4) for seed in (1, 2)]
    assert report.main([*map(str, runs), "--out", str(tmp_path / "both.html")]) == 0
    assert "both.tex" in capsys.readouterr().out
    rows = Page(tmp_path / "both.html").sections["results"].rows
    assert [row[0] for row in rows[1:]] == ["A: eps=0.5", "B: eps=0.4"] and rows[1][4] == "34.50 ± 0.71"
    assert all("34.50 ± 0.71" in (tmp_path / f"both.{kind}").read_text() for kind in ("md", "html"))
    assert (tmp_path / "both.csv").is_file()


def test_bad_input(make_run, tmp_path, capsys):
    run = make_run()
    assert report.main([str(run), f"{run}/../run"]) == 2
    assert report.main([str(tmp_path)]) == 2
    (tmp_path / "file").write_text("")
    assert report.main([str(run), "--no-embed", "--out", str(tmp_path / "file/page.html")]) == 2
    assert capsys.readouterr().err.count("error: ") == 3


def test_a_folder_name_may_hold_anything(make_run, tmp_path):
    run = make_run(name="<img src=x onerror=1>'&\n{{ 7 * 7 }}")
    (tmp_path / os.fsdecode(b"\xff")).symlink_to(run)
    assert report.main([str(run), "--no-embed"]) == 0
    assert all(a["src"].startswith("data:image/") for a in Page(run / "report.html").all("img"))
    assert (
        report.main(
            [str(run), str(make_run(name=os.fsdecode(b"\xfe"))), "--out", str(tmp_path / "both.html")]
        )
        == 0
    )
    assert "\\udcfe" in Page(tmp_path / "both.html").sections["groups"].rows[1][2]


def test_a_failed_report_never_fails_a_run(make_run, tmp_path, capsys, monkeypatch):
    report_after_run(tmp_path / "nothing", "logs")
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setattr("sdcl.reporting.page_run.run_page", lambda *args, **options: 1 / 0)
    report_after_run(make_run(), "logs")
    assert "ZeroDivisionError" in capsys.readouterr().err
    report_after_run(tmp_path / "nothing", "none")
    assert capsys.readouterr() == ("", "")


def test_the_command_line_needs_no_drawing_library():
    code = (
        "import sys, sdcl.cli.report as r; r.parser().format_help(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE).returncode == 0


# ------------------------------------------------------------------ in a browser


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH")
@pytest.mark.parametrize("several", [False, True])
def test_a_browser_opens_it_without_errors_and_without_a_network(make_run, tmp_path, several):
    runs = [make_run(name=f"run{seed}", seed=seed) for seed in ((1, 2) if several else (1,))]
    assert report.main([*map(str, runs), "--out", str(tmp_path / "page.html")]) == 0
    page = tmp_path / "page.html"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    # One line of script in a copy counts the pictures that the browser could not draw; the report itself has
    # none and allows none.
    probe = tmp_path / "probe.html"
    count = (
        "onload = () => { document.title = "
        "'broken ' + [...document.images].filter(i => !i.naturalWidth).length }"
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    probe.write_text(text.replace("</body>", f"<script>{count}</script></body>"), encoding="utf-8")
    for path, expected in ((page, "</main>"), (probe, "<title>broken 0</title>")):
        done = subprocess.run(
            [*command, path.as_uri()],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert expected in done.stdout
