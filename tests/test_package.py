"""Metadata of the package: extras that messages name exist; wheel and sdist carry everything and work
elsewhere.
"""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REFERENCE = re.compile(r"(?:sdcl|'\.|\"\.|\s\.)\[([a-z,-]+)\]")


def members(extra):
    """Names of the extras that an extra includes, itself among them."""
    inner = [name for line in EXTRAS[extra] if line.startswith("sdcl[") for name in line[5:-1].split(",")]
    return {extra}.union(*(members(name) for name in inner))


def test_extras_named_anywhere_exist():
    files = [
        *(ROOT / "sdcl").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        ROOT / ".ci/run",
        ROOT / "Makefile",
    ]
    named = {
        name for path in files for group in REFERENCE.findall(path.read_text()) for name in group.split(",")
    }
    assert {"faiss", "test", "all", "dev"} <= named <= set(EXTRAS)


def test_all_holds_every_extra_of_a_user():
    assert members("all") >= set(EXTRAS) - {
        "faiss-gpu",
        "docs",
        "test",
        "dev",
    }  # faiss-gpu cannot stand beside faiss


def test_version_is_a_literal():
    """setuptools reads it from the source; an expression would make it import the package, and torch with
    it.
    """
    tree = ast.parse((ROOT / "sdcl/__init__.py").read_text())
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert len(values) == 1 and isinstance(values[0], ast.Constant)
    assert values[0].value in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {values[0].value}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.long
def test_wheel_of_the_sdist_works_elsewhere(tmp_path):
    def run(*command, cwd=tmp_path, **variables):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env=variables or None,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    source = tmp_path / "source"
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so what a source archive holds is not known")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    tracked = listed.stdout.split("\0")
    assert "pyproject.toml" in tracked, listed.stderr
    for name in (n for n in tracked if n and (ROOT / n).is_file()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "import setuptools.build_meta as b; print(b.build_sdist('{0}'))"
    sdist = run("-c", build.format(tmp_path), cwd=source).split()[-1]
    run(
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(tmp_path / sdist),
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {n for n in tracked if n.startswith("sdcl/") and not n.endswith("/")}
    assert package <= names
    assert not any(n.startswith("tests/") for n in names)

    place = tmp_path / "elsewhere"
    run("-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel))
    use = """
import sys, sdcl
assert "torch" not in sys.modules
assert sdcl.__file__.startswith(sys.argv[1]), sdcl.__file__
from sdcl.models.pretrained import ASSETS
assert (ASSETS / "vit_mini.safetensors").is_file()
print(sdcl.__version__)
"""
    import os

    environment = {**os.environ, "PYTHONPATH": str(place)}
    assert run("-c", use, str(place), **environment).strip() in wheel.name
    assert "train" in run("-m", "sdcl", "--help", **environment)
