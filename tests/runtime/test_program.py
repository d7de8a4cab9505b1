"""Exit codes and messages of a program; who leaves the process group first."""

import pytest

from sdcl.runtime import distributed
from sdcl.runtime.errors import DataError
from sdcl.runtime.program import INTERRUPTED, STOPPED, USER_ERROR, Interrupted, run_program


def ending_with(outcome):
    def main(argv=None):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return main


@pytest.mark.parametrize(
    "outcome,code,message,left",
    [
        (0, 0, "", 1),
        (Interrupted("SIGTERM"), INTERRUPTED, "ended by SIGTERM; the same command continues\n", 1),
        (DataError("no images"), USER_ERROR, "error: no images\n", 0),
    ],
)
def test_codes_messages_and_the_process_group(outcome, code, message, left, monkeypatch, capsys):
    leavings = []
    monkeypatch.setattr(distributed, "stop", lambda: leavings.append(None))
    assert run_program(ending_with(outcome)) == code
    assert capsys.readouterr().err == message
    assert len(leavings) == left


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "stop", lambda: pytest.fail("left the process group"))
    assert run_program(ending_with(KeyboardInterrupt())) == 130 == STOPPED
    assert capsys.readouterr().err == "stopped\n"


def test_other_exceptions_pass_and_the_process_stays_in_its_group_until_its_end(monkeypatch):
    monkeypatch.setattr(distributed, "stop", lambda: pytest.fail("left the process group"))
    with pytest.raises(ValueError, match="broken"):
        run_program(ending_with(ValueError("broken")))
