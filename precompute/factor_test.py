"""Whether factors are predicted beyond chance: measured values exchanged against fixed held-out predictions.

Nothing is fitted again. The held-out predictions come from a model that has seen nothing of those clips, not even for
the choice of alpha, so under no association every exchange is as likely as the true order, and the p values are exact.
(Out-of-fold predictions are not tested so: each clip also takes part in the predictions of the others, which doubles
the spread of R2 under no association, and more where few codes are picked from many.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.permutation import ALPHA, CLIPS, WHOLE, WITHIN, Exchange, critical, exchange_of, p_values
from precompute.metrics import Floats

MANY = round(1 / ALPHA)  # arrangements that are enough
_NO_Z = -np.inf


@dataclass(frozen=True, eq=False)
class Scored:
    """One factor's scored clips: which they are, measured and predicted on one scale, and SST of R2."""

    rows: NDArray[np.intp]
    measured: Floats
    predicted: Floats
    total: float


@dataclass(frozen=True)
class Verdict:
    """p: corrected for all factors of the representation, and for both levels. limit: the R2 that has to be exceeded
    for p <= 0.05. level: what was exchanged, of the levels the one with the smaller p. untested: why there is no p."""

    p: float = float("nan")
    limit: float = float("nan")
    level: str | None = None
    untested: str | None = None


@dataclass(frozen=True, eq=False)
class _Level:
    """One way of exchanging, for factors scored on the same clips: z of the true order and of the others (draws, or all
    there are), and R2 per unit of z."""

    level: str
    z_m: Floats
    null_nm: Floats
    step_m: Floats
    is_exact: bool


def exchange_test(scored: Sequence[Scored], groups_c: NDArray, *, n: int, seed: int) -> list[Verdict]:
    """A verdict for each factor of one representation; `groups_c` are the groups of all clips.

    Two things are exchanged, by the same draws for all factors on the same clips: clips within their groups, which
    tests whether differences inside groups are predicted, and the groups' means among groups, which tests whether
    those between them are. Each gives a number of standard deviations above its own draws; p counts the draws in which
    the largest of these over all factors and both levels reaches the factor's (Westfall & Young 1993).
    """
    verdicts = [Verdict(untested=_why_not(one, groups_c)) for one in scored]
    blocks: dict[bytes, list[int]] = {}
    for at, verdict in enumerate(verdicts):
        if verdict.untested is None:
            blocks.setdefault(scored[at].rows.tobytes(), []).append(at)
    levels = [
        (members, level)
        for members in blocks.values()
        for level in _levels([scored[at] for at in members], groups_c, n=n, seed=seed)
    ]
    if not levels:
        return verdicts
    is_exact = len(levels) == 1 and levels[0][1].is_exact
    null_n = levels[0][1].null_nm.max(axis=1) if is_exact else _joint(levels, n, seed)
    limit = critical(null_n, is_exact=is_exact)
    best = np.full(len(scored), -np.inf)
    for members, level in levels:
        p_m = p_values(level.z_m, null_n, is_exact=is_exact)
        for at, p, z, step in zip(members, p_m, level.z_m, level.step_m, strict=True):
            if verdicts[at].level is None or z > best[at]:
                best[at], one = z, scored[at]
                r2 = 1.0 - float(np.sum((one.measured - one.predicted) ** 2)) / one.total
                verdicts[at] = Verdict(float(p), r2 - float((z - limit) * step) if step > 0 else r2, level.level)
    return verdicts


def _joint(levels: Sequence[tuple[list[int], _Level]], n: int, seed: int) -> Floats:
    """(n,) the largest z over all factors and levels in each draw; few arrangements stand in it equally often."""
    rng, largest = np.random.default_rng(seed), np.full(n, _NO_Z)
    for _, level in levels:
        of_draw = level.null_nm.max(axis=1)
        if level.is_exact:
            turns = [rng.permutation(len(of_draw)) for _ in range(-(-n // len(of_draw)))]
            of_draw = of_draw[np.concatenate(turns)[:n]]
        largest = np.maximum(largest, of_draw)
    return largest


def _why_not(one: Scored, groups_c: NDArray) -> str | None:
    """Why neither level can reach p <= 0.05 for this factor, in words; None where one can."""
    if not len(one.rows) or not one.total > 0:
        return "cannot be tested: " + ("no held-out clip has a value" if not len(one.rows) else "all clips are alike")
    groups = groups_c[one.rows]
    means = np.unique(_means(one.measured[:, None], groups)[:, 0])
    if math.factorial(min(len(means), MANY)) >= MANY:
        return None  # so many different group means can be told apart
    clips = exchange_of(one.measured, groups)
    whole = exchange_of(_means(one.measured[:, None], groups)[:, 0], np.unique(groups.astype(str)))
    return None if clips.why_not is None or whole.smallest_p <= ALPHA else clips.why_not


def _levels(scored: Sequence[Scored], groups_c: NDArray, *, n: int, seed: int) -> list[_Level]:
    """The ways in which the values of factors on these clips can be exchanged."""
    groups = groups_c[scored[0].rows].astype(str)
    measured_cm = np.stack([one.measured for one in scored], axis=1)
    predicted_cm = np.stack([one.predicted for one in scored], axis=1)
    total_m = np.array([one.total for one in scored])
    names, group = np.unique(groups, return_inverse=True)
    within_m, within_p = (values - _means(values, groups)[group] for values in (measured_cm, predicted_cm))
    places = exchange_of(np.arange(len(groups)), groups)
    found = []
    if len(names) < len(groups):  # else there is nothing inside groups
        level = CLIPS if len(names) == 1 else WITHIN
        found.append(_level(level, within_m, within_p, places, 2 / total_m, n, seed))
    if len(names) > 1:
        means = [_means(values, groups) for values in (measured_cm, predicted_cm)]
        between_m, between_p = (values - values.mean(axis=0) for values in means)
        whole = exchange_of(np.arange(len(names)), names)
        step = 2 * len(groups) / len(names) / total_m
        level = CLIPS if len(names) == len(groups) else WHOLE
        found.append(_level(level, between_m, between_p, whole, step, n, seed + 1))
    return found


def _level(
    level: str, measured_um: Floats, predicted_um: Floats, places: Exchange, step_m: Floats, n: int, seed: int
) -> _Level:
    """z of the true order, then of each draw: the sum of products, over its standard deviation over all of these."""
    sums = [np.einsum("um,um->m", measured_um, predicted_um)[None]]
    for rows in places.permuted(n, seed=seed):
        sums.append(np.einsum("num,um->nm", measured_um[rows], predicted_um))
    sums_nm = np.concatenate(sums)
    is_exact = places.is_exact(n)
    every_nm = sums_nm[1:] if is_exact else sums_nm  # all arrangements hold the true one
    spread = every_nm.std(axis=0)
    size = np.sqrt((measured_um**2).sum(axis=0) * (predicted_um**2).sum(axis=0))
    varies = spread > 1e-9 * np.maximum(size, 1e-300)
    z_nm = np.where(varies, (sums_nm - every_nm.mean(axis=0)) / np.where(varies, spread, 1.0), _NO_Z)
    return _Level(level, z_nm[0], z_nm[1:], np.where(varies, step_m * spread, 0.0), is_exact)


def _means(values_cm: Floats, groups: NDArray) -> Floats:
    """(groups, m) the means of each group, in sorted order."""
    _, group = np.unique(groups.astype(str), return_inverse=True)
    size = np.bincount(group)
    sums = np.zeros((len(size), values_cm.shape[1]))
    np.add.at(sums, group, values_cm)
    return sums / size[:, None]
