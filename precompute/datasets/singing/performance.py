"""From a singer, a style and notes to the contours that drive a voice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precompute.datasets.singing.exercises import Note
from precompute.datasets.singing.singers import Singer
from precompute.datasets.singing.style import Style
from precompute.datasets.singing.voice import CONTROL_HZ, Controls

_JITTER, _SHIMMER_DB, _MODULATION_CENTS, _WANDER_CENTS = 0.004, 0.25, 10.0, 8.0
_LEGATO = 0.08  # gaps up to this share of a note are sung over
_CLUSTER_HZ = (350.0, 850.0)  # above the third: where the fourth and fifth formants of a ringing voice lie
_CLOSED_HZ = (280.0, 1000.0)  # where nearly closed lips take the first two formants


def perform(
    singer: Singer, style: Style, notes: Sequence[Note], duration_s: float, rng: np.random.Generator
) -> Controls:
    """The controls of one performance that lasts `duration_s`."""
    n = round(duration_s * CONTROL_HZ)
    share = np.arange(n) / n
    place = np.searchsorted([note.end for note in notes[:-1]], share, side="right")
    since_s = (share - np.array([note.start for note in notes])[place]) * duration_s
    left_s = (np.array([note.end for note in notes])[place] - share) * duration_s
    syllables = _slow_noise(n, 0.09, rng)
    step = _smooth(np.array([note.step for note in notes])[place] * (1 - 0.7 * style.speech), 0.05 + 0.1 * style.speech)
    cents = _modulation(style, share * duration_s, since_s, rng)
    cents += _WANDER_CENTS * 2**style.wander_oct * _slow_noise(n, 0.07, rng)
    cents += style.speech * (200 * syllables - 600 * (share - 0.5))
    f0_hz = singer.tonic_hz * 2 ** ((style.pitch_st + step) / 12 + cents / 1200)
    effort_db = style.effort_db + 0.25 * (step - 5) + 2.5 * np.sin(np.pi * share) + 3.0 * style.speech * syllables
    gate = _note_gate(since_s, left_s, share * duration_s, style) * _strokes(style, n, rng)
    return Controls(
        f0_hz=f0_hz,
        rd=style.rd - 0.03 * effort_db,
        level_db=effort_db,
        noise_db=0.6 * effort_db + style.noise_db,
        gate=gate * _consonants(style, syllables),
        tilt_db=style.tilt_db - 5.0 * style.lips + 0.25 * effort_db,
        formants_hz=_formants(singer, style, [note.vowel for note in notes], place, f0_hz, rng),
        tract_cm=singer.tract_cm * 2**style.tract_oct,
        jitter=_JITTER * 2**style.jitter_oct,
        shimmer_db=_SHIMMER_DB * 2**style.shimmer_oct,
        subharmonic=style.subharmonic,
    )


def modulation_cents(style: Style) -> float:
    """The amplitude of a style's pitch modulation in cents."""
    return _MODULATION_CENTS * 2**style.modulation_oct


def _modulation(style: Style, time_s: np.ndarray, since_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cents: a vibrato that sets in once the voice sounds and yields where a note begins, or a trill's two notes."""
    rate_hz = style.modulation_hz * (1 + 0.06 * _slow_noise(len(since_s), 0.25, rng))
    sine = np.sin(2 * np.pi * (np.cumsum(rate_hz) / CONTROL_HZ + rng.uniform()))
    square = np.tanh(3.0 * sine)
    onset = np.clip((time_s - 0.1 * (1 - style.squareness)) / 0.25, 0.0, 1.0) * np.clip(since_s / 0.12, 0.6, 1.0)
    return modulation_cents(style) * onset * ((1 - style.squareness) * sine + style.squareness * square)


def _strokes(style: Style, n: int, rng: np.random.Generator) -> np.ndarray:
    """The amplitude that the closures of lips or glottis leave, 1 - strokes to 1."""
    rate_hz = style.strokes_hz * (1 + 0.08 * _slow_noise(n, 0.15, rng))
    closing = 0.5 - 0.5 * np.cos(2 * np.pi * (np.cumsum(rate_hz) / CONTROL_HZ + rng.uniform()))
    return 1 - style.strokes * closing**1.5


def _consonants(style: Style, syllables: np.ndarray) -> np.ndarray:
    """Speech is interrupted where its syllables end."""
    return 1 - style.speech * np.clip(-0.4 - 0.9 * syllables, 0.0, 0.95)


def _note_gate(since_s: np.ndarray, left_s: np.ndarray, time_s: np.ndarray, style: Style) -> np.ndarray:
    """0 to 1: begins and ends the whole, and opens and closes each note where the style leaves gaps."""
    whole = np.clip(time_s / 0.05, 0, 1) * np.clip((time_s[-1] - time_s) / 0.12, 0, 1)
    gap_s = np.maximum(style.gaps - _LEGATO, 0.0) * (since_s + left_s)
    note = np.clip((since_s + 0.01) / 0.03, 0, 1) * np.clip((left_s - gap_s) / 0.03, 0, 1)
    return np.sin(0.5 * np.pi * whole) ** 2 * np.where((gap_s > 0.0) & (left_s < time_s[-1] - time_s), note, 1.0)


def _formants(
    singer: Singer, style: Style, vowels: Sequence[str], place: np.ndarray, f0_hz: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(t, 5) Hz: the vowels' targets, the glide between them, the style's shifts; the first stays above f0."""
    targets = np.array([singer.formants_hz(vowel, style.tract_oct) for vowel in vowels])[place]
    formants = np.stack([_smooth(column, 0.08) for column in targets.T], axis=1)
    wander = np.stack([_slow_noise(len(place), 0.1, rng) for _ in range(3)], axis=1)
    formants[:, :3] *= 2 ** (wander * (0.02 + 0.14 * style.speech))
    formants[:, 0] *= 2**style.first_formant_oct
    for number, above_hz in enumerate(_CLUSTER_HZ, start=3):
        formants[:, number] = formants[:, number] ** (1 - style.ring) * (formants[:, 2] + above_hz) ** style.ring
    for number, closed_hz in enumerate(_CLOSED_HZ):
        formants[:, number] = formants[:, number] ** (1 - style.lips) * closed_hz**style.lips
    formants[:, 0] = np.maximum(formants[:, 0], 1.02 * f0_hz)
    formants[:, 1] = np.maximum(formants[:, 1], formants[:, 0] + 150.0)
    return formants


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """A running mean, twice: steps become glides of about so many seconds."""
    width = max(round(seconds * CONTROL_HZ / 2), 1)
    kernel = np.convolve(np.ones(width), np.ones(width)) / width**2
    return np.convolve(np.pad(values, (width - 1, width - 1), mode="edge"), kernel, mode="valid")


def _slow_noise(n: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of mean 0 and deviation 1 that changes within about so many seconds."""
    every = max(round(seconds * CONTROL_HZ), 1)
    points = rng.standard_normal(n // every + 3)
    at = np.arange(n) / every
    left = at.astype(np.intp)
    along = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    return (points[left] * (1 - along) + points[left + 1] * along) / np.sqrt(0.75)
