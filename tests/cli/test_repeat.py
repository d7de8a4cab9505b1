"""`sdcl repeat`: a run per seed, continued where one was stopped, and a page of all of them."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from helpers.process_groups import wait_until

from sdcl.cli import repeat

# A run: it appends to `started`, then does what its seed says.
RUN = """
import pathlib, signal, sys, time
folder, seed = pathlib.Path(sys.argv[2]), int(sys.argv[1])
def save(number, frame):
    (folder / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
with (folder / "started").open("a") as file:
    file.write("x")
print("seed", seed)
time.sleep(60 if seed == 9 else 0)
if seed == 2:
    print("error: the settings changed:\\n  --eps: 0.5 then", file=sys.stderr)
    sys.exit(2)
"""
FLAGS = ["-d", "sysu", "--epochs", "1"]


@pytest.fixture
def runs(monkeypatch):
    """Runs that need no data. Returns the folders that were compared."""
    compared = []
    monkeypatch.setattr(
        repeat, "command_of", lambda seed, folder, flags: [sys.executable, "-c", RUN, str(seed), str(folder)]
    )
    monkeypatch.setattr(repeat, "compare", lambda folders, page: compared.append((folders, page)))
    return compared


def test_every_seed_is_a_run_in_its_folder_and_all_are_compared(runs, tmp_path):
    assert repeat.main([*FLAGS, "--seeds", "1,3-4", "--jobs", "2", "--logs-dir", str(tmp_path)]) == 0
    folders = [tmp_path / f"seed_{n}" for n in (1, 3, 4)]
    assert runs == [(folders, tmp_path / "repeat.html")]
    assert [(f / "output.txt").read_text() for f in folders] == ["seed 1\n", "seed 3\n", "seed 4\n"]


def test_a_failed_seed_is_named_and_the_others_are_trained(runs, tmp_path, capsys):
    assert repeat.main([*FLAGS, "--seeds", "1-3", "--logs-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'seed_2'} ended with exit code 2: the settings changed: --eps: 0.5 then" in error
    assert "seed_3" not in error
    assert (tmp_path / "seed_3/started").exists() and not runs


def test_a_signal_stops_the_runs_with_their_states_saved_and_starts_no_other(runs, tmp_path):
    def stop():
        wait_until((tmp_path / "seed_9/started").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopper = threading.Thread(target=stop)
    stopper.start()
    assert repeat.main([*FLAGS, "--seeds", "9,1", "--logs-dir", str(tmp_path)]) == 75
    stopper.join()
    assert (tmp_path / "seed_9/saved").exists() and not (tmp_path / "seed_1/started").exists() and not runs
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "3-1"], "--seeds must look like 1-10 or 1,3,5"),
        (["--seeds", "1,1"], "each number once"),
        (["--seeds", "1-2", "--seed", "4"], "leave out --seed"),
        (["--seeds", "1-2", "--jobs", "0"], "--jobs 0"),
        (["--seeds", "1-2", "--no-resume"], "--no-resume would train the finished seeds anew"),
        (["--seeds", "1-2", "--method", "baseline", "--cra-k", "3"], "--cra-k has no effect"),
    ],
)
def test_bad_flags_are_refused_before_a_run_begins(runs, tmp_path, capsys, flags, message):
    assert repeat.main([*FLAGS, *flags, "--logs-dir", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_several_runs_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    runs = repeat.Runs(3)
    runs._gpus = ["0", "5"]
    assert [runs._environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["0", "5", "0"]
    assert runs._environment(0)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in repeat.Runs(1)._environment(0)


@pytest.mark.long
def test_real_runs_give_a_page_with_mean_and_deviation_and_are_not_repeated(flags, tmp_path, capsys):
    command = [*flags("sysu", "--report", "none"), "--seeds", "1-2", "--jobs", "2"]
    folder = Path(command[command.index("--logs-dir") + 1])
    assert repeat.main(command) == 0
    assert "±" in capsys.readouterr().out
    page = (folder / "repeat.html").read_text()
    assert "seed_1" in page and "seed_2" in page
    weights = [(folder / f"seed_{n}/last.pt").stat().st_mtime_ns for n in (1, 2)]
    assert repeat.main(command) == 0
    assert weights == [(folder / f"seed_{n}/last.pt").stat().st_mtime_ns for n in (1, 2)]
