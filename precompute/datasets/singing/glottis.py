"""The glottal source: the Liljencrants-Fant pulse with its one shape parameter Rd, band-limited.

Fant, Liljencrants and Lin, "A four-parameter model of glottal flow" (STL-QPSR 4/1985); the other parameters follow Rd
as in Fant, "The LF-model revisited" (STL-QPSR 2-3/1995): Rd 0.3 is a pressed voice, 1 a modal one, 2.7 an abducted one.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

RD_MIN, RD_MAX = 0.3, 2.7
_N_PHASES = 2048
_N_SHAPES = 25
# Numbers of harmonics half an octave apart: a table for each keeps a pulse free of aliasing at any f0.
_N_HARMONICS = tuple(round(8 * 2 ** (step / 2)) for step in range(14))


def lf_pulse(rd: float, phases: np.ndarray) -> np.ndarray:
    """The derivative of the glottal flow over one period: phases 0 to 1, values with the closing peak at -1.

    Its mean over the period is 0: the flow comes back to where it began. rd between RD_MIN and RD_MAX.
    """
    from scipy.optimize import brentq

    r_a = (-1.0 + 4.8 * rd) / 100.0
    r_k = (22.4 + 11.8 * rd) / 100.0
    r_g = r_k / (4.0 * (0.11 * rd / (0.5 + 1.2 * r_k) - r_a))
    t_p = 1.0 / (2.0 * r_g)
    t_e, t_a = t_p * (1.0 + r_k), r_a
    omega = math.pi / t_p
    epsilon = brentq(lambda e: e * t_a - 1.0 + math.exp(-e * (1.0 - t_e)), 0.05 / t_a, 1.01 / t_a)
    rest = math.exp(-epsilon * (1.0 - t_e))
    returned = -((1.0 - rest) / epsilon - (1.0 - t_e) * rest) / (epsilon * t_a)

    def area(alpha: float) -> float:
        start = -1.0 / (math.exp(alpha * t_e) * math.sin(omega * t_e))
        open_ = math.exp(alpha * t_e) * (alpha * math.sin(omega * t_e) - omega * math.cos(omega * t_e)) + omega
        return start * open_ / (alpha**2 + omega**2) + returned

    alpha = brentq(area, -60.0, 200.0)
    start = -1.0 / (math.exp(alpha * t_e) * math.sin(omega * t_e))
    open_phase = start * np.exp(alpha * phases) * np.sin(omega * phases)
    return_phase = -(np.exp(-epsilon * (phases - t_e)) - rest) / (epsilon * t_a)
    return np.where(phases < t_e, open_phase, return_phase)


@cache
def _tables() -> np.ndarray:
    """Float32 of shape (harmonics, shape, phase + 1): the pulse of every Rd, cut off above so many harmonics."""
    phases = np.arange(8 * _N_PHASES) / (8 * _N_PHASES)
    spectra = np.array([np.fft.rfft(lf_pulse(rd, phases)) for rd in np.linspace(RD_MIN, RD_MAX, _N_SHAPES)])
    tables = np.empty((len(_N_HARMONICS), _N_SHAPES, _N_PHASES + 1), dtype=np.float32)
    for place, n_harmonics in enumerate(_N_HARMONICS):
        kept = np.zeros((_N_SHAPES, _N_PHASES // 2 + 1), dtype=complex)
        kept[:, 1 : n_harmonics + 1] = spectra[:, 1 : n_harmonics + 1] / 8
        tables[place, :, :-1] = np.fft.irfft(kept, _N_PHASES)
    tables[:, :, -1] = tables[:, :, 0]
    return tables


def pulses(phase: np.ndarray, f0_hz: np.ndarray, rd: np.ndarray, rate_hz: int) -> np.ndarray:
    """The flow's derivative, shape (n,), for each sample's phase in its period (0 to 1), f0 and Rd.

    No harmonic above the Nyquist frequency; Rd outside its range is taken to the nearest end.
    """
    tables = _tables()
    limits = 0.5 * rate_hz / np.array(_N_HARMONICS[::-1])  # ascending f0: the most harmonics that still fit
    level = len(_N_HARMONICS) - 1 - np.minimum(np.searchsorted(limits, f0_hz), len(_N_HARMONICS) - 1)
    shape = (np.clip(rd, RD_MIN, RD_MAX) - RD_MIN) * ((_N_SHAPES - 1) / (RD_MAX - RD_MIN))
    lower = np.minimum(shape.astype(np.intp), _N_SHAPES - 2)
    across = (shape - lower).astype(np.float32)
    position = phase * _N_PHASES
    left = np.minimum(position.astype(np.intp), _N_PHASES - 1)
    along = (position - left).astype(np.float32)
    flat = tables.reshape(-1)
    start = (level * _N_SHAPES + lower) * (_N_PHASES + 1) + left
    first = flat[start] * (1 - along) + flat[start + 1] * along
    start += _N_PHASES + 1
    second = flat[start] * (1 - along) + flat[start + 1] * along
    return first + (second - first) * across
