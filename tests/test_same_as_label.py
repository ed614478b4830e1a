"""Columns that are the label under another name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from explorer.queries.search import fetch_attribute_table, fetch_attributes
from explorer.same_as_label import same_as_label
from explorer.store import SCHEMA_VERSION, new_generation, open_store
from precompute.datasets import read_corpus
from precompute.feature_tables import attribute_shares
from tests.test_datasets import sound

LABEL = ["dog", "rain", "dog", "cow", None]


def test_a_column_that_stands_for_the_label_and_for_nothing_else_is_found() -> None:
    columns: dict[str, list[object]] = {
        "target": ["0", "10", "0", "3", None],
        "number": [0.0, 10.0, 0.0, 3.0, float("nan")],
        "finer": ["a", "b", "c", "d", None],  # determines the label, is not determined by it
        "coarser": ["animal", "weather", "animal", "animal", None],
        "sometimes": ["0", "10", None, "3", None],
        "always": ["0", "10", "0", "3", "9"],
        "one": ["x"] * 5,
    }
    assert same_as_label(columns, LABEL) == ["target", "number", "always"]
    assert same_as_label({"one": ["x", "x"]}, ["a", "a"]) == []
    assert same_as_label({}, LABEL) == []
    assert same_as_label({"target": np.array([1, 2, 1])}, np.array(["a", "b", "a"], object)) == ["target"]


def test_a_corpus_names_such_a_column(tmp_path: Path) -> None:
    rows = ["file,label,group,target,room"]
    for i in range(12):
        sound(tmp_path / f"s{i}.wav", seed=i)
        rows.append(f"s{i}.wav,{'ab'[i % 2]},g{i % 4},{i % 2},{'xyz'[i % 3]}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    corpus = read_corpus("folder", tmp_path)
    assert any("label under another name, not used as an attribute: target" in note for note in corpus.note.split("; "))


def test_find_and_pairs_leave_such_a_column_out(tmp_path: Path) -> None:
    kinds = {"label": ["dog", "dog", "rain", "rain"], "target": ["0", "0", "10", "10"], "take": ["A", "B", "A", "B"]}
    rows = [
        {"clip_index": i, "role": "label" if name == "label" else "attribute", "name": name, "value": values[i]}
        for name, values in kinds.items()
        for i in range(4)
    ]
    rows += [{"clip_index": i, "role": "group", "name": "singer", "value": f"g{i % 2}"} for i in range(4)]
    with new_generation(tmp_path / "named") as writer:
        writer.insert("meta", pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}]))
        clips = [{"clip_index": i, "clip_id": f"c{i}", "group_id": f"g{i % 2}", "split": "train"} for i in range(4)]
        writer.insert("clips", pd.DataFrame(clips))
        writer.insert("clip_columns", pd.DataFrame(rows))
    store = open_store(tmp_path / "named")
    assert list(fetch_attributes(store)["name"]) == ["label", "take", "singer"]
    assert list(fetch_attribute_table(store)) == ["label", "take", "singer"]


def test_the_share_of_variance_is_not_said_twice() -> None:
    codes = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    labels = {"category": np.array(["dog", "dog", "rain", "rain"], object)}
    attributes = {name: np.array(list(values), object) for name, values in {"target": "0011", "take": "ABAB"}.items()}
    groups = {"recording": np.array(["a", "a", "b", "b"], object)}
    shares = attribute_shares(codes, labels, attributes, groups)
    assert dict(zip(shares["column_name"], shares["share"], strict=True)) == {"recording": 1, "category": 1, "take": 0}
    assert set(shares["feature"]) == {0}
