"""Where a feature listens: silence the tenth of the time in which its trace is largest, and encode again.

A trace tells which frames the number comes from, not where its cause lies: attention mixes frames. Taking the sound
away there and nowhere else tests it. The control silences as much elsewhere: the same stretches, turned round in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.audio import Waveform
from explorer.inference.reading import Reading

SHARE, N_CONTROLS, RAMP_S = 0.1, 19, 0.005


@dataclass(frozen=True)
class Occlusion:
    """Pre-activations of one feature (over the whole sound each time): as it is, without the tenth of the time that its
    trace points to, and without as much elsewhere, several times. share: of the heard samples, what was silenced."""

    whole: float
    without_peak: float
    without_other: tuple[float, ...]
    share: float

    @property
    def falls_most(self) -> bool:
        """Whether it falls, and by more than in every control. No test of significance: the tenth was chosen by the
        trace, and on noise too what raises a feature for a moment mostly sounds at that moment."""
        return self.without_peak < min(self.whole, *self.without_other)


def occlude(
    wave: Waveform, reading: Reading, feature: int, read: Callable[[Waveform], Reading], *, seed: int = 0
) -> Occlusion:
    """The test, by 1 + N_CONTROLS calls of `read`, which gives a sound's reading by the same encoder, layer and SAE."""
    n = min(len(wave.samples), round(reading.heard_s * wave.sample_rate_hz))
    trace_t = np.where(reading.is_giant_t, -np.inf, reading.trace(feature))  # what a giant frame shows is not the sound
    mask = peak_mask(trace_t, reading.times_s, reading.hop_s, n, wave.sample_rate_hz)
    rng = np.random.default_rng(seed)
    turns = rng.integers(round(SHARE * n), max(round((1 - SHARE) * n), round(SHARE * n) + 1), N_CONTROLS)
    unheard = np.zeros(len(wave.samples) - n, bool)  # silence there would be a control that cannot matter
    peak, *others = (
        float(read(silenced(wave, np.append(part, unheard))).preactivations_f[feature])
        for part in (mask, *(np.roll(mask, int(turn)) for turn in turns))
    )
    return Occlusion(float(reading.preactivations_f[feature]), peak, tuple(others), float(mask.mean()))


def peak_mask(trace_t: NDArray, times_s: NDArray, hop_s: float, n_samples: int, rate_hz: int) -> NDArray[np.bool_]:
    """(n,) the samples of the tenth of the frames (at least one) with the largest trace; a frame reaches half a hop to
    each side of its centre."""
    chosen = np.argsort(-np.asarray(trace_t), kind="stable")[: max(1, round(SHARE * len(trace_t)))]
    mask = np.zeros(n_samples, bool)
    for time_s in times_s[chosen]:
        first, last = (round((time_s + side * hop_s / 2) * rate_hz) for side in (-1, 1))
        mask[max(0, first) : max(0, last)] = True
    return mask


def silenced(wave: Waveform, mask: NDArray[np.bool_]) -> Waveform:
    """The sound with silence where the mask is set, fading over RAMP_S outside of it, so that no click is added."""
    ramp = max(1, round(RAMP_S * wave.sample_rate_hz))
    distance = _distance(mask)
    gain = np.clip(distance / ramp, 0.0, 1.0)
    return Waveform((wave.samples * gain).astype(np.float32), wave.sample_rate_hz)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Samples from each sample to the nearest masked one; 0 inside."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(len(mask), float(len(mask)))
    return np.asarray(distance_transform_edt(~mask), dtype=np.float64)
