"""The published Lasso, faults of scoring included: alpha 0.1, scored on the clips it was fitted on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from precompute.factor_fit import (
    PAPER_ALPHA,
    FactorFit,
    LassoScaler,
    lasso_scaler,
    permuted_limit,
    same_clips,
    with_completeness,
    with_weights,
)
from precompute.lasso import Problem, convergence_in_results, make_problem, solve_path
from precompute.metrics import Array, Floats, r2_score

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]


def fit_factors_paper(
    x_cd: Array,
    y_cg: Array,
    seed: int,
    *,
    groups_c: NDArray,
    n_permutations: int = 5,
    completeness_of_no_weight: float | None = None,
    n_jobs: int = 1,
) -> list[FactorFit]:
    """The published Lasso: alpha 0.1, columns and factors standardised, nothing clipped, scored on the same clips.

    `r2` and `r2_train` are in-sample, so noise alone scores well when columns outnumber clips; `r2_permuted` is the
    same for the factor's values permuted over the clips. A factor with a constant value, or none, has a reason instead.
    `completeness_of_no_weight` is the value for a factor without weights: None leaves it undefined, 1.0 repeats the
    published fault. Source: `protocol.lasso` in paper_results.json.
    `groups_c` is counted only.
    """
    x, y = np.asarray(x_cd, np.float64), np.asarray(y_cg, np.float64)
    groups = np.asarray(groups_c, dtype=object).astype(str)
    fits: list[FactorFit] = []
    scaler, varies = lasso_scaler(x, np.ones(len(x), bool))
    z = (x[:, varies] - scaler.x_mean[varies]) / scaler.x_scale[varies]
    with convergence_in_results(), ThreadPoolExecutor(max_workers=max(1, n_jobs)) as pool:
        for members in same_clips(y, np.ones(len(x), bool)):
            rows = np.flatnonzero(np.isfinite(y[:, members[0]]))
            fit_one = partial(_fit_one, z=z[rows], y_cg=y[rows], rows=rows, seed=seed, n_permutations=n_permutations)
            fit_one = partial(fit_one, n_groups=len(set(groups[rows])))
            fits += pool.map(partial(fit_one, scaler=scaler, varies=varies, problem=make_problem(z[rows])), members)
    if completeness_of_no_weight is not None:
        fits = [
            replace(fit, completeness=completeness_of_no_weight) if fit.n_weights == 0 and not fit.reason else fit
            for fit in fits
        ]
    return sorted(fits, key=lambda fit: fit.factor_index)


def _fit_one(
    g: int,
    *,
    z: Floats,
    y_cg: Floats,
    rows: Rows,
    seed: int,
    n_groups: int,
    n_permutations: int,
    scaler: LassoScaler,
    varies: Mask,
    problem: Problem,
) -> FactorFit:
    """One factor in-sample; `z` (columns that vary, standardised) and `y_cg` hold the clips `rows`, with values."""
    n = len(rows)
    fit = FactorFit(
        g,
        scaler,
        alpha=PAPER_ALPHA,
        alpha_source="paper",
        n_dims=len(varies),
        n_train=n,
        n_clips=n,
        n_groups=n_groups,
    )
    y = y_cg[:, g]
    if not n or not np.ptp(y) > 0:
        return replace(fit, reason="no value" if not n else "the same value in every clip")
    if not varies.any():
        return replace(fit, reason="no dimension varies over the clips")
    mean, scale = float(y.mean()), float(y.std())
    rng = np.random.default_rng([seed, g])
    targets = [(y - mean) / scale, *(rng.permutation((y - mean) / scale) for _ in range(n_permutations))]
    solutions = [next(solve_path(problem, target, [PAPER_ALPHA])) for target in targets]
    scores = [r2_score(target, found.predict(z), 0.0) for target, found in zip(targets, solutions, strict=True)]
    fit = replace(
        fit,
        r2=scores[0],
        r2_train=scores[0],
        r2_permuted=permuted_limit(scores[1:]),
        y_mean=mean,
        y_scale=scale,
        predicted_heldout=solutions[0].predict(z) * scale + mean,
        measured_heldout=y,
        heldout_index=rows,
        is_converged=solutions[0].is_converged,
    )
    return with_completeness(with_weights(fit, solutions[0], varies))
