"""Documents do not drift: links resolve, flags exist, no paragraph is a wall, and a page is in the
navigation.
"""

import re
from pathlib import Path

import pytest

from sdcl.config.registry import BUILT_IN

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples/README.md"])
FENCE = re.compile(r"^```.*?^```", re.S | re.M)
# Flags of other programs that documents name.
FOREIGN = {"--strict", "--check", "--no-deps", "--nodes", "--gpus-per-node", "--standalone"}


def test_pages_are_found():
    assert len(PAGES) > 25


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(path):
    text = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_wall_of_text(path):
    text = re.sub(r"^\s*(\||- |\* |\d+\. |#|>).*$", "", FENCE.sub("", path.read_text()), flags=re.M)
    longest = max((len(block.split()) for block in re.split(r"\n\s*\n", text)), default=0)
    assert longest <= 120


def test_readme_stays_short():
    text = re.sub(r"\]\([^)]*\)", "]", FENCE.sub("", (ROOT / "README.md").read_text()))
    assert len(text.split()) <= 1000


def test_named_flags_exist():
    """Every --flag of a document is one that some file of the package, a benchmark or an example knows."""
    sources = [
        *(ROOT / "sdcl").rglob("*.py"),
        *(ROOT / "benchmarks").glob("*"),
        *(ROOT / "examples").glob("*.py"),
        *ROOT.glob("*.py"),
    ]
    code = "\n".join(p.read_text() for p in sources if p.is_file())
    known = set(re.findall(r"\b[a-z][a-z0-9_]+\b", code)) | set(re.findall(r"--([a-z][a-z0-9-]+)", code))
    endings = tuple(set(re.findall(r"--\{\w+\}(-[a-z-]+)", code)))  # made for each of several words
    for path in PAGES:
        for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", path.read_text())) - FOREIGN:
            name = flag[2:]
            bare = name.removeprefix("no-")
            spellings = {name, bare, name.replace("-", "_"), bare.replace("-", "_")}
            assert spellings & known or (endings and name.endswith(endings)), f"{path.name}: {flag}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        assert f" {path.relative_to(ROOT / 'docs').as_posix()}\n" in navigation, path


@pytest.mark.parametrize("method", BUILT_IN)
def test_every_method_has_its_page(method):
    page = f"{method}.md"
    assert (ROOT / "docs/methods" / page).is_file(), f"write docs/methods/{page}"
    module = BUILT_IN[method].partition(":")[0]
    for listing, line in (
        ("mkdocs.yml", f"methods/{page}"),
        ("docs/methods/index.md", f"({page})"),
        ("docs/api/methods.md", f"::: {module}"),
    ):
        assert line in (ROOT / listing).read_text(), f"{listing} has no line with {line}"
