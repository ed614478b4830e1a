"""What the networks learn to predict: functions of the sound alone, frame by frame, in time with a network's frames.

MFCC clusters as HuBERT's first targets (Hsu et al. 2021), a network's own features for the second round, log-mel and
chroma clusters and a constant-Q spectrum for MERT (Li et al. 2024; its k-means variant). Whatever can be heard has some
part in all of these. `CARRIED` names what a teacher is made to follow: chroma and the constant-Q spectrum, pitch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch

from precompute.pretraining.mel import cosines, differences, mel_bank

HOP, WIDTH = 320, 400  # samples of the networks' frames: frame i covers [320 i, 320 i + 400)
N_CHROMA, CQT_LOWEST_HZ, CQT_OCTAVES = 12, 110.0, 6
CARRIED = {"mert": ("f0_st",)}  # planted parameters that a teacher is made to follow
_CQT_WINDOW, _MEL_WINDOW = 4096, 1024
_FLOOR = 1e-5


def n_frames(n_samples: int) -> int:
    """How many frames a network of that hop and width gives."""
    return (n_samples - WIDTH) // HOP + 1


def spectrum(samples_bn: torch.Tensor, window: int) -> torch.Tensor:
    """Magnitudes (b, t, bins) of Hann windows whose centres are the centres of the networks' frames."""
    left = window // 2 - WIDTH // 2
    total = n_frames(samples_bn.shape[1])
    right = (total - 1) * HOP + window - left - samples_bn.shape[1]
    padded = torch.nn.functional.pad(samples_bn, (left, max(right, 0)))
    frames = padded.unfold(1, window, HOP)[:, :total]
    return torch.fft.rfft(frames * torch.hann_window(window)).abs()


def log_mel(samples_bn: torch.Tensor, sample_rate_hz: int, n_mels: int = 40) -> torch.Tensor:
    """(b, t, n_mels) natural logarithms of mel energies, each clip's own level taken away."""
    energies = torch.log(spectrum(samples_bn, _MEL_WINDOW) ** 2 @ _mel_bank(sample_rate_hz, n_mels) + _FLOOR)
    return energies - energies.mean(dim=(1, 2), keepdim=True)


def mfcc(samples_bn: torch.Tensor, sample_rate_hz: int) -> torch.Tensor:
    """(b, t, 39): 13 mel-frequency cepstral coefficients with their first and second differences."""
    return _moving(log_mel(samples_bn, sample_rate_hz) @ cosines(13, 40))


def moving_mel(samples_bn: torch.Tensor, sample_rate_hz: int) -> torch.Tensor:
    """(b, t, 120): 40 log-mel energies with their first and second differences."""
    return _moving(log_mel(samples_bn, sample_rate_hz))


def _moving(values_btd: torch.Tensor) -> torch.Tensor:
    """The values, then their first and second differences over five frames: (b, t, 3 d)."""
    first = differences(values_btd.transpose(1, 2))
    second = differences(first)
    return torch.cat([values_btd, first.transpose(1, 2), second.transpose(1, 2)], dim=2)


def constant_q(samples_bn: torch.Tensor, sample_rate_hz: int) -> torch.Tensor:
    """(b, t, 72) log magnitudes a semitone apart from A2 (110 Hz) up, each clip's own level taken away.

    A constant-Q filter bank over the magnitudes of one long window ("pseudo-CQT": below about 200 Hz its bands are
    wider than a semitone, since the window is the same for all).
    """
    bands = spectrum(samples_bn, _CQT_WINDOW) @ _semitone_bank(sample_rate_hz)
    logs = torch.log(bands + _FLOOR)
    return logs - logs.mean(dim=(1, 2), keepdim=True)


def chroma(samples_bn: torch.Tensor, sample_rate_hz: int) -> torch.Tensor:
    """(b, t, 12): the constant-Q magnitudes folded to pitch classes, A first, each frame's sum 1."""
    bands = spectrum(samples_bn, _CQT_WINDOW) @ _semitone_bank(sample_rate_hz)
    folded = bands.unflatten(2, (CQT_OCTAVES, N_CHROMA)).sum(dim=2)
    return folded / (folded.sum(dim=2, keepdim=True) + _FLOOR)


@cache
def _mel_bank(sample_rate_hz: int, n_mels: int) -> torch.Tensor:
    return mel_bank(_MEL_WINDOW // 2 + 1, 40.0, n_mels, sample_rate_hz, equal_areas=True)


@cache
def _semitone_bank(sample_rate_hz: int) -> torch.Tensor:
    """(bins, 72): triangles a semitone to each side of their centres, on a logarithmic axis, at least a bin wide."""
    hz = torch.fft.rfftfreq(_CQT_WINDOW, 1 / sample_rate_hz)
    centres = CQT_LOWEST_HZ * 2 ** (torch.arange(N_CHROMA * CQT_OCTAVES) / N_CHROMA)
    widths = torch.clamp(centres * (2 ** (1 / N_CHROMA) - 1), min=sample_rate_hz / _CQT_WINDOW)
    weights = torch.clamp(1 - (hz[:, None] - centres[None]).abs() / widths[None], min=0.0)
    return weights / weights.sum(dim=0, keepdim=True)


def clustered(features: Iterator[np.ndarray], *, fit_on: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Cluster numbers, int16 (c, t), of features given clip by clip or batch by batch (b, t, d).

    k-means fitted on `fit_on` (n, d), every dimension in its standard deviations.
    """
    from sklearn.cluster import MiniBatchKMeans

    centre, scale = fit_on.mean(axis=0), fit_on.std(axis=0) + 1e-6
    kmeans = MiniBatchKMeans(n_clusters, batch_size=4096, n_init=3, random_state=seed, max_iter=60)
    kmeans.fit((fit_on - centre) / scale)
    found = []
    for batch in features:
        flat = (batch.reshape(-1, batch.shape[-1]) - centre) / scale
        found.append(kmeans.predict(flat).reshape(batch.shape[:-1]).astype(np.int16))
    return np.concatenate(found)
