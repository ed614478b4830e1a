"""The Lasso on one set of clips, for many targets: scikit-learn's coordinate descent, its preparation made once.

Minimises |y - x w - b|^2 / 2n + alpha |w|_1, as scikit-learn's `Lasso(alpha)` does. With more clips than columns the
Gram matrix is computed once and shared by every target, alpha and permutation on the same clips, which is what makes 88
factors over 2,048 codes affordable; with fewer clips the columns themselves are quicker.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path

from precompute.metrics import Floats

MAX_ITER = 10_000
TOLERANCE = 1e-4  # of the duality gap, relative to |y|^2: scikit-learn's own
ROUGH = 1e-3  # the same where solutions are only compared: cross-validation, paths, permutations
FIRST_SET = 32  # columns that the first working set holds at least; each next one holds twice as many
INNER = 0.3  # how much sharper a working set is solved where its columns are all that matter
WHOLE_UP_TO = 512  # columns: below, choosing among them costs more than it saves
PATIENCE = 3  # alphas in a row that do not improve, before a path is left


@dataclass(frozen=True, eq=False)
class Problem:
    """The fitting clips: columns centred, constant columns exactly 0; the Gram matrix where it pays (else None)."""

    x_cd: Floats
    mean_d: Floats
    gram_dd: Floats | None


@dataclass(frozen=True, eq=False)
class Solution:
    """Weights and intercept at one alpha: predicted = x @ weights_d + intercept."""

    alpha: float
    weights_d: Floats
    intercept: float
    is_converged: bool

    def predict(self, x_cd: Floats) -> Floats:
        """Predictions in the target's units, shape (clips,)."""
        used = np.flatnonzero(self.weights_d)
        return x_cd[:, used] @ self.weights_d[used] + self.intercept


def make_problem(x_cd: Floats) -> Problem:
    """Centre the columns of these clips, and compute their Gram matrix if they outnumber the columns."""
    if not len(x_cd):
        return Problem(x_cd, np.zeros(x_cd.shape[1]), None)
    mean = x_cd.mean(axis=0)
    centred = np.asfortranarray(np.where(np.ptp(x_cd, axis=0) > 0, x_cd - mean, 0.0))
    gram = np.ascontiguousarray(centred.T @ centred) if len(centred) > centred.shape[1] else None
    return Problem(centred, mean, gram)


def alpha_grid(problem: Problem, y_c: Floats, n_alphas: int, eps: float) -> Floats:
    """`n_alphas` values from the smallest alpha without any weight down to `eps` times it, evenly in the logarithm.

    Empty when no column varies with y at all.
    """
    highest = float(np.abs(problem.x_cd.T @ (y_c - y_c.mean())).max(initial=0.0)) / len(y_c)
    return np.geomspace(highest, highest * eps, n_alphas) if highest > 0 else np.zeros(0)


def solve_path(
    problem: Problem,
    y_c: Floats,
    alphas: Iterable[float],
    *,
    start_d: Floats | None = None,
    tolerance: float = TOLERANCE,
    n_expected: int = 0,
) -> Iterator[Solution]:
    """One solution for each alpha in turn, each started from the one before (give them from large to small).

    `n_expected`: about how many weights there will be, which saves steps.
    """
    y_mean = float(y_c.mean())
    centred = np.ascontiguousarray(y_c - y_mean)
    weights = np.zeros(problem.x_cd.shape[1]) if start_d is None else start_d
    for alpha in alphas:
        weights, is_converged = _solve(problem, centred, alpha, weights, tolerance, n_expected)
        yield Solution(float(alpha), weights, y_mean - float(problem.mean_d @ weights), is_converged)


def _solve(
    problem: Problem, y_c: Floats, alpha: float, start_d: Floats, tolerance: float, n_expected: int
) -> tuple[Floats, bool]:
    """Weights at one alpha, by working sets (Massias et al., arXiv 1802.07481, without their extrapolation).

    scikit-learn's solver runs on the few columns that matter, and the others join while they would lower the loss. It
    ends where scikit-learn would on all columns: at a duality gap of `tolerance` times |y|^2 over the whole problem.
    With few columns it runs on all of them at once.
    """
    if problem.gram_dd is not None and len(start_d) <= WHOLE_UP_TO:
        return _descend(problem.x_cd, y_c, alpha, start_d, tolerance, problem.gram_dd)
    x_cd, strength = problem.x_cd, alpha * len(y_c)
    goal = tolerance * float(y_c @ y_c)
    chosen = np.flatnonzero(start_d)
    values, inner, can_go_on = start_d[chosen], tolerance, True
    size = max(FIRST_SET, 2 * len(chosen), 2 * n_expected)
    while True:
        residual = y_c - x_cd[:, chosen] @ values
        slope = np.abs(x_cd.T @ residual)
        gap = _duality_gap(residual, y_c, float(slope.max(initial=0.0)), float(np.abs(values).sum()), strength)
        if gap <= goal or not can_go_on:
            break
        left_out = np.ones(len(slope), dtype=bool)
        left_out[chosen] = False
        if slope[left_out].max(initial=0.0) <= strength:
            inner *= INNER  # no column is missing: these must be solved more exactly
        slope[chosen[values != 0]] = np.inf
        start = np.zeros(len(slope))
        start[chosen] = values
        chosen = np.sort(np.argpartition(-slope, size - 1)[:size]) if size < len(slope) else np.arange(len(slope))
        values, can_go_on = _solve_on(problem, chosen, y_c, alpha, start[chosen], inner)
        size *= 2
    weights = np.zeros(len(start_d))
    weights[chosen] = values
    return weights, gap <= goal


def _solve_on(
    problem: Problem, columns: NDArray[np.intp], y_c: Floats, alpha: float, start: Floats, tolerance: float
) -> tuple[Floats, bool]:
    x = np.asfortranarray(problem.x_cd[:, columns])
    gram: bool | Floats = False
    if problem.gram_dd is not None:
        gram = np.ascontiguousarray(problem.gram_dd[np.ix_(columns, columns)])
    elif len(columns) < len(x):
        gram = np.ascontiguousarray(x.T @ x)
    return _descend(x, y_c, alpha, start, tolerance, gram)


def _descend(
    x_cd: Floats, y_c: Floats, alpha: float, start_d: Floats, tolerance: float, gram: bool | Floats
) -> tuple[Floats, bool]:
    _, path, _, n_iter = lasso_path(
        x_cd,
        y_c,
        alphas=[alpha],
        precompute=gram,
        Xy=None if gram is False else x_cd.T @ y_c,
        coef_init=start_d.copy(),  # the solver writes into it
        check_input=False,
        max_iter=MAX_ITER,
        tol=tolerance,
        return_n_iter=True,
    )
    return path[:, 0], n_iter[0] < MAX_ITER


def _duality_gap(residual: Floats, y_c: Floats, steepest: float, length: float, strength: float) -> float:
    """How far the weights behind `residual` are from the optimum, at most, in units of |y|^2; as scikit-learn counts.

    `steepest` is the largest |x_j . residual|, `length` the sum of |weights|, `strength` alpha times the clips.
    """
    squares = float(residual @ residual)
    scale = min(1.0, strength / steepest) if steepest > 0 else 1.0
    return 0.5 * squares * (1 + scale**2) + strength * length - scale * float(residual @ y_c)


Fold = tuple[Problem, NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Choice:
    """The alpha that folds chose, R2 over their scored clips with it, and the fewest weights that reach 90 % of the
    best R2 on the path (the median of the folds; None where no R2 is above 0)."""

    alpha: float
    r2: float
    n_codes_90: int | None
    weights_d: Floats | None = None  # of the fold with the most fitting clips


def choose_alpha(folds: Sequence[Fold], x_cd: Floats, y_c: Floats, alphas: Floats) -> Choice:
    """The alpha with the lowest squared error over all folds' scored clips together; the largest at a tie.

    `folds`: (problem of the fitting clips, their rows, the scored rows) in `x_cd` and `y_c`. The path is left after 3
    alphas in a row that were worse than the best so far.
    """
    largest = int(np.argmax([len(fit) for _, fit, _ in folds]))
    starts: list[Floats] = []
    solvers = [solve_path(problem, y_c[fit], alphas, tolerance=ROUGH) for problem, fit, _ in folds]
    scored = [(x_cd[score], y_c[score]) for _, _, score in folds]
    errors: list[float] = []
    n_weights: list[int] = []
    for _ in alphas:
        solutions = [next(solver) for solver in solvers]
        errors.append(
            sum(float(np.sum((y - found.predict(x)) ** 2)) for found, (x, y) in zip(solutions, scored, strict=True))
        )
        starts.append(solutions[largest].weights_d)
        n_weights.append(int(np.median([np.count_nonzero(found.weights_d) for found in solutions])))
        if len(errors) - 1 - int(np.argmin(errors)) >= PATIENCE:
            break
    total = total_squares(folds, y_c)
    r2 = 1.0 - np.array(errors) / total if total > 0 else np.full(len(errors), np.nan)
    best = int(np.argmin(errors))
    reached = [n for n, one in zip(n_weights, r2, strict=True) if one >= 0.9 * r2[best]]
    return Choice(float(alphas[best]), float(r2[best]), min(reached) if r2[best] > 0 else None, starts[best])


def r2_at(folds: Sequence[Fold], x_cd: Floats, y_c: Floats, alpha: float, n_expected: int = 0) -> float:
    """R2 over all folds' scored clips together at one alpha, about each fold's fitting mean; NaN if all are alike."""
    error, total = 0.0, total_squares(folds, y_c)
    for problem, fit, score in folds:
        found = next(solve_path(problem, y_c[fit], [alpha], tolerance=ROUGH, n_expected=n_expected))
        error += float(np.sum((y_c[score] - found.predict(x_cd[score])) ** 2))
    return 1.0 - error / total if total > 0 else float("nan")


def total_squares(folds: Sequence[Fold], y_c: Floats) -> float:
    """SST of R2 over folds: every scored clip about the mean of its fold's fitting clips."""
    return float(sum(np.sum((y_c[score] - y_c[fit].mean()) ** 2) for _, fit, score in folds))


@contextmanager
def convergence_in_results() -> Iterator[None]:
    """Silence scikit-learn's warning for each unfinished solution: `Solution.is_converged` says it instead.

    Enter it in the thread that starts the workers: the filter is the process's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def unchecked() -> AbstractContextManager[None]:
    """scikit-learn without its checks of arguments, which cost more than a small solution. Of the thread it is in."""
    return config_context(skip_parameter_validation=True, assume_finite=True)
