"""The directions of imports, one owner a dependency, and what every file owes the house (docs/architecture.md).

Each rule is a function from a folder to a list of complaints. It is asked about this repository, where it must find
nothing, and about a small tree that breaks it, where it must find exactly that.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("app", "pages", "explorer.ui", "explorer", "precompute")  # the first prefix that fits a module is its room
MAX_LINES = 400

# What a room may import besides itself: app -> pages -> explorer.ui -> explorer <- precompute.
MAY_IMPORT = {
    "app": ("pages", "explorer.ui", "explorer"),
    "pages": ("explorer.ui", "explorer"),
    "explorer.ui": ("explorer",),
    "explorer": (),
    "precompute": ("explorer",),
}
# Narrower than their room: (modules, what they never import).
NEVER_IMPORTS = (
    ("explorer.queries", ("streamlit", "plotly", "explorer.figures")),
    ("explorer.figures", ("streamlit", "duckdb", "explorer.store")),
    ("explorer.sae", ("precompute",)),
)
# Inside precompute, from the ground up: numbers, stages, the run, commands. Each imports itself and what is below.
_FLOORS = """
    splits probes probe_result train_sae train_length lasso attribution factor_fit factor_fit_paper metrics matching
    feature_labels stability top_clips atlas planted
    / artefacts manifest shards job memory reporting processes corpus_stage factor_stage factor_worker encode_stage
    giant_frames frame_stage giant_stage crops fold_codes fold_saes hidden_states
    probe_stage sae_stage feature_tables label_tables trace_stage lasso_stage match_stage planted_stage
    targets
    / pipeline encoder_run encoder_choice layer_choice places lock plan provenance publish verify run_records summary
    table_checks references diagnostics
    / __main__ commands demo
"""
FLOORS = tuple(tuple(names.split()) for names in _FLOORS.split("/"))
OWNERS = {
    "duckdb": ("explorer.store",),
    "transformers": ("explorer.encoders",),
    "huggingface_hub": ("explorer.encoders",),
    "opensmile": ("explorer.factors",),
    "soundfile": ("explorer.audio", "explorer.decoding"),
    "av": ("explorer.decoding",),
    "umap": ("precompute.atlas",),
    "streamlit": ("app", "pages", "explorer.ui"),
}
# Browsing loads no model: nothing that the app imports brings one of these in.
HEAVY = ("torch", "torchaudio", "transformers", "opensmile", "umap", "numba")
# Parts, so that this file does not hold what it forbids.
MACHINE_PATHS = tuple(f"/{name}/" for name in ("work", "root"))
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".sql", ".js", ".css", ".html", ".sh", ".yml", ".yaml", ".json", ""}
NOT_OURS = {".git", ".venv", ".venv-browse", "venv", "build", "demo_store", "__pycache__", "node_modules"}


@dataclass(frozen=True)
class Import:
    """One imported name, and whether importing the module runs it (not inside a function, not for types only)."""

    name: str
    line: int
    at_load: bool


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its path from the root, and what it imports."""

    name: str
    path: str
    imports: tuple[Import, ...]


def is_within(name: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or lies under it."""
    return name == prefix or name.startswith(prefix + ".")


def room_of(name: str) -> str | None:
    """The room of a dotted name, None for what is not ours."""
    return next((room for room in ROOMS if is_within(name, room)), None)


def read_module(root: Path, path: Path) -> Module:
    """Parse one file and collect every import in it, those inside functions too."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    package = parts[:-1]
    name = ".".join(package if parts[-1] == "__init__" else parts)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return Module(name, path.relative_to(root).as_posix(), tuple(_imports(tree, package, at_load=True)))


def _imports(node: ast.AST, package: list[str], *, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            source = ".".join([*base, *([child.module] if child.module else [])])
            yield Import(source, child.lineno, at_load)
            yield from (Import(f"{source}.{alias.name}", child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.Call) and _called(child) in {"import_module", "__import__"} and child.args:
            argument = child.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield Import(argument.value, child.lineno, at_load)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), package, at_load=False)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), package, at_load=at_load)
            continue
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, package, at_load=at_load and not inside)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def modules(root: Path) -> tuple[Module, ...]:
    """Every module of app, pages, explorer and precompute under `root`, by path."""
    paths = [path for room in ("explorer", "pages", "precompute") for path in (root / room).rglob("*.py")]
    paths += [path for path in (root / "app.py",) if path.exists()]
    return tuple(read_module(root, path) for path in sorted(paths))


def wrong_directions(root: Path) -> list[str]:
    """Imports against the directions of the rooms."""
    found = []
    for module in modules(root):
        room = room_of(module.name)
        assert room is not None, module.path
        for item in module.imports:
            target = room_of(item.name)
            if target is not None and target != room and target not in MAY_IMPORT[room]:
                found.append(f"{module.path}:{item.line}: {room} must not import {item.name}")
        for prefix, banned in NEVER_IMPORTS:
            if is_within(module.name, prefix):
                found += [
                    f"{module.path}:{item.line}: {prefix} must not import {item.name}"
                    for item in module.imports
                    if any(is_within(item.name, other) for other in banned)
                ]
    return found


def upward_imports(root: Path) -> list[str]:
    """Imports inside precompute from a floor above (see FLOORS)."""
    floor = {f"precompute.{name}": number for number, names in enumerate(FLOORS) for name in names}
    return [
        f"{module.path}:{item.line}: {module.name} must not import {item.name}, which stands above it"
        for module in modules(root)
        if module.name in floor
        for item in module.imports
        for target, number in floor.items()
        if is_within(item.name, target) and number > floor[module.name]
    ]


def strangers(root: Path) -> list[str]:
    """Imports of a dependency by a module that does not own it."""
    return [
        f"{module.path}:{item.line}: {item.name} belongs to {' and '.join(owners)}"
        for module in modules(root)
        for item in module.imports
        for dependency, owners in OWNERS.items()
        if is_within(item.name, dependency) and not any(is_within(module.name, owner) for owner in owners)
    ]


def heavy_at_load(root: Path) -> list[str]:
    """Chains of module-level imports that lead from the app to a model library."""
    known = {module.name: module for module in modules(root)}
    starts = ("app", "pages", "explorer.ui", "explorer.queries", "explorer.figures")
    chains = {name: name for name in known if any(is_within(name, start) for start in starts)}
    waiting, found = sorted(chains), []
    while waiting:
        name = waiting.pop(0)
        for item in known[name].imports:
            if not item.at_load:
                continue
            if item.name.split(".")[0] in HEAVY:
                found.append(f"{chains[name]} -> {item.name}")
            for target in (item.name, *_parents(item.name)):
                if target in known and target not in chains:
                    chains[target] = f"{chains[name]} -> {target}"
                    waiting.append(target)
    return sorted(set(found))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def our_files(root: Path) -> list[Path]:
    """Every text file that belongs to the project, by path."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix in TEXT_SUFFIXES
        and not any(part in NOT_OURS or part.endswith("_cache") for part in path.relative_to(root).parts)
    )


def long_files(root: Path) -> list[str]:
    """Python files of more than MAX_LINES lines."""
    return [
        f"{path.relative_to(root).as_posix()}: {n_lines} lines, at most {MAX_LINES}"
        for path in our_files(root)
        if path.suffix == ".py" and (n_lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]


def machine_paths(root: Path) -> list[str]:
    """Lines that name a folder of one particular machine."""
    return [
        f"{path.relative_to(root).as_posix()}:{number}: names a machine's own folder"
        for path in our_files(root)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if any(f" {line}".find(f"{before}{place}") >= 0 for place in MACHINE_PATHS for before in " \"'`(=:")
    ]


Rule = Callable[[Path], list[str]]
RULES: tuple[Rule, ...] = (wrong_directions, upward_imports, strangers, heavy_at_load, long_files, machine_paths)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_repository_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


def test_every_room_was_looked_at() -> None:
    seen = {room_of(module.name) for module in modules(ROOT)}
    assert seen == set(ROOMS)


def test_the_owners_use_what_they_own() -> None:
    """A dependency that its owner no longer imports has moved, and the table above is out of date."""
    used = {item.name.split(".")[0] for module in modules(ROOT) for item in module.imports}
    assert set(OWNERS) - {"av"} <= used


def test_importing_the_library_side_of_the_app_loads_no_model() -> None:
    """The same as `heavy_at_load`, by really importing, so that what other libraries bring along counts too."""
    names = sorted(
        module.name
        for module in modules(ROOT)
        if any(is_within(module.name, prefix) for prefix in ("explorer.queries", "explorer.figures", "explorer.ui"))
    )
    assert len(names) > 3
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


GOOD = {
    "app.py": "import streamlit as st\nfrom pages import overview\nfrom explorer.ui import url\n",
    "pages/overview.py": "import streamlit as st\nfrom explorer import queries\n",
    "explorer/__init__.py": "",
    "explorer/ui/url.py": "import streamlit as st\nfrom explorer import store\n",
    "explorer/queries.py": "from explorer.store import open_store\n",
    "explorer/store.py": "import duckdb\n",
    "explorer/sae.py": "import torch\n",
    "explorer/encoders.py": "def load():\n    import transformers\n",
    "explorer/ui/live.py": "def start():\n    from explorer import sae\n",
    "precompute/run.py": "from explorer import sae, store\nfrom . import atlas\n",
    "precompute/atlas.py": "def draw():\n    import umap\n",
}
BAD: tuple[tuple[Rule, str, str, str], ...] = (
    (wrong_directions, "explorer/audio.py", "from precompute import run\n", "explorer must not import precompute"),
    (wrong_directions, "explorer/audio.py", "from explorer import ui\n", "explorer must not import explorer.ui"),
    (wrong_directions, "explorer/audio.py", "from .ui import url\n", "explorer must not import explorer.ui"),
    (wrong_directions, "explorer/audio.py", "def f():\n    import pages.overview\n", "explorer must not import pages"),
    (wrong_directions, "explorer/ui/more.py", "import pages.overview\n", "explorer.ui must not import pages"),
    (wrong_directions, "explorer/ui/more.py", "from ..ui import url\nfrom ...app import main\n", "must not import app"),
    (wrong_directions, "pages/more.py", "import precompute.run\n", "pages must not import precompute"),
    (wrong_directions, "precompute/more.py", "import explorer.ui.url\n", "precompute must not import explorer.ui"),
    (wrong_directions, "app.py", "import importlib\nimportlib.import_module('precompute.run')\n", "app must not"),
    (wrong_directions, "explorer/figures.py", "from explorer.store import Store\n", "explorer.figures must not import"),
    (wrong_directions, "explorer/queries/more.py", "import streamlit\n", "explorer.queries must not import streamlit"),
    (upward_imports, "precompute/lasso.py", "from precompute.job import Job\n", "precompute.lasso must not import"),
    (upward_imports, "precompute/job.py", "def f():\n    from precompute import pipeline\n", "stands above it"),
    (strangers, "precompute/more.py", "import duckdb\n", "duckdb belongs to explorer.store"),
    (strangers, "explorer/sae.py", "def f():\n    from transformers import AutoModel\n", "transformers belongs to"),
    (strangers, "precompute/more.py", "from opensmile import Smile\n", "opensmile belongs to explorer.factors"),
    (strangers, "explorer/queries.py", "import streamlit as st\n", "streamlit belongs to app and pages"),
    (strangers, "precompute/more.py", "import soundfile as sf\n", "soundfile belongs to explorer.audio"),
    (strangers, "explorer/storekeeper.py", "import duckdb\n", "duckdb belongs to explorer.store"),
    (heavy_at_load, "pages/more.py", "import torch\n", "pages.more -> torch"),
    (heavy_at_load, "explorer/ui/more.py", "from explorer import sae\n", "explorer.ui.more -> explorer.sae -> torch"),
    (heavy_at_load, "explorer/__init__.py", "from explorer import sae\n", "-> explorer.sae -> torch"),
    (heavy_at_load, "explorer/figures.py", "try:\n    import umap\nexcept ImportError:\n    pass\n", "-> umap"),
    (long_files, "explorer/more.py", "x = 1\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines"),
    (machine_paths, "docs/more.md", f"see `{MACHINE_PATHS[0]}data`\n", "docs/more.md:1"),
    (machine_paths, "Makefile", f"all:\n\tls {MACHINE_PATHS[1]}x\n", "Makefile:2"),
)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_tree_that_keeps_the_rules_is_not_accused(rule: Rule, tmp_path: Path) -> None:
    assert rule(_write(tmp_path, GOOD)) == []


@pytest.mark.parametrize(("rule", "name", "text", "complaint"), BAD, ids=[f"{b[0].__name__}-{b[1]}" for b in BAD])
def test_a_tree_that_breaks_a_rule_is_found(rule: Rule, name: str, text: str, complaint: str, tmp_path: Path) -> None:
    found = rule(_write(tmp_path, {**GOOD, name: text}))
    assert any(complaint in line for line in found), found


def test_an_import_for_types_only_is_no_load(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from explorer import sae\n"
    assert heavy_at_load(_write(tmp_path, {**GOOD, "explorer/ui/more.py": text})) == []
