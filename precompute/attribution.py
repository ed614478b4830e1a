"""Acoustic factors from representations by the Lasso: how well each is predicted, and by which dimensions.

`fit_factors` is the sound protocol: the scaler, the clipping and alpha are fitted on the training clips, R2 is counted
on the held-out ones, beside the R2 of permuted factors. `fit_factors_paper` repeats the published one (alpha 0.1,
scored on the clips it was fitted on). NaN is undefined, and `reason` says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from explorer.text import count
from precompute.factor_fit import (
    NAN,
    FactorFit,
    LassoScaler,
    LassoSettings,
    Target,
    lasso_scaler,
    make_target,
    permuted_limit,
    same_clips,
    weights_matrix,
    with_model,
)
from precompute.factor_fit_paper import fit_factors_paper
from precompute.lasso import (
    PATIENCE,
    ROUGH,
    Problem,
    Solution,
    alpha_grid,
    choose_alpha,
    convergence_in_results,
    make_problem,
    solve_path,
    unchecked,
)
from precompute.metrics import Array, Floats, r2_score, r2_within_group

__all__ = ["FactorFit", "LassoScaler", "LassoSettings", "fit_factors", "fit_factors_paper"]
__all__ += ["lasso_scaler", "weights_matrix"]

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Clips:
    """What factors with values on the same clips share. `x_*` are the columns that vary, standardised; rows are of all
    clips."""

    x_train: Floats
    x_heldout: Floats
    heldout: Rows
    groups_heldout: NDArray
    problem: Problem
    folds: list[tuple[Problem, Rows, Rows]]
    varies: Mask


def fit_factors(
    x_cd: Array,
    y_cg: Array,
    groups_c: NDArray,
    *,
    train_mask: Mask,
    heldout_mask: Mask,
    folds_c: NDArray[np.integer],
    settings: LassoSettings,
    given_alphas_g: Sequence[float] | None = None,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[FactorFit]:
    """Fit every factor (column of `y_cg`, NaN where missing) on the training clips and score it on the held-out ones.

    Returns one FactorFit a factor, in order. A factor has none, with a reason, when it has under 50 distinct training
    values, values from under 5 groups (both parts together), one clip with over 20 % of either part's variance (after
    clipping to the training part's 0.5 to 99.5 percentiles), no held-out value, or a group in both parts. Columns
    constant over the training clips get weight 0. `folds_c` (-1: in none) serves mode 'cv'; mode 'given' takes
    `given_alphas_g` (NaN: no fit). `n_jobs` threads; the result does not depend on it. `progress` gets (factors done,
    factors). ValueError for an unknown mode or a wrong number of alphas.
    """
    _check(settings, given_alphas_g, np.shape(y_cg)[1])
    x, y = np.asarray(x_cd, np.float64), np.asarray(y_cg, np.float64)
    train, heldout = np.asarray(train_mask, bool), np.asarray(heldout_mask, bool)
    groups = np.asarray(groups_c, dtype=object).astype(str)
    scaler, varies = lasso_scaler(x, train)
    z = (x[:, varies] - scaler.x_mean[varies]) / scaler.x_scale[varies]
    fits: dict[int, FactorFit] = {}
    with convergence_in_results(), ThreadPoolExecutor(max_workers=max(1, n_jobs)) as pool:
        for members in same_clips(y, train | heldout):
            present = np.isfinite(y[:, members[0]])
            rows = np.flatnonzero(train & present), np.flatnonzero(heldout & present)
            starts = [_start(g, scaler, x.shape[1], y[:, g], rows, groups, given_alphas_g) for g in members]
            fits.update({blank.factor_index: blank for blank, target in starts if target is None})
            usable = [(blank, target) for blank, target in starts if target is not None]
            if not usable:
                continue
            clips = _shared(z, rows, np.where(train, folds_c, -1), groups, varies, settings.mode)
            for fit in pool.map(partial(_fit_in_thread, clips=clips, settings=settings), usable):
                fits[fit.factor_index] = fit
                if progress is not None:
                    progress(len(fits), y.shape[1])
    if progress is not None:
        progress(len(fits), y.shape[1])
    return [fits[g] for g in range(y.shape[1])]


def _check(settings: LassoSettings, given_alphas_g: Sequence[float] | None, n_factors: int) -> None:
    if settings.mode not in ("cv", "given", "fixed"):
        raise ValueError(f"Unknown mode {settings.mode!r}: use 'cv', 'given' or 'fixed'.")
    if settings.mode == "given" and (given_alphas_g is None or len(given_alphas_g) != n_factors):
        raise ValueError(f"Mode 'given' needs one alpha for each factor, {n_factors} in all.")


def _start(
    g: int,
    scaler: LassoScaler,
    n_dims: int,
    y: Floats,
    rows: tuple[Rows, Rows],
    groups: NDArray,
    given: Sequence[float] | None,
) -> tuple[FactorFit, Target | None]:
    """The empty result of one factor, and the factor as the fit sees it, or None with the reason in the result."""
    train, heldout = rows
    blank = FactorFit(
        g, scaler, n_dims=n_dims, n_train=len(train), n_clips=len(heldout), n_groups=len(set(groups[heldout]))
    )
    shared = sorted(set(groups[train]) & set(groups[heldout]))
    target = make_target(y[train], y[heldout], len(set(groups[train]) | set(groups[heldout])))
    if isinstance(target, str):
        return replace(blank, reason=target), None
    if shared:
        return replace(blank, reason=f"a leak: {count(len(shared), 'group')} in both parts, such as {shared[0]}"), None
    if given is not None and math.isnan(given[g]):
        return replace(blank, reason="no alpha was given"), None
    alpha = NAN if given is None else float(given[g])
    return replace(
        blank, alpha=alpha, y_mean=target.mean, y_scale=target.scale, clip_low=target.low, clip_high=target.high
    ), target


def _shared(
    z: Floats, rows: tuple[Rows, Rows], folds_c: NDArray[np.integer], groups: NDArray, varies: Mask, mode: str
) -> _Clips:
    """Gram matrices and row numbers for all factors with values on exactly these clips."""
    train, heldout = rows
    x_train = z[train]
    folds = []
    for fold in np.unique(folds_c[train][folds_c[train] >= 0]) if mode == "cv" else ():
        inside = folds_c[train] >= 0
        fit, score = np.flatnonzero(inside & (folds_c[train] != fold)), np.flatnonzero(folds_c[train] == fold)
        if len(fit) > 1:
            folds.append((make_problem(x_train[fit]), fit, score))
    return _Clips(x_train, z[heldout], heldout, groups[heldout], make_problem(x_train), folds, varies)


def _fit_in_thread(start: tuple[FactorFit, Target], clips: _Clips, settings: LassoSettings) -> FactorFit:
    with unchecked():
        return _fit_one(start, clips, settings)


def _fit_one(start: tuple[FactorFit, Target], clips: _Clips, settings: LassoSettings) -> FactorFit:
    """Choose alpha, fit, score held out, score permuted refits at the same alpha, count codes along the path."""
    blank, target = start
    grid = alpha_grid(clips.problem, target.train, settings.alphas, settings.eps)
    if not len(grid):
        return replace(blank, reason="no dimension varies over the training clips")
    if settings.mode == "cv":
        if len(clips.folds) < 2:
            return replace(blank, reason="fewer than two folds to choose alpha with")
        alpha = choose_alpha(clips.folds, clips.x_train, target.train, grid)
    else:
        alpha = blank.alpha if settings.mode == "given" else settings.fixed_alpha
    walk: tuple[Floats | None, list[tuple[float, int]]] = (None, [])
    if settings.count_codes:
        walk = _walk(clips, target, grid, alpha)
    solution = next(solve_path(clips.problem, target.train, [alpha], start_d=walk[0]))
    predicted = _in_units(solution, clips.x_heldout, target)
    measured_train = target.train * target.scale + target.mean
    rng = np.random.default_rng([settings.seed, blank.factor_index])
    permuted = []
    for _ in range(settings.n_permutations):
        refit = next(solve_path(clips.problem, rng.permutation(target.train), [alpha], tolerance=ROUGH))
        permuted.append(r2_score(target.heldout, _in_units(refit, clips.x_heldout, target), target.mean))
    best = max((r2 for r2, _ in walk[1]), default=NAN)
    fit = replace(
        blank,
        alpha=alpha,
        alpha_source=settings.mode,
        r2=r2_score(target.heldout, predicted, target.mean),
        r2_within_group=r2_within_group(target.heldout, predicted, clips.groups_heldout),
        r2_permuted=permuted_limit(permuted),
        r2_train=r2_score(measured_train, _in_units(solution, clips.x_train, target), target.mean),
        n_codes_90=min(n for r2, n in walk[1] if r2 >= 0.9 * best) if best > 0 else None,
        predicted_heldout=predicted,
        measured_heldout=target.heldout,
        heldout_index=clips.heldout,
        is_converged=solution.is_converged,
    )
    return with_model(fit, solution, clips.varies, gated=True)


def _walk(clips: _Clips, target: Target, grid: Floats, alpha: float) -> tuple[Floats, list[tuple[float, int]]]:
    """The weights at `alpha`, roughly, and (held-out r2, weights) along the path, left 3 alphas after its best."""
    start, path = np.zeros(clips.x_train.shape[1]), []
    for solution in solve_path(clips.problem, target.train, np.unique(np.append(grid, alpha))[::-1], tolerance=ROUGH):
        start = solution.weights_d if solution.alpha >= alpha else start
        r2 = r2_score(target.heldout, _in_units(solution, clips.x_heldout, target), target.mean)
        path.append((r2, int(np.count_nonzero(solution.weights_d))))
        if solution.alpha <= alpha and len(path) - 1 - int(np.argmax([r2 for r2, _ in path])) >= PATIENCE:
            break
    return start, path


def _in_units(solution: Solution, x: Floats, target: Target) -> Floats:
    return solution.predict(x) * target.scale + target.mean
