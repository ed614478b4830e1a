"""The traces of every feature's listed clips: the frames of a layer are read once for all its SAEs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from explorer.sae import SAE
from explorer.store import write_parquet
from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork
from precompute.hidden_states import load_frames
from precompute.shards import Shard
from precompute.top_clips import TraceReader

TRACE_STAGE = "traces"
VERSION = 1
TYPES = {
    "feature": "int32",
    "clip_index": "int32",
    "n_points": "int32",
    "t0_s": "float64",
    "hop_s": "float64",
    "low": "float32",
    "step": "float32",
    "padded_share": "float64",
    "points": "object",
}


def traces_name(sae_id: str, analysis_key: str) -> str:
    """The file name of the traces of one analysis of an SAE."""
    return f"traces-{sae_id}-{analysis_key[:8]}.parquet"


@dataclass(frozen=True, eq=False)
class _Wanted:
    """One SAE without its traces yet: by clip, which features are listed there and what the SAE saw of them."""

    sae_id: str
    analysis_key: str
    key: str
    reader: TraceReader
    by_clip: dict[int, tuple[np.ndarray, np.ndarray]]


def trace_key(analysis_key: str) -> str:
    """The name of the traces of one analysis."""
    return key_of(version=VERSION, analysis=analysis_key)


def keep_traces(work: EncoderAtWork, layer: int, analysed: Sequence[tuple[str, SAE, Bundle]]) -> None:
    """Find or make the traces of SAEs of one layer, given as (sae_id, SAE, the bundle of its analysis)."""
    job = work.job
    keys = {sae_id: trace_key(bundle.folder.name) for sae_id, _, bundle in analysed}
    wanted = [
        _wanted(sae_id, sae, bundle, keys[sae_id])
        for sae_id, sae, bundle in analysed
        if job.artefacts.find(TRACE_STAGE, keys[sae_id]) is None
    ]
    if wanted:
        with ThreadPoolExecutor(job.config.workers()) as pool:
            parts = list(pool.map(lambda shard: _traces_of_shard(work, layer, shard, wanted), job.shards))
        for row, item in enumerate(wanted):
            _write(work, item, [frame for part in parts if len(frame := part[row])])
    for key in keys.values():
        job.record.use(job.artefacts.get(TRACE_STAGE, key))


def _wanted(sae_id: str, sae: SAE, analysis: Bundle, key: str) -> _Wanted:
    listed = analysis.table("listed_clips")
    by_clip: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    if len(listed):
        for clip_index, rows in listed.drop_duplicates(["feature", "clip_index"]).groupby("clip_index"):
            rows = rows.sort_values("feature")
            by_clip[int(clip_index)] = (rows["feature"].to_numpy(dtype=int), rows["preactivation"].to_numpy())
    return _Wanted(sae_id, analysis.folder.name, key, TraceReader.of(sae), by_clip)


def _traces_of_shard(work: EncoderAtWork, layer: int, shard: Shard, wanted: Sequence[_Wanted]) -> list[pd.DataFrame]:
    """The trace rows of every wanted SAE over the clips of one shard."""
    parts: list[list[pd.DataFrame]] = [[] for _ in wanted]
    if not any(clip.clip_index in item.by_clip for item in wanted for clip in shard.clips):
        return [pd.DataFrame() for _ in wanted]
    frames = load_frames(work.job.artefacts, work.states_name, shard, layer)
    for clip, states in zip(shard.clips, frames, strict=True):
        for item, found in zip(wanted, parts, strict=True):
            if clip.clip_index in item.by_clip:
                features, seen_f = item.by_clip[clip.clip_index]
                rows = item.reader.rows(states, features, seen_f, pools_all_tokens=work.pools_all_tokens)
                found.append(rows.assign(clip_index=clip.clip_index))
    return [pd.concat(found, ignore_index=True) if found else pd.DataFrame() for found in parts]


def _write(work: EncoderAtWork, item: _Wanted, parts: Sequence[pd.DataFrame]) -> None:
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(TYPES))
    with work.job.artefacts.writing(TRACE_STAGE, item.key) as bundle:
        bundle.add_facts({"subject": item.sae_id})
        path = bundle.path(traces_name(item.sae_id, item.analysis_key))
        write_parquet(rows[list(TYPES)].astype(TYPES), path, order_by=["feature", "clip_index"], row_group_size=2048)
