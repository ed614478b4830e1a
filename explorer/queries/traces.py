"""Traces of a feature in time: the stored ones, and for playable clips any other, from the stored frame states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explorer.errors import StoreError
from explorer.giants import Span, usual_part
from explorer.playable import read_playable
from explorer.pooling import Pooling
from explorer.queries.giants import fetch_giant_spans
from explorer.sae import feature_trace, load_sae
from explorer.store import Store, command

LONGEST = 1_000_000  # points of one stored trace that are read


@dataclass(frozen=True)
class StoredTrace:
    """One trace: pre-activations `values` (n,) at t0_s + i * hop_s seconds.

    `step` is the quantisation step, 0 where none was needed. `padded_share`: how much of the clip's pre-activation
    comes from tokens that are not drawn; None where it is not known. giants: (start, end) in s of the giant frames.
    """

    values: np.ndarray
    t0_s: float
    hop_s: float
    step: float
    padded_share: float | None
    giants: tuple[Span, ...] = ()

    def usual_values(self) -> np.ndarray:
        """The values outside giant frames: of these alone a scale, or a mean where clips are pooled without them."""
        return usual_part(self.values, self.t0_s + self.hop_s * np.arange(len(self.values)), self.giants)


def fetch_traces(
    store: Store, sae: Mapping[str, Any], feature: int, clip_indices: Sequence[int]
) -> dict[int, StoredTrace]:
    """The traces of one feature of an SAE (its row of `saes`) in these clips, by clip index.

    Listed clips have stored traces; those of playable clips are computed from their stored states. Other clips are
    absent.
    """
    wanted = [int(index) for index in clip_indices]
    found = _stored(store, sae["traces_file"], feature, wanted)
    found |= _computed(store, sae, feature, [index for index in wanted if index not in found])
    if not found:
        return {}
    spans = fetch_giant_spans(store, str(sae["encoder_id"]), int(sae["layer"]), list(found))
    return {index: replace(trace, giants=tuple(spans.get(index, ()))) for index, trace in found.items()}


def _stored(store: Store, traces_file: str | None, feature: int, wanted: Sequence[int]) -> dict[int, StoredTrace]:
    if not traces_file or not wanted:
        return {}
    rows = store.query(
        "SELECT clip_index, t0_s, hop_s, low, step, padded_share, points FROM read_parquet(?) WHERE feature = ? "
        "AND clip_index IN (SELECT unnest(?::INTEGER[])) AND octet_length(points::BLOB) <= ? LIMIT ?",
        [store.parquet(traces_file), int(feature), wanted, LONGEST, len(wanted)],
    )
    return {int(row["clip_index"]): _trace(row) for row in rows.to_dict("records")}


def _trace(row: Mapping[Any, Any]) -> StoredTrace:
    points = np.frombuffer(bytes(row["points"]), dtype=np.uint8)
    share = row["padded_share"]
    return StoredTrace(
        values=(row["low"] + row["step"] * points).astype(np.float32),
        t0_s=float(row["t0_s"]),
        hop_s=float(row["hop_s"]),
        step=float(row["step"]),
        padded_share=None if share is None or share != share else float(share),
    )


def _computed(store: Store, sae: Mapping[str, Any], feature: int, wanted: Sequence[int]) -> dict[int, StoredTrace]:
    if not wanted or not sae["weights_file"]:
        return {}
    start = f"files/states-{sae['encoder_id']}-L{int(sae['layer']):02d}-"
    files = store.query("SELECT path FROM generation_files WHERE kind = 'states' AND starts_with(path, ?)", [start])
    clips = store.query(
        "SELECT clip_index, clip_id FROM clips WHERE clip_index IN (SELECT unnest(?::INTEGER[]))", [list(wanted)]
    )
    paths = [store.file(path) for path in files["path"]]
    frames = {
        int(index): found
        for index, clip_id in clips.itertuples(index=False)
        for path in paths
        if (found := read_playable(path, str(clip_id))) is not None
    }
    if not frames:
        return {}
    path = store.file(sae["weights_file"])
    weights = load_sae(path)
    if not 0 <= feature < weights.n_features or any(s.values_td.shape[1] != weights.d_model for s in frames.values()):
        raise StoreError(
            f"{path} is of another SAE or other states. Check the store with {command(store.folder, 'verify')}."
        )
    traces = {}
    for index, states in frames.items():
        hop_s = float(states.times_s[1] - states.times_s[0]) if len(states.times_s) > 1 else 0.0
        values = feature_trace(states.values_td, weights, feature)
        share = None if Pooling.named(str(sae["pooling"])).all_tokens else 0.0
        traces[index] = StoredTrace(values, float(states.times_s[0]), hop_s, 0.0, share)
    return traces
