"""What messages, pages and documents advise exists: every command and option that they name is tried on its parser."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
from pathlib import Path

import pytest

from explorer.ui.context import _options as app_options
from precompute.__main__ import build_parser
from precompute.config import DATASETS, PRESETS
from precompute.pretraining.__main__ import build_parser as pretraining_parser

ROOT = Path(__file__).resolve().parents[1]
COMMAND = re.compile(r"python -m ((?:precompute|explorer|benchmarks)[a-z_.]*)((?: +[^\s`]+)*)")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?:[ =]([a-z0-9][\w,;=.]*))?")
OTHERS = {  # options of other programs that these texts also name
    "help", "server.baseUrlPath", "server", "account", "hostname", "abbrev", "always", "dirty", "exclude",
    "exclude-standard",
}  # fmt: skip
LAYERS = re.compile(r"(best2|all|(\w+=)?\d+(,\d+)*(;\w+=\d+(,\d+)*)*)$")


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every parser by what is typed before its options."""
    found: dict[str, argparse.ArgumentParser] = {}
    for module, parser in (("precompute", build_parser()), ("precompute.pretraining", pretraining_parser())):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {f"{module} {name}": sub for name, sub in action.choices.items()}
    return found


def own_options(path: Path) -> set[str]:
    """The options that a module's own parser takes, by its source."""
    return set(re.findall(r'add_argument\(\s*"--([a-z-]+)"', path.read_text(encoding="utf-8")))


def texts() -> list[tuple[str, str]]:
    """Each text that a person may read: strings of the code (not of its options' definitions), and documents."""
    found = []
    for folder in ("explorer", "pages", "precompute"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    words = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
                    found.append((f"{path.name}:{node.lineno}", words))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append((f"{path.name}:{node.lineno}", node.value))
        for path in sorted((ROOT / folder).rglob("*.md")):
            found += [(f"{path.name}:{at}", line) for at, line in enumerate(path.read_text("utf-8").splitlines(), 1)]
    for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        found += [(f"{path.name}:{at}", line) for at, line in enumerate(path.read_text("utf-8").splitlines(), 1)]
    return [(place, text) for place, text in found if "--" in text or "python -m" in text]


def known_options() -> set[str]:
    """Every option of every program of the project."""
    known = {text[2:] for parser in parsers().values() for action in parser._actions for text in action.option_strings}
    for path in (*ROOT.glob("explorer/inference/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("tools/*.py")):
        known |= own_options(path)
    return known | {name.replace("_", "-") for name in vars(app_options())}


def test_every_option_that_is_named_exists() -> None:
    known, wrong = known_options(), []
    for place, text in texts():
        for name, value in OPTION.findall(text):
            if name.startswith(("so-", "st-")):
                continue  # variables of style sheets
            if name not in known | OTHERS:
                wrong.append(f"{place}: --{name}")
            elif name == "layers" and value and not LAYERS.match(value.rstrip(".,;")):
                wrong.append(f"{place}: --layers {value}")
            elif name == "dataset" and value and value.rstrip(".,;") not in DATASETS:
                wrong.append(f"{place}: --dataset {value}")
            elif name == "preset" and value and value.rstrip(".,;") not in PRESETS:
                wrong.append(f"{place}: --preset {value}")
    assert not wrong, wrong


def test_every_command_that_is_named_exists() -> None:
    there, wrong = parsers(), []
    for place, text in texts():
        for module, rest in COMMAND.findall(text):
            spec = importlib.util.find_spec(module)
            folder = spec and spec.submodule_search_locations
            if spec is None or (folder and not (Path(next(iter(folder))) / "__main__.py").exists()):
                wrong.append(f"{place}: python -m {module}")
                continue
            words = rest.split()
            if module in ("precompute", "precompute.pretraining") and words and words[0].isidentifier():
                name = f"{module} {words[0].rstrip('.,;')}"
                if words[0].isupper():
                    continue
                if name not in there:
                    wrong.append(f"{place}: python -m {name}")
                    continue
                options = {text[2:] for action in there[name]._actions for text in action.option_strings}
                wrong += [
                    f"{place}: python -m {name} --{option}"
                    for option, _ in OPTION.findall(rest.split("`")[0])
                    if option not in options
                ]
    assert not wrong, wrong


@pytest.mark.parametrize("text", ["run with --layers none", "`python -m precompute mend`", "use --encodr"])
def test_such_advice_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.texts", lambda: [("here:1", text)])
    with pytest.raises(AssertionError, match="here:1"):
        test_every_option_that_is_named_exists()
        test_every_command_that_is_named_exists()
