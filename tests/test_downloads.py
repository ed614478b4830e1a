"""What people take away: CSV with the numbers and what they are of, figures as SVG with words and numbers."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

from explorer.csv_text import csv_text, sae_columns
from explorer.queries.corpus import fetch_saes
from explorer.store import Store
from tests.browser import Server, settle
from tests.mixed_store import NEW_75, OTHER_75, mixed_tables, write_tables
from tests.test_pages import at, no_trouble

SVG = "{http://www.w3.org/2000/svg}"


def test_numbers_are_themselves_and_text_is_no_formula() -> None:
    rows = pd.DataFrame(
        {
            "r2": [-0.1234567890123456, 4e-7, np.nan],
            "n": pd.array([1234567, None, 0], dtype="Int64"),
            "label": ["=cmd|' /C calc'!A0", "-1+2", "plain, “quoted”"],
            "mixed": [-1.5, "@SUM(A1)", None],
            "=name": ["\t=1", "+1", "a"],
        }
    )
    text = csv_text(rows, {"sae_id": "abc", "layer": 3, "n": 1})
    assert text.isascii() is False and "−" not in text
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == ["sae_id", "layer", "r2", "n", "label", "mixed", "'=name"]
    assert list(back["r2"][:2]) == [-0.1234567890123456, 4e-7] and np.isnan(back["r2"][2])
    assert list(back["label"]) == ["'=cmd|' /C calc'!A0", "'-1+2", "plain, “quoted”"]
    assert list(back["mixed"][:2]) == ["-1.5", "'@SUM(A1)"]
    assert list(back["'=name"]) == ["'\t=1", "'+1", "a"]
    assert set(back["sae_id"]) == {"abc"} and list(back["n"][:2].fillna(-1)) == [1234567, -1]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], str]]:
    """What each button of a page would download, by file name."""
    import streamlit as st

    made: dict[str, Callable[[], str]] = {}
    draw = st.download_button

    def noted(label: str, data: Any, *arguments: Any, **options: Any) -> Any:
        made[str(options.get("file_name") or arguments[0])] = data
        return draw(label, data, *arguments, **options)

    monkeypatch.setattr(st, "download_button", noted)
    return made


def test_the_features_file_holds_all_features_and_says_of_which_sae(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch, downloads: dict[str, Callable[[], str]]
) -> None:
    sae = fetch_saes(store).sort_values("n_live", ascending=False).iloc[0]
    assert sae["n_live"] > 50
    no_trouble(at("features", tiny_store, monkeypatch, sae=str(sae["sae_id"])))
    rows = pd.read_csv(io.StringIO(downloads[f"features-{sae['sae_id']}.csv"]()))
    assert len(rows) == sae["n_live"]
    assert {**sae_columns(sae)}.keys() <= set(rows.columns)
    stored = store.query("SELECT max_value FROM features WHERE sae_id = ? AND feature = ?",
                         [str(sae["sae_id"]), int(rows["feature"][0])])  # fmt: skip
    assert rows["max_value"][0] == pytest.approx(float(stored["max_value"][0]), rel=1e-7)


def test_the_table_of_two_saes_holds_raw_numbers_ids_and_intervals(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch, downloads: dict[str, Callable[[], str]]
) -> None:
    a, b = (str(sae_id) for sae_id in fetch_saes(store)["sae_id"][:2])
    no_trouble(at("compare", tiny_store, monkeypatch, a=a, b=b))
    rows = pd.read_csv(io.StringIO(downloads[f"compare_{a}_{b}.csv"]()))
    assert set(rows["sae_id"]) == {a, b} and {"encoder_id", "layer", "k", "n_clips", "low", "high"} <= set(rows.columns)
    fvu = rows[(rows["measure"] == "fvu_heldout") & (rows["sae_id"] == a)].iloc[0]
    stored = store.query("SELECT fvu_heldout FROM saes WHERE sae_id = ?", [a]).iloc[0]
    assert fvu["value"] == float(stored["fvu_heldout"]) and fvu["n_clips"] > 0
    for name in (name for name in downloads if name.endswith(".csv")):
        assert "−" not in downloads[name](), name


# What a file's rows are of, one of these at least beside the run or generation they are from.
IDS = ("sae_id", "sae_id_a", "probe_id", "encoder_id", "run_id", "corpus_id", "representation_id")
VIEWS: list[tuple[str, dict[str, str], int]] = [
    ("overview", {}, 0), ("layers", {}, 4), ("sparsity", {}, 4), ("factors", {"sae": NEW_75}, 4),
    ("compare", {"a": NEW_75, "b": OTHER_75}, 4), ("features", {"sae": NEW_75}, 1), ("runs", {}, 3),
]  # fmt: skip


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tables = mixed_tables()
    tables["run_timings"] = pd.DataFrame([{"run_id": "r-new", "stage": "encode", "seconds": 1 / 3, "n_done": 1}])
    tables["skipped_files"] = pd.DataFrame([{"path": "a.txt", "reason": "no audio", "kind": "not audio"}])
    tables["saes"]["fvu_heldout"] = 1 / 3
    tables["features"]["density"] = 1 / 3
    return write_tables(tmp_path_factory.mktemp("mixed") / "store", tables)


@pytest.mark.parametrize(("page", "params", "n_files"), VIEWS, ids=[view[0] for view in VIEWS])
def test_every_file_of_every_page_holds_raw_numbers_and_what_they_are_of(
    page: str,
    params: dict[str, str],
    n_files: int,
    mixed: Path,
    monkeypatch: pytest.MonkeyPatch,
    downloads: dict[str, Callable[[], str]],
) -> None:
    import streamlit as st

    draw = st.expander
    monkeypatch.setattr(st, "expander", lambda *of, **options: draw(*of, **{**options, "expanded": True}))
    no_trouble(at(page, mixed, monkeypatch, **params))
    assert len([name for name in downloads if name.endswith(".csv")]) >= n_files, sorted(downloads)
    _check_files(downloads)


def test_what_find_shows_is_a_file_of_raw_numbers(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch, downloads: dict[str, Callable[[], str]]
) -> None:
    no_trouble(at("find", tiny_store, monkeypatch, sae=str(fetch_saes(store)["sae_id"].iloc[0])))
    assert any(name.endswith(".csv") for name in downloads)
    _check_files(downloads)


def _check_files(downloads: dict[str, Callable[[], str]]) -> None:
    for name, made in downloads.items():
        if not name.endswith(".csv"):
            continue
        text = made()
        rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        assert set(rows.columns) & set(IDS), f"{name} does not say what it is of: {list(rows.columns)}"
        assert "\u2212" not in text, name
        for column in rows.columns:
            values = [value for value in rows[column] if value]
            assert not any(re.fullmatch(r"[-\d.,]+ ?%|\d{1,3}(,\d{3})+", value) for value in values), (name, column)
            if NEW_75 in text and column in ("fvu_heldout", "density", "seconds"):
                assert {float(value) for value in values} <= {1 / 3}, (name, column)


def test_a_figure_is_saved_as_svg_with_its_words_and_numbers(browser: Browser, app: Server, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{app.url}/layers")
    settle(page)
    plot = page.locator('.so-figure[data-drawn][aria-label^="Accuracy of probes"]')
    plot.hover()
    with page.expect_download() as begun:
        plot.locator('[data-title^="Download as SVG"]').click()
    assert begun.value.suggested_filename.startswith("layers_") and begun.value.suggested_filename.endswith(".svg")
    begun.value.save_as(tmp_path / "figure.svg")
    root = ET.fromstring((tmp_path / "figure.svg").read_text(encoding="utf-8"))
    words = [text.text or "" for text in root.findall(f"{SVG}text")]
    assert root.tag == f"{SVG}svg" and words[0].startswith("Accuracy of probes")
    assert "Diamonds: layers chosen for SAEs." in " ".join(words)
    numbers = json.loads(root.findtext(f"{SVG}metadata") or "")
    assert any(trace.get("x") and trace.get("y") for trace in numbers)
    drawn = root.find(f"{SVG}svg")
    assert drawn is not None and drawn.findall(f".//{SVG}path")
    shown = browser.new_page()
    shown.goto((tmp_path / "figure.svg").as_uri())
    expect(shown.locator("svg > text").first).to_be_visible()
    shown.close()
    page.close()


def test_a_table_shows_words_and_its_own_download_holds_numbers(browser: Browser, app: Server, store: Store) -> None:
    sae_id = str(fetch_saes(store)["sae_id"].iloc[0])
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script("delete window.showSaveFilePicker")  # a dialog of the system
    page.goto(f"{app.url}/features?sae={sae_id}")
    settle(page)
    table = page.get_by_test_id("stDataFrame").first
    table.hover()
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download as CSV").first.click()
    rows = pd.read_csv(begun.value.path())
    assert rows["density"].dtype.kind == "f" and rows["density"].between(0, 1).all()
    assert rows["max_value"].dtype.kind == "f" and not (rows["max_value"].round(2) == rows["max_value"]).all()
    page.close()
