"""AST's log-mel filter banks as Kaldi computes them: for AST's published weights, the input that they were trained on.

The same sums in the same order as `torchaudio.compliance.kaldi.fbank` with a "hanning" window and no dither, without
torchaudio: its library fits few releases of PyTorch, and a store's numbers must not depend on whether it loads.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps


def frame_samples(sample_rate_hz: int) -> tuple[int, int]:
    """(window, hop) in samples: 25 ms and 10 ms, rounded down."""
    return sample_rate_hz // 40, sample_rate_hz // 100


def kaldi_filter_banks(samples: torch.Tensor, sample_rate_hz: int, n_mels: int) -> torch.Tensor:
    """(frames, n_mels) natural logarithms of mel energies, float32; only frames that lie whole inside the samples.

    Each window loses its mean, is pre-emphasised, and multiplied by a symmetric Hann window.
    """
    window, hop = frame_samples(sample_rate_hz)
    n_fft = 1 << (window - 1).bit_length()
    frames = samples.unfold(0, window, hop)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - PREEMPHASIS * before) * torch.hann_window(window, periodic=False)
    powers = torch.fft.rfft(torch.nn.functional.pad(frames, (0, n_fft - window))).abs().pow(2.0)
    return torch.clamp(powers @ _mel_weights(sample_rate_hz, n_fft, n_mels), min=_FLOOR).log()


@lru_cache(maxsize=8)
def _mel_weights(sample_rate_hz: int, n_fft: int, n_mels: int) -> torch.Tensor:
    """(n_fft / 2 + 1, n_mels): triangles on the mel axis, evenly spaced from LOWEST_HZ to half the rate."""
    low, high = _mel(LOWEST_HZ), _mel(sample_rate_hz / 2)
    step = (high - low) / (n_mels + 1)
    number = torch.arange(n_mels)[:, None]
    left, centre, right = low + number * step, low + (number + 1.0) * step, low + (number + 2.0) * step
    hz = (sample_rate_hz / n_fft) * torch.arange(n_fft / 2)
    mels = (1127.0 * (1.0 + hz / 700.0).log())[None]
    weights = torch.clamp(torch.min((mels - left) / (centre - left), (right - mels) / (right - centre)), min=0.0)
    return torch.nn.functional.pad(weights, (0, 1)).T.contiguous()


def _mel(hz: float) -> float:
    return 1127.0 * math.log(1.0 + hz / 700.0)
