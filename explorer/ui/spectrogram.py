"""Mel spectrograms of previews as small PNG pictures, made on the server with numpy alone.

Column i of n shows the sound around (i + 0.5) * duration / n seconds, so the picture spans the clip exactly.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy import fft  # numpy loads it at first use otherwise, which two threads must not do at once
from numpy.typing import NDArray
from plotly.colors import hex_to_rgb, sequential

from explorer.audio import Waveform

WINDOW_S = 0.04
COLUMNS_PER_S = 100
MAX_COLUMNS = 1200
N_BANDS = 96
LOWEST_HZ = 40.0
HIGHEST_HZ = 8000.0
RANGE_DB = 70.0


@dataclass(frozen=True)
class MelPicture:
    """Levels in dB below the clip's loudest cell, (bands, columns), lowest band first; all -RANGE_DB for silence."""

    levels_db: NDArray[np.float32]
    band_centres_hz: NDArray[np.float64]
    duration_s: float


def hz_to_mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The mel scale of O'Shaughnessy (1987): 2595 log10(1 + hz / 700)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0))


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))


def mel_picture(wave: Waveform) -> MelPicture:
    """The clip's mel spectrogram: Hann window of WINDOW_S, power, triangular bands, dB below the loudest cell."""
    rate, samples = wave.sample_rate_hz, np.asarray(wave.samples, dtype=np.float32)
    n_columns = int(np.clip(round(wave.duration_s * COLUMNS_PER_S), 8, MAX_COLUMNS))
    n_window = max(64, round(WINDOW_S * rate))
    n_fft = 1 << (n_window - 1).bit_length()
    centres = (np.arange(n_columns) + 0.5) * samples.size / n_columns
    starts = np.round(centres).astype(np.int64)
    padded = np.pad(samples, (n_window // 2, n_window))
    frames = padded[starts[:, None] + np.arange(n_window)] * np.hanning(n_window).astype(np.float32)
    power = np.abs(fft.rfft(frames, n_fft, axis=1)) ** 2
    edges = mel_to_hz(np.linspace(hz_to_mel(LOWEST_HZ), hz_to_mel(min(HIGHEST_HZ, rate / 2)), N_BANDS + 2))
    bands = power @ _triangles(edges, fft.rfftfreq(n_fft, 1 / rate)).T
    loudest = float(bands.max(initial=0.0))
    if loudest <= 1e-10:
        levels = np.full((N_BANDS, n_columns), -RANGE_DB, dtype=np.float32)
    else:
        levels = 10 * np.log10(np.maximum(bands.T / loudest, 10 ** (-RANGE_DB / 10))).astype(np.float32)
    return MelPicture(levels, edges[1:-1], wave.duration_s)


def height_of(hz: NDArray[np.floating], sample_rate_hz: float) -> NDArray[np.float64]:
    """Where frequencies lie in a picture of sound at that rate: 0 at its lower edge, 1 at its upper; NaN outside.

    A band's centre lies in the middle of its row of pixels.
    """
    low, high = hz_to_mel(LOWEST_HZ), hz_to_mel(min(HIGHEST_HZ, sample_rate_hz / 2))
    band = (hz_to_mel(np.asarray(hz, dtype=np.float64)) - low) / (high - low) * (N_BANDS + 1) - 1
    height = (band + 0.5) / N_BANDS
    return np.where((height >= 0) & (height <= 1), height, np.nan)


def _triangles(edges_hz: NDArray[np.floating], bins_hz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Triangular weights (bands, bins), each summing to 1; a band narrower than a bin takes the nearest one."""
    low, mid, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    weights = np.maximum(0.0, np.minimum((bins_hz - low) / (mid - low), (high - bins_hz) / (high - mid)))
    empty = weights.sum(axis=1) == 0
    weights[np.flatnonzero(empty), np.abs(bins_hz - mid).argmin(axis=1)[empty]] = 1.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def picture_png(picture: MelPicture) -> bytes:
    """The picture as a palette PNG (magma), highest band at the top, one pixel a cell."""
    cells = np.round((picture.levels_db + RANGE_DB) / RANGE_DB * 255).clip(0, 255).astype(np.uint8)[::-1]
    rows = np.concatenate([np.zeros((cells.shape[0], 1), np.uint8), cells], axis=1)
    stops = np.array([hex_to_rgb(color) for color in sequential.Magma], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    table = np.stack([np.interp(at, np.arange(len(stops)), stops[:, axis]) for axis in range(3)], axis=1)
    header = struct.pack(">IIBBBBB", cells.shape[1], cells.shape[0], 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body)
        for kind, body in (
            (b"IHDR", header),
            (b"PLTE", np.round(table).astype(np.uint8).tobytes()),
            (b"IDAT", zlib.compress(rows.tobytes(), 6)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
