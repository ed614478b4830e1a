"""What the networks are trained on: free voices, drawn once and kept as 16-bit samples in one file a rate."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from explorer.audio import Waveform, resample
from precompute.datasets.singing.free import free_clip
from precompute.datasets.singing.voice import RATE_HZ
from precompute.datasets.singing.workers import mapped

CLIP_S = 3.2
_FULL = 32767.0
log = logging.getLogger("precompute")


@dataclass(frozen=True)
class Voices:
    """Clips of CLIP_S at one rate: `samples` is int16 of shape (c, n), mapped from its file."""

    samples: np.ndarray
    sample_rate_hz: int

    def crops(self, clips: np.ndarray, starts: np.ndarray, n_samples: int) -> np.ndarray:
        """float32 (b, n_samples) from those clips, each from its start on, full scale 1.0."""
        cut = [self.samples[clip, start : start + n_samples] for clip, start in zip(clips, starts, strict=True)]
        return np.stack(cut).astype(np.float32) / _FULL

    def whole(self, clips: np.ndarray) -> np.ndarray:
        """float32 (b, n): those clips from end to end, full scale 1.0."""
        return self.samples[clips].astype(np.float32) / _FULL

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Every clip from end to end, in order, so many at a time: float32 (b, n)."""
        for start in range(0, len(self.samples), size):
            yield self.whole(np.arange(start, min(start + size, len(self.samples))))


def voices(folder: Path, *, n_clips: int, seed: int, sample_rate_hz: int, n_workers: int = 2) -> Voices:
    """Draw the clips, or find them drawn. The same seed gives the same clips; a file that is there is complete."""
    path = folder / f"voices-{sample_rate_hz}-{n_clips}-{seed}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        n_samples = round(CLIP_S * sample_rate_hz)
        partial_path = path.with_suffix(".part.npy")
        table = np.lib.format.open_memmap(partial_path, mode="w+", dtype=np.int16, shape=(n_clips, n_samples))
        draw = partial(_drawn, sample_rate_hz=sample_rate_hz)
        seeds = range(seed * 1_000_000, seed * 1_000_000 + n_clips)
        for number, samples in enumerate(mapped(draw, seeds, n_workers)):
            table[number] = samples
            if number % 400 == 399:
                log.info("voices at %d Hz: %d of %d", sample_rate_hz, number + 1, n_clips)
        table.flush()
        os.replace(partial_path, path)
    return Voices(np.load(path, mmap_mode="r"), sample_rate_hz)


def _drawn(seed: int, *, sample_rate_hz: int) -> np.ndarray:
    wave = resample(Waveform(free_clip(seed, CLIP_S), RATE_HZ), sample_rate_hz)
    n_samples = round(CLIP_S * sample_rate_hz)
    return np.rint(np.clip(wave.samples[:n_samples], -1, 1) * _FULL).astype(np.int16)
