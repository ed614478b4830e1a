"""Which features go with something: a value of an attribute, by a rule on the activation; a measure, by correlation.

Everything is chosen on training clips and shown held out, beside what the best of all features reaches by chance: with
2,048 of them one always looks good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explorer.label_rules import (
    DIRECTIONS,
    QUANTILES,
    Floats,
    choose_and_score,
    part_of,
    permuted_within,
    thresholds_of,
)
from explorer.text import count as counted

N_PERMUTATIONS, NULL_QUANTILE = 40, 0.95
MIN_POSITIVES, MIN_GROUPS = 20, 5
MIN_DESCRIBED = 8  # clips of a part that have it, under which all clips are described and none are scored apart
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Clips:
    """Whose clips train and which are held out: groups (c,), masks (c,) that share no group."""

    groups_c: NDArray
    train_c: Mask
    heldout_c: Mask


@dataclass(frozen=True, eq=False)
class Found:
    """One entry a feature. train: what it was chosen by (F1, or r); score: the same held out.

    null: the 95th percentile of the held-out score of the feature that is best on training clips, under values permuted
    within groups; NaN where there is none, and `reason` says why. A value: direction, threshold, precision, recall.
    A measure: `within`, the held-out r of deviations from group means. With `is_described` there are too few clips to
    test anything: train and score are the same, of all clips, and describe them alone.
    """

    train: Floats
    score: Floats
    null: float
    reason: str | None = None
    direction: NDArray[np.object_] | None = None
    threshold: Floats | None = None
    precision: Floats | None = None
    recall: Floats | None = None
    within: Floats | None = None
    is_described: bool = False


def find_value(
    codes_cf: ArrayLike, has_it_c: ArrayLike, clips: Clips, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Found:
    """Features that tell clips that have a value from those that do not. codes: (c, f) activations >= 0; has_it: (c,).

    The rule of automatic labels for this one value: the threshold (0, or a quantile of the non-zero training
    activations) and the direction with the best F1 on training clips; precision, recall and F1 are held out.
    """
    codes, has_it = np.asarray(codes_cf, np.float32), np.asarray(has_it_c, bool)
    groups = np.asarray(clips.groups_c, dtype=object).astype(str)
    rows = np.flatnonzero(clips.train_c), np.flatnonzero(clips.heldout_c)
    n = codes.shape[1]
    reason = _too_few(has_it, groups, rows)
    is_described = any(has_it[part].sum() < MIN_DESCRIBED for part in rows)
    if is_described:
        every = np.sort(np.concatenate(rows))
        if not has_it[every].any():
            nothing = np.full(n, np.nan)
            return Found(nothing, nothing, float("nan"), "no clip of either part has it")
        rows = every, every
    thresholds = thresholds_of(codes[rows[0]], QUANTILES)
    parts = part_of(codes[rows[0]], thresholds), part_of(codes[rows[1]], thresholds)
    rule, train, (precision, recall, score) = choose_and_score(*parts, *_stacked([has_it], rows))
    active = codes[rows[0]].max(axis=0) > 0
    found = Found(
        train=np.where(active, train[0], np.nan),
        score=np.where(active, score[0], np.nan),
        null=float("nan"),
        direction=np.array(DIRECTIONS, dtype=object)[rule[2][0]],
        threshold=thresholds[rule[0][0], np.arange(n)].astype(np.float64),
        precision=np.where(active, precision[0], np.nan),
        recall=np.where(active, recall[0], np.nan),
        is_described=is_described,
    )
    if reason:
        return replace(found, reason=reason)
    rng = np.random.default_rng(seed)
    permuted = [permuted_within(has_it, groups, rng) for _ in range(n_permutations)]
    _, by_chance, (_, _, scores) = choose_and_score(*parts, *_stacked(permuted, rows))
    best = np.where(active, by_chance, -1.0).argmax(axis=1)
    reached = np.nan_to_num(scores[np.arange(n_permutations), best])
    return replace(found, null=float(np.quantile(reached, NULL_QUANTILE)))


def find_measure(
    codes_cf: ArrayLike, measured_c: ArrayLike, clips: Clips, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Found:
    """Features whose activation goes along with a number, by Pearson's r over all clips that have one.

    measured: (c,) floats, NaN where undefined. `null` is of |r|.
    """
    codes, measured = np.asarray(codes_cf, np.float64), np.asarray(measured_c, np.float64)
    groups = np.asarray(clips.groups_c, dtype=object).astype(str)
    known = np.isfinite(measured)
    rows = np.flatnonzero(clips.train_c & known), np.flatnonzero(clips.heldout_c & known)
    if any(len(part) < MIN_POSITIVES for part in rows):
        every = np.sort(np.concatenate(rows))
        reason = f"fewer than {counted(MIN_POSITIVES, 'clip')} of one part have it"
        if len(every) < MIN_DESCRIBED:
            nothing = np.full(codes.shape[1], np.nan)
            return Found(nothing, nothing, float("nan"), f"fewer than {counted(MIN_DESCRIBED, 'clip')} have it")
        r = _correlations(codes[every])(measured[every])
        within = _correlations(_centred(codes[every], groups[every]))(_centred(measured[every], groups[every]))
        return Found(r, r, float("nan"), reason, within=within, is_described=True)
    of_train, of_heldout = (_correlations(codes[part]) for part in rows)
    train, score = of_train(measured[rows[0]]), of_heldout(measured[rows[1]])
    within = _correlations(_centred(codes[rows[1]], groups[rows[1]]))(_centred(measured[rows[1]], groups[rows[1]]))
    rng = np.random.default_rng(seed)
    reached = []
    for _ in range(n_permutations):
        chance = measured.copy()
        chance[known] = permuted_within(measured[known], groups[known], rng)
        best = int(np.nanargmax(np.abs(np.nan_to_num(of_train(chance[rows[0]])))))
        reached.append(abs(float(np.nan_to_num(of_heldout(chance[rows[1]])[best]))))
    null = float(np.quantile(reached, NULL_QUANTILE)) if reached else float("nan")
    return Found(train, score, null, within=within)


def _stacked(has_it: list[NDArray], rows: tuple[NDArray, NDArray]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(permutations, 1, clips) 0/1 of both parts."""
    table = np.stack(has_it).astype(np.float32)[:, None]
    return table[:, :, rows[0]], table[:, :, rows[1]]


def _too_few(has_it: NDArray, groups: NDArray, rows: tuple[NDArray, NDArray]) -> str | None:
    for part, name in zip(rows, ("training", "held-out"), strict=True):
        n, n_groups = int(has_it[part].sum()), len(set(groups[part][has_it[part]]))
        if n < MIN_POSITIVES or n_groups < MIN_GROUPS:
            return (
                f"fewer than {counted(MIN_POSITIVES, f'{name} clip')} from {counted(MIN_GROUPS, 'group')} have it "
                f"({counted(n, 'clip')} from {counted(n_groups, 'group')})"
            )
    known = np.concatenate(rows)
    if all(len(set(has_it[known][groups[known] == group])) == 1 for group in set(groups[known])):
        return "it never varies within a group, so it cannot be separated from the group"
    return None


def _correlations(values_cf: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], Floats]:
    """A function of (c,) targets that gives Pearson's r with every column, NaN where a column does not vary."""
    centred = values_cf - values_cf.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    varies = spread > 1e-9 * np.maximum(np.abs(values_cf).max(axis=0), 1e-12) * np.sqrt(len(values_cf))

    def r(target_c: NDArray[np.float64]) -> Floats:
        off = target_c - target_c.mean()
        scale = float(np.sqrt(off @ off))
        if scale <= 1e-12:
            return np.full(values_cf.shape[1], np.nan)
        return np.where(varies, off @ centred / np.where(varies, spread, 1.0) / scale, np.nan)

    return r


def _centred(values: NDArray[np.float64], groups: NDArray) -> NDArray[np.float64]:
    _, member = np.unique(groups, return_inverse=True)
    flat = values.reshape(len(values), -1)
    sums = np.zeros((member.max() + 1, flat.shape[1]))
    np.add.at(sums, member, flat)
    return (flat - (sums / np.bincount(member)[:, None])[member]).reshape(values.shape)
