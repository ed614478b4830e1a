"""A voice: glottal pulses and aspiration noise through a vocal tract, driven by contours in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precompute.datasets.singing import glottis, tract

RATE_HZ = 24_000
CONTROL_HZ = 500  # fast enough for the lips of a lip trill


@dataclass(frozen=True)
class Controls:
    """What a voice does: float arrays of one length, CONTROL_HZ values a second, and what holds for the whole clip.

    level_db and noise_db are of the pulses' and the aspiration's amplitude at the source; gate (0 to 1) opens and
    closes both, as lips and glottis do. jitter: standard deviation of a period, as a share of it. subharmonic: how much
    weaker and earlier every second pulse is, 0 to 1.
    """

    f0_hz: np.ndarray  # (t,)
    rd: np.ndarray  # (t,)
    level_db: np.ndarray  # (t,)
    noise_db: np.ndarray  # (t,)
    gate: np.ndarray  # (t,)
    tilt_db: np.ndarray  # (t,) dB an octave between 1 and 3.5 kHz
    formants_hz: np.ndarray  # (t, 5)
    tract_cm: float
    jitter: float
    shimmer_db: float
    subharmonic: float

    @property
    def duration_s(self) -> float:
        """Seconds of sound that these make."""
        return len(self.f0_hz) / CONTROL_HZ


def render(controls: Controls, rng: np.random.Generator) -> np.ndarray:
    """The sound: float32 of shape (n,) at RATE_HZ, in fixed units. The same generator gives the same samples."""
    n = round(controls.duration_s * RATE_HZ)
    at = np.arange(n) * (CONTROL_HZ / RATE_HZ)
    points = np.arange(len(controls.f0_hz))
    f0_hz, rd, gate, level, noise = (
        np.interp(at, points, values)
        for values in (
            controls.f0_hz,
            controls.rd,
            controls.gate,
            10 ** (controls.level_db / 20),
            10 ** (controls.noise_db / 20),
        )
    )
    phase, period = _periods(f0_hz, controls, rng)
    strength = 10 ** (controls.shimmer_db * rng.standard_normal(period[-1] + 2) / 20)
    strength[1::2] *= 1 - 0.7 * controls.subharmonic
    voiced = glottis.pulses(phase, f0_hz, rd, RATE_HZ) * (strength[period] * level)
    # Aspiration is strongest while the glottis is open, about the middle of the period.
    breath = rng.standard_normal(n, dtype=np.float32) * noise * (0.6 - 0.4 * np.cos(2 * np.pi * phase))
    times_s = tract.frame_times_s(n, RATE_HZ)
    at = np.minimum(times_s * CONTROL_HZ, len(points) - 1)
    formants = np.stack([np.interp(at, points, column) for column in controls.formants_hz.T], axis=1)
    gain = tract.transfer(formants, controls.tract_cm, np.interp(at, points, controls.tilt_db), RATE_HZ)
    return tract.filtered(((voiced + breath) * gate).astype(np.float32), gain)


def _periods(f0_hz: np.ndarray, controls: Controls, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(phase in its period, 0 to 1, number of its period) for each sample; jitter moves where periods end."""
    cycle = np.cumsum(f0_hz) / RATE_HZ
    n_periods = int(cycle[-1]) + 2
    shift = controls.jitter * rng.standard_normal(n_periods + 1)
    shift[1::2] -= 0.2 * controls.subharmonic
    edges = np.arange(n_periods + 1) + np.clip(shift, -0.45, 0.45)
    edges[0] = 0.0
    period = np.clip(np.searchsorted(edges, cycle, side="right") - 1, 0, n_periods - 1)
    return np.clip((cycle - edges[period]) / (edges[period + 1] - edges[period]), 0.0, 1.0), period
