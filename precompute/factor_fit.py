"""One factor's Lasso: its settings, its result, and what makes a factor count as predicted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from explorer.factor_words import MIN_R2
from explorer.permutation import ALPHA, WITHIN
from precompute.factor_target import Scale
from precompute.factor_test import Verdict
from precompute.lasso import Solution
from precompute.metrics import Array, Floats, completeness
from precompute.probes import standardiser

PAPER_ALPHA = 0.1
MANY_PERMUTATIONS = 20  # from here on a 95th percentile, below it the largest
NAN = float("nan")


@dataclass(frozen=True)
class LassoSettings:
    """How alpha is found: 'cv' (folds inside train), 'given' (one a factor, by the caller), 'fixed' (`fixed_alpha`).

    `alphas` is the length of the path and `eps` its lowest alpha over its highest. `n_permutations` exchanges of the
    measured values test what was predicted, without fitting again. `n_refits` fits each factor as often again, with its
    training values shuffled. `count_codes` finds n_codes_90 where alpha is not searched for, which costs that search.
    """

    mode: str = "cv"
    alphas: int = 20
    eps: float = 1e-3
    n_permutations: int = 1000
    seed: int = 0
    fixed_alpha: float = PAPER_ALPHA
    count_codes: bool = False
    n_refits: int = 0


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
    where it is in-sample; r2_folds is over the folds of the training groups, r2_all and r2_all_within over folds of all
    groups. r2_p is the p value of r2 corrected for all factors (`factor_test`), r2_permuted what r2 has to exceed for
    0.05, tested_by what was exchanged, untested why nothing was. is_predicted: p <= 0.05 and R2 of MIN_R2 at least.
    r2_refits: what refits to shuffled values reach. completeness (over the `n_dims` columns that vary),
    effective_codes and n_codes_90 are of predicted factors. `heldout_index`: the scored clips' rows;
    `measured_heldout` and `predicted_heldout` are as fitted: clipped, in the factor's own unit, or normal scores where
    `transform` says ranked.
    """

    factor_index: int
    scaler: LassoScaler = field(repr=False)
    alpha: float = NAN
    alpha_source: str = ""
    r2: float = NAN
    r2_within_group: float = NAN
    r2_permuted: float = NAN
    r2_train: float = NAN
    r2_folds: float = NAN
    r2_all: float = NAN
    r2_all_within: float = NAN
    r2_p: float = NAN
    r2_refits: float = NAN
    tested_by: str | None = None
    untested: str | None = None
    is_predicted: bool | None = None
    n_train: int = 0
    n_clips: int = 0
    n_groups: int = 0
    n_all_clips: int = 0
    n_all_groups: int = 0
    n_weights: int = 0
    weights: tuple[NDArray[np.int64], Floats] = field(default_factory=_no_weights, repr=False)
    intercept: float = NAN
    y_mean: float = NAN
    y_scale: float = NAN
    how: Scale | None = field(default=None, repr=False)
    transform: str | None = None
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
        """Predictions in the factor's unit: (z[:, dims] @ values + intercept) * y_scale + y_mean, z standardised; where
        the factor is ranked, these are normal scores and turned back into values."""
        dims, values = self.weights
        z = (np.asarray(x_cd, np.float64)[:, dims] - self.scaler.x_mean[dims]) / self.scaler.x_scale[dims]
        said: Floats = (z @ values + self.intercept) * self.y_scale + self.y_mean
        return said if self.how is None else self.how.back(said)


def permuted_limit(r2_permuted: list[float]) -> float:
    """What a permuted factor reaches: the largest r2, or from 20 permutations on the 95th percentile; NaN for none."""
    if not r2_permuted:
        return NAN
    return float(np.max(r2_permuted) if len(r2_permuted) < MANY_PERMUTATIONS else np.quantile(r2_permuted, 0.95))


def with_weights(fit: FactorFit, solution: Solution, varies: NDArray[np.bool_]) -> FactorFit:
    """`fit` with the solution's weights, by their place among all columns."""
    dims = np.flatnonzero(varies)[np.flatnonzero(solution.weights_d)]
    values = solution.weights_d[np.flatnonzero(solution.weights_d)]
    return replace(fit, weights=(dims, values), n_weights=len(dims), intercept=solution.intercept)


def with_completeness(fit: FactorFit) -> FactorFit:
    """`fit` with completeness over its `n_dims` columns, and effective codes."""
    full = np.zeros((fit.n_dims, 1))
    full[: fit.n_weights, 0] = fit.weights[1]  # which columns they are changes nothing
    score, codes = completeness(full)
    return replace(fit, completeness=float(score[0]), effective_codes=float(codes[0]))


def judged(fit: FactorFit, verdict: Verdict) -> FactorFit:
    """`fit` with what the test says; how few codes it hangs on only where it is predicted."""
    fit = replace(
        fit, r2_p=verdict.p, r2_permuted=verdict.limit, tested_by=verdict.level, untested=verdict.untested
    )  # fmt: skip
    if math.isnan(fit.r2):
        return replace(fit, n_codes_90=None)
    r2, within = (fit.r2, fit.r2_within_group) if math.isnan(fit.r2_all) else (fit.r2_all, fit.r2_all_within)
    is_large = r2 >= MIN_R2 and (verdict.level != WITHIN or within >= MIN_R2)
    fit = replace(fit, is_predicted=bool(verdict.p <= ALPHA and is_large))
    return with_completeness(fit) if fit.is_predicted else replace(fit, n_codes_90=None)


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
