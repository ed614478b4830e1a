"""The vocal tract as a filter that moves: a cascade of formants, applied frame by frame in the frequency domain.

Fant, "Acoustic Theory of Speech Production" (1960): each formant is a resonance, those above the fifth are those of a
uniform tube of the tract's length.
"""

from __future__ import annotations

import numpy as np

SOUND_CM_S = 35_000.0
REFERENCE_CM = 17.5
# Hz for a tract of 17.5 cm: Peterson and Barney (1952) for the first three, rounded.
FORMANTS_HZ = {
    "a": (730.0, 1090.0, 2440.0, 3400.0, 4400.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0, 4450.0),
    "i": (270.0, 2290.0, 3010.0, 3600.0, 4500.0),
    "o": (570.0, 840.0, 2410.0, 3300.0, 4350.0),
    "u": (300.0, 870.0, 2240.0, 3250.0, 4300.0),
}
VOWELS = tuple(FORMANTS_HZ)
BANDWIDTHS_HZ = (110.0, 120.0, 150.0, 220.0, 300.0)
N_FORMANTS = 5
_FRAME, _FFT = 1024, 2048


_SUNG = 0.7  # sung vowels lie closer together than spoken ones (Bloothooft and Plomp 1984)
_CENTRE_OCT = np.log2([FORMANTS_HZ[vowel] for vowel in VOWELS]).mean(axis=0)


def formants_of(vowel: str, tract_cm: float) -> np.ndarray:
    """The five formants of a sung vowel in Hz, shape (5,), in a tract of that length."""
    sung_oct = _CENTRE_OCT + _SUNG * (np.log2(FORMANTS_HZ[vowel]) - _CENTRE_OCT)
    return 2**sung_oct * (REFERENCE_CM / tract_cm)


def frame_times_s(n_samples: int, rate_hz: int) -> np.ndarray:
    """The centres in seconds of the frames that `filtered` cuts from so many samples: where it wants its formants."""
    hop = _FRAME // 2
    return np.arange(-(-n_samples // hop) + 1) * hop / rate_hz


def transfer(formants_hz: np.ndarray, tract_cm: float, tilt_db: np.ndarray, rate_hz: int) -> np.ndarray:
    """The complex gain (frames, bins) of formants (frames, 5) and a tilt (frames,) in dB an octave from 1 to 3.5 kHz.

    Radiation at the lips is part of the source, which is the flow's derivative.
    """
    hz = np.fft.rfftfreq(_FFT, 1 / rate_hz).astype(np.float32)
    octaves = np.log2((1 + (hz / 1000) ** 2) / (1 + (hz / 3500) ** 2)) / 2
    gain = np.exp(np.outer(np.log(10) / 20 * tilt_db, octaves)).astype(np.complex64)
    formants_hz = formants_hz.astype(np.float32)
    for place in range(N_FORMANTS):
        centre, width = formants_hz[:, place : place + 1], BANDWIDTHS_HZ[place]
        gain *= _resonance(hz, centre, width * np.sqrt(np.maximum(centre / FORMANTS_HZ["a"][place], 0.5)))
    spacing = SOUND_CM_S / (2 * tract_cm)
    above = np.arange(N_FORMANTS + 0.5, rate_hz / 2 / spacing + 2, dtype=np.float32)[:, None] * spacing
    return gain * _resonance(hz, above, 0.09 * above).prod(axis=0)


def _resonance(hz: np.ndarray, centre_hz: np.ndarray, width_hz: np.ndarray) -> np.ndarray:
    power = centre_hz**2
    return power / (power - hz**2 + 1j * hz * width_hz)


def filtered(samples: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The samples (n,) through a filter that passes linearly from one frame's gain to the next; float32 (n,)."""
    n, hop = len(samples), _FRAME // 2
    n_frames = len(gain)
    padded = np.zeros((n_frames + 1) * hop, dtype=np.float32)
    padded[hop : hop + n] = samples
    cut = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::hop][:n_frames]
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    frames = np.fft.irfft(np.fft.rfft(cut * window, _FFT) * gain, _FFT).astype(np.float32)
    out = np.zeros((n_frames + 1) * hop + _FFT, dtype=np.float32)
    for part in range(_FFT // hop):  # the parts of all frames that start at one place do not overlap
        piece = frames[:, part * hop : (part + 1) * hop].reshape(-1)
        out[part * hop : part * hop + len(piece)] += piece
    return out[hop : hop + n]
