"""Voices for pretraining: nobody's technique, from ranges of their own, so that no demo clip trained a network."""

from __future__ import annotations

import numpy as np

from precompute.datasets.singing.exercises import Note, notes_of
from precompute.datasets.singing.performance import perform
from precompute.datasets.singing.recording import Recording, recorded
from precompute.datasets.singing.seeds import generator
from precompute.datasets.singing.singers import Singer
from precompute.datasets.singing.style import Style
from precompute.datasets.singing.tract import VOWELS
from precompute.datasets.singing.voice import render

# Every number of a style from here, each on its own: combinations that no technique has. Not all as wide as the
# techniques': most of the corpora's first formants (first_formant_oct) lie above these.
_RANGES: dict[str, tuple[float, float]] = {
    "pitch_st": (-10.0, 8.0),
    "effort_db": (-10.0, 9.0),
    "rd": (0.45, 2.2),
    "noise_db": (-45.0, -16.0),
    "tilt_db": (-5.0, 9.0),
    "ring": (0.0, 1.0),
    "first_formant_oct": (-0.15, 0.3),
    "tract_oct": (-0.06, 0.06),
    "jitter_oct": (-1.5, 2.5),
    "shimmer_oct": (-2.0, 2.0),
    "subharmonic": (-0.6, 0.6),  # none in half of the clips
    "modulation_hz": (3.5, 8.5),
    "modulation_oct": (-1.0, 3.6),
    "squareness": (-0.7, 1.0),
    "strokes_hz": (4.0, 26.0),
    "strokes": (-0.8, 0.9),
    "lips": (-0.6, 0.7),
    "speech": (-1.5, 1.0),
    "gaps": (-0.2, 0.3),
    "wander_oct": (-1.0, 2.5),
}
_SHARES = frozenset(("subharmonic", "squareness", "strokes", "lips", "speech", "gaps"))


def free_clip(seed: int, duration_s: float) -> np.ndarray:
    """A voice that nobody planned: float32 of shape (n,) at RATE_HZ, the same for the same seed.

    Singers (tract 12.5 to 19.5 cm, any tonic from 90 to 360 Hz), melodies (random steps, rests none, a vowel a note)
    and styles are drawn from ranges that are not those of the corpora; recordings too.
    """
    rng = generator(seed, "free")
    accent = {vowel: np.append(rng.normal(0, 0.1, 2), rng.normal(0, 0.06, 3)) for vowel in VOWELS}
    singer = Singer("free", float(90.0 * 4.0 ** rng.uniform()), float(rng.uniform(12.5, 19.5)), accent, {})
    drawn = {name: float(rng.uniform(low, high)) for name, (low, high) in _RANGES.items()}
    style = Style(**{name: max(value, 0.0) if name in _SHARES else value for name, value in drawn.items()})
    lead_s, tail_s = (float(rng.uniform(0.0, 0.3)) for _ in range(2))
    recording = Recording(duration_s, lead_s, tail_s, float(rng.uniform(-8.0, 8.0)), float(rng.uniform(-80.0, -55.0)))
    controls = perform(singer, style, _notes(rng), recording.sung_s, rng)
    return recorded(render(controls, rng), recording, rng)


def _notes(rng: np.random.Generator) -> tuple[Note, ...]:
    n_notes = int(rng.integers(1, 9))
    ends = np.cumsum(rng.uniform(0.4, 1.6, n_notes))
    steps = np.clip(np.cumsum(rng.integers(-5, 6, n_notes)) + rng.integers(0, 8), -5, 17)
    vowels = rng.choice(VOWELS, n_notes if rng.uniform() < 0.5 else 1)
    return notes_of(ends / ends[-1], steps, np.resize(vowels, n_notes))
