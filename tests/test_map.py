"""The map in sdcl/__init__.py names every room; imports, lazy ones too, go down only and make no circle."""

import ast
import re
from pathlib import Path

import sdcl

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sdcl"

# From the lowest room up: a room imports rooms above it in this list only.
ORDER = (
    "runtime", "datasets", "config", "data", "clustering", "association", "memory", "losses", "evaluation",
    "models", "methods", "analysis", "inference", "training", "synthetic", "pretraining", "reporting", "app",
    "cli",
)  # fmt: skip
PROGRAMS = ("train", "test", "__main__")
# Arrays in, values out: what these rooms may use at all.
PURE = {
    "clustering": {"runtime"},
    "association": {"runtime", "clustering"},
    "memory": {"runtime"},
    "losses": {"runtime"},
    "data": {"runtime", "datasets"},
    "datasets": {"runtime"},
    "runtime": set(),
}


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py*") if p.suffix in (".py", ".pyi"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """(module, whether the import is for type checkers only) of everything of sdcl that a file imports
    anywhere.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    package = module_of(path).split(".") if path.stem == "__init__" else module_of(path).split(".")[:-1]
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        yield from ((name, node in typing_only) for name in names if name.split(".")[0] in ("sdcl", "torch"))


def known_modules():
    return {module_of(p) for p in sources()}


def module_imported(name, known):
    """The module of the package that an imported dotted name lies in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def rooms():
    names = {p.name + "/" for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))} | {"assets/"}
    return names | {p.name for p in PACKAGE.glob("*.py") if p.name not in ("__init__.py", "__main__.py")}


def test_map_names_every_room():
    assert set(re.findall(r"^ *([a-z_]+(?:/|\.py)) ", sdcl.__doc__, re.M)) == rooms()


def test_every_room_has_its_place_in_the_order():
    assert {r.strip("/") for r in rooms() if r.endswith("/")} - {"assets"} == set(ORDER)


def test_arrows_go_down():
    known, place = known_modules(), {room: i for i, room in enumerate(ORDER)}
    for path in sources():
        room = room_of(module_of(path))
        for name, _ in imports(path):
            target = room_of(module_imported(name, known)) if name.startswith("sdcl") else ""
            if not target or target == room:
                continue
            assert target not in PROGRAMS, f"{path} imports the program {target}"
            if room in place:
                assert place[target] < place[room], f"{path} imports {name}: {target}/ stands above {room}/"
            if room in PURE:
                assert target in PURE[room], f"{path} imports {name}: {room}/ may use {PURE[room]} only"


def test_no_program_imports_another():
    known = known_modules()
    for path in sources():
        module = module_of(path)
        for name, _ in imports(path):
            target = module_imported(name, known)
            allowed = target == module or (module, target) == ("sdcl.__main__", "sdcl.cli.main")
            assert allowed or not target.startswith("sdcl.cli."), f"{path} imports the program {target}"


def test_no_circle_of_files():
    known = known_modules()
    arrows = {}
    for path in sources():
        if path.suffix == ".pyi":  # lists what a package offers, lazily
            continue
        module = module_of(path)
        targets = {module_imported(name, known) for name, typing_only in imports(path) if not typing_only}
        arrows[module] = {t for t in targets if t and t != module and not module.startswith(t + ".")}
    state = {}

    def visit(module, trail):
        state[module] = "open"
        for target in sorted(arrows.get(module, ())):
            assert state.get(target) != "open", " -> ".join([*trail, module, target])
            if target not in state:
                visit(target, [*trail, module])
        state[module] = "done"

    for module in sorted(arrows):
        if module not in state:
            visit(module, [])


def test_one_file_knows_torch_distributed():
    importers = {p.name for p in sources() for name, _ in imports(p) if name.startswith("torch.distributed")}
    assert importers == {"distributed.py"}
