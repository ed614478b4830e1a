"""The traces of every feature's listed clips: the frames of a layer are read once for all its SAEs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from explorer.giants import UsualFrames
from explorer.playable import ClipFrames
from explorer.sae import SAE
from explorer.store import write_parquet
from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork
from precompute.hidden_states import load_frames
from precompute.reporting import Stage
from precompute.shards import Shard

TRACE_STAGE = "traces"
VERSION = 2
TRACE_LEVELS = 255
Columns = dict[str, np.ndarray]
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
class TraceReader:
    """An SAE's input map, laid out so that the traces of a few features are read quickly."""

    sae: SAE
    w_enc_fd: np.ndarray

    @classmethod
    def of(cls, sae: SAE) -> TraceReader:
        """The reader of one SAE."""
        return cls(sae, np.ascontiguousarray(sae.w_enc_df.T))

    def columns(
        self,
        frames: ClipFrames,
        features: np.ndarray,
        preactivation_f: np.ndarray,
        *,
        pools_all_tokens: bool,
        kept_t: np.ndarray,
    ) -> Columns:
        """The traces of some features over one clip, quantised, as columns of the traces file (without clip_index).

        The steps are those of the frames in `kept_t` (not all False); what lies outside of their range is cut to it.

        `preactivation_f`: what the SAE saw of each of `features`. Where pooling took in more than the frames
        (`pools_all_tokens`: padding, special tokens), `padded_share` is the part of it that no frame shows; otherwise
        it is 0.
        """
        centred_td = frames.values_td - self.sae.b_dec_d
        traces_ft = self.w_enc_fd[features] @ centred_td.T + self.sae.b_enc_f[features, None]
        low_f, high_f = traces_ft[:, kept_t].min(axis=1), traces_ft[:, kept_t].max(axis=1)
        step_f = np.maximum((high_f - low_f) / TRACE_LEVELS, np.finfo(np.float32).tiny)
        points_ft = ((traces_ft - low_f[:, None]) / step_f[:, None] + 0.5).clip(0, TRACE_LEVELS).astype(np.uint8)
        rest_f = preactivation_f - traces_ft.mean(axis=1, dtype=np.float64)
        n_features, n_points = traces_ft.shape
        hop_s = float(frames.times_s[1] - frames.times_s[0]) if n_points > 1 else 0.0
        points = np.empty(n_features, dtype=object)
        points[:] = [row.tobytes() for row in points_ft]
        return {
            "feature": features,
            "n_points": np.full(n_features, n_points),
            "t0_s": np.full(n_features, float(frames.times_s[0])),
            "hop_s": np.full(n_features, hop_s),
            "low": low_f,
            "step": step_f,
            "padded_share": rest_f if pools_all_tokens else np.zeros(n_features),
            "points": points,
        }


@dataclass(frozen=True, eq=False)
class _Wanted:
    """One SAE without its traces yet: by clip, which features are listed there and what the SAE saw of them."""

    sae_id: str
    analysis_key: str
    key: str
    reader: TraceReader
    by_clip: dict[int, tuple[np.ndarray, np.ndarray]]


def trace_key(work: EncoderAtWork, analysis_key: str) -> str:
    """The name of the traces of one analysis."""
    return key_of(version=VERSION, analysis=analysis_key, usual=work.usual_name)


def keep_traces(
    work: EncoderAtWork, layer: int, analysed: Sequence[tuple[str, SAE, Bundle]], usual: UsualFrames, stage: Stage
) -> None:
    """Find or make the traces of SAEs of one layer, given as (sae_id, SAE, the bundle of its analysis)."""
    job = work.job
    keys = {sae_id: trace_key(work, bundle.folder.name) for sae_id, _, bundle in analysed}
    wanted = [
        _wanted(sae_id, sae, bundle, keys[sae_id])
        for sae_id, sae, bundle in analysed
        if job.artefacts.find(TRACE_STAGE, keys[sae_id]) is None
    ]
    parts: list[list[list[Columns]]] = []
    if wanted:
        with ThreadPoolExecutor(job.config.workers()) as pool:
            parts = list(pool.map(lambda shard: _traces_of_shard(work, layer, shard, wanted, usual), job.shards))
    row_of = {item.key: row for row, item in enumerate(wanted)}

    def make(key: str, bundle: Bundle) -> None:
        row = row_of[key]
        _add_traces(bundle, wanted[row], [columns for part in parts for columns in part[row]])

    for key in keys.values():
        job.keep(stage, TRACE_STAGE, key, partial(make, key))


def _wanted(sae_id: str, sae: SAE, analysis: Bundle, key: str) -> _Wanted:
    listed = analysis.table("listed_clips")
    by_clip: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    if len(listed):
        rows = listed.drop_duplicates(["feature", "clip_index"]).sort_values(["clip_index", "feature"])
        clips, starts = np.unique(rows["clip_index"].to_numpy(dtype=int), return_index=True)
        features = np.split(rows["feature"].to_numpy(dtype=int), starts[1:])
        seen = np.split(rows["preactivation"].to_numpy(dtype=float), starts[1:])
        by_clip = dict(zip(clips.tolist(), zip(features, seen, strict=True), strict=True))
    return _Wanted(sae_id, analysis.folder.name, key, TraceReader.of(sae), by_clip)


def _traces_of_shard(
    work: EncoderAtWork, layer: int, shard: Shard, wanted: Sequence[_Wanted], usual: UsualFrames
) -> list[list[Columns]]:
    """For every wanted SAE, the columns of its traces over each clip of one shard."""
    parts: list[list[Columns]] = [[] for _ in wanted]
    if not any(clip.clip_index in item.by_clip for item in wanted for clip in shard.clips):
        return parts
    frames = load_frames(work.job.artefacts, work.states_name, shard, layer)
    for clip, states in zip(shard.clips, frames, strict=True):
        kept_t = ~usual.is_giant(states.values_td)
        if not work.leaves_giants_out or not kept_t.any():
            kept_t[:] = True
        for item, found in zip(wanted, parts, strict=True):
            if clip.clip_index in item.by_clip:
                features, seen_f = item.by_clip[clip.clip_index]
                columns = item.reader.columns(
                    states, features, seen_f, pools_all_tokens=work.pools_all_tokens, kept_t=kept_t
                )
                found.append({**columns, "clip_index": np.full(len(features), clip.clip_index)})
    return parts


def _add_traces(bundle: Bundle, item: _Wanted, parts: Sequence[Columns]) -> None:
    joined = {name: np.concatenate([part[name] for part in parts]) if parts else np.zeros(0) for name in TYPES}
    rows = pd.DataFrame(joined).astype(TYPES)
    bundle.add_facts({"subject": item.sae_id})
    path = bundle.path(traces_name(item.sae_id, item.analysis_key))
    write_parquet(rows, path, order_by=["feature", "clip_index"], row_group_size=2048)
