"""A factor's values as the Lasso sees them: clipped, or ranked where one clip would rule, by the fitting clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from explorer.prediction import unranked
from explorer.text import percent
from precompute.metrics import Floats

CLIP_QUANTILES = (0.005, 0.995)
MAX_SHARE_OF_ONE_CLIP = 0.2
N_KNOTS = 101


@dataclass(frozen=True, eq=False)
class Scale:
    """From a factor's unit to what is fitted, and back.

    Clipped (`scores` is None): values between `low` and `high`, in the factor's unit. Ranked: normal scores of the
    rank among the fitting clips, equal values at their middle rank; `values` (sorted, distinct) have the `scores`, and
    `knots` are the values at N_KNOTS evenly spaced shares of the fitting clips.
    """

    low: float
    high: float
    values: Floats | None = None
    scores: Floats | None = None
    knots: Floats | None = None

    def of(self, y_c: Floats) -> Floats:
        """The values as they are fitted and scored."""
        if self.values is None or self.scores is None:
            return np.clip(y_c, self.low, self.high)
        return np.interp(y_c, self.values, self.scores)

    def back(self, scaled_c: Floats) -> Floats:
        """In the factor's own unit again."""
        return scaled_c if self.knots is None else unranked(scaled_c, self.knots)


@dataclass(frozen=True, eq=False)
class Target:
    """One factor: `train` and `heldout` as fitted (see Scale), `train` also standardised by `mean` and `scale`."""

    train: Floats
    heldout: Floats
    mean: float
    scale: float
    how: Scale
    transform: str | None = None  # 'ranked: ...', why; None where clipped


def make_target(y_train: Floats, y_heldout: Floats) -> Target | str:
    """Scale and standardise one factor's values (all finite), or say in words why it cannot be predicted."""
    if not len(y_train):
        return "no training clip has a value"
    if not np.ptp(y_train) > 0:
        return "the same value in every training clip"
    transform = why_ranked(y_train)
    how = fit_scale(y_train, is_ranked=transform is not None)
    train = how.of(y_train)
    mean, scale = float(train.mean()), float(train.std())
    if not scale > 0:
        return "values too alike to tell apart in the training part"
    return Target((train - mean) / scale, how.of(y_heldout), mean, scale, how, transform)


def why_ranked(y_c: Floats) -> str | None:
    """Why values are ranked and not clipped, in words: one clip holds over a fifth of the variance that clipping
    leaves, and a smaller part of it once ranked. None where they are clipped."""
    clipped = fit_scale(y_c, is_ranked=False).of(y_c)
    share = _share_of_one(clipped)
    if share <= MAX_SHARE_OF_ONE_CLIP or _share_of_one(fit_scale(y_c, is_ranked=True).of(y_c)) >= share:
        return None
    return f"ranked: one clip holds {percent(share)} of the variance"


def fit_scale(y_c: Floats, *, is_ranked: bool) -> Scale:
    """Limits at the 0.5 and 99.5 percentiles of the fitting clips (the extremes, where nothing is left between those),
    or their ranks."""
    low, high = (float(q) for q in np.quantile(y_c, CLIP_QUANTILES))
    if not high > low:
        low, high = float(y_c.min()), float(y_c.max())
    if not is_ranked:
        return Scale(low, high)
    values, counts = np.unique(y_c, return_counts=True)
    share = (np.cumsum(counts) - counts / 2) / len(y_c)
    return Scale(
        float(values[0]), float(values[-1]), values, ndtri(share), np.quantile(y_c, np.linspace(0.0, 1.0, N_KNOTS))
    )


def _share_of_one(y_c: Floats) -> float:
    squares = (y_c - y_c.mean()) ** 2
    return float(squares.max() / squares.sum()) if squares.sum() > 0 else 0.0
