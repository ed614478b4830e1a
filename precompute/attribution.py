"""Acoustic factors from representations by the Lasso: how well each is predicted, and by which dimensions.

`fit_factors` is the sound protocol: the scaler, the clipping and alpha are fitted on the training clips, R2 is counted
on the held-out ones and tested by exchanging their measured values; R2 over all groups, out of fold, stands beside it.
`fit_factors_paper` repeats the published one (alpha 0.1, scored on the clips it was fitted on). NaN is undefined, and
`reason` says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    judged,
    lasso_scaler,
    permuted_limit,
    same_clips,
    weights_matrix,
    with_weights,
)
from precompute.factor_fit_paper import fit_factors_paper
from precompute.factor_folds import with_all_groups
from precompute.factor_target import Target, make_target
from precompute.factor_test import Scored, exchange_test
from precompute.lasso import (
    ROUGH,
    Choice,
    Fold,
    Problem,
    alpha_grid,
    choose_alpha,
    convergence_in_results,
    make_problem,
    r2_at,
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
    folds: list[Fold]
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
    folds_all_c: NDArray[np.integer] | None = None,
    given_alphas_g: Sequence[float] | None = None,
    x_by_fold: Mapping[int, Array] | None = None,
    families_g: Sequence[str] | None = None,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[FactorFit]:
    """Fit every factor (column of `y_cg`, NaN where missing) on the training clips and score it on the held-out ones.

    Returns one FactorFit a factor, in order. A factor has no R2, with a reason, where no training or no held-out clip
    has a value, where values do not vary, come from one group, or a group is in both parts. Columns constant over the
    training clips get weight 0. `folds_c` (-1: in none) are folds of the training groups: they choose alpha in mode
    'cv'; mode 'given' takes `given_alphas_g` (NaN: no fit). `folds_all_c`: folds of all groups, for r2_all;
    `x_by_fold`: x by what was fitted without each of them. `families_g`: p values are corrected within each (None: all
    factors are one). `n_jobs` threads; the result does not depend on it. `progress` gets (factors done, factors).
    ValueError for an unknown mode or a wrong number of alphas.
    """
    _check(settings, given_alphas_g, np.shape(y_cg)[1])
    x, y = np.asarray(x_cd, np.float64), np.asarray(y_cg, np.float64)
    train, heldout = np.asarray(train_mask, bool), np.asarray(heldout_mask, bool)
    groups = np.asarray(groups_c, dtype=object).astype(str)
    scaler, varies = lasso_scaler(x, train)
    z = (x[:, varies] - scaler.x_mean[varies]) / scaler.x_scale[varies]
    fits: dict[int, FactorFit] = {}
    patterns = same_clips(y, train | heldout)
    with convergence_in_results(), ThreadPoolExecutor(max_workers=max(1, n_jobs)) as pool:
        for members in patterns:
            present = np.isfinite(y[:, members[0]])
            rows = np.flatnonzero(train & present), np.flatnonzero(heldout & present)
            starts = [_start(g, scaler, int(varies.sum()), y[:, g], rows, groups, given_alphas_g) for g in members]
            fits.update({blank.factor_index: blank for blank, target in starts if target is None})
            usable = [(blank, target) for blank, target in starts if target is not None]
            if not usable:
                continue
            clips = _shared(z, rows, np.where(train, folds_c, -1), groups, varies)
            for fit in pool.map(partial(_fit_in_thread, clips=clips, settings=settings), usable):
                fits[fit.factor_index] = fit
                if progress is not None:
                    progress(len(fits), y.shape[1])
        if folds_all_c is not None:
            folds_all = np.where(train | heldout, folds_all_c, -1)
            fits = with_all_groups(fits, patterns, x, y, groups, folds_all, pool, x_by_fold)
    if progress is not None:
        progress(len(fits), y.shape[1])
    families = [""] * y.shape[1] if families_g is None else families_g
    tested = [_tested([fits[g] for g in members], groups, settings) for members in _alike(families)]
    return sorted((fit for family in tested for fit in family), key=lambda fit: fit.factor_index)


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
    n_groups = len(set(groups[train]) | set(groups[heldout]))
    target = make_target(y[train], y[heldout])
    if isinstance(target, str):
        return replace(blank, reason="no clip has a value" if not n_groups else target), None
    if n_groups < 2:
        return replace(blank, reason="values from 1 group: nothing can be said about another"), None
    if shared:
        return replace(blank, reason=f"a leak: {count(len(shared), 'group')} in both parts, such as {shared[0]}"), None
    if given is not None and math.isnan(given[g]):
        return replace(blank, reason="no alpha was given"), None
    alpha = NAN if given is None else float(given[g])
    return replace(
        blank, alpha=alpha, y_mean=target.mean, y_scale=target.scale, how=target.how, transform=target.transform
    ), target


def _shared(z: Floats, rows: tuple[Rows, Rows], folds_c: NDArray[np.integer], groups: NDArray, varies: Mask) -> _Clips:
    """Gram matrices and row numbers for all factors with values on exactly these clips."""
    train, heldout = rows
    x_train = z[train]
    folds = []
    for fold in np.unique(folds_c[train][folds_c[train] >= 0]):
        inside = folds_c[train] >= 0
        fit, score = np.flatnonzero(inside & (folds_c[train] != fold)), np.flatnonzero(folds_c[train] == fold)
        if len(fit) > 1:
            folds.append((make_problem(x_train[fit]), fit, score))
    return _Clips(x_train, z[heldout], heldout, groups[heldout], make_problem(x_train), folds, varies)


def _fit_in_thread(start: tuple[FactorFit, Target], clips: _Clips, settings: LassoSettings) -> FactorFit:
    with unchecked():
        return _fit_one(start, clips, settings)


def _fit_one(start: tuple[FactorFit, Target], clips: _Clips, settings: LassoSettings) -> FactorFit:
    """Choose alpha, fit, score over the folds and held out."""
    blank, target = start
    grid = alpha_grid(clips.problem, target.train, settings.alphas, settings.eps)
    if not len(grid):
        return replace(blank, alpha=NAN, reason="no dimension varies over the training clips")
    if settings.mode == "cv" and len(clips.folds) < 2:
        return replace(blank, reason="fewer than two folds to choose alpha with")
    choice = _choice(blank, target, clips, settings, grid)
    solution = next(solve_path(clips.problem, target.train, [choice.alpha], start_d=choice.weights_d))
    if settings.mode != "cv":
        n_weights = int(np.count_nonzero(solution.weights_d))
        choice = replace(choice, r2=r2_at(clips.folds, clips.x_train, target.train, choice.alpha, n_weights))
    predicted = _scaled(solution.predict(clips.x_heldout), target)
    r2 = r2_score(target.heldout, predicted, target.mean)
    fit = replace(
        blank,
        alpha=choice.alpha,
        alpha_source=settings.mode,
        r2=r2,
        r2_within_group=r2_within_group(target.heldout, predicted, clips.groups_heldout) if len(predicted) else NAN,
        r2_train=r2_score(target.train, solution.predict(clips.x_train), 0.0),
        r2_folds=choice.r2,
        r2_refits=_refits(blank, target, clips, settings, choice.alpha),
        n_codes_90=choice.n_codes_90,
        predicted_heldout=predicted,
        measured_heldout=target.heldout,
        heldout_index=clips.heldout,
        is_converged=solution.is_converged,
        reason=_why_undefined(r2, len(predicted)),
    )
    return with_weights(fit, solution, clips.varies)


def _why_undefined(r2: float, n_heldout: int) -> str | None:
    if not math.isnan(r2):
        return None
    return "the held-out part does not differ from the training mean" if n_heldout else "no held-out clip has a value"


def _choice(blank: FactorFit, target: Target, clips: _Clips, settings: LassoSettings, grid: Floats) -> Choice:
    """The alpha, given or by the folds of training groups, and what their path says."""
    if settings.mode == "cv":
        return choose_alpha(clips.folds, clips.x_train, target.train, grid)
    alpha = blank.alpha if settings.mode == "given" else settings.fixed_alpha
    if not settings.count_codes or len(clips.folds) < 2:
        return Choice(alpha, NAN, None)
    return replace(choose_alpha(clips.folds, clips.x_train, target.train, grid), alpha=alpha, weights_d=None)


def _refits(blank: FactorFit, target: Target, clips: _Clips, settings: LassoSettings, alpha: float) -> float:
    """What is reached held out by fits to the training values in a random order."""
    rng = np.random.default_rng([settings.seed, blank.factor_index])
    reached = []
    for _ in range(settings.n_refits):
        refit = next(solve_path(clips.problem, rng.permutation(target.train), [alpha], tolerance=ROUGH))
        reached.append(r2_score(target.heldout, _scaled(refit.predict(clips.x_heldout), target), target.mean))
    return permuted_limit(reached)


def _scaled(predicted: Floats, target: Target) -> Floats:
    return predicted * target.scale + target.mean


def _alike(families_g: Sequence[str]) -> list[list[int]]:
    """The factors of each family."""
    return [[g for g, one in enumerate(families_g) if one == family] for family in dict.fromkeys(families_g)]


def _tested(fits: Sequence[FactorFit], groups_c: NDArray, settings: LassoSettings) -> list[FactorFit]:
    """The fits of one family with their p values, corrected for all that are scored, and what follows from these."""
    scored = [fit for fit in fits if np.isfinite(fit.alpha) and not (fit.reason and math.isnan(fit.r2_all))]
    verdicts = exchange_test(
        [
            Scored(
                fit.heldout_index,
                fit.measured_heldout,
                fit.predicted_heldout,
                float(np.sum((fit.measured_heldout - fit.y_mean) ** 2)),
            )
            for fit in scored
        ],
        groups_c,
        n=settings.n_permutations,
        seed=settings.seed,
    )
    done = {fit.factor_index: judged(fit, verdict) for fit, verdict in zip(scored, verdicts, strict=True)}
    return [done.get(fit.factor_index, fit) for fit in fits]
