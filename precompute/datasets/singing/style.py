"""What a technique is: how its voice differs from a straight tone, by how much, and how singers and takes differ in it.

Every number of a Style is the sum of a singer's habit, the technique's shift times the degree to which this singer does
it, the singer's own way of doing it, and the take. Overlap between techniques comes from these and from nothing else.
Where the shifts come from: belt (Sundberg et al. 1993, Titze et al. 2011: high effort, pressed source, raised larynx
and first formant), breathy (Klatt and Klatt 1990: abducted source, aspiration), inhaled (Eklund 2008: weak, hoarse,
unsteady), lip trill (Titze 2006: lips at 15 to 30 Hz, half-closed tract), speech (low, moving pitch), straight and
vibrato (Prame 1994 and 1997: 5 to 7 Hz, 30 to 120 cents), trill (Hakes et al. 1987), trillo (Hakes et al. 1990: one
note struck again and again, the glottis closing 4 to 10 times a second), vocal fry (Blomgren et al. 1998: low,
irregular, pressed pulses). How far singers differ was set so that eGeMAPS factors tell techniques apart as well as on
VocalSet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from precompute.datasets.singing.singers import Singer


@dataclass(frozen=True)
class Style:
    """The numbers of one performance. Octaves (`_oct`) are log2 of a factor."""

    pitch_st: float  # semitones above the singer's tonic
    effort_db: float
    rd: float  # of the glottal pulse at effort 0
    noise_db: float  # aspiration against the pulses
    tilt_db: float  # an octave between 1 and 3.5 kHz
    ring: float  # 0 to 1: how far the third to fifth formants cluster, the singer's formant
    first_formant_oct: float
    tract_oct: float  # raised larynx below 0
    jitter_oct: float  # around 0.4 %
    shimmer_oct: float  # around 0.25 dB
    subharmonic: float  # 0 to 1
    modulation_hz: float
    modulation_oct: float  # of the pitch, around 10 cents
    squareness: float  # 0 sine (vibrato), 1 between two notes (trill)
    strokes_hz: float  # how often glottis (trillo) or lips (lip trill) close
    strokes: float  # how far, 0 to 1
    lips: float  # 0 open, 1 nearly closed: low first formant, dull
    speech: float  # 0 sung, 1 spoken: gliding pitch, syllables, small range
    gaps: float  # share of a note that is silent before the next
    wander_oct: float  # of the pitch, around 8 cents


@dataclass(frozen=True)
class Shift:
    """Of one number: the technique's mean difference from straight, standard deviations by singer and by take."""

    mean: float
    by_singer: float = 0.0
    by_take: float = 0.0


# Straight: the value itself, how far singers differ, how far takes of one singer differ.
_STRAIGHT: Mapping[str, Shift] = MappingProxyType(
    {
        "pitch_st": Shift(0.0, 0.5, 0.5),
        "effort_db": Shift(0.0, 2.2, 0.9),
        "rd": Shift(0.8, 0.25, 0.05),
        "noise_db": Shift(-40.0, 4.0, 1.2),
        "tilt_db": Shift(4.0, 2.5, 0.5),
        "ring": Shift(0.5, 0.3, 0.04),
        "first_formant_oct": Shift(0.4, 0.08, 0.03),
        "tract_oct": Shift(0.0, 0.0, 0.015),
        "jitter_oct": Shift(-0.7, 0.6, 0.25),
        "shimmer_oct": Shift(-1.3, 0.6, 0.25),
        "subharmonic": Shift(0.0, 0.03, 0.02),
        "modulation_hz": Shift(5.6, 0.4, 0.2),
        "modulation_oct": Shift(0.0, 0.8, 0.3),
        "squareness": Shift(0.0),
        "strokes_hz": Shift(6.0, 1.0, 0.4),
        "strokes": Shift(0.0, 0.02, 0.02),
        "lips": Shift(0.0, 0.03, 0.02),
        "speech": Shift(0.0, 0.03, 0.02),
        "gaps": Shift(0.05, 0.03, 0.02),
        "wander_oct": Shift(0.0, 0.5, 0.3),
    }
)
TECHNIQUES: Mapping[str, Mapping[str, Shift]] = MappingProxyType(
    {
        "belt": {
            "effort_db": Shift(3.0, 1.5, 0.5),
            "rd": Shift(-0.25, 0.12, 0.04),
            "tilt_db": Shift(3.5, 1.2, 0.3),
            "ring": Shift(-0.1, 0.2),
            "first_formant_oct": Shift(0.15, 0.1, 0.02),
            "tract_oct": Shift(-0.05, 0.03),
            "pitch_st": Shift(0.3, 0.6),
            "modulation_oct": Shift(0.6, 0.8, 0.3),
            "jitter_oct": Shift(1.2, 0.8),
            "shimmer_oct": Shift(1.0, 0.8),
        },
        "breathy": {
            "effort_db": Shift(-4.5, 3.0, 0.6),
            "rd": Shift(0.5, 0.35, 0.1),
            "noise_db": Shift(7.0, 5.0, 1.5),
            "tilt_db": Shift(-2.0, 3.0),
            "ring": Shift(-0.2, 0.2),
        },
        "inhaled": {
            "effort_db": Shift(-7.0, 2.5, 1.2),
            "rd": Shift(0.6, 0.4, 0.15),
            "noise_db": Shift(10.0, 5.0, 2.0),
            "tilt_db": Shift(-1.5, 2.5),
            "jitter_oct": Shift(1.6, 0.9, 0.4),
            "shimmer_oct": Shift(1.5, 0.7, 0.3),
            "pitch_st": Shift(0.0, 2.5, 1.0),
            "gaps": Shift(0.12, 0.1, 0.04),
            "wander_oct": Shift(2.2, 1.0, 0.4),
            "subharmonic": Shift(0.08, 0.1, 0.06),
        },
        "lip_trill": {
            "effort_db": Shift(-3.0, 2.5),
            "strokes_hz": Shift(16.0, 2.5, 1.0),
            "strokes": Shift(0.78, 0.1, 0.05),
            "lips": Shift(0.5, 0.15, 0.06),
            "jitter_oct": Shift(2.0, 0.6),
            "noise_db": Shift(6.0, 3.0),
            "tilt_db": Shift(0.0, 1.5),
        },
        "spoken": {
            "pitch_st": Shift(-8.0, 1.5, 0.5),
            "effort_db": Shift(-5.0, 2.0, 1.0),
            "speech": Shift(1.0, 0.05),
            "jitter_oct": Shift(1.5, 0.4, 0.2),
            "noise_db": Shift(5.0, 2.0),
            "gaps": Shift(0.1, 0.03),
            "tilt_db": Shift(0.0, 1.0),
        },
        "straight": {},
        "trill": {
            "modulation_hz": Shift(0.3, 0.9, 0.3),
            "modulation_oct": Shift(2.7, 0.7, 0.25),
            "squareness": Shift(0.8, 0.3, 0.1),
            "effort_db": Shift(3.0, 2.0),
            "strokes": Shift(0.25, 0.28, 0.08),
            "gaps": Shift(0.02, 0.06, 0.02),
            "tilt_db": Shift(0.4, 1.2),
        },
        "trillo": {
            "strokes_hz": Shift(0.0, 1.8, 0.6),
            "strokes": Shift(0.5, 0.3, 0.1),
            "modulation_oct": Shift(2.0, 1.1, 0.4),
            "squareness": Shift(0.4, 0.3, 0.1),
            "effort_db": Shift(0.5, 2.5),
            "noise_db": Shift(4.0, 4.0),
            "gaps": Shift(0.08, 0.08, 0.03),
        },
        "vibrato": {
            "modulation_oct": Shift(3.0, 0.4, 0.2),
            "effort_db": Shift(2.5, 1.8),
            "tilt_db": Shift(1.0, 1.2),
            "ring": Shift(0.25, 0.15),
            "rd": Shift(-0.1, 0.1),
        },
        "vocal_fry": {
            "pitch_st": Shift(-4.0, 4.0, 1.0),
            "effort_db": Shift(-4.0, 4.0, 1.0),
            "rd": Shift(-0.2, 0.3, 0.08),
            "jitter_oct": Shift(1.3, 1.6, 0.5),
            "shimmer_oct": Shift(0.9, 1.1, 0.3),
            "subharmonic": Shift(0.12, 0.3, 0.08),
            "noise_db": Shift(5.0, 4.0),
            "tilt_db": Shift(-0.5, 2.0),
            "wander_oct": Shift(1.0, 1.0, 0.3),
        },
    }
)
_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "pitch_st": (-36.0, 14.0),
        "effort_db": (-16.0, 8.0),
        "rd": (0.35, 2.6),
        "noise_db": (-50.0, -6.0),
        "tilt_db": (-9.0, 12.0),
        "ring": (0.0, 1.0),
        "jitter_oct": (-2.0, 5.0),
        "shimmer_oct": (-2.0, 4.0),
        "subharmonic": (0.0, 0.9),
        "modulation_hz": (3.5, 8.5),
        "modulation_oct": (-2.0, 3.8),
        "squareness": (0.0, 1.0),
        "strokes_hz": (3.0, 30.0),
        "strokes": (0.0, 0.98),
        "lips": (0.0, 1.0),
        "speech": (0.0, 1.0),
        "gaps": (0.0, 0.5),
        "wander_oct": (-2.0, 4.0),
    }
)


def draw_style(
    singer: Singer, technique: str, *, way: np.random.Generator, take: np.random.Generator
) -> tuple[Style, float]:
    """One performance's numbers and its degree (0.15 to 1.5; 1: the technique's mean).

    `way` is the singer's own for the technique (seed it with both), `take` the performance's: the same two give the
    same numbers. Every number draws from both whatever the technique, so that a technique changes no other draw.
    """
    shifts = TECHNIQUES[technique]
    skill = 1.0 + 0.22 * way.standard_normal()
    degree = float(np.clip(skill + 0.08 * take.standard_normal(), 0.15, 1.5))
    values = {}
    for name, straight in _STRAIGHT.items():
        shift = shifts.get(name, Shift(0.0))
        value = straight.mean + straight.by_singer * singer.habits[name] + straight.by_take * take.standard_normal()
        value += degree * shift.mean + shift.by_singer * way.standard_normal() + shift.by_take * take.standard_normal()
        low, high = _BOUNDS.get(name, (-np.inf, np.inf))
        values[name] = float(np.clip(value, low, high))
    return Style(**values), degree


PARAMETERS: tuple[str, ...] = tuple(item.name for item in dataclasses.fields(Style))
