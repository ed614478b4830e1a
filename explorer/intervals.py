"""Intervals over groups: clips of one group are not independent, so that no interval counts clips.

Point and interval are of one quantity. A share of clips (an accuracy) is a ratio of two sums over groups; so is a
difference between two of them on the same clips. Under MIN_GROUPS_FOR_INTERVAL groups there is no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_GROUPS_FOR_INTERVAL = 8
_NONE = float("nan"), float("nan")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval (NaN where there is none), and over how many groups."""

    value: float
    low: float
    high: float
    n_groups: int


def t_interval(per_group: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The t interval of the mean over groups, one value a group; (NaN, NaN) under 8 groups. NaN values are left out."""
    values = np.asarray(per_group, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < MIN_GROUPS_FOR_INTERVAL:
        return _NONE
    half = t_quantile(level, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def share_interval(hits_g: ArrayLike, n_g: ArrayLike, level: float = 0.95) -> Estimate:
    """The share sum(hits) / sum(n) of clips of G groups, with an interval inside [0, 1] that contains it.

    On the logit scale: the share's standard error by deletion of one group at a time, which follows a group that is
    much larger than the others, or that of independent clips where this is larger; Student's t with G - 1 degrees of
    freedom. Of a share of 0 or 1 the interval is Clopper and Pearson's of G groups that all agree. NaN ends under 8
    groups.
    """
    hits, n = _of_groups(hits_g, n_g)
    share = float(hits.sum() / n.sum()) if len(n) else float("nan")
    if len(n) < MIN_GROUPS_FOR_INTERVAL:
        return Estimate(share, *_NONE, len(n))
    if share in (0.0, 1.0):
        beyond = ((1 - level) / 2) ** (1 / len(n))
        low, high = (beyond, 1.0) if share else (0.0, 1.0 - beyond)
        return Estimate(share, low, high, len(n))
    error = max(float(ratio_of(hits, n)[1]), math.sqrt(share * (1 - share) / float(n.sum())))
    half = t_quantile(level, len(n) - 1) * error / (share * (1 - share))
    logit = math.log(share / (1 - share))
    return Estimate(share, _expit(logit - half), _expit(logit + half), len(n))


def ratio_interval(sums_g: ArrayLike, weights_g: ArrayLike, level: float = 0.95) -> Estimate:
    """sum(sums) / sum(weights) over G groups, as a difference of two accuracies (clips that one has right and the other
    has not, per clip) or of two FVU (squared error per squared deviation).

    Student's t interval with G - 1 degrees of freedom, its standard error by deletion of one group at a time. NaN ends
    under 8 groups; groups of no weight are left out.
    """
    sums, weights = _of_groups(sums_g, weights_g)
    value = float(sums.sum() / weights.sum()) if len(weights) else float("nan")
    if len(weights) < MIN_GROUPS_FOR_INTERVAL:
        return Estimate(value, *_NONE, len(weights))
    half = t_quantile(level, len(weights) - 1) * float(ratio_of(sums, weights)[1])
    return Estimate(value, value - half, value + half, len(weights))


def _of_groups(sums_g: ArrayLike, weights_g: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sums, weights = np.asarray(sums_g, np.float64), np.asarray(weights_g, np.float64)
    kept = np.isfinite(sums) & (weights > 0)
    return sums[kept], weights[kept]


def ratio_of(sums_bg: ArrayLike, weights_g: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(value, standard error) of sum(sums) / sum(weights) over the groups, the last axis; by deletion of one at a time:
    sqrt((G - 1) / G * sum over groups of (without the group - whole)^2)."""
    sums, weights = np.asarray(sums_bg, np.float64), np.asarray(weights_g, np.float64)
    total, weight, n = sums.sum(axis=-1, keepdims=True), weights.sum(), len(weights)
    whole = total / weight
    without = (total - sums) / (weight - weights)
    return whole[..., 0], np.sqrt((n - 1) / n * np.sum((without - whole) ** 2, axis=-1))


def _expit(logit: float) -> float:
    """1 / (1 + exp(-logit)), at any logit."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))


def t_quantile(level: float, df: int) -> float:
    """Student's two-sided quantile."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + level / 2, df))
