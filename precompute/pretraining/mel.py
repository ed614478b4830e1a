"""Mel bands, cosines and differences over time, as torchaudio defines them, without its compiled library."""

from __future__ import annotations

import math

import torch


def mel_bank(n_bins: int, low_hz: float, n_mels: int, sample_rate_hz: int, *, equal_areas: bool) -> torch.Tensor:
    """(n_bins, n_mels): triangles evenly spaced on the HTK mel axis from `low_hz` to half the rate.

    equal_areas: each divided by half its width in Hz, so that noise gives the same in all; else of height 1.
    """
    low, high = (2595.0 * math.log10(1.0 + hz / 700.0) for hz in (low_hz, sample_rate_hz / 2))
    corners = 700.0 * (10.0 ** (torch.linspace(low, high, n_mels + 2) / 2595.0) - 1.0)
    hz = torch.linspace(0, sample_rate_hz // 2, n_bins)
    widths = corners[1:] - corners[:-1]
    slopes = corners[None] - hz[:, None]
    bank = torch.clamp(torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]), min=0.0)
    return bank * (2.0 / (corners[2:] - corners[:-2])) if equal_areas else bank


def cosines(n_kept: int, n_mels: int) -> torch.Tensor:
    """(n_mels, n_kept): the orthonormal DCT-II that makes cepstral coefficients of log-mel energies."""
    angles = (math.pi / n_mels) * (torch.arange(n_mels)[:, None] + 0.5) * torch.arange(n_kept)[None]
    basis = torch.cos(angles)
    basis[:, 0] *= 1.0 / math.sqrt(2.0)
    return basis * math.sqrt(2.0 / n_mels)


def differences(values_bdt: torch.Tensor) -> torch.Tensor:
    """(b, d, t) slopes by least squares over five frames, the outermost frames repeated."""
    d_values = values_bdt.shape[1]
    kernel = torch.arange(-2.0, 3.0).repeat(d_values, 1, 1) / 10.0
    padded = torch.nn.functional.pad(values_bdt, (2, 2), mode="replicate")
    return torch.nn.functional.conv1d(padded, kernel, groups=d_values)
