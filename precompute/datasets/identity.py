"""What a recording is known by, made from its samples while they are decoded: an exact hash and a rough fingerprint.

The hash is of the decoded samples, so that another container, header, bit depth or a second equal channel change
nothing. The fingerprint (after Haitsma and Kalker, ISMIR 2002) is one word a frame of 96 ms: a bit for each of 16
bands between 200 and 3400 Hz, whether the energy that it has over the next band grows. Gain cancels; a lossy codec,
another rate and a trim change few bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.fft  # loaded here: its first use in two threads at once can fail

WINDOW_S, HOP_S = 0.096, 0.012
N_BITS = 16
MIN_FRAMES = 20  # loud ones; under these a fingerprint tells nothing apart
MAX_FRAMES = 10_000  # of a longer recording the first two minutes stand for it
_LOW_HZ, _HIGH_HZ, _RATE_HZ = 200.0, 3400.0, 8000
_QUIET_DB = 40.0  # frames this far under the loudest say nothing
_TILE = 128  # frames transformed at once


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Words of N_BITS bits by frame, which frames are loud enough to count, and the loudest places among them: none
    where fewer than MIN_FRAMES are loud."""

    words_t: np.ndarray
    is_loud_t: np.ndarray
    peaks: tuple[int, ...]


class Listener:
    """Takes a file's blocks as they are decoded; then `content` and `fingerprint` say what was heard."""

    def __init__(self) -> None:
        self._mono, self._all = hashlib.sha256(), hashlib.sha256()
        self._is_alike, self._is_silent = True, True
        self._rest = np.zeros(0, np.float32)  # samples whose rate is not yet lowered
        self._tail = np.zeros(0, np.float32)  # samples at the lower rate that later frames need
        self._tail_at, self._n_frames, self._rate_hz = 0, 0, 0.0
        self._bands: list[np.ndarray] = []

    def add(self, block_tc: np.ndarray, mono_t: np.ndarray, rate_hz: int) -> None:
        """One block (samples, channels), the mean of its channels, and its rate in Hz."""
        if not self._rate_hz:
            self._rate_hz = rate_hz / max(1, rate_hz // _RATE_HZ)
            for digest in (self._mono, self._all):
                digest.update(f"{rate_hz}|".encode())
        first = np.ascontiguousarray(block_tc[:, 0]) + np.float32(0.0)  # -0.0 is 0.0
        self._mono.update(first.data)
        if block_tc.shape[1] > 1:
            self._is_alike = self._is_alike and bool((block_tc == block_tc[:, :1]).all())
            self._all.update((np.ascontiguousarray(block_tc) + np.float32(0.0)).data)
        self._is_silent = self._is_silent and not block_tc.any()
        is_cancelled = np.abs(mono_t).max(initial=0.0) < 0.1 * np.abs(first).max(initial=0.0)
        self._hear(first if is_cancelled else mono_t, max(1, rate_hz // _RATE_HZ))

    @property
    def content(self) -> str:
        """64 hex digits, equal for equal samples at an equal rate; empty for digital silence, which is no recording."""
        if self._is_silent:
            return ""
        return (self._mono if self._is_alike else self._all).hexdigest()

    def fingerprint(self) -> Fingerprint:
        """The fingerprint of what was added; to be called once, at the end."""
        self._transform()
        bands = np.concatenate(self._bands) if self._bands else np.zeros((0, N_BITS + 1), np.float32)
        energies = bands.sum(axis=1)
        step = np.diff(np.diff(bands, axis=1), axis=0, prepend=0.0)
        words = (step > 0) @ (1 << np.arange(N_BITS))
        is_loud = (energies > energies.max(initial=0.0) * 10 ** (-_QUIET_DB / 10)) & (energies > 0)
        peaks = _peaks(energies) if is_loud.sum() >= MIN_FRAMES else ()
        return Fingerprint(words.astype(np.uint16), is_loud, peaks)

    def _hear(self, mono_t: np.ndarray, by: int) -> None:
        """Lower the rate by a plain mean of `by` samples, then transform what makes a tile of frames."""
        if self._n_frames >= MAX_FRAMES:
            return
        samples = np.concatenate((self._rest, mono_t))
        n = len(samples) // by * by
        self._rest = samples[n:]
        lowered = samples[:n].reshape(-1, by).mean(axis=1, dtype=np.float32)
        self._tail = np.concatenate((self._tail, lowered))
        if len(self._tail) > (_TILE * HOP_S + WINDOW_S) * self._rate_hz:
            self._transform()

    def _transform(self) -> None:
        window, hop = round(WINDOW_S * self._rate_hz), HOP_S * self._rate_hz
        last = self._tail_at + len(self._tail) - window
        if last < 0 or not window:
            return
        starts = np.round(np.arange(self._n_frames, int(last / hop) + 2) * hop).astype(int)
        starts = starts[starts <= last]
        taper, bins, n_fft = _window_and_bands(window, self._rate_hz)
        for at in range(0, len(starts), _TILE):
            places = (starts[at : at + _TILE] - self._tail_at)[:, None] + np.arange(window)
            spectrum = np.fft.rfft(self._tail[places] * taper, n_fft)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            self._bands.append(np.add.reduceat(power, bins, axis=1)[:, :-1].astype(np.float32))
        self._n_frames += len(starts)
        drop = min(round(self._n_frames * hop) - self._tail_at, len(self._tail))
        self._tail, self._tail_at = self._tail[drop:], self._tail_at + drop


@lru_cache(maxsize=16)
def _window_and_bands(window: int, rate_hz: float) -> tuple[np.ndarray, np.ndarray, int]:
    """The taper of a frame, the first bins of the bands, and the length of the transform (rates are 8 to 16 kHz)."""
    n_fft = 1024 if window <= 1024 else 2048
    bins = np.round(np.geomspace(_LOW_HZ, _HIGH_HZ, N_BITS + 2) * (n_fft / rate_hz)).astype(int)
    return np.hanning(window).astype(np.float32), bins, n_fft


def _peaks(energies_t: np.ndarray, n_peaks: int = 8, apart: int = 8) -> tuple[int, ...]:
    """The loudest frames, at least `apart` frames from each other."""
    left = energies_t.astype(np.float64)
    found: list[int] = []
    while len(found) < n_peaks and left.max(initial=0.0) > 0:
        at = int(left.argmax())
        found.append(at)
        left[max(0, at - apart) : at + apart + 1] = 0.0
    return tuple(found)
