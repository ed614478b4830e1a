"""Content files of strangers: other columns, other numbers, other shapes, rows without end. Each is said."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from explorer.errors import ExplorerError
from explorer.playable import read_playable
from explorer.queries.corpus import record
from explorer.queries.features import fetch_activation
from explorer.queries.search import fetch_codes
from explorer.queries.traces import fetch_traces
from explorer.sae import load_sae
from explorer.store import Store, open_store
from tests.mixed_store import NEW_75, mixed_tables, write_tables

CODES, TRACES, WEIGHTS = "files/codes-a.parquet", "files/traces-a.parquet", "files/sae-a.safetensors"
CODE: dict[str, list[Any]] = {"clip_index": [1], "feature": [0], "value": [1.0]}
TRACE: dict[str, list[Any]] = {"clip_index": [0], "feature": [0], "t0_s": [0.0], "hop_s": [0.1], "low": [0.0],
                               "step": [1.0], "padded_share": [0.0], "points": [b"abc"]}  # fmt: skip
Opened = tuple[Store, dict[str, Any]]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    tables = mixed_tables()
    places = {"codes_by_feature_file": CODES, "codes_by_clip_file": CODES, "traces_file": TRACES}
    tables["saes"] = tables["saes"].assign(**places, weights_file=WEIGHTS, pooling="valid frames")
    store = open_store(write_tables(tmp_path / "store", tables))
    return store, record(store.query("SELECT * FROM saes WHERE sae_id = ?", [NEW_75]))


@pytest.mark.parametrize(
    "change",
    [
        {"clip_index": ["x"]}, {"clip_index": [[1]]}, {"clip_index": [0.5]}, {"clip_index": [40]}, {"feature": [-1]},
        {"feature": [240]}, {"feature": [None]}, {"value": [{"a": 1}]}, {"value": ["1"]}, {"value": None},
    ],
)  # fmt: skip
def test_codes_of_other_columns_types_and_places(opened: Opened, change: dict[str, Any]) -> None:
    store, sae = opened
    columns = {name: values for name, values in {**CODE, **change}.items() if values is not None}
    pq.write_table(pa.table(columns), store.folder / CODES)
    with pytest.raises(ExplorerError, match=r"as Sonoscope writes it|are not of its 40 clips and 240 features"):
        fetch_codes(store, sae)


def test_codes_with_rows_without_end_are_not_read_into_memory(opened: Opened) -> None:
    store, sae = opened
    part = pa.table({"clip_index": np.zeros(2_000_000, np.int32), "feature": np.zeros(2_000_000, np.int32),
                     "value": np.ones(2_000_000, np.float32)})  # fmt: skip
    with pq.ParquetWriter(store.folder / CODES, part.schema) as file:
        for _ in range(10):
            file.write_table(part)
    start = time.monotonic()
    with pytest.raises(ExplorerError, match="are not of its 40 clips"):
        fetch_codes(store, sae)
    assert fetch_activation(store, CODES, 0, 0) == 1.0
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "change", [{"points": [10**12]}, {"points": ["abc"]}, {"low": ["x"]}, {"t0_s": [[0.0]]}, {"step": None}]
)
def test_traces_of_other_columns_and_types(opened: Opened, change: dict[str, Any]) -> None:
    store, sae = opened
    columns = {name: values for name, values in {**TRACE, **change}.items() if values is not None}
    pq.write_table(pa.table(columns), store.folder / TRACES)
    with pytest.raises(ExplorerError, match="as Sonoscope writes it"):
        fetch_traces(store, sae, 0, [0])


def test_traces_without_points_are_left_out_and_none_are_no_fault(opened: Opened) -> None:
    store, sae = opened
    bare = {**sae, "weights_file": None}
    pq.write_table(pa.table({**TRACE, "points": pa.array([None], pa.binary())}), store.folder / TRACES)
    assert fetch_traces(store, bare, 0, [0]) == {}
    (store.folder / TRACES).unlink()
    pq.write_table(pa.table({name: pa.array([], pa.null()) for name in TRACE}), store.folder / TRACES)
    assert fetch_traces(store, bare, 0, [0]) == {}
    (store.folder / TRACES).unlink()
    pd.DataFrame(TRACE).to_parquet(store.folder / TRACES)
    assert list(fetch_traces(store, bare, 0, [0])[0].values) == [97.0, 98.0, 99.0]


def raw_safetensors(kind: str, n_bytes: int, k: str) -> bytes:
    shapes = {"W_enc": [4, 8], "b_enc": [8], "W_dec": [8, 4], "b_dec": [4]}
    head: dict[str, Any] = {"__metadata__": {"architecture": "topk", "k": k}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + n_bytes * int(np.prod(shape))
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


@pytest.mark.parametrize(
    "content",
    [
        raw_safetensors("F32", 4, "9" * 5000), raw_safetensors("F32", 4, "0"), raw_safetensors("F8_E4M3", 1, "2"),
        raw_safetensors("BF16", 2, "2"), raw_safetensors("I64", 8, "2"), raw_safetensors("BOOL", 1, "2"),
        struct.pack("<Q", 2**63) + b"{}", b"", b"\0" * 100,
    ],
)  # fmt: skip
def test_weights_of_other_numbers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sae-a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExplorerError):
        load_sae(path)


@pytest.mark.parametrize("shapes", [((3, 4), (5,), (2,)), ((0, 4), (4,), (0,)), ((3,), (3,), (3,))])
def test_states_of_other_shapes(tmp_path: Path, shapes: tuple[tuple[int, ...], ...]) -> None:
    names = ("c0.delta_td", "c0.mean_d", "c0.times_s")
    path = tmp_path / "states-a.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in zip(names, shapes, strict=True)}, str(path))
    with pytest.raises(ExplorerError, match="holds frame states of no clip"):
        read_playable(path, "c0")
