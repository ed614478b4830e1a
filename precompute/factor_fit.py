"""One factor's Lasso: its settings, its result, and what makes a factor fit to be predicted at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from explorer.text import count, percent
from precompute.lasso import Solution
from precompute.metrics import Array, Floats, completeness
from precompute.probes import standardiser

PAPER_ALPHA = 0.1
MIN_DISTINCT, MIN_GROUPS, MAX_SHARE_OF_ONE_CLIP = 50, 5, 0.2
CLIP_QUANTILES = (0.005, 0.995)
MANY_PERMUTATIONS = 20  # from here on a 95th percentile, below it the largest
NAN = float("nan")


@dataclass(frozen=True)
class LassoSettings:
    """How alpha is found: 'cv' (folds inside train), 'given' (one a factor, by the caller), 'fixed' (`fixed_alpha`).

    `alphas` is the length of the path and `eps` its lowest alpha over its highest. `n_permutations` refits each factor
    with its values permuted over the training clips. `count_codes` walks the path for n_codes_90, the costly part when
    alpha is not searched for.
    """

    mode: str = "cv"
    alphas: int = 20
    eps: float = 1e-3
    n_permutations: int = 5
    seed: int = 0
    fixed_alpha: float = PAPER_ALPHA
    count_codes: bool = True


@dataclass(frozen=True, eq=False)
class LassoScaler:
    """Standardises the columns: (x - x_mean) / x_scale; a column that was constant in the fit has scale 1."""

    x_mean: Floats
    x_scale: Floats


def _no_weights() -> tuple[NDArray[np.int64], Floats]:
    return np.zeros(0, np.int64), np.zeros(0)


def _no_values() -> Floats:
    return np.zeros(0)


def _no_rows() -> NDArray[np.intp]:
    return np.zeros(0, np.intp)


@dataclass(frozen=True, eq=False)
class FactorFit:
    """One factor. `weights` (dimensions, values) act on standardised columns; see `predict` for the rest of the model.

    r2 is held out (1 - SSE / SST over all scored clips together, SST about the training mean), except under `paper`,
    where it is in-sample. r2_permuted is the largest over the permuted refits at the same alpha, or from 20
    permutations on their 95th percentile. completeness, effective_codes and n_codes_90 (the fewest weights on the path
    that reach 90 % of its best held-out r2) need r2 > max(0, r2_permuted). `heldout_index`: the scored clips' rows;
    `measured_heldout` (clipped as the fit saw it) and `predicted_heldout` are in the factor's own unit.
    """

    factor_index: int
    scaler: LassoScaler = field(repr=False)
    alpha: float = NAN
    alpha_source: str = ""
    r2: float = NAN
    r2_within_group: float = NAN
    r2_permuted: float = NAN
    r2_train: float = NAN
    n_train: int = 0
    n_clips: int = 0
    n_groups: int = 0
    n_weights: int = 0
    weights: tuple[NDArray[np.int64], Floats] = field(default_factory=_no_weights, repr=False)
    intercept: float = NAN
    y_mean: float = NAN
    y_scale: float = NAN
    clip_low: float = NAN
    clip_high: float = NAN
    completeness: float = NAN
    n_dims: int = 0  # the D of completeness
    effective_codes: float = NAN
    n_codes_90: int | None = None
    reason: str | None = None
    is_converged: bool = True
    predicted_heldout: Floats = field(default_factory=_no_values, repr=False)
    measured_heldout: Floats = field(default_factory=_no_values, repr=False)
    heldout_index: NDArray[np.intp] = field(default_factory=_no_rows, repr=False)

    def predict(self, x_cd: Array) -> Floats:
        """Predictions in the factor's unit: (z[:, dims] @ values + intercept) * y_scale + y_mean, z standardised."""
        dims, values = self.weights
        z = (np.asarray(x_cd, np.float64)[:, dims] - self.scaler.x_mean[dims]) / self.scaler.x_scale[dims]
        return (z @ values + self.intercept) * self.y_scale + self.y_mean


@dataclass(frozen=True, eq=False)
class Target:
    """One factor as the fit sees it: clipped, the training part also standardised by `mean` and `scale`."""

    train: Floats
    heldout: Floats  # clipped, in the factor's unit
    mean: float
    scale: float
    low: float
    high: float


def make_target(y_train: Floats, y_heldout: Floats, n_groups: int) -> Target | str:
    """Clip and standardise one factor's values (all finite), or say in words why it is not predicted.

    Clipped to the 0.5 and 99.5 percentiles of the training values; `n_groups` counts both parts.
    """
    n_distinct = len(np.unique(y_train))
    if n_distinct < MIN_DISTINCT:
        return f"{count(n_distinct, 'distinct value')} in the training part, fewer than {MIN_DISTINCT}"
    if n_groups < MIN_GROUPS:
        return f"values from {count(n_groups, 'group')}, fewer than {MIN_GROUPS}"
    if not len(y_heldout):
        return "no held-out clip has a value"
    low, high = (float(q) for q in np.quantile(y_train, CLIP_QUANTILES))
    if not high > low:
        return "no spread between the 0.5 and 99.5 percentiles of the training part"
    train, heldout = np.clip(y_train, low, high), np.clip(y_heldout, low, high)
    mean, scale = float(train.mean()), float(train.std())
    for part, values in (("training", train), ("held-out", heldout)):
        squares = (values - mean) ** 2
        if not squares.sum() > 0:
            return f"the {part} part does not differ from the training mean"
        share = float(squares.max() / squares.sum())
        if share > MAX_SHARE_OF_ONE_CLIP:
            return (
                f"one clip holds {percent(share)} of the {part} part's variance, more than "
                f"{percent(MAX_SHARE_OF_ONE_CLIP)}"
            )
    return Target((train - mean) / scale, heldout, mean, scale, low, high)


def permuted_limit(r2_permuted: list[float]) -> float:
    """What a permuted factor reaches: the largest r2, or from 20 permutations on the 95th percentile; NaN for none."""
    if not r2_permuted:
        return NAN
    return float(np.max(r2_permuted) if len(r2_permuted) < MANY_PERMUTATIONS else np.quantile(r2_permuted, 0.95))


def with_model(fit: FactorFit, solution: Solution, varies: NDArray[np.bool_], *, gated: bool) -> FactorFit:
    """`fit` with the solution's weights, and their completeness: only for r2 > max(0, r2_permuted) when `gated`."""
    dims = np.flatnonzero(varies)[np.flatnonzero(solution.weights_d)]
    values = solution.weights_d[np.flatnonzero(solution.weights_d)]
    fit = replace(fit, weights=(dims, values), n_weights=len(dims), n_dims=len(varies), intercept=solution.intercept)
    if gated and not (fit.r2 > 0 and fit.r2 > fit.r2_permuted):
        return replace(fit, n_codes_90=None)
    full = np.zeros((len(varies), 1))
    full[dims, 0] = values
    score, codes = completeness(full)
    return replace(fit, completeness=float(score[0]), effective_codes=float(codes[0]))


def weights_matrix(fits: Sequence[FactorFit], n_dims: int) -> Floats:
    """(dimensions, factors) dense weights, one column a fit in the given order; zeros where a fit has none."""
    weights_fg = np.zeros((n_dims, len(fits)))
    for column, fit in enumerate(fits):
        weights_fg[fit.weights[0], column] = fit.weights[1]
    return weights_fg


def lasso_scaler(x_cd: Array, fit_mask: NDArray[np.bool_]) -> tuple[LassoScaler, NDArray[np.bool_]]:
    """(the scaler of the fitting clips, which columns vary over them)."""
    mean, scale, varies = standardiser(np.asarray(x_cd)[np.asarray(fit_mask, bool)])
    return LassoScaler(mean, scale), varies


def same_clips(y_cg: Floats, used: NDArray[np.bool_]) -> list[list[int]]:
    """Factors, by which of the used clips they have a value on: they share one Gram matrix."""
    patterns: dict[bytes, list[int]] = defaultdict(list)
    for g in range(y_cg.shape[1]):
        patterns[np.packbits(np.isfinite(y_cg[used, g])).tobytes()].append(g)
    return list(patterns.values())
