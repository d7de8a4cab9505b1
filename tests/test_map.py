"""The map in sdcl/__init__.py names every room, and the README's map is the same."""

import re
from pathlib import Path

import sdcl

ROOT = Path(__file__).parents[1]


def rooms():
    names = {p.name + "/" for p in (ROOT / "sdcl").iterdir() if p.is_dir() and not p.name.startswith("__")}
    return names | {p.name for p in (ROOT / "sdcl").glob("*.py") if p.name != "__init__.py"}


def test_map_names_every_room():
    assert set(re.findall(r"^([a-z_]+(?:/|\.py)) ", sdcl.__doc__, re.M)) == rooms()


def test_readme_names_every_room():
    text = (ROOT / "README.md").read_text()
    assert {room for room in rooms() if f"`sdcl/{room}`" not in text} == set()


def test_arrows_go_down():
    """A lower room never imports a higher one; torch.distributed is imported in one file."""
    forbidden = {
        "clustering": {"runtime", "config", "models", "methods", "evaluation"},
        "association": {"runtime", "config", "models", "methods", "evaluation"},
        "losses": {"runtime", "config", "models", "methods", "evaluation", "memory"},
        "memory": {"runtime", "config", "models", "methods", "evaluation", "losses"},
        "data": {"methods", "models", "clustering", "evaluation", "train", "test", "runtime", "config"},
        "models": {"methods", "clustering", "association", "losses", "memory", "evaluation", "train", "test"},
        "methods": {"runtime", "models", "evaluation", "train", "test"},
        "evaluation": {"runtime", "models", "methods", "train", "test", "config"},
    }
    for closed in forbidden.values():
        closed |= {"visualization", "report"}
    assert set(forbidden) < {room.strip("/") for room in rooms()}
    for room, closed in forbidden.items():
        for path in (ROOT / "sdcl" / room).glob("*.py"):
            used = set(re.findall(r"^\s*from sdcl\.(\w+)", path.read_text(), re.M))
            assert not used & closed, (path, used & closed)
    importers = [p.name for p in (ROOT / "sdcl").rglob("*.py") if re.search(r"^\s*(import|from) torch\.distributed", p.read_text(), re.M)]
    assert importers == ["distributed.py"]
