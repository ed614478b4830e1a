"""What is hidden from a network in training: spans of frames, patches, what lies under another voice or noise."""

from __future__ import annotations

import numpy as np


def span_mask(
    n_clips: int, n_frames: int, rng: np.random.Generator, *, span: int = 10, start: float = 0.08
) -> np.ndarray:
    """Bool (c, t), True where hidden: each frame begins a span with probability `start` (HuBERT: 8 %, 10 frames).

    Every clip has at least one span and at least one frame that is not hidden.
    """
    starts = rng.uniform(size=(n_clips, n_frames - span + 1)) < start
    empty = ~starts.any(axis=1)
    starts[empty, rng.integers(0, starts.shape[1], n_clips)[empty]] = True
    mask = np.zeros((n_clips, n_frames), dtype=bool)
    for offset in range(span):
        mask[:, offset : offset + starts.shape[1]] |= starts
    whole = mask.all(axis=1)
    mask[whole, :span] = False
    return mask


def patch_mask(n_clips: int, n_patches: int, rng: np.random.Generator, *, share: float = 0.6) -> np.ndarray:
    """Bool (c, p), True where hidden: the same number of patches in every clip, anywhere."""
    n_hidden = round(share * n_patches)
    order = rng.uniform(size=(n_clips, n_patches)).argsort(axis=1)
    return order < n_hidden


def mixed(samples: np.ndarray, rng: np.random.Generator, *, share: float = 0.2, noise: float = 0.1) -> np.ndarray:
    """The clips (b, n), a `share` of them with noise (a part `noise` of those) or another clip of the batch over a
    part of them; targets stay the clean ones'.

    As WavLM (Chen et al. 2022): at most half of a clip; speech at -5 to 5 dB, noise at -5 to 20 dB below it.
    """
    out = samples.copy()
    n_clips, n = samples.shape
    for clip in range(n_clips):
        if rng.uniform() >= share:
            continue
        length = int(rng.integers(n // 8, n // 2))
        at, source = int(rng.integers(0, n - length)), int(rng.integers(0, n - length))
        if rng.uniform() < noise:
            other, ratio_db = rng.standard_normal(length).astype(np.float32), rng.uniform(-5, 20)
        else:
            other, ratio_db = samples[int(rng.integers(0, n_clips)), source : source + length], rng.uniform(-5, 5)
        level = np.sqrt(np.mean(samples[clip] ** 2) / max(float(np.mean(other**2)), 1e-12)) * 10 ** (-ratio_db / 20)
        out[clip, at : at + length] += (level * other).astype(np.float32)
    return out
