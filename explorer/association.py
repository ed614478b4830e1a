"""How a feature's activation goes along with a measure of the clips: over all, within groups, and as a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from explorer.intervals import t_interval

MIN_CLIPS, MIN_CLIPS_IN_GROUP = 3, 5
N_BINS = 10


@dataclass(frozen=True)
class Association:
    """Pearson's r over all clips; `within`: of the deviations from each group's means, which no difference between
    groups can make. low, high: 95 % t interval over groups of the groups' own r (on Fisher's z), NaN under 8 groups.

    NaN where undefined: under 3 clips, or nothing varies.
    """

    r: float
    within: float
    low: float
    high: float
    n_clips: int
    n_groups: int


def associate(values_c: ArrayLike, measured_c: ArrayLike, groups_c: ArrayLike) -> Association:
    """Of the clips on which both are defined. values, measured: (c,) floats; groups: (c,) names."""
    values, measured, groups = _defined(values_c, measured_c, groups_c)
    names, member = np.unique(groups, return_inverse=True)
    own = [
        _pearson(values[member == place], measured[member == place])
        for place in range(len(names))
        if np.sum(member == place) >= MIN_CLIPS_IN_GROUP
    ]
    low, high = t_interval(np.arctanh(np.clip(own, -0.999999, 0.999999)))
    within = _pearson(_centred(values, member), _centred(measured, member)) if len(names) > 1 else float("nan")
    return Association(
        _pearson(values, measured), within, float(np.tanh(low)), float(np.tanh(high)), len(values), len(names)
    )


def tuning_curve(values_c: ArrayLike, measured_c: ArrayLike, groups_c: ArrayLike, n_bins: int = N_BINS) -> pd.DataFrame:
    """The mean activation in bins of equally many clips along the measure: one row a bin that has clips.

    measured (the bin's median), mean (of the groups' means in the bin), low, high (t interval over groups, NaN under
    8), n_clips, n_groups. Empty where the measure does not vary.
    """
    values, measured, groups = _defined(values_c, measured_c, groups_c)
    columns = ["measured", "mean", "low", "high", "n_clips", "n_groups"]
    edges = np.unique(np.quantile(measured, np.linspace(0, 1, n_bins + 1))) if len(measured) else np.empty(0)
    if len(edges) < 2:
        return pd.DataFrame(columns=columns)
    place = np.clip(np.searchsorted(edges, measured, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for number in np.unique(place):
        inside = place == number
        by_group = pd.Series(values[inside]).groupby(groups[inside]).mean().to_numpy()
        low, high = t_interval(by_group)
        rows.append((np.median(measured[inside]), by_group.mean(), low, high, int(inside.sum()), len(by_group)))
    return pd.DataFrame(rows, columns=columns)


def _defined(
    values_c: ArrayLike, measured_c: ArrayLike, groups_c: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray]:
    values, measured = np.asarray(values_c, np.float64), np.asarray(measured_c, np.float64)
    known = np.isfinite(values) & np.isfinite(measured)
    return values[known], measured[known], np.asarray(groups_c, dtype=object).astype(str)[known]


def _centred(values: NDArray[np.float64], member: NDArray) -> NDArray[np.float64]:
    return values - (np.bincount(member, values) / np.bincount(member))[member]


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if len(one) < MIN_CLIPS:
        return float("nan")
    a, b = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    tiny = 1e-9 * len(one) * max(float(np.abs(one).max()), 1e-12) * max(float(np.abs(other).max()), 1e-12)
    return float(a @ b) / scale if scale > tiny else float("nan")
