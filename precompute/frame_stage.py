"""The frames of the layers that get SAEs: pass 2 where pass 1 did not keep them, and those of the playable clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork, encode_tasks
from precompute.hidden_states import FRAMES_STAGE, ShardTask, frames_key, load_frames

STATES_STAGE = "states"


def encode_frames(work: EncoderAtWork, layers: Sequence[int]) -> None:
    """Pass 2: the frames of the chosen layers where pass 1 did not keep them, no deeper than the deepest of them."""
    job = work.job
    tasks = []
    for shard in job.shards:
        missing = tuple(
            layer
            for layer in layers
            if job.artefacts.find(FRAMES_STAGE, frames_key(work.states_name, shard, layer)) is None
        )
        if missing:
            tasks.append(ShardTask(shard, missing, missing))
    if not tasks:
        return
    total_s = sum(task.shard.duration_s for task in tasks)
    with job.reporter.stage(f"frames of {work.checkpoint.spec.name}", total_s, "s of audio") as stage:
        encode_tasks(work, tasks, stage, all_tokens=False)


def drop_other_frames(work: EncoderAtWork, layers: Sequence[int]) -> None:
    """Free the space of frames that pass 1 kept and no SAE stands on."""
    for layer in set(work.layers()) - set(layers):
        for shard in work.job.shards:
            work.job.artefacts.remove(FRAMES_STAGE, frames_key(work.states_name, shard, layer))


def playable_key(work: EncoderAtWork, layer: int, playable: set[int]) -> str:
    """The name of the frames of the playable clips at one layer."""
    return key_of(encoder=work.states_name, layer=layer, clips=sorted(playable), corpus=work.job.corpus.corpus_id)


def keep_playable_states(work: EncoderAtWork, layers: Sequence[int], playable: set[int]) -> None:
    """Keep the frames of the playable clips at some layers as files of the store, in half precision."""
    job = work.job
    with job.reporter.stage(f"playable states of {work.checkpoint.spec.name}", len(layers), "layers") as stage:
        for layer in layers:
            key = playable_key(work, layer, playable)
            make = partial(_add_playable, work, layer, playable, f"states-{work.encoder_id}-L{layer:02d}-{key[:8]}")
            job.keep(stage, STATES_STAGE, key, make)


def _add_playable(work: EncoderAtWork, layer: int, playable: set[int], name: str, bundle: Bundle) -> None:
    arrays: dict[str, np.ndarray] = {}
    for shard in work.job.shards:
        wanted = [row for row, clip in enumerate(shard.clips) if clip.clip_index in playable]
        if not wanted:
            continue
        frames = load_frames(work.job.artefacts, work.states_name, shard, layer)
        for row in wanted:
            clip_id = shard.clips[row].clip_id
            mean_d = frames[row].values_td.mean(axis=0, dtype=np.float64).astype(np.float32)
            arrays[f"{clip_id}.mean_d"] = mean_d
            arrays[f"{clip_id}.delta_td"] = (frames[row].values_td - mean_d).astype(np.float16)
            arrays[f"{clip_id}.times_s"] = frames[row].times_s
    bundle.add_arrays(name, arrays)
