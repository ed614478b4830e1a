"""The options of a run: each is said once, everywhere."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from explorer.text import size
from precompute.__main__ import build_parser, main
from precompute.config import PRESETS, PaperFaults, RunConfig, make_config
from precompute.options import FAULTS, GROUPS, OPTIONS, flag_of
from precompute.options import PRESETS as PRESET_NAMES
from precompute.options_page import ENVIRONMENT, options_page

ROOT = Path(__file__).resolve().parents[1]


def test_every_option_is_said_and_nothing_else() -> None:
    assert set(OPTIONS) == {field.name for field in dataclasses.fields(RunConfig)}
    assert set(FAULTS) == {field.name for field in dataclasses.fields(PaperFaults)}
    assert set(PRESET_NAMES) == set(PRESETS)
    assert all(option.group in GROUPS and option.help and option.allowed for option in OPTIONS.values())


def test_every_flag_has_help_and_every_option_a_flag() -> None:
    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        assert all(action.help for action in command._actions), name
    flags = set(commands.choices["run"]._option_string_actions)
    assert {flag_of(name) for name in OPTIONS if name != "faults"} <= flags
    assert all(flag in commands.choices["run"].format_help() for flag in flags)


def test_the_page_is_what_the_command_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "options", "--markdown"]) == 0
    assert capsys.readouterr().out == options_page()
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == options_page(), "python -m precompute list options --markdown > docs/options.md"
    assert all(f"`{flag_of(name)}`" in page for name in OPTIONS if name != "faults")
    assert all(f"`{name}`" in page for name in FAULTS)


def test_every_environment_variable_is_on_the_page() -> None:
    files = [
        ROOT / "app.py",
        *(path for room in ("explorer", "pages", "precompute") for path in (ROOT / room).rglob("*.py")),
    ]
    found = {name for path in files for name in re.findall(r"SONOSCOPE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert found == set(ENVIRONMENT)


def test_every_flag_is_taken(tmp_path: Path) -> None:
    words = (
        "--dataset folder --root in --store out --encoder hubert --lasso-eps 0.5 --no-lasso-counts-codes --n-crops 2"
    )
    words += " --probe-c-grid 0.1,1 --feature-map pca --seeds-everywhere --split-seed 4 --shard-clips 3"
    given = {name: value for name, value in vars(build_parser().parse_args(["run", *words.split()])).items() if value}
    config = make_config({name: value for name, value in given.items() if name in OPTIONS})
    assert (config.lasso_eps, config.n_crops, config.probe_c_grid, config.seeds_everywhere) == (
        0.5,
        2,
        (0.1, 1.0),
        True,
    )
    assert vars(build_parser().parse_args(["run", *words.split()]))["lasso_counts_codes"] is False
    assert vars(build_parser().parse_args(["run"]))["lasso_counts_codes"] is None


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (12_345, "12 kB"), (999_600, "1.0 MB"),
     (41_000_000, "41 MB"), (3.14e9, "3.1 GB"), (9.97e9, "10 GB"), (5e12, "5.0 TB"), (7e15, "7000 TB")],
)  # fmt: skip
def test_a_size_is_said_in_the_unit_that_shows_it(n_bytes: float, text: str) -> None:
    assert size(n_bytes) == text
