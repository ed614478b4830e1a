"""Preset paper: the first seconds of each clip and seeded crops of it, encoded and pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from explorer.audio import Waveform
from explorer.encoders import Encoder
from precompute.artefacts import Artefacts, key_of
from precompute.hidden_states import wave_of
from precompute.shards import ClipSource, Shard

CROPS_STAGE = "crops"
CROPS_VERSION = 2


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
    """Pooled states of the first `crop_s` seconds and of seeded crops of each clip.

    `all_tokens`: shorter clips are padded with zeros, and these and special tokens are pooled as sound (the published
    fault); otherwise valid frames alone. `training_encoder` makes the crops; it is the one in training mode where that
    fault is on. Kept as `first_cld` and `crops_cnld` (clips, crops, layers, d).
    """
    firsts: list[np.ndarray] = []
    crops: list[np.ndarray] = []
    for clip in shard.clips:
        wave = wave_of(clip, encoder)
        starts_s = crop_starts(clip, crop_s=crop_s, n_crops=n_crops, seed=seed)
        for maker, begins, made in ((encoder, (0.0,), firsts), (training_encoder, starts_s, crops)):
            waves = crops_of(wave, crop_s=crop_s, starts_s=begins, pads=all_tokens)
            hidden = maker.hidden_states(waves, layers, all_tokens=all_tokens)
            made.append(np.stack([hidden[layer].pooled(all_tokens=all_tokens) for layer in layers], axis=1))
        on_clip(crop_s * (1 + n_crops))
    with artefacts.writing(CROPS_STAGE, key) as bundle:
        bundle.add_arrays("crops", {"first_cld": np.concatenate(firsts), "crops_cnld": np.stack(crops)})
