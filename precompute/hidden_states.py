"""Run an encoder over the corpus, shard by shard: pooled states of all layers, and frames where they are wanted.

Frames are kept as the deviation from the clip's own pooled state in half precision, so that the mean of a trace made
from them is the pre-activation of the pooled state to float32 accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from explorer.audio import Waveform, load_waveform
from explorer.encoders import Encoder, FrameStates
from precompute.artefacts import Artefacts, key_of

POOLED_STAGE, FRAMES_STAGE, CROPS_STAGE = "pooled", "frames", "crops"
VERSION = 1
CROPS_VERSION = 2
FP16_MAX = 60000.0


@dataclass(frozen=True)
class ClipSource:
    """Where a clip's sound lies."""

    clip_index: int
    clip_id: str
    path: Path
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class Shard:
    """Consecutive clips that one job encodes."""

    clips: tuple[ClipSource, ...]

    @property
    def name(self) -> str:
        return key_of(clips=[clip.clip_id for clip in self.clips])


@dataclass(frozen=True)
class ClipFrames:
    """One layer of one clip: frame states (t, d) as float32, and the frames' centres in seconds."""

    values_td: np.ndarray
    times_s: np.ndarray


def make_shards(clips: Sequence[ClipSource], n_clips: int) -> list[Shard]:
    """Cut the clips, in order, into shards of at most `n_clips`."""
    return [Shard(tuple(clips[start : start + n_clips])) for start in range(0, len(clips), n_clips)]


def pooled_key(states_name: str, shard: Shard, *, all_tokens: bool) -> str:
    """The name of a shard's pooled states. `states_name`: the encoder's fingerprint, and what it was shown."""
    return key_of(version=VERSION, encoder=states_name, shard=shard.name, all_tokens=all_tokens)


def frames_key(states_name: str, shard: Shard, layer: int) -> str:
    """The name of a shard's frame states of one layer."""
    return key_of(version=VERSION, encoder=states_name, shard=shard.name, layer=layer)


def encode_shard(
    artefacts: Artefacts,
    encoder: Encoder,
    shard: Shard,
    *,
    layers: Sequence[int],
    frame_layers: Sequence[int],
    all_tokens: bool,
    on_clip: Callable[[float], None],
    states_name: str,
    first_window: bool = False,
) -> None:
    """Encode a shard and keep its pooled states of `layers` and its frames of `frame_layers`, under `states_name`.

    `first_window` shows the network no more of a clip than it can look at in one pass (AST: 10.24 s), as the published
    code does; otherwise a longer clip is seen in chunks. `on_clip` is called with the seconds of audio that are done.
    """
    pooled_cld = np.empty((len(shard.clips), len(layers), encoder.d_model), dtype=np.float32)
    frames: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {layer: [] for layer in frame_layers}
    n_batch = len(shard.clips) if encoder.device.type != "cpu" else 1  # on a CPU batches gain nothing and pad
    for start in range(0, len(shard.clips), n_batch):
        batch = shard.clips[start : start + n_batch]
        hidden = encoder.hidden_states(
            [_wave(clip, encoder, first_window) for clip in batch], layers, all_tokens=all_tokens
        )
        for column, layer in enumerate(layers):
            states = hidden[layer]
            pooled_cld[start : start + len(batch), column] = _pooled(states, all_tokens=all_tokens)
            if layer in frames:
                frames[layer].extend(zip(states.values_td, states.times_s, strict=True))
        on_clip(sum(clip.duration_s for clip in batch))
    for layer, items in frames.items():
        _save_frames(artefacts, frames_key(states_name, shard, layer), items)
    key = pooled_key(states_name, shard, all_tokens=all_tokens)
    if artefacts.find(POOLED_STAGE, key) is None and len(layers) == encoder.n_layers + 1:
        with artefacts.writing(POOLED_STAGE, key) as bundle:
            bundle.add_arrays("pooled", {"pooled_cld": pooled_cld})


def _wave(clip: ClipSource, encoder: Encoder, first_window: bool = False) -> Waveform:
    wave = load_waveform(
        clip.path, sample_rate_hz=encoder.sample_rate_hz, start_s=clip.start_s, duration_s=clip.duration_s
    )
    return Waveform(wave.samples[: encoder.window_samples], wave.sample_rate_hz) if first_window else wave


def _pooled(states: FrameStates, *, all_tokens: bool) -> np.ndarray:
    if all_tokens and states.all_tokens_mean_cd is not None:
        return states.all_tokens_mean_cd
    return states.pooled()


def _save_frames(artefacts: Artefacts, key: str, items: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    if artefacts.find(FRAMES_STAGE, key) is not None:
        return
    arrays: dict[str, np.ndarray] = {}
    for row, (values_td, times_s) in enumerate(items):
        mean_d = values_td.mean(axis=0, dtype=np.float64).astype(np.float32)
        delta_td = values_td - mean_d
        fits = float(np.abs(delta_td).max(initial=0.0)) < FP16_MAX
        arrays[f"{row}.mean_d"] = mean_d
        arrays[f"{row}.delta_td"] = torch.from_numpy(delta_td).half().numpy() if fits else delta_td
        arrays[f"{row}.times_s"] = times_s.astype(np.float64)
    with artefacts.writing(FRAMES_STAGE, key) as bundle:
        bundle.add_arrays("frames", arrays)


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
            delta_td = file.get_tensor(f"{row}.delta_td").astype(np.float32)
            delta_td -= delta_td.mean(axis=0, dtype=np.float64).astype(np.float32)  # rounding must not move the mean
            values_td = delta_td + file.get_tensor(f"{row}.mean_d")
            result.append(ClipFrames(values_td, file.get_tensor(f"{row}.times_s")))
    return result


def estimated_frame_bytes(total_s: float, frame_rate_hz: float, d_model: int, n_layers: int) -> float:
    """How large the frames of so many layers are on disk."""
    return total_s * frame_rate_hz * d_model * n_layers * 2.0


def crops_of(wave: Waveform, *, crop_s: float, starts_s: Sequence[float], pads: bool) -> list[Waveform]:
    """Crops of `crop_s` seconds at the given starts; `pads` a shorter rest with zeros at the end, as published."""
    n = round(crop_s * wave.sample_rate_hz)
    crops = []
    for start_s in starts_s:
        first = round(start_s * wave.sample_rate_hz)
        samples = wave.samples[first : first + n]
        crops.append(Waveform(np.pad(samples, (0, n - len(samples))) if pads else samples, wave.sample_rate_hz))
    return crops


def crop_starts(clip: ClipSource, *, crop_s: float, n_crops: int, seed: int) -> tuple[float, ...]:
    """Fixed, seeded starts of a clip's crops in seconds; all zero where the clip is not longer than a crop."""
    room = clip.duration_s - crop_s
    if room <= 0:
        return (0.0,) * n_crops
    rng = np.random.default_rng([seed, int(clip.clip_id, 16)])
    return tuple(float(start) for start in rng.uniform(0, room, n_crops))


def crops_key(
    encoder: str,
    shard: Shard,
    *,
    layers: Sequence[int],
    crop_s: float,
    n_crops: int,
    seed: int,
    all_tokens: bool,
) -> str:
    """The name of a shard's pooled crop states. `encoder`: its fingerprint and mode."""
    return key_of(
        version=CROPS_VERSION,
        encoder=encoder,
        shard=shard.name,
        layers=list(layers),
        crop_s=crop_s,
        n=n_crops,
        seed=seed,
        all_tokens=all_tokens,
    )


def encode_crops(
    artefacts: Artefacts,
    encoder: Encoder,
    training_encoder: Encoder,
    shard: Shard,
    *,
    key: str,
    layers: Sequence[int],
    crop_s: float,
    n_crops: int,
    seed: int,
    all_tokens: bool,
    on_clip: Callable[[float], None],
) -> None:
    """Preset paper: pooled states of the first `crop_s` seconds and of seeded crops of each clip.

    `all_tokens`: shorter clips are padded with zeros, and these and special tokens are pooled as sound (the published
    fault); otherwise valid frames alone. `training_encoder` makes the crops; it is the one in training mode where that
    fault is on. Kept as `first_cld` and `crops_cnld` (clips, crops, layers, d).
    """
    firsts: list[np.ndarray] = []
    crops: list[np.ndarray] = []
    for clip in shard.clips:
        wave = _wave(clip, encoder)
        starts_s = crop_starts(clip, crop_s=crop_s, n_crops=n_crops, seed=seed)
        for maker, begins, made in ((encoder, (0.0,), firsts), (training_encoder, starts_s, crops)):
            waves = crops_of(wave, crop_s=crop_s, starts_s=begins, pads=all_tokens)
            hidden = maker.hidden_states(waves, layers, all_tokens=all_tokens)
            made.append(np.stack([_pooled(hidden[layer], all_tokens=all_tokens) for layer in layers], axis=1))
        on_clip(crop_s * (1 + n_crops))
    with artefacts.writing(CROPS_STAGE, key) as bundle:
        bundle.add_arrays("crops", {"first_cld": np.concatenate(firsts), "crops_cnld": np.stack(crops)})
