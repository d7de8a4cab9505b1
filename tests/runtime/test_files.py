"""Locks between processes."""

import subprocess
import sys

from helpers.small_runs import ROOT

from sdcl.runtime.files import exclusive

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
