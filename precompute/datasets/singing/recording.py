"""From a voice to a recording: silence before and after, the room's noise, the gain. None of it knows the voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precompute.datasets.singing.voice import RATE_HZ

_FULL_DB = -36.0  # what the renderer's unit is in the file at gain 0


@dataclass(frozen=True)
class Recording:
    """What is of the recording and not of the voice. Drawn independently of everything else, and of each other."""

    duration_s: float  # of the file, silence included
    lead_s: float
    tail_s: float
    gain_db: float
    noise_floor_db: float  # root mean square of the room's noise, of full scale, before the gain

    @property
    def sung_s(self) -> float:
        """Seconds between the silences."""
        return self.duration_s - self.lead_s - self.tail_s


def draw_recording(rng: np.random.Generator, *, gain_db: tuple[float, float] = (-5.0, 5.0)) -> Recording:
    """2 to 3.2 seconds, with up to 0.25 s of silence at each end, a gain between two values, a quiet room."""
    return Recording(
        duration_s=round(float(rng.uniform(2.0, 3.2)), 3),
        lead_s=round(float(rng.uniform(0.03, 0.25)), 3),
        tail_s=round(float(rng.uniform(0.03, 0.25)), 3),
        gain_db=float(rng.uniform(*gain_db)),
        noise_floor_db=float(rng.uniform(-72.0, -58.0)),
    )


def recorded(sung: np.ndarray, recording: Recording, rng: np.random.Generator) -> np.ndarray:
    """The file's samples: float32 of shape (n,) at RATE_HZ, within full scale (a peak above it is bent, not cut)."""
    n = round(recording.duration_s * RATE_HZ)
    samples = np.zeros(n, dtype=np.float32)
    start = round(recording.lead_s * RATE_HZ)
    stop = min(start + len(sung), n)
    samples[start:stop] = sung[: stop - start] * 10 ** (_FULL_DB / 20)
    samples += 10 ** (recording.noise_floor_db / 20) * _room_noise(n, rng)
    samples *= 10 ** (recording.gain_db / 20)
    knee = 0.8
    over = np.abs(samples) > knee
    samples[over] = np.sign(samples[over]) * (
        knee + (1 - knee) * np.tanh((np.abs(samples[over]) - knee) / (1 - knee)) * 0.99
    )
    return samples


def _room_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of deviation 1 that falls by 6 dB an octave above 60 Hz, as rooms and ventilation do; float32 (n,)."""
    from scipy.signal import lfilter

    pole = np.exp(-2 * np.pi * 60.0 / RATE_HZ)
    return lfilter([np.sqrt(1 - pole**2)], [1.0, -pole], rng.standard_normal(n)).astype(np.float32)
