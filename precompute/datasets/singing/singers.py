"""Singers: a range, a vocal tract, vowels and habits of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from precompute.datasets.singing.tract import N_FORMANTS, VOWELS, formants_of

N_SINGERS = 20
_TONIC_HZ = {"female": 261.6, "male": 130.8}  # C4 and C3, where VocalSet's exercises begin
_COUNTERTENOR = 0.1  # the share of men who sing where women do
_TRACT_CM = {"female": (13.6, 15.6), "male": (16.0, 18.4)}
_ANY_TRACT_CM = (13.6, 18.4)


@dataclass(frozen=True)
class Singer:
    """One voice. `habits` has a standard normal for every number of a Style; `accent_oct` moves vowels' formants."""

    name: str
    tonic_hz: float
    tract_cm: float
    accent_oct: Mapping[str, np.ndarray]  # vowel -> (5,) octaves
    habits: Mapping[str, float]

    def formants_hz(self, vowel: str, tract_oct: float = 0.0) -> np.ndarray:
        """This singer's five formants of a vowel, shape (5,), with the tract that much longer."""
        return formants_of(vowel, self.tract_cm * 2**tract_oct) * 2 ** self.accent_oct[vowel]


def make_singer(
    name: str, habits: tuple[str, ...], rng: np.random.Generator, *, tract_is_by_range: bool = True
) -> Singer:
    """A singer called female... or male..., drawn from `rng`. `habits`: the names of the numbers to have habits in.

    tract_is_by_range: women, who sing higher, have shorter tracts than men, as in life; without it anyone has any, so
    that hearing how high someone sings does not tell the length.
    """
    sex = name.rstrip("0123456789")
    tract_cm = float(rng.uniform(*(_TRACT_CM[sex] if tract_is_by_range else _ANY_TRACT_CM)))
    tonic_hz = float(_TONIC_HZ[sex] * 2 ** (rng.normal(0.0, 0.8) / 12))
    if sex == "male" and rng.uniform() < _COUNTERTENOR:
        tonic_hz *= 2
    accent = {vowel: np.append(rng.normal(0, 0.07, 2), rng.normal(0, 0.04, N_FORMANTS - 2)) for vowel in VOWELS}
    return Singer(name, tonic_hz, tract_cm, accent, {habit: float(rng.standard_normal()) for habit in habits})
