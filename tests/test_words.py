"""One way to write a number, a count and a missing value, wherever one is written."""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from explorer.text import MISSING, count, number, percent, plural_of, quantity, seconds, shortened, signed, whole
from explorer.ui.tables import as_read

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = [0.0, -0.0, 1e-15, -1e-15, 0.0004, -0.0004, 0.00123, -0.0001, 4.2e-7, -3e-5, 0.126, -0.126, 0.004, 0.996, 1.0]
NUMBERS += [12.345, 999.994, 1234.5, -1234567.0, 9.9e9]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"), (-0.0, "0.00"), (-1e-15, "0.00"), (0.0004, "0.0004"), (-0.0001, "−0.0001"), (4e-7, "4e−7"),
        (-4.2e-7, "−4.2e−7"), (0.00123, "0.0012"), (-0.126, "−0.13"), (1234567, "1,234,567.00"), (1e20, "1.00e20"),
        (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, MISSING), (None, MISSING), (pd.NA, MISSING),
    ],
)  # fmt: skip
def test_a_number(value: object, text: str) -> None:
    assert number(value) == text


def test_other_numbers_follow_the_same_rules() -> None:
    assert [signed(value) for value in (0.25, -0.25, 0.0, -0.0004, None)] == ["+0.25", "−0.25", "0.00", "−0.0004", "–"]
    assert [percent(value) for value in (0.95, 0.995, 0.0004, 0.9999, 1.0, 0.0, -0.0, -0.004, None, math.nan)] == [
        "95 %", "99.5 %", "0.04 %", "99.99 %", "100 %", "0 %", "0 %", "−0.4 %", "–", "–",
    ]  # fmt: skip
    assert [percent(value, 1) for value in (0.5, -1e-17, 12.5)] == ["50.0 %", "0.0 %", "1,250.0 %"]
    assert [quantity(value) for value in (0.0821412, 311.0, 12345.678, -3e-5, 0, 4.2e-7, None)] == [
        "0.08214", "311", "12,346", "−3e−5", "0", "4.2e−7", "–",
    ]  # fmt: skip
    assert [whole(value) for value in (1234567, 0, None, math.nan)] == ["1,234,567", "0", "–", "–"]
    assert seconds(2.5) == "2.50 s"


def test_things_are_counted_in_words() -> None:
    assert [count(n, "group") for n in (0, 1, 2, 1234, None)] == [
        "no groups", "1 group", "2 groups", "1,234 groups", "an unknown number of groups",
    ]  # fmt: skip
    assert [plural_of(word) for word in ("singer", "study", "day", "class", "classes", "box")] == [
        "singers", "studies", "days", "classes", "classes", "boxes",
    ]  # fmt: skip
    assert shortened("a" * 400) == "a" * 27 + "…" and shortened("two  words") == "two words"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("digits", [0, 2, 3])
def test_the_players_script_writes_numbers_alike(digits: int) -> None:
    script = (ROOT / "explorer/ui/player_drawing.js").read_text(encoding="utf-8")
    function = re.search(r"^function fixed\(.*?^}", script, re.S | re.M)
    assert function is not None
    values = [value for value in NUMBERS if digits or abs(value) % 1 != 0.5]  # halves: Python rounds to even
    code = f"{function.group()}\nconsole.log(JSON.stringify({json.dumps(values)}.map((v) => fixed(v, {digits}))))"
    said = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [number(value, digits) for value in values]


def test_a_table_shows_words_and_holds_numbers() -> None:
    rows = pd.DataFrame({"n": [1234, 0], "r": [0.0004, math.nan], "name": ["<b>", "x"], "held": [True, False]})
    shown = as_read(rows, {"r": number})
    assert shown.data is rows
    cells = [
        [cell["display_value"] for cell in row if cell["type"] == "td"]
        for row in shown._translate(False, False)["body"]
    ]
    assert [row[:2] for row in cells] == [["1,234", "0.0004"], ["0", MISSING]]


# What would write a number in another way: a format of f, g, e or % in an f-string, thousands apart, a format of a
# table's column or of plotly that rounds. Sizes in style sheets and addresses are no numbers for people.
PLACES = ("pages", "explorer/ui", "explorer/figures", "explorer/queries")
_STYLE = re.compile(r"px|%;|[,)]")
_FORMATS = re.compile(r"%[+ ]?\.\d+[fe]|%\{[xyz]:|%\{customdata\[\d\]:|%d %%")


def raw_formats(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what writes a number by itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for part, following in zip(node.values, [*node.values[1:], None], strict=True):
                spec = (
                    ast.unparse(part.format_spec) if isinstance(part, ast.FormattedValue) and part.format_spec else ""
                )
                after = following.value if isinstance(following, ast.Constant) else ""
                if re.search(r"[feg%,]'?$", spec) and not _STYLE.match(str(after)):
                    yield node.lineno, ast.unparse(part)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _FORMATS.search(node.value):
            yield node.lineno, node.value


@pytest.mark.parametrize("place", PLACES)
def test_no_page_or_figure_formats_numbers_itself(place: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, text in raw_formats(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_rule_finds_what_it_forbids() -> None:
    bad = ['f"{x:.2f} s"', 'f"{n:,} clips"', 'f"{x:+.1e}"', 'f"{s:.0%}"', 'C(format="%.2f")', 'T("%{y:.2f}")']
    assert [len(list(raw_formats(text))) for text in bad] == [1] * len(bad)
    assert not list(raw_formats('f"left:{x:.1f}px"')) and not list(raw_formats('f"{number(x)} {n}"'))


# Counting by hand: 'file(s)', or a number and a plural that is not from `count`. Numbers fixed in code are no counts.
COUNTED = ("pages", "explorer", "precompute")
_THINGS = (
    "clip|group|layer|sae|feature|file|recording|factor|label|epoch|encoder|frame|artefact|fault|singer|class|column|row|"
    "channel|worker|process|shard|pair|seed|fold|entry|entrie|cell|weight|list|cut|vowel|other|artefact|run|character"
)
_PLURAL = re.compile(rf"^ (?:[a-z-]+ )?(?:{_THINGS})(?:s|es)\b", re.I)
_WRITTEN = re.compile(r"^(count|counted|percent|number|seconds|size|plural_of|shortened)\(")
ALLOWED = {
    # of 2 or more, whatever the store holds
    "precompute/pretraining", "explorer/encoders/network.py", "explorer/annotations.py", "explorer/feature_search.py",
}  # fmt: skip


def hand_made_plurals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of counts that are written without `count`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[a-z]\(s\)", node.value):
            yield node.lineno, node.value
        if isinstance(node, ast.JoinedStr):
            for part, after in zip(node.values, node.values[1:], strict=False):
                if isinstance(part, ast.FormattedValue) and isinstance(after, ast.Constant):
                    written = ast.unparse(part.value)
                    is_fixed = isinstance(part.value, ast.Name) and part.value.id.isupper()
                    is_text = not re.match(r"(int|len|whole)\(|n_\w+$|.*\bn_\w+", written)
                    if not (is_fixed or is_text or _WRITTEN.match(written)) and _PLURAL.match(str(after.value)):
                        yield node.lineno, ast.unparse(node)


def test_nothing_is_counted_by_hand() -> None:
    paths = [ROOT / "app.py", *(path for place in COUNTED for path in (ROOT / place).rglob("*.py"))]
    found = [
        f"{name}:{line}: {text}"
        for path in sorted(paths)
        if not (name := path.relative_to(ROOT).as_posix()).startswith(tuple(ALLOWED))
        for line, text in hand_made_plurals(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_rule_finds_counts_by_hand() -> None:
    bad = ["f'{n} file(s)'", "f'{len(x)} groups'", "f'{n_live} live features'", "f\"{row['n_clips']} clips\""]
    assert [len(list(hand_made_plurals(text))) for text in bad] == [1] * len(bad)
    assert not list(hand_made_plurals("f\"{count(n, 'file')} {MIN_CLIPS} clips {name} clips\""))
