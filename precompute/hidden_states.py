"""Run an encoder over the corpus, shard by shard: pooled states of all layers, and frames where they are wanted.

Frames are kept as the deviation from the clip's own pooled state in half precision, so that the mean of a trace made
from them is the pre-activation of the pooled state to float32 accuracy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from safetensors import safe_open

from explorer.audio import Waveform, load_waveform
from explorer.encoders import Encoder
from explorer.giants import UsualFrames
from explorer.playable import ClipFrames, restored
from precompute.artefacts import Artefacts, key_of
from precompute.giant_frames import (
    GIANTS_STAGE,
    MOST_FRAMES,
    ClipGiants,
    Usual,
    giants_key,
    giants_of,
    keep_giants,
    some_frames,
)
from precompute.shards import ClipSource, Shard

POOLED_STAGE, FRAMES_STAGE = "pooled", "frames"
VERSION = 1
FP16_MAX = 60000.0


def pooled_key(states_name: str, shard: Shard, *, all_tokens: bool) -> str:
    """The name of a shard's pooled states. `states_name`: the encoder's fingerprint, and what it was shown."""
    return key_of(version=VERSION, encoder=states_name, shard=shard.name, all_tokens=all_tokens)


def frames_key(states_name: str, shard: Shard, layer: int) -> str:
    """The name of a shard's frame states of one layer."""
    return key_of(version=VERSION, encoder=states_name, shard=shard.name, layer=layer)


@dataclass(frozen=True)
class ShardTask:
    """What is wanted of a shard: `layers` are computed, the frames of `frame_layers` (some of them) are kept, and, with
    the usual frames, the pooled states and the giant frames (`layers` are then all)."""

    shard: Shard
    layers: tuple[int, ...]
    frame_layers: tuple[int, ...]
    usual: Usual | None = None


@dataclass(frozen=True)
class _KeptFrames:
    """One layer of one clip as it is written: the mean, the frames' deviation from it, and their centres."""

    mean_d: np.ndarray
    delta_td: np.ndarray  # float16 where that can hold them
    times_s: np.ndarray


@dataclass(frozen=True)
class _Batch:
    """Clips that go through the network in one call: one on a CPU, where more gain nothing, else the whole shard."""

    task: ShardTask
    first: int
    clips: tuple[ClipSource, ...]


@dataclass(frozen=True)
class _Encoded:
    """(clips, layers, d) pooled states of a batch, the frames of each clip by layer, and its giant frames."""

    pooled_cld: np.ndarray
    frames: list[dict[int, _KeptFrames]]
    giants: list[ClipGiants]


def encode_shards(
    artefacts: Artefacts,
    encoder: Encoder,
    tasks: Sequence[ShardTask],
    *,
    all_tokens: bool,
    n_workers: int,
    n_clips: int,
    on_clip: Callable[[float], None],
    on_kept: Callable[[Shard], None],
    states_name: str,
    first_window: bool = False,
) -> None:
    """Encode shards in turn, each kept as soon as it is whole.

    On a CPU `n_workers` clips are encoded side by side, each on its share of the cores: quicker than one clip on all of
    them, since no core waits for work that cannot be divided. `n_clips` is the corpus's, so that the share, and with it
    every last digit, is the same however many clips are left. `on_clip` gets the seconds of each clip as it is done,
    `on_kept` each shard once it is kept.
    `first_window` shows the network no more of a clip than it can look at in one pass (AST: 10.24 s), as the published
    code does; otherwise a longer clip is seen in chunks. What is kept is named by `states_name`.
    """
    is_cpu = encoder.device.type == "cpu"
    batches = [batch for task in tasks for batch in _batches(task, 1 if is_cpu else len(task.shard.clips))]
    n_side = _n_side(encoder, n_workers, n_clips)
    with _side_by_side(n_side, n_workers) as pool:
        done: list[_Encoded] = []
        encode = partial(_encode_batch, encoder, all_tokens=all_tokens, first_window=first_window)
        for batch, encoded in zip(batches, _in_order(pool, encode, batches, ahead=n_side), strict=True):
            done.append(encoded)
            for clip in batch.clips:
                on_clip(clip.duration_s)
            if batch.first + len(batch.clips) == len(batch.task.shard.clips):
                _keep(artefacts, states_name, batch.task, done, all_tokens=all_tokens)
                on_kept(batch.task.shard)
                done = []


def usual_frames(
    encoder: Encoder,
    clips: Sequence[ClipSource],
    *,
    n_workers: int,
    n_clips: int,
    first_window: bool,
    on_clip: Callable[[float], None],
) -> tuple[UsualFrames, ...]:
    """Where the frames of every layer lie, by some frames of these clips (at least one); otherwise as encode_shards."""
    layers = tuple(range(encoder.n_layers + 1))
    n_frames = -(-MOST_FRAMES // len(clips))

    def look(clip: ClipSource) -> list[np.ndarray]:
        hidden = encoder.hidden_states([wave_of(clip, encoder, first_window)], layers)
        return [some_frames(hidden[layer].values_td[0], n_frames) for layer in layers]

    found = []
    with _side_by_side(_n_side(encoder, n_workers, n_clips), n_workers) as pool:
        for clip, frames in zip(clips, pool.map(look, clips), strict=True):
            found.append(frames)
            on_clip(clip.duration_s)
    return tuple(UsualFrames.of(np.concatenate(of_layer)) for of_layer in zip(*found, strict=True))


def _n_side(encoder: Encoder, n_workers: int, n_clips: int) -> int:
    """Passes side by side; beside a GPU's pass the batch before it is packed."""
    return min(n_workers, n_clips) if encoder.device.type == "cpu" else 2


def _side_by_side(n_side: int, n_workers: int) -> ThreadPoolExecutor:
    share = max(1, n_workers // n_side)
    return ThreadPoolExecutor(n_side, initializer=torch.set_num_threads, initargs=(share,))


def _batches(task: ShardTask, size: int) -> Iterator[_Batch]:
    for first in range(0, len(task.shard.clips), size):
        yield _Batch(task, first, task.shard.clips[first : first + size])


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Batch], _Encoded], batches: Sequence[_Batch], *, ahead: int
) -> Iterator[_Encoded]:
    """The results in the order of the batches; never more than `ahead` are at work or waiting beside the next one."""
    waiting: deque[Future[_Encoded]] = deque()
    for batch in batches:
        waiting.append(pool.submit(work, batch))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _encode_batch(encoder: Encoder, batch: _Batch, *, all_tokens: bool, first_window: bool) -> _Encoded:
    task = batch.task
    waves = [wave_of(clip, encoder, first_window) for clip in batch.clips]
    hidden = encoder.hidden_states(waves, task.layers, all_tokens=all_tokens)
    pooled_cld = np.stack([hidden[layer].pooled(all_tokens=all_tokens) for layer in task.layers], axis=1)
    frames = [
        {layer: _kept(hidden[layer].values_td[row], hidden[layer].times_s[row]) for layer in task.frame_layers}
        for row in range(len(batch.clips))
    ]
    giants = [
        giants_of([hidden[layer].values_td[row] for layer in task.layers], hidden[0].times_s[row], task.usual)
        for row in range(len(batch.clips))
        if task.usual is not None
    ]
    return _Encoded(pooled_cld, frames, giants)


def _kept(values_td: np.ndarray, times_s: np.ndarray) -> _KeptFrames:
    mean_d = values_td.mean(axis=0, dtype=np.float64).astype(np.float32)
    delta_td = values_td - mean_d
    fits = max(float(delta_td.max(initial=0.0)), -float(delta_td.min(initial=0.0))) < FP16_MAX
    return _KeptFrames(mean_d, torch.from_numpy(delta_td).half().numpy() if fits else delta_td, times_s)


def _keep(
    artefacts: Artefacts, states_name: str, task: ShardTask, done: Sequence[_Encoded], *, all_tokens: bool
) -> None:
    """Write a whole shard: frames first, so that a shard with pooled states has all its frames."""
    clips = [frames for encoded in done for frames in encoded.frames]
    for layer in task.frame_layers:
        key = frames_key(states_name, task.shard, layer)
        if artefacts.find(FRAMES_STAGE, key) is None:
            with artefacts.writing(FRAMES_STAGE, key) as bundle:
                arrays = {}
                for row, frames in enumerate(clips):
                    arrays[f"{row}.mean_d"] = frames[layer].mean_d
                    arrays[f"{row}.delta_td"] = frames[layer].delta_td
                    arrays[f"{row}.times_s"] = frames[layer].times_s.astype(np.float64)
                bundle.add_arrays("frames", arrays)
    if task.usual is None:
        return
    key = giants_key(states_name, task.shard, task.usual.name)
    if artefacts.find(GIANTS_STAGE, key) is None:
        keep_giants(artefacts, key, [giants for encoded in done for giants in encoded.giants])
    key = pooled_key(states_name, task.shard, all_tokens=all_tokens)
    if artefacts.find(POOLED_STAGE, key) is None:
        with artefacts.writing(POOLED_STAGE, key) as bundle:
            bundle.add_arrays("pooled", {"pooled_cld": np.concatenate([encoded.pooled_cld for encoded in done])})


def wave_of(clip: ClipSource, encoder: Encoder, first_window: bool = False) -> Waveform:
    """A clip's sound as the encoder takes it; `first_window`: no more of it than it sees in one pass."""
    wave = load_waveform(
        clip.path, sample_rate_hz=encoder.sample_rate_hz, start_s=clip.start_s, duration_s=clip.duration_s
    )
    return encoder.first_window(wave) if first_window else wave


def load_pooled(artefacts: Artefacts, states_name: str, shards: Sequence[Shard], *, all_tokens: bool) -> np.ndarray:
    """(clips, layers, d) float32 pooled states of the whole corpus."""
    parts = [
        artefacts.get(POOLED_STAGE, pooled_key(states_name, shard, all_tokens=all_tokens)).arrays("pooled")[
            "pooled_cld"
        ]
        for shard in shards
    ]
    return np.concatenate(parts)


def load_frames(artefacts: Artefacts, states_name: str, shard: Shard, layer: int) -> list[ClipFrames]:
    """The frames of one layer of a shard's clips, in the shard's order."""
    path = artefacts.get(FRAMES_STAGE, frames_key(states_name, shard, layer)).path("frames.safetensors")
    with safe_open(str(path), framework="np") as file:
        result = []
        for row in range(len(shard.clips)):
            values_td = restored(file.get_tensor(f"{row}.delta_td"), file.get_tensor(f"{row}.mean_d"))
            result.append(ClipFrames(values_td, file.get_tensor(f"{row}.times_s")))
    return result


def estimated_frame_bytes(total_s: float, frame_rate_hz: float, d_model: int, n_layers: int) -> float:
    """How large the frames of so many layers are on disk."""
    return total_s * frame_rate_hz * d_model * n_layers * 2.0
