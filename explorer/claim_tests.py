"""The comparisons behind the claims: accuracies and errors by group in, a difference with its interval out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explorer.intervals import MIN_GROUPS_FOR_INTERVAL, Estimate, ratio_interval, ratio_of, t_interval, t_quantile
from explorer.permutation import critical, sign_flips

N_FLIPS = 1024
MAX_DEAD = 0.20  # of an SAE's features; more is a warning

Floats = NDArray[np.float64]


def above_last_layer(accuracy_gl: ArrayLike, n_g: ArrayLike, level: float = 0.95) -> Estimate:
    """How far the best layer before the last is above the last, in accuracy over clips.

    accuracy_gl: (groups, layers), the layers in their order; n_g: clips of each group. The layer is chosen for each
    group on the other groups (the first at a tie) and read on this one, so that the estimate gains nothing by the
    choice. Where chance makes one layer the best of all groups, though, it is chosen for each of them, and Student's
    quantile would call it better in 7 to 14 of 100 networks whose layers are alike. The interval has the quantile of
    the same estimate when what each group says for and against the last layer changes sides at random (all ways, or
    N_FLIPS of them).
    """
    accuracy, n = np.asarray(accuracy_gl, np.float64), np.asarray(n_g, np.float64)
    if len(n) < MIN_GROUPS_FOR_INTERVAL:
        chosen = chosen_on_others(accuracy[:, :-1], n)
        return difference(accuracy[np.arange(len(n)), chosen], accuracy[:, -1], n, level)
    gained_gl = (accuracy[:, :-1] - accuracy[:, -1:]) * n[:, None]
    value, error = _best_of(gained_gl[None], n)
    signs, is_exact = sign_flips(len(n), N_FLIPS)
    values, errors = _best_of(signs[:, :, None] * gained_gl, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        null = np.where(errors > 0, values / errors, np.where(values > 0, np.inf, 0.0))
    reach = critical(null, is_exact=is_exact, alpha=(1 - level) / 2)
    if not np.isfinite(reach):
        return Estimate(float(value[0]), float("nan"), float("nan"), len(n))
    half = max(reach, t_quantile(level, len(n) - 1)) * float(error[0])
    return Estimate(float(value[0]), float(value[0]) - half, float(value[0]) + half, len(n))


def _best_of(gained_bgl: Floats, n_g: Floats) -> tuple[Floats, Floats]:
    """(value, standard error) for each b: clips gained over the last layer by the layer that the other groups
    choose."""
    others_bgl = gained_bgl.sum(axis=1, keepdims=True) - gained_bgl
    chosen_bg = np.argmax(np.round(others_bgl, 6), axis=2)
    gained_bg = np.take_along_axis(gained_bgl, chosen_bg[:, :, None], axis=2)[:, :, 0]
    return ratio_of(gained_bg, n_g)


def above_guess(accuracy_gl: ArrayLike, guess_g: ArrayLike, n_g: ArrayLike, level: float = 0.95) -> Estimate:
    """How far the best layer is above one constant guess, whose accuracy on each group is `guess_g`; the layer is
    chosen for each group on the others."""
    accuracy, n = np.asarray(accuracy_gl, np.float64), np.asarray(n_g, np.float64)
    found = accuracy[np.arange(len(n)), chosen_on_others(accuracy, n)]
    return difference(found, np.asarray(guess_g, np.float64), n, level)


def difference(first_g: ArrayLike, second_g: ArrayLike, n_g: ArrayLike, level: float = 0.95) -> Estimate:
    """The first accuracy minus the second, over the same clips, paired by group."""
    n = np.asarray(n_g, np.float64)
    return ratio_interval((np.asarray(first_g, np.float64) - np.asarray(second_g, np.float64)) * n, n, level)


def mean_difference(apart: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean of paired differences, one a unit; no interval under 8 of them."""
    values = np.asarray(apart, np.float64)
    values = values[np.isfinite(values)]
    return Estimate(float(values.mean()) if len(values) else float("nan"), *t_interval(values, level), len(values))


def chosen_on_others(accuracy_gl: Floats, n_g: Floats) -> NDArray[np.intp]:
    """(groups,) the layer with the most right clips in all groups but this one; the first at a tie."""
    right_gl = accuracy_gl * n_g[:, None]
    others_gl = right_gl.sum(axis=0) - right_gl
    return np.argmax(np.round(others_gl, 6), axis=1)


def completeness_over_live(effective_codes: ArrayLike, n_live: ArrayLike) -> Floats:
    """Completeness 1 - H / log D with D the live features alone, from effective codes exp(H): a dead feature, whose
    weight is 0 whatever it is, changes nothing. NaN under two live features."""
    codes, live = np.asarray(effective_codes, np.float64), np.asarray(n_live, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(live > 1, 1.0 - np.log(codes) / np.log(live), np.nan)
    return found
