"""What is sung: the notes of VocalSet's four exercises, drawn together to a few seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from precompute.datasets.singing.tract import VOWELS

_STEPS = {
    "arpeggios": (0, 4, 7, 12, 7, 4, 0),
    "scales": (0, 2, 4, 5, 7, 9, 11, 12),
    "long_tones": (0, 12, 17),
}
# The three songs from which VocalSet's singers sing: the first notes and the vowels of their words.
SONGS = {
    "row": ((5, 5, 5, 7, 9), "ooouo"),
    "dona": ((2, 7, 7, 9, 10, 9, 7), "oaoiaoa"),
    "caro": ((9, 11, 9, 7, 6, 7, 4), "aoieoei"),
}


@dataclass(frozen=True)
class Note:
    """One note: its start and end as shares of the performance, semitones above the tonic, its vowel."""

    start: float
    end: float
    step: float
    vowel: str


def melody(exercise: str, vowel: str, rng: np.random.Generator, *, song: str | None = None) -> tuple[Note, ...]:
    """The notes of an exercise on one vowel, or of an excerpt with the vowels of its words; lengths differ a little.

    Where an excerpt stands in a crossed corpus, `vowel` takes the place of its commonest one.
    """
    if exercise == "excerpts":
        steps, vowels = SONGS[song or str(rng.choice(sorted(SONGS)))]
        commonest = max(VOWELS, key=vowels.count)
        words = [vowel if vowel in VOWELS and word == commonest else word for word in vowels]
    else:
        steps = _STEPS[exercise]
        words = [vowel] * len(steps)
    lengths = np.exp(rng.normal(0, 0.08, len(steps)))
    lengths[-1] *= 1.25
    return notes_of(np.cumsum(lengths) / lengths.sum(), steps, words)


def notes_of(ends: np.ndarray, steps: Iterable[float], vowels: Iterable[str]) -> tuple[Note, ...]:
    """Notes that follow each other without a rest, from where each ends, as a share of the performance."""
    starts = np.append(0.0, ends[:-1])
    return tuple(
        Note(float(start), float(end), float(step), str(vowel))
        for start, end, step, vowel in zip(starts, ends, steps, vowels, strict=True)
    )
