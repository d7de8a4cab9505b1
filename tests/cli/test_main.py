"""The `sdcl` command: light help, every command reachable, the same exit codes as the programs."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import sdcl
from sdcl.cli.main import COMMANDS, main, resolve

HEAVY = ("torch", "numpy", "scipy", "PIL", "timm", "matplotlib", "numba")


def python(code, **env):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | env, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def imported_by(*arguments):
    """(printed text, heavy modules that were imported) of `sdcl ARGUMENTS`."""
    code = f"""
import sys
from sdcl.cli.main import main
try:
    code = main({list(arguments)!r})
except SystemExit as end:
    code = end.code
assert code == 0
print("imported", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    text, _, names = python(code).rpartition("imported")
    return text, set(names.split())


def test_help_imports_nothing_heavy():
    text, imported = imported_by("--help")
    assert imported == set() and all(f" {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("command", ["embed", "search", "export", "train", "test"])
def test_help_of_a_command_does_not_import_torch(command):
    text, imported = imported_by(command, "--help")
    assert f"usage: sdcl {command}" in text
    assert imported <= {"numpy", "PIL"}, (
        f"python -X importtime -m sdcl {command} --help shows which file imports it"
    )


def test_every_command_names_a_function():
    for command in COMMANDS.values():
        module, _, function = command.main.partition(":")
        assert find_spec(module) and function == "main"
        assert callable(resolve(command.parser)) if command.parser else True


def test_version_and_unknown_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"sdcl {sdcl.__version__}\n"
    with pytest.raises(SystemExit) as end:
        main(["trian"])
    assert end.value.code == 2 and "train" in capsys.readouterr().err
    assert main([]) == 0 and "embed" in capsys.readouterr().out


def test_exit_codes_are_those_of_the_programs(tmp_path, capsys):
    assert main(["export", "--weights", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_shell_completion():
    pytest.importorskip("argcomplete")
    for line, expected in (
        ("sdcl se", "search"),
        ("sdcl embed --moda", "--modality"),
        ("sdcl train --ba", "--batch-size"),
    ):
        env = {
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_STDOUT_FILENAME": os.devnull,
        }
        code = (
            "import os, sys; sys.argv = ['sdcl']; "
            "os.environ['_ARGCOMPLETE_STDOUT_FILENAME'] = '/dev/stdout'; "
            "from sdcl.cli.main import main; main([])"
        )
        assert expected in python(code, **env), line
