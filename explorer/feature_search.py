"""Which features go with something: a value of an attribute, by a rule on the activation; a measure, by correlation.

Every group counts: it is scored by a rule that was chosen without it. What the best of all features reaches by chance
stands beside: with 2,048 of them one always looks good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explorer.label_rules import (
    DIRECTIONS,
    QUANTILES,
    Floats,
    Within,
    cells_of,
    choose_and_score,
    describe,
    thresholds_of,
)
from explorer.permutation import WITHIN, Exchange, critical, exchange_of, p_values

N_PERMUTATIONS = 100
MIN_CLIPS = 3  # for a correlation
ALONE = "cannot be tested: no group has it that could be left out. This describes all clips"
OF_ONE_FOLD = "cannot be tested: it varies within groups of one fold alone. This describes all clips"
UNTAUGHT = "no training clip has this attribute"
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clips:
    """Whose clips train and which are held out: groups, masks, and folds over all groups (-1 for none), (c,) each."""

    groups_c: NDArray
    train_c: Mask
    heldout_c: Mask
    folds_c: NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Found:
    """One entry a feature, NaN for one that is dead or does not vary.

    score, which is tested: of a value, the Matthews correlation (MCC) over all groups, each scored by the rule that is
    best on the others; of a measure, Pearson's r. Both are of the deviations from group means where value or measure
    varies within groups, else over all clips. p: the share of permutations in which the best of all features scores as
    high; critical: what has to be exceeded for p <= 0.05. reason: why nothing can be tested, p and critical are NaN
    then. unseen: F1 of the training clips' rule, or r, on the held-out clips. level: what was exchanged.

    A value: direction and threshold of the training clips' rule; F1, precision, recall and counts (clips found, said to
    have it, that have it) over all groups. A measure: r over all clips.
    """

    score: Floats
    p: Floats
    critical: float
    level: str
    n_groups: int
    reason: str | None = None
    unseen: Floats | None = None
    direction: NDArray[np.object_] | None = None
    threshold: Floats | None = None
    f1: Floats | None = None
    precision: Floats | None = None
    recall: Floats | None = None
    n_hits: Ints | None = None
    n_said: Ints | None = None
    n_there: Ints | None = None
    r: Floats | None = None


def find_value(
    codes_cf: ArrayLike, has_it_c: ArrayLike, clips: Clips, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Found:
    """Features that tell clips that have a value from those that do not. codes: (c, f) activations >= 0; has_it: (c,).

    The rule of automatic labels for this one value. Clips in neither part are left out. A value of one fold's groups
    alone, or that varies within groups of one fold alone, is described: its score is of the rule that is best on all
    clips.
    """
    rows = np.flatnonzero(clips.train_c | clips.heldout_c)
    codes, has_it = np.asarray(codes_cf, np.float32)[rows], np.asarray(has_it_c, bool)[rows]
    train, groups = clips.train_c[rows], np.asarray(clips.groups_c, dtype=object).astype(str)[rows]
    if not train.any():
        nothing = np.full(codes.shape[1], np.nan)
        return Found(
            nothing, nothing, float("nan"), exchange_of(has_it, groups).level, len(set(groups[has_it])), UNTAUGHT
        )
    thresholds = thresholds_of(codes[train], QUANTILES)
    exchange, member = exchange_of(has_it, groups), has_it[None].astype(np.float32)
    cells = cells_of(
        codes, thresholds, np.asarray(clips.folds_c)[rows], train,
        level=exchange.level, member_kc=member, groups_c=groups,
    )  # fmt: skip
    rules = choose_and_score(cells, member[None])
    active = codes.max(axis=0, initial=0) > 0
    everyone, reason = rules.all_groups, exchange.why_not
    if len({cell.fold for cell in cells if cell.fold >= 0 and _tells(has_it[cell.rows], cell.within)}) < 2:
        # no other groups to find a rule on
        everyone, reason = describe(cells, member[None]), reason or (ALONE if exchange.level != WITHIN else OF_ONE_FOLD)
    score = np.where(active, everyone.mcc[0], np.nan)
    reached: list[float] = []
    if not reason:
        for permuted in exchange.permuted(n_permutations, seed=seed, chunk=20):
            mcc = choose_and_score(cells, permuted[:, None].astype(np.float32)).all_groups.mcc
            reached += np.where(active, np.nan_to_num(mcc), -1.0).max(axis=1).tolist()
    p, limit = _judged(score, reached, exchange, n_permutations)
    return Found(
        score=score,
        p=p,
        critical=limit,
        level=exchange.level,
        n_groups=len(set(groups[has_it])),
        reason=reason,
        unseen=np.where(active, rules.unseen.f1[0], np.nan),
        direction=np.array(DIRECTIONS, dtype=object)[rules.direction[0]],
        threshold=thresholds[rules.threshold[0], np.arange(codes.shape[1])].astype(np.float64),
        f1=np.where(active, everyone.f1[0], np.nan),
        precision=np.where(active, everyone.precision[0], np.nan),
        recall=np.where(active, everyone.recall[0], np.nan),
        n_hits=everyone.n_hits[0].astype(np.int64),
        n_said=everyone.n_said[0].astype(np.int64),
        n_there=everyone.n_there[0].astype(np.int64),
    )


def find_measure(
    codes_cf: ArrayLike, measured_c: ArrayLike, clips: Clips, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Found:
    """Features whose activation goes along with a number, by Pearson's r. measured: (c,) floats, NaN where undefined.

    A measure that varies within groups is tested there: r of the deviations from group means, values exchanged within
    groups, so that a feature which only knows the group gets nothing for it.
    """
    measured = np.asarray(measured_c, np.float64)
    rows = np.flatnonzero((clips.train_c | clips.heldout_c) & np.isfinite(measured))
    codes, measured = np.asarray(codes_cf, np.float64)[rows], measured[rows]
    groups, heldout = np.asarray(clips.groups_c, dtype=object).astype(str)[rows], clips.heldout_c[rows]
    exchange = exchange_of(measured, groups)
    _, member = np.unique(groups, return_inverse=True)
    is_within = exchange.level == WITHIN

    def tested(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return _centred(values, member) if is_within and len(values) else values

    if len(rows) < MIN_CLIPS or len(exchange.values) < 2:
        nothing = np.full(codes.shape[1], np.nan)
        reason = f"{len(rows)} clips have it, with {len(exchange.values)} different values"
        return Found(nothing, nothing, float("nan"), exchange.level, len(set(groups)), reason)
    of_tested, of_all = _correlations(tested(codes)), _correlations(codes)
    score, r = of_tested(tested(measured)[None])[0], of_all(measured[None])[0]
    reached: list[float] = []
    if not exchange.why_not:
        for permuted in exchange.permuted(n_permutations, seed=seed, chunk=20):
            found = of_tested(np.stack([tested(row) for row in exchange.values[permuted]]))
            reached += np.nan_to_num(np.abs(found)).max(axis=1).tolist()
    p, limit = _judged(np.abs(score), reached, exchange, n_permutations)
    unseen = np.full(len(score), np.nan)
    if heldout.sum() >= MIN_CLIPS:
        unseen = _correlations(codes[heldout])(measured[heldout][None])[0]
    return Found(score, p, limit, exchange.level, len(set(groups)), exchange.why_not, unseen=unseen, r=r)


def _tells(has_it: Mask, within: Within | None) -> bool:
    return bool(has_it.any() if within is None else (within.label > 0).any())


def _judged(score: Floats, reached: list[float], exchange: Exchange, n: int) -> tuple[Floats, float]:
    """(p a feature, the critical score); NaN where nothing can be tested."""
    if not reached:
        return np.full(len(score), np.nan), float("nan")
    is_exact = exchange.is_exact(n)
    p = np.where(np.isnan(score), np.nan, p_values(score, reached, is_exact=is_exact))
    return p, critical(reached, is_exact=is_exact)


def _correlations(values_cf: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], Floats]:
    """A function of (n, c) targets that gives Pearson's r with every column, (n, f); NaN where one does not vary."""
    centred = values_cf - values_cf.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    varies = spread > 1e-9 * np.maximum(np.abs(values_cf).max(axis=0), 1e-12) * np.sqrt(len(values_cf))
    unit = np.where(varies, centred / np.where(varies, spread, 1.0), np.nan)

    def r(target_nc: NDArray[np.float64]) -> Floats:
        off = target_nc - target_nc.mean(axis=1, keepdims=True)
        scale = np.sqrt((off**2).sum(axis=1, keepdims=True))
        flat = scale <= 1e-12
        return np.where(flat, np.nan, off / np.where(flat, 1.0, scale)) @ unit

    return r


def _centred(values: NDArray[np.float64], member: NDArray) -> NDArray[np.float64]:
    """The deviations from each group's mean, of (c,) or (c, f) values."""
    flat = values.reshape(len(values), -1)
    sums = np.zeros((member.max() + 1, flat.shape[1]))
    np.add.at(sums, member, flat)
    return (flat - (sums / np.bincount(member)[:, None])[member]).reshape(values.shape)
