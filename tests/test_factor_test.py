"""precompute/factor_test.py: what counts as predicted, on noise of every kind, on what is planted, and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from explorer.permutation import CLIPS, WHOLE, WITHIN
from precompute.attribution import LassoSettings, fit_factors
from precompute.factor_test import Scored, exchange_test
from precompute.metrics import r2_score

SETTINGS = LassoSettings(alphas=5, eps=0.05, n_permutations=199)
N_REPEATS = 12
GROUPS = (2, 3, 5, 8, 20)


def corpus(seed: int, n_groups: int, kind: str, *, n: int = 80, d: int = 24, n_factors: int = 8):
    """Codes that know who sings, and factors: noise of one kind, or `planted` in two codes with an R2 of 0.4."""
    rng = np.random.default_rng([seed, n_groups, len(kind)])
    group = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)])  # of unequal sizes
    singer = rng.normal(size=(n_groups, d))
    x = np.maximum(rng.normal(size=(n, d)) + singer[group], 0)
    noise = rng.normal(size=(n, n_factors))
    if kind == "of the group":
        y = 3 * rng.normal(size=(n_groups, n_factors))[group] + 0.2 * noise
    elif kind == "only of the group":
        y = rng.normal(size=(n_groups, n_factors))[group]
    elif kind == "heavy":
        y = rng.standard_cauchy(size=(n, n_factors)) ** 3
    elif kind == "few values":
        y = (noise > 1).astype(float)
    else:
        y = noise
    if kind == "planted":
        signal = x[:, :n_factors] + x[:, n_factors : 2 * n_factors]
        y = signal / signal.std(axis=0) * np.sqrt(0.4) + noise * np.sqrt(0.6)
    heldout = group < max(1, n_groups // 4)
    folds = np.where(heldout, -1, (group if n_groups > 3 else np.arange(n)) % 4)
    folds_all = group % n_groups if n_groups <= 8 else group % 5
    return x, y, group.astype(str).astype(object), heldout, folds, folds_all


def fits_of(seed: int, n_groups: int, kind: str, **more):
    x, y, groups, heldout, folds, folds_all = corpus(seed, n_groups, kind, **more)
    return fit_factors(
        x, y, groups, train_mask=~heldout, heldout_mask=heldout, folds_c=folds, folds_all_c=folds_all, settings=SETTINGS
    )


@pytest.mark.parametrize("kind", ["white", "of the group", "only of the group", "heavy", "few values"])
def test_at_most_one_representation_of_noise_in_twenty_has_a_predicted_factor(kind):
    n_false = sum(
        any(found.is_predicted for found in fits_of(seed, n_groups, kind))
        for seed, n_groups in itertools.product(range(N_REPEATS), GROUPS)
    )
    assert n_false <= binom.ppf(0.995, N_REPEATS * len(GROUPS), 0.05)


@pytest.mark.parametrize("n_groups", GROUPS)
def test_what_is_planted_with_moderate_strength_is_found(n_groups):
    fits = [found for seed in range(3) for found in fits_of(seed, n_groups, "planted", n=300)]
    found = np.array([fit.is_predicted for fit in fits])
    assert found.mean() > 0.7, f"{found.mean()} found at {n_groups} groups"
    assert all(fit.r2_all >= 0.05 and fit.r2_p <= 0.05 for fit in fits if fit.is_predicted)


def scored(measured, predicted, rows=None):
    measured, predicted = np.asarray(measured, float), np.asarray(predicted, float)
    rows = np.arange(len(measured)) if rows is None else rows
    return Scored(rows, measured, predicted, float(np.var(measured) * len(measured)) if len(measured) else 0.0)


def test_p_and_the_limit_say_the_same():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 10).astype(str).astype(object)
    said = rng.normal(size=(60, 12))
    seen = said * np.linspace(0, 0.6, 12) + rng.normal(size=(60, 12))
    verdicts = exchange_test([scored(seen[:, g], said[:, g]) for g in range(12)], groups, n=300, seed=0)
    small = [verdict.p <= 0.05 for verdict in verdicts]
    above = [r2_score(seen[:, g], said[:, g], seen[:, g].mean()) > verdict.limit for g, verdict in enumerate(verdicts)]
    assert small == above and any(small) and not all(small)
    alone = exchange_test([scored(seen[:, 5], said[:, 5])], groups, n=300, seed=0)[0]
    assert alone.p <= verdicts[5].p  # the others are paid for


def test_few_arrangements_are_gone_through():
    groups = np.array(list("xxxx"), object)
    verdict = exchange_test([scored([1, 2, 3, 5], [1.1, 2.1, 3.1, 5.1])], groups, n=1000, seed=0)[0]
    assert verdict.p == pytest.approx(1 / 24) and verdict.level == CLIPS and math.isfinite(verdict.limit)
    backwards = exchange_test([scored([1, 2, 3, 5], [5, 3, 2, 1])], groups, n=1000, seed=0)[0]
    assert backwards.p == 1


@pytest.mark.parametrize(
    ("measured", "groups", "words"),
    [
        ([1, 2, 3], "xxx", "cannot be tested: the smallest p that exchanging clips can reach is 0.17"),
        (
            [1, 1, 2, 2, 3, 3],
            "xxyyzz",
            "cannot be tested: the smallest p that exchanging whole groups can reach is 0.17",
        ),
        (
            [1, 2, 3, 4],
            "xxyy",
            "cannot be tested: the smallest p that exchanging clips within groups can reach is 0.25",
        ),
        ([2, 2, 2], "xyz", "cannot be tested: all clips are alike"),
        ([], "", "cannot be tested: no held-out clip has a value"),
    ],
)
def test_what_cannot_be_tested_says_why(measured, groups, words):
    verdict = exchange_test([scored(measured, measured)], np.array(list(groups), object), n=1000, seed=0)[0]
    assert verdict.untested == words
    assert math.isnan(verdict.p) and verdict.level is None


def test_differences_between_many_groups_count_without_any_inside_them():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 3).astype(str).astype(object)
    level = rng.normal(size=30)[np.repeat(np.arange(30), 3)]
    inside = rng.normal(size=90)
    verdict = exchange_test([scored(level + inside, level)], groups, n=500, seed=0)[0]
    assert verdict.p <= 0.01 and verdict.level == WHOLE
    verdict = exchange_test([scored(level + inside, inside)], groups, n=500, seed=0)[0]
    assert verdict.p <= 0.01 and verdict.level == WITHIN


def test_a_model_without_weights_is_not_beyond_chance():
    groups = np.repeat(np.arange(6), 10).astype(str).astype(object)
    verdict = exchange_test([scored(np.arange(60), np.full(60, 29.5))], groups, n=100, seed=0)[0]
    assert verdict.p == 1 and verdict.untested is None and not verdict.limit < 0
