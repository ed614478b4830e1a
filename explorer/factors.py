"""Acoustic factors by openSMILE: the 88 eGeMAPSv02 functionals of a clip and the 25 descriptors of its frames.

Both are measured at the sound's own sample rate. This is the only module that imports opensmile (research licence:
see the notice in the README), and it does so when the first factor is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from explorer.audio import SILENT_RMS, Waveform, load_waveform
from explorer.environment import require
from explorer.factor_table import FACTOR_GROUPS, FACTOR_NAMES, FACTORS, Factor, factor_group, paper_group

if TYPE_CHECKING:
    import opensmile

__all__ = [
    "FACTORS",
    "FACTOR_GROUPS",
    "FACTOR_NAMES",
    "Factor",
    "FactorRow",
    "LowLevelDescriptors",
    "factor_group",
    "factor_row",
    "functionals",
    "functionals_of_clip",
    "low_level_descriptors",
    "missing_reasons",
    "paper_group",
]

MIN_FACTOR_S = 0.06
"""openSMILE's shortest sound: below it there is no frame to take functionals over."""
_HIGHEST_SAMPLE = 1.0 - 2.0**-15
_SILENCE_DBP = -120.0
_NO_LEVEL_DB = -201.0


@dataclass(frozen=True)
class FactorRow:
    """The factors of one clip.

    values: (88,) float64, NaN where the factor is undefined. raw: (88,) float64 as openSMILE gave them.
    reasons: for each factor None, or why it is undefined.
    """

    values: np.ndarray
    raw: np.ndarray
    reasons: tuple[str | None, ...]


class LowLevelDescriptors(NamedTuple):
    """The 25 descriptors of a sound's frames, 10 ms apart. F0 is in semitones above 27.5 Hz, 0 where unvoiced.

    times_s: (t,) float64 frame centres from the start. values_td: (t, 25) float64. names: the 25 columns.
    """

    times_s: np.ndarray
    values_td: np.ndarray
    names: tuple[str, ...]


@cache
def _smile(level: str) -> opensmile.Smile:
    library = require("opensmile", "acoustic factors and contours")
    return library.Smile(
        feature_set=library.FeatureSet.eGeMAPSv02,
        feature_level=library.FeatureLevel(level),
        num_workers=1,
    )


def _clamped(wave: Waveform) -> np.ndarray:
    """openSMILE converts to 16 bit without a check: a sample of +1.0 or more would wrap to the other sign."""
    return np.clip(wave.samples, -1.0, _HIGHEST_SAMPLE).astype(np.float32)


def functionals(wave: Waveform) -> np.ndarray:
    """The 88 eGeMAPSv02 functionals of `wave` at its own rate: (88,) float64, exactly openSMILE's numbers.

    All NaN for a sound shorter than 60 ms. Structural zeros (pitch where nothing is voiced) are still zeros here:
    `missing_reasons` tells them apart, and `factor_row` gives both.
    """
    if wave.samples.size < MIN_FACTOR_S * wave.sample_rate_hz:
        return np.full(len(FACTORS), np.nan)
    values = _smile("func")(_clamped(wave), wave.sample_rate_hz)
    return np.asarray(values, dtype=np.float64).reshape(len(FACTORS))


def missing_reasons(raw: np.ndarray, *, is_silent: bool | None = None) -> tuple[str | None, ...]:
    """For each of the 88 raw functionals None, or the reason why its value means nothing.

    raw: (88,) as `functionals` gives them. is_silent: True marks every factor; None takes the clip as silent when
    openSMILE's sound level is at its floor. openSMILE averages the descriptors whose name holds `sma3nz` over their
    non-zero frames only, so a mean of exactly 0 there (or a level of -201 dB) means that there was no such frame.
    """
    raw = np.asarray(raw, dtype=np.float64)
    if raw.shape != (len(FACTORS),):
        raise ValueError(f"missing_reasons takes (88,) functionals, not {raw.shape}.")
    if not np.isfinite(raw).any():
        return ("shorter than 60 ms",) * len(FACTORS)
    value = dict(zip(FACTOR_NAMES, raw.tolist(), strict=True))
    if is_silent is None:
        is_silent = value["equivalentSoundLevel_dBp"] <= _SILENCE_DBP
    if is_silent:
        return ("silent clip",) * len(FACTORS)
    return tuple(_missing_reason(name, value) for name in FACTOR_NAMES)


def _missing_reason(name: str, value: dict[str, float]) -> str | None:
    if not np.isfinite(value[name]):
        return "no finite value"
    if name in ("MeanVoicedSegmentLengthSec", "StddevVoicedSegmentLengthSec"):
        return "no voiced segment" if value["VoicedSegmentsPerSec"] == 0.0 else None
    if name in ("MeanUnvoicedSegmentLength", "StddevUnvoicedSegmentLength"):
        return "no unvoiced segment" if value["MeanUnvoicedSegmentLength"] == 0.0 else None
    descriptor, _, functional = name.rpartition("_")
    if descriptor.endswith("_sma3nz"):
        mean = value[f"{descriptor}_amean"]
        if mean == 0.0 or mean <= _NO_LEVEL_DB:
            return _no_frame_reason(descriptor, value)
    for direction in ("Rising", "Falling"):
        if functional.endswith(f"{direction}Slope") and value[f"{descriptor}_mean{direction}Slope"] == 0.0:
            return f"no {direction.lower()} part"
    return None


def _no_frame_reason(descriptor: str, value: dict[str, float]) -> str:
    if "UV" in descriptor:
        return "no unvoiced frame"
    if value["F0semitoneFrom27.5Hz_sma3nz_amean"] == 0.0:
        return "no voiced frame"
    return "zero in every voiced frame"


def factor_row(wave: Waveform, *, is_silent: bool | None = None) -> FactorRow:
    """The factors of `wave` with undefined ones as NaN and the reason why.

    is_silent: as `missing_reasons` takes it; None also takes a wave whose rms is under SILENT_RMS as silent, for which
    openSMILE still gives numbers.
    """
    raw = functionals(wave)
    if is_silent is None and wave.rms < SILENT_RMS:
        is_silent = True
    reasons = missing_reasons(raw, is_silent=is_silent)
    is_missing = np.array([reason is not None for reason in reasons])
    return FactorRow(np.where(is_missing, np.nan, raw), raw, reasons)


def functionals_of_clip(path: str | Path, start_s: float = 0.0, duration_s: float | None = None) -> FactorRow:
    """The factors of one cut of a file at the file's own rate; for worker processes (top level, picklable result).

    Raises AudioError as `load_waveform` does.
    """
    return factor_row(load_waveform(path, start_s=start_s, duration_s=duration_s))


def low_level_descriptors(wave: Waveform) -> LowLevelDescriptors:
    """The 25 eGeMAPSv02 low-level descriptors of `wave` at its own rate, one row every 10 ms.

    Row i is centred at 0.01 i + 0.01 s. A sound shorter than 60 ms has no rows.
    """
    smile = _smile("lld")
    names = tuple(smile.feature_names)
    if wave.samples.size < MIN_FACTOR_S * wave.sample_rate_hz:
        return LowLevelDescriptors(np.empty(0), np.empty((0, len(names))), names)
    values_gt = np.asarray(smile(_clamped(wave), wave.sample_rate_hz), dtype=np.float64).reshape(len(names), -1)
    times_s = 0.01 * np.arange(values_gt.shape[1]) + 0.01
    return LowLevelDescriptors(times_s, values_gt.T.copy(), names)
