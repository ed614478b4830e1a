"""The options of a run and the environment variables, as lines of help and as the page docs/options.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from precompute.config import PRESETS, PaperFaults, RunConfig
from precompute.options import FAULTS, GROUPS, OPTIONS, flag_of, key_of_toml

ENVIRONMENT: Mapping[str, str] = {
    "SONOSCOPE_STORE": "the store that the app shows where its command names none with `--store`; without either, the "
    "last one made",
    "SONOSCOPE_HOME": "the folder for what readers write (labels, notes, lists) and for which stores and checkpoints "
    "were used last; by default the system's place for application data",
    "SONOSCOPE_DATA": "folder of the original recordings, for Live and the what-if on a clip; several are separated as "
    "in PATH. By default where the store's runs read them",
    "SONOSCOPE_CHECKPOINTS": "checkpoints for Live, as NAME=FOLDER; several are separated as in PATH. By default where "
    "the last runs found them, and the hub's cache",
    "SONOSCOPE_HOSTS": "further names that the app's server accepts, separated by commas or blanks, as `--host` "
    "does: `*.lab.example` means all below it, `*` for every name",
    "SONOSCOPE_FRAME_ANCESTORS": "sites that may show the app in a frame, separated by commas or blanks, as "
    "`--frame-ancestor` does",
    "SONOSCOPE_LIVE_MEMORY_GB": "memory for the encoders that Live keeps loaded, in gigabytes (4)",
}
_INTRODUCTION = """\
# Options of a run

Made by `python -m precompute list options --markdown`; do not edit it by hand.

A run takes its options from the command line, from a TOML file (`--config FILE`), and from its preset, in this order:
the first that gives a value wins. In TOML, names may have dashes or underscores, lists are written `[0.75, 0.95]`, and
switches `true` or `false`. A switch is given as `--strict`, and taken back as `--no-strict`.
"""


def types_of_options() -> dict[str, str]:
    """Each option's type as its field has it, without "| None"."""
    return {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(RunConfig)}


def help_of(name: str) -> str:
    """One option's line of help, with its default."""
    option, default = OPTIONS[name], default_of(name)
    return f"{option.help} (default: {default})" if default else option.help


def default_of(name: str) -> str:
    """The value that holds where neither command nor preset gives one; empty where there is none."""
    field = next(field for field in dataclasses.fields(RunConfig) if field.name == name)
    if OPTIONS[name].default:
        return OPTIONS[name].default
    return "" if field.default is dataclasses.MISSING else _written(field.default)


def option_lines() -> list[str]:
    """Every option with its default and what it does."""
    return [f"{_flag(name):<28} {help_of(name)}" for name in OPTIONS]


def options_page() -> str:
    """The page docs/options.md."""
    lines = [_INTRODUCTION]
    for group in GROUPS:
        lines += [f"## {group[:1].upper()}{group[1:]}", ""]
        lines += ["| flag | TOML | default | allowed | what it does | presets |", "|---|---|---|---|---|---|"]
        lines += [_row(name) for name, option in OPTIONS.items() if option.group == group]
        lines.append("")
    lines += ["## The published code's faults", ""]
    lines += ["Switches of the TOML table `[faults]`, on in preset `paper` and off elsewhere.", ""]
    lines += ["| switch | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in FAULTS.items()]
    lines += ["", "## Environment variables", ""]
    lines += ["The app, Live and the last used places look at these.", "", "| variable | what it says |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in ENVIRONMENT.items()]
    return "\n".join(lines) + "\n"


def _flag(name: str) -> str:
    return "[faults] in TOML" if name == "faults" else flag_of(name)


def _row(name: str) -> str:
    option = OPTIONS[name]
    presets = "; ".join(f"{preset}: {_written(values[name])}" for preset, values in PRESETS.items() if name in values)
    flag = "" if name == "faults" else f"`{flag_of(name)}`"
    cells = [flag, f"`{key_of_toml(name)}`", default_of(name), option.allowed, option.help, presets]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, PaperFaults):
        return "all on" if all(dataclasses.astuple(value)) else "all off"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(_written(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value) if not isinstance(value, Path) else value.as_posix()
