"""The generated store of the speed measurements: small here, opened on every page, and saying what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from benchmarks._generated_scale import SCALES
from benchmarks._session import Action, possible_actions
from benchmarks.full_size_store import write_store
from explorer.queries.corpus import fetch_saes
from explorer.queries.traces import fetch_traces
from explorer.store import SCHEMA_VERSION, Store, new_generation, open_store
from explorer.ui.url import PAGES, page_file

MAIN = page_file("overview").with_name("main.py")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    write_store(folder, SCALES["small"])
    return folder


@pytest.fixture
def generated_store(generated: Path) -> Iterator[Store]:
    opened = open_store(generated)
    yield opened
    opened.close()


def drawn(action: Action, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("SONOSCOPE_STORE", str(folder))
    test = AppTest.from_file(str(MAIN), default_timeout=60)
    test.switch_page(f"{action.page}.py")
    for name, value in action.params.items():
        test.query_params[name] = str(value)
    return test.run()


def test_every_kind_of_click_is_drawn_and_says_that_its_numbers_mean_nothing(
    generated: Path, generated_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = [kind[0] for kind in possible_actions(generated_store, np.random.default_rng(0)).values()]
    assert {action.page for action in actions} == set(PAGES)
    for action in actions:
        test = drawn(action, generated, monkeypatch)
        said = "\n".join(str(element.proto.body) for element in test.get("html"))
        assert [e.message for e in test.exception] == [], action
        assert 'class="so-error"' not in said, action
        assert "means nothing" in said, action


def test_what_the_full_store_holds() -> None:
    full = SCALES["full"]
    assert (full.n_encoders, full.n_layers, len(full.sparsities), full.n_clips) == (4, 13, 6, 3600)


def test_listed_clips_have_traces_and_every_file_is_listed(generated: Path, generated_store: Store) -> None:
    sae = fetch_saes(generated_store).query("level == 'clip'").iloc[0].to_dict()
    listed = generated_store.query(
        "SELECT DISTINCT clip_index FROM listed_clips WHERE sae_id = ? AND feature = 3", [sae["sae_id"]]
    )["clip_index"].tolist()
    assert set(fetch_traces(generated_store, sae, 3, listed)) == set(listed)
    paths = set(generated_store.query("SELECT path FROM generation_files")["path"])
    assert paths == {f"files/{path.name}" for path in (generated / "files").iterdir()}
    clips = generated_store.query("SELECT DISTINCT preview FROM clips")["preview"]
    assert set(clips) <= paths


def test_rows_of_one_feature_are_stored_together(tmp_path: Path) -> None:
    rows = [{"sae_id": sae, "feature": f, "kind": "top", "rank": r} for r in (0, 1) for f in (1, 0) for sae in "ba"]
    with new_generation(tmp_path) as writer:
        writer.insert("meta", pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}]))
        writer.insert("listed_clips", pd.DataFrame(rows))
    stored = open_store(tmp_path).query("SELECT sae_id, feature FROM listed_clips ORDER BY rowid")
    assert list(stored.itertuples(index=False, name=None)) == [(s, f) for s in "ab" for f in (0, 0, 1, 1)]
