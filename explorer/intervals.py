"""Intervals over groups: clips of one group are not independent, so that no interval counts clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

MIN_GROUPS_FOR_INTERVAL = 8


def t_interval(per_group: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The t interval of the mean over groups, one value a group; (NaN, NaN) under 8 groups. NaN values are left out."""
    from scipy import stats

    values = np.asarray(per_group, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < MIN_GROUPS_FOR_INTERVAL:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
