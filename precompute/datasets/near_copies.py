"""Which recordings are nearly the same: another gain, codec or rate, or a trim. Found by their fingerprints.

Not every pair is compared: words around the loudest places are cut into random choices of bits, and what shares one of
them is a candidate (locality-sensitive hashing). So the work grows with the number of recordings, not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precompute.datasets.identity import MIN_FRAMES, N_BITS, Fingerprint

MAX_ERRORS = 0.25  # share of differing bits. Measured: copies up to 0.22, other takes of one voice from 0.37
MAX_ERRORS_SHORT, SHORT_FRAMES = 0.18, 60
MIN_OVERLAP = 0.75  # of the longer one's loud frames
MAX_FILES = 30_000
_N_TABLES, _N_KEY_BITS, _N_NEIGHBOURS = 48, 20, 6
_PATCH = np.arange(-12, 13, 4)  # frames around a peak; neighbours overlap and would say the same
_SHIFTS = np.arange(-4, 5)


def near_copies(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs of places (a < b) of recordings that are nearly the same. Deterministic; none over MAX_FILES recordings."""
    if not 2 <= len(fingerprints) <= MAX_FILES:
        return []
    places = [(file, peak) for file, print_ in enumerate(fingerprints) for peak in print_.peaks]
    if not places:
        return []
    bits = np.stack([_patch(fingerprints[file].words_t, peak) for file, peak in places])
    files, peaks = (np.array(column) for column in zip(*places, strict=True))
    rng = np.random.default_rng(0)
    found: dict[tuple[int, int], set[int]] = {}
    for _ in range(_N_TABLES):
        chosen = rng.choice(bits.shape[1], _N_KEY_BITS, replace=False)
        keys = bits[:, chosen] @ (1 << np.arange(_N_KEY_BITS, dtype=np.int64))
        order = np.argsort(keys, kind="stable")
        for lag in range(1, _N_NEIGHBOURS + 1):
            low, high = order[:-lag], order[lag:]
            is_same = (keys[low] == keys[high]) & (files[low] != files[high])
            low, high = low[is_same], high[is_same]
            is_near = (bits[low] != bits[high]).mean(axis=1) < MAX_ERRORS + 0.1
            for one, other in zip(low[is_near], high[is_near], strict=True):
                a, b = sorted((one, other), key=lambda row: files[row])
                found.setdefault((int(files[a]), int(files[b])), set()).add(int(peaks[b] - peaks[a]))
    return sorted(
        pair for pair, shifts in found.items() if _is_copy(fingerprints[pair[0]], fingerprints[pair[1]], shifts)
    )


def _patch(words_t: np.ndarray, peak: int) -> np.ndarray:
    at = np.clip(peak + _PATCH, 0, len(words_t) - 1)
    return (words_t[at][:, None] >> np.arange(N_BITS) & 1).astype(bool).ravel()


def _is_copy(one: Fingerprint, other: Fingerprint, shifts: set[int]) -> bool:
    longest = max(int(one.is_loud_t.sum()), int(other.is_loud_t.sum()))
    for shift in {shift + int(by) for shift in shifts for by in _SHIFTS}:
        start_a, start_b = max(0, -shift), max(0, shift)
        n = min(len(one.words_t) - start_a, len(other.words_t) - start_b)
        if n < MIN_FRAMES:
            continue
        a, b = slice(start_a, start_a + n), slice(start_b, start_b + n)
        is_loud = one.is_loud_t[a] & other.is_loud_t[b]
        n_loud = int(is_loud.sum())
        if n_loud < max(MIN_FRAMES, MIN_OVERLAP * longest):
            continue
        errors = np.bitwise_count(one.words_t[a][is_loud] ^ other.words_t[b][is_loud]).mean() / N_BITS
        if errors <= (MAX_ERRORS if n_loud >= SHORT_FRAMES else MAX_ERRORS_SHORT):
            return True
    return False
