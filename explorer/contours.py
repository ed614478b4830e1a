"""What one reads off a clip's picture besides its colours: f0 and formants in time, and the waveform's outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.audio import Waveform
from explorer.factors import low_level_descriptors

F0 = "f0"
FORMANTS = ("F1", "F2", "F3")
LOWEST_F0_HZ = 27.5
N_OUTLINE = 400
_COLUMNS = {F0: "F0semitoneFrom27.5Hz_sma3nz"} | {name: f"{name}frequency_sma3nz" for name in FORMANTS}


@dataclass(frozen=True)
class Contours:
    """By openSMILE, one value every 10 ms: `hz[name]` is (t,) in Hz, NaN where the frame is not voiced.

    outline: (2, n) lowest and highest sample of each of n equal parts of the clip, full scale 1.
    """

    times_s: NDArray[np.float64]
    hz: dict[str, NDArray[np.float64]]
    outline: NDArray[np.float32]


def clip_contours(wave: Waveform) -> Contours:
    """Measure one clip, at its own rate. A sound under 60 ms has an outline and no contours."""
    found = low_level_descriptors(wave)
    column = {name: found.values_td[:, found.names.index(place)] for name, place in _COLUMNS.items()}
    is_voiced = column[F0] > 0
    hz = {F0: LOWEST_F0_HZ * 2 ** (column[F0] / 12)} | {name: column[name] for name in FORMANTS}
    return Contours(
        found.times_s,
        {name: np.where(is_voiced & (values > 0), values, np.nan) for name, values in hz.items()},
        _outline(wave.samples),
    )


def _outline(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    n_parts = max(1, min(N_OUTLINE, samples.size))
    starts = np.linspace(0, samples.size, n_parts, endpoint=False).astype(np.int64)
    if not samples.size:
        return np.zeros((2, n_parts), dtype=np.float32)
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])
