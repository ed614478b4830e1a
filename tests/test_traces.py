"""Stored traces: their mean over the pooled frames is the pre-activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explorer.giants import Span, usual_part
from explorer.queries.giants import fetch_giant_spans
from explorer.store import Store


def traces(store: Store, sae: pd.Series) -> pd.DataFrame:
    return store.query("SELECT * FROM read_parquet(?)", [str(store.file(sae["traces_file"]).resolve())])


def giants(store: Store, sae: pd.Series, row: Any) -> list[Span]:
    index = int(row.clip_index)
    return fetch_giant_spans(store, sae["encoder_id"], sae["layer"], [index]).get(index, [])


def test_a_stored_trace_has_the_preactivation_as_its_mean(store: Store) -> None:
    for _, sae in store.query("SELECT * FROM saes").iterrows():
        listed = store.query(
            "SELECT DISTINCT feature, clip_index, preactivation FROM listed_clips WHERE sae_id = ?", [sae["sae_id"]]
        )
        stored = traces(store, sae).merge(listed, on=["feature", "clip_index"])
        assert len(stored) == len(listed) > 0
        for row in stored.sample(200, random_state=0, replace=True).itertuples():
            points = np.frombuffer(row.points, dtype=np.uint8)
            usual = usual_part(
                points.astype(float), row.t0_s + row.hop_s * np.arange(row.n_points), giants(store, sae, row)
            )
            mean = row.low + row.step * usual.mean()
            assert abs(mean - row.preactivation) <= row.step + 1e-5 * abs(row.preactivation)
            assert abs(row.padded_share) <= 1e-3 * max(1.0, abs(row.preactivation))
