"""Scores over all groups: each clip predicted by what was fitted without its group, at the alpha chosen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from precompute.factor_fit import FactorFit, lasso_scaler
from precompute.factor_target import fit_scale
from precompute.lasso import ROUGH, Problem, make_problem, solve_path, unchecked
from precompute.metrics import Array, Floats, r2_within_group

Rows = NDArray[np.intp]


def with_all_groups(
    fits: Mapping[int, FactorFit],
    patterns: Sequence[Sequence[int]],
    x_cd: Array,
    y_cg: Floats,
    groups_c: NDArray,
    fold_c: NDArray[np.integer],
    pool: Executor,
    x_by_fold: Mapping[int, Array] | None = None,
) -> dict[int, FactorFit]:
    """`fits`, those with an alpha also with r2_all, r2_all_within and their n.

    `fold_c`: (c,) folds over all groups, -1 for clips that take no part; `patterns` are factors with values on the same
    clips. Columns are standardised, and values clipped or ranked (as `transform` of the fit says), by each fold's
    fitting clips alone. `x_by_fold` takes the place of `x_cd` where a fold is scored.
    """
    scored: dict[int, list[tuple[Rows, Floats, Floats, float]]] = {g: [] for g in fits}
    members_of = [[g for g in members if np.isfinite(fits[g].alpha)] for members in patterns]
    for fold in np.unique(fold_c[fold_c >= 0]):
        fitting, scoring = (fold_c >= 0) & (fold_c != fold), fold_c == fold
        x = np.asarray(x_cd if x_by_fold is None else x_by_fold[int(fold)], np.float64)
        scaler, varies = lasso_scaler(x, fitting)
        z = (x[:, varies] - scaler.x_mean[varies]) / scaler.x_scale[varies]
        for members in members_of:
            if not members:
                continue
            present = np.isfinite(y_cg[:, members[0]])
            fit_rows, score_rows = np.flatnonzero(fitting & present), np.flatnonzero(scoring & present)
            if not len(fit_rows) or not len(score_rows):
                continue
            one = partial(_out_of_fold, z=z, y_cg=y_cg, fit_rows=fit_rows, score=score_rows)
            one = partial(one, problem=make_problem(z[fit_rows]))
            for g, found in zip(members, pool.map(one, [fits[g] for g in members]), strict=True):
                scored[g].append((score_rows, *found))
    _, group_c = np.unique(groups_c, return_inverse=True)
    return {g: _over_folds(fit, scored[g], group_c) for g, fit in fits.items()}


def _out_of_fold(
    fit: FactorFit, *, z: Floats, y_cg: Floats, fit_rows: Rows, score: Rows, problem: Problem
) -> tuple[Floats, Floats, float]:
    """(measured, predicted) of the scored clips as fitted, and the mean of the fitting clips."""
    y = y_cg[:, fit.factor_index]
    how = fit_scale(y[fit_rows], is_ranked=fit.transform is not None)
    target = how.of(y[fit_rows])
    mean, spread = float(target.mean()), float(target.std())
    measured = how.of(y[score])
    if not spread > 0:
        return measured, np.full(len(score), mean), mean
    with unchecked():
        found = next(
            solve_path(problem, (target - mean) / spread, [fit.alpha], tolerance=ROUGH, n_expected=fit.n_weights)
        )
    return measured, found.predict(z[score]) * spread + mean, mean


def _over_folds(fit: FactorFit, parts: Sequence[tuple[Rows, Floats, Floats, float]], group_c: NDArray) -> FactorFit:
    if not parts:
        return fit
    rows, measured, predicted = (np.concatenate([part[at] for part in parts]) for at in range(3))
    about = np.concatenate([np.full(len(part[0]), part[3]) for part in parts])
    total = float(np.sum((measured - about) ** 2))
    return replace(
        fit,
        r2_all=1.0 - float(np.sum((measured - predicted) ** 2)) / total if total > 0 else float("nan"),
        r2_all_within=r2_within_group(measured, predicted, group_c[rows]),
        n_all_clips=len(rows),
        n_all_groups=len(np.unique(group_c[rows])),
    )
