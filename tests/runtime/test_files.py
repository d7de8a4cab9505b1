"""Locks between processes, and what is said of a file that cannot be written."""

import errno
import subprocess
import sys

import pytest
from helpers.small_runs import ROOT

from sdcl.runtime.errors import OutputError, writing
from sdcl.runtime.files import atomic, exclusive

HOLD = """
import sys, time
from pathlib import Path
from sdcl.runtime.files import exclusive
with exclusive(Path(sys.argv[1]), "waiting"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path, capsys):
    """It holds while the process lives; a second one waits and says so."""
    lock = tmp_path / "new folder" / "x.lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as one:
        assert one.stdout.readline() == "held\n"
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as two:
            assert two.stderr.readline() == "waiting\n" and two.poll() is None
            one.kill()
            assert two.stdout.readline() == "held\n"
            two.kill()
    with exclusive(lock, "waiting"):
        assert lock.exists()
    assert not lock.exists() and capsys.readouterr().err == ""


def test_only_a_full_disk_asks_for_free_space(tmp_path):
    with pytest.raises(OutputError, match="free space or change --out"), writing("x", "change --out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as told, atomic(tmp_path / "file" / "x", "change --out"):
        pass
    assert "free space" not in str(told.value) and "change --out" in str(told.value)


def test_a_folder_that_is_a_link_to_nothing_is_named(tmp_path):
    link = tmp_path / "cache"
    link.symlink_to(tmp_path / "gone")
    for write in (atomic(link / "x"), exclusive(link / "x.lock", "waiting")):
        with pytest.raises(OutputError, match="cache is a link to a folder that does not exist"), write:
            pass
