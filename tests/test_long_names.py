"""A store whose names are as long as names get: short where there is little room, whole on hover."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explorer.figures.features import against_measure
from explorer.figures.live import factor_places
from explorer.figures.theme import LONGEST_SERIES, LONGEST_TICK, cut, in_short
from explorer.text import LONGEST_NAME, series_name
from explorer.ui.style import LONGEST_TITLE
from tests.mixed_store import NEW_75, OTHER_75, Tables, mixed_tables, write_tables
from tests.test_pages import at, charts, no_trouble, words

LENGTH = 400


def long(word: str) -> str:
    """400 characters that begin and end with `word`."""
    return f"{word} {'abcdefgh ' * 60}"[: LENGTH - 1 - len(word)].rstrip() + f" {word}"


def long_tables() -> Tables:
    tables = mixed_tables()
    clips, probes = tables["clips"], tables["probe_classes"]
    rename = {name: long(name) for name in ("clean", "trill", "a<b")}
    groups = {f"g{i}": long(f"g{i}") for i in range(4)}
    columns = [
        {"clip_index": i, "role": "label", "name": long("technique"), "value": rename.get(str(label))}
        for i, label in zip(clips["clip_index"], clips["label"], strict=True)
        if label is not None
    ]
    return {
        **tables,
        "meta": tables["meta"].assign(
            value=[value if key == "schema_version" else long(value) for key, value in
                   zip(tables["meta"]["key"], tables["meta"]["value"], strict=True)]),
        "clips": clips.assign(label=clips["label"].map(rename), group_id=clips["group_id"].map(groups),
                              title=clips["title"].map(long)),
        "clip_columns": pd.DataFrame(columns),
        "encoders": tables["encoders"].assign(display_name=[long("HuBERT"), long("HuBERTs")]),
        "features": tables["features"].assign(label=tables["features"]["label"].map(rename),
                                              label_name=long("technique")),
        "probes": tables["probes"].assign(label_name=long("technique")),
        "probe_classes": probes.assign(**{"class": probes["class"].map(rename)}),
        "probe_confusion": tables["probe_confusion"].assign(true_class=long("a<b"), predicted_class=long("clean")),
        "probe_groups": tables["probe_groups"].assign(group_id=tables["probe_groups"]["group_id"].map(groups)),
        "factors": tables["factors"].assign(display_name=tables["factors"]["display_name"].map(long)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("long") / "store", long_tables())


def seen(markup: object) -> str:
    """What plotly shows of a text."""
    return html.unescape(re.sub(r"<[^<>]*>", "", str(markup)))


def places(figure: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """(what, longest, text) of each text of a figure that is always seen."""
    layout = figure["layout"]
    for trace in figure["data"]:
        yield "series", LONGEST_SERIES, trace.get("name") or ""
    for name, axis in layout.items():
        if name[:5] in ("xaxis", "yaxis"):
            yield "title", LONGEST_SERIES, (axis.get("title") or {}).get("text") or ""
            values = [v for t in figure["data"] for v in _listed(t.get(name[0])) if isinstance(v, str)]
            for tick in axis.get("ticktext") or (values if axis.get("type") == "category" else []):
                yield "tick", LONGEST_TICK, tick
    for note in layout.get("annotations", []):
        yield "note", LONGEST_SERIES, note.get("text") or ""


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def too_long(figure: dict[str, Any]) -> list[tuple[str, str]]:
    return [(what, text) for what, longest, text in places(figure) if len(seen(text)) > longest]


PAGES = [
    ("overview", {}), ("layers", {}), ("sparsity", {}), ("factors", {"sae": NEW_75}),
    ("compare", {"a": NEW_75, "b": OTHER_75}), ("features", {"sae": NEW_75}), ("runs", {}),
]  # fmt: skip


@pytest.mark.parametrize(("page", "params"), PAGES, ids=[page for page, _ in PAGES])
def test_names_are_short_where_there_is_little_room(
    page: str, params: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at(page, folder, monkeypatch, **params)
    no_trouble(test)
    figures = charts(test)
    assert [too_long(figure) for figure in figures] == [[] for _ in figures]
    said = words(test)
    heads = re.findall(r"<(h1|h2|th|b)\b[^>]*>(.*?)</\1>", said, re.S)
    assert [text for _, text in heads if len(seen(text)) > LONGEST_TITLE] == []
    if page in ("layers", "sparsity"):
        hovered = str([trace.get("text") for figure in figures for trace in figure["data"]])
        assert long("HuBERT") in hovered and long("HuBERTs") in hovered
    if page == "overview":
        assert f'title="{long("mixed")}"' in said
    if page == "factors":
        assert long("F0 mean") in str([trace.get("text") for figure in figures for trace in figure["data"]])


def test_two_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (series_name(f"{'a' * LENGTH} ({end})", 3) for end in ("1051c7ab", "ffff0000"))
    assert one != other and one.endswith("(1051c7ab) L3") and len(one) == LONGEST_NAME + 3
    assert series_name("x" * LENGTH, 3, is_whole=True) == f"{'x' * LENGTH} L3"


def test_what_is_cut_is_still_escaped_and_marked() -> None:
    assert cut("<b>a&amp;b</b>", 10) == "<b>a&amp;b</b>"
    short = cut(f"<b>{'&lt;' * LENGTH}</b>", 10)
    assert short == f"<b>{'&lt;' * 9}…</b>"


def test_figures_that_need_more_than_such_a_store() -> None:
    rows = pd.DataFrame({"measured": [1.0, 2.0], "value": [0.0, 1.0], "clip_id": ["a", "b"],
                         "title": [long("t"), "u"], "group_id": [long("g"), "h"]})  # fmt: skip
    fig = in_short(against_measure(rows, rows.iloc[:0], "#009E73", False, measure=long("m"), by="group_id"))
    assert too_long(fig.to_plotly_json()) == [] and long("g") in str(fig.data[0].customdata)
    place = {"display_name": long("F0"), "unit": "Hz", "value": 1.0, "predicted": 2.0,
             "counts": np.array([1, 2]), "edges": np.array([0.0, 1.0, 2.0])}  # fmt: skip
    assert too_long(in_short(factor_places(pd.DataFrame([place]), "#009E73", False)).to_plotly_json()) == []
