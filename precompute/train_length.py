"""How long a pooled SAE is trained: with few clips no longer than what helps groups that are kept apart.

A wide SAE on few clips goes on lowering its loss long after the reconstruction of unseen groups has begun to suffer.
Where there are fewer training clips than features, whole trainings of several lengths, each with its
own warm-up and decay, are therefore compared on groups kept apart inside the training part, and the SAE is fitted on
all training clips for the length found. Measured: docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from explorer.sae import SAE
from precompute.metrics import fvu
from precompute.train_sae import CurvePoint, TrainSettings, train_sound

VERSION = 1  # a new one gives every SAE whose length was looked for another id
SHARES = (0.4, 0.2, 0.1, 0.05)  # of the most epochs: the shorter lengths that are tried
MAX_FOLDS = 3  # of the folds inside the training groups, so many are kept apart in turn
MARGIN = 0.02  # by which the mean FVU of a shorter length must be lower; and lower in every fold
LOOK_COST = 4.5  # trainings of the longest length that it takes in all where shorter ones are tried, about

BEST_THEN = "training groups kept apart were reconstructed best then"
NO_SHORTER_BETTER = "no shorter training reconstructed training groups kept apart better"
ENOUGH_CLIPS = "there are no fewer training clips than features, so no shorter training was tried"
NOTHING_APART = "no training groups could be kept apart, so no shorter training was tried"


@dataclass(frozen=True)
class TriedLength:
    """FVU of the clips of one fold after a training of so many epochs on the clips of the other folds."""

    n_epochs: int
    fold: int
    fvu: float


@dataclass(frozen=True)
class Length:
    """For how many epochs an SAE is trained, why, and what was tried."""

    n_epochs: int
    reason: str
    tried: tuple[TriedLength, ...] = ()


def train_to_length(
    train_cd: np.ndarray, folds_c: np.ndarray | None, settings: TrainSettings, device: str = "cpu"
) -> tuple[SAE, list[CurvePoint], Length]:
    """Fit an SAE on (n, d) states for the length that `choose_length` finds; `settings.epochs` is the longest.

    Returns the SAE in raw units, the curve of that last fit, and the length.
    """
    length = choose_length(train_cd, folds_c, settings, device)
    sae, curve = train_sound(train_cd, replace(settings, epochs=length.n_epochs), device)
    return sae, curve, length


def looks(n_clips: int, settings: TrainSettings) -> bool:
    """Whether shorter trainings may be tried at all: fewer training clips than features."""
    return n_clips < settings.n_features


def apart(groups_c: Sequence[object], folds_c: np.ndarray) -> np.ndarray | None:
    """The folds, where they keep whole groups apart: two folds at least, no group in two, no clip in none (-1)."""
    folds_of: dict[object, set[int]] = {}
    for group, fold in zip(groups_c, folds_c, strict=True):
        folds_of.setdefault(group, set()).add(int(fold))
    numbers = {fold for folds in folds_of.values() for fold in folds}
    is_whole = all(len(folds) == 1 for folds in folds_of.values())
    return folds_c if is_whole and len(numbers) > 1 and -1 not in numbers else None


def choose_length(
    train_cd: np.ndarray, folds_c: np.ndarray | None, settings: TrainSettings, device: str = "cpu"
) -> Length:
    """The length with the lowest mean FVU over folds kept apart; the longest unless a shorter one is clearly better.

    folds_c: (n,) the fold of each training clip, from `apart`; None where nothing can be kept apart. A length that is
    not better than the longest in one fold is not tried in the next, so that little is lost where nothing is won.
    """
    if not looks(len(train_cd), settings):
        return Length(settings.epochs, ENOUGH_CLIPS)
    if folds_c is None:
        return Length(settings.epochs, NOTHING_APART)
    left = shorter(settings.epochs)
    found: dict[int, list[float]] = {n_epochs: [] for n_epochs in (settings.epochs, *left)}
    tried = []
    for fold in np.unique(folds_c)[:MAX_FOLDS]:
        if not left:
            break
        fit_cd, apart_cd = train_cd[folds_c != fold], train_cd[folds_c == fold]
        for n_epochs in (settings.epochs, *left):
            sae, _ = train_sound(fit_cd, replace(settings, epochs=n_epochs), device)
            value = fvu(apart_cd, sae.decode(sae.encode(apart_cd)), fit_cd.mean(axis=0, dtype=np.float64))
            found[n_epochs].append(value)
            tried.append(TriedLength(n_epochs, int(fold), value))
        left = [n_epochs for n_epochs in left if found[n_epochs][-1] < found[settings.epochs][-1]]
    best = clearly_better(found, settings.epochs, left)
    return Length(best, BEST_THEN if best < settings.epochs else NO_SHORTER_BETTER, tuple(tried))


def shorter(most: int) -> list[int]:
    """The lengths under `most` epochs that are tried, the longest first."""
    lengths = {max(1, round(share * most)) for share in SHARES}
    return sorted(lengths - {most}, reverse=True)


def clearly_better(found: Mapping[int, Sequence[float]], most: int, left: Sequence[int]) -> int:
    """Of the lengths `left`, that with the lowest mean FVU if it beats the longest by MARGIN, else the longest."""
    if not left:
        return most
    best = min(left, key=lambda n_epochs: float(np.mean(found[n_epochs])))
    return best if float(np.mean(found[best])) < (1 - MARGIN) * float(np.mean(found[most])) else most
