"""The Lasso on factors: scikit-learn's, blind to held-out clips, and null where nothing can be said."""

import math

import numpy as np
import pytest
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from precompute.attribution import (
    LassoSettings,
    fit_factors,
    fit_factors_paper,
    lasso_scaler,
    weights_matrix,
)
from precompute.lasso import alpha_grid, choose_alpha, make_problem, r2_at, solve_path
from precompute.metrics import completeness, r2_within_group

FIXED = LassoSettings(mode="fixed", fixed_alpha=0.1, n_permutations=50)
FIELDS = ("alpha", "intercept", "y_mean", "y_scale", "transform", "r2_train", "r2_folds", "n_weights", "n_train")


def planted(n=300, d=40, n_groups=12, seed=0, noise=0.5):
    """Sparse codes and three factors: two codes, many codes, none. (x, y, groups, train, held out, folds by group)."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(n, d)), 0).astype(np.float32)
    x[:, 7] = 0  # dead
    few = 3 * x[:, 2] - 2 * x[:, 11]
    many = x[:, 12:32].sum(axis=1)
    y = np.stack([few, many, np.zeros(n)], axis=1) + noise * rng.normal(size=(n, 3)) + np.array([5.0, 0.0, -2.0])
    group = rng.integers(0, n_groups, n)
    heldout = group < n_groups // 3
    groups = np.array([f"g{g}" for g in group], object)
    return x, y, groups, ~heldout, heldout, np.where(heldout, -1, group % 4)


def fit(data, settings=FIXED, **more):
    x, y, groups, train, heldout, folds = data
    return fit_factors(x, y, groups, train_mask=train, heldout_mask=heldout, folds_c=folds, settings=settings, **more)


@pytest.mark.parametrize("d", [40, 500])
@pytest.mark.parametrize("alpha", [0.03, 0.2])
def test_weights_equal_scikit_learns_lasso_on_the_same_problem(d, alpha):
    data = planted(d=d)
    x, y, _, train, heldout, _ = data
    scaler = StandardScaler().fit(x[train].astype(float))
    z = scaler.transform(x.astype(float))
    fits = fit(data, LassoSettings(mode="fixed", fixed_alpha=alpha, n_permutations=1))
    for g, found in enumerate(fits[:2]):
        clipped = np.clip(y[:, g], *np.quantile(y[train, g], (0.005, 0.995)))
        target = (clipped - clipped[train].mean()) / clipped[train].std()
        sk = Lasso(alpha=alpha, tol=1e-8, max_iter=100_000).fit(z[train], target[train])
        dense = weights_matrix([found], d)[:, 0]
        np.testing.assert_allclose(dense, sk.coef_, atol=0.01 * np.abs(sk.coef_).max())
        assert found.intercept == pytest.approx(sk.intercept_, abs=1e-6)
        predicted = sk.predict(z[heldout]) * clipped[train].std() + clipped[train].mean()
        total = np.sum((clipped[heldout] - clipped[train].mean()) ** 2)
        assert found.r2 == pytest.approx(1 - np.sum((clipped[heldout] - predicted) ** 2) / total, abs=5e-3)
        np.testing.assert_allclose(found.predicted_heldout, predicted, atol=0.05 * clipped[train].std())
        np.testing.assert_allclose(found.predict(x)[heldout], found.predicted_heldout)
        assert found.r2_train == pytest.approx(sk.score(z[train], target[train]), abs=5e-3)
        assert found.heldout_index.tolist() == np.flatnonzero(heldout).tolist()


@pytest.mark.parametrize(("n", "d"), [(120, 30), (40, 90)])
def test_the_solver_itself_equals_scikit_learn_to_its_tolerance(n, d):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(n, d)) + 3, rng.normal(size=n) + 1
    for found in solve_path(make_problem(x), y, [0.3, 0.1, 0.05], tolerance=1e-10):
        sk = Lasso(alpha=found.alpha, tol=1e-10, max_iter=100_000).fit(x, y)
        np.testing.assert_allclose(found.weights_d, sk.coef_, atol=1e-5)
        assert found.intercept == pytest.approx(sk.intercept_, abs=1e-4)
        np.testing.assert_allclose(found.predict(x), sk.predict(x), atol=1e-4)
        assert found.is_converged


def test_columns_join_the_working_set_until_the_whole_problem_is_solved() -> None:
    """More columns matter than the first set holds, in groups that hide each other from its first slopes."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=(300, 90))
    x = np.repeat(base, 6, axis=1) + 0.3 * rng.normal(size=(300, 540))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = base @ rng.normal(size=90) + 0.1 * rng.normal(size=300)
    for alpha in (0.3, 0.05, 0.01):
        found = next(solve_path(make_problem(x), y, [alpha], tolerance=1e-5))
        expected = Lasso(alpha=alpha, tol=1e-6, max_iter=100_000).fit(x, y)
        assert np.count_nonzero(expected.coef_) > 32
        assert found.is_converged
        np.testing.assert_allclose(found.predict(x), expected.predict(x), atol=0.02 * y.std())

        def objective(weights: np.ndarray, intercept: float, alpha: float = alpha) -> float:
            return float(np.sum((y - x @ weights - intercept) ** 2) / (2 * len(y)) + alpha * np.abs(weights).sum())

        best = objective(expected.coef_, expected.intercept_)
        assert objective(found.weights_d, found.intercept) <= best + 1.1e-5 * np.mean(y**2)


def test_alpha_is_the_one_with_the_lowest_error_over_folds():
    x, y, _, train, _, folds = planted(noise=2.0)
    z, target, fold = StandardScaler().fit_transform(x[train]).astype(float), y[train, 0], folds[train]
    parts = [(make_problem(z[fold != f]), np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(4)]
    grid = alpha_grid(make_problem(z), target, 12, 1e-2)
    errors = []
    for alpha in grid:
        models = [
            (f, Lasso(alpha=alpha, tol=1e-6, max_iter=50_000).fit(z[fold != f], target[fold != f])) for f in range(4)
        ]
        errors.append(sum(np.sum((target[fold == f] - model.predict(z[fold == f])) ** 2) for f, model in models))
    found = choose_alpha(parts, z, target, grid)
    assert found.alpha == grid[int(np.argmin(errors))]
    total = sum(np.sum((target[fold == f] - target[fold != f].mean()) ** 2) for f in range(4))
    assert found.r2 == pytest.approx(1 - min(errors) / total, abs=5e-3)
    assert r2_at(parts, z, target, found.alpha) == pytest.approx(found.r2, abs=5e-3)
    assert not next(solve_path(make_problem(z), target, grid[:1])).weights_d.any()  # the grid starts at no weight


def test_cv_finds_the_planted_codes_and_nothing_for_noise():
    few, many, noise = fit(planted(n=500), LassoSettings(n_permutations=200))
    assert few.alpha_source == "cv"
    assert few.r2 > 0.9 > few.r2_permuted
    dims, values = few.weights
    assert set(dims[np.abs(values) > 0.1].tolist()) == {2, 11}
    assert few.n_codes_90 == 2
    assert many.n_codes_90 > 10
    assert few.effective_codes < many.effective_codes
    assert few.completeness > many.completeness
    assert noise.r2 < 0.05
    assert math.isnan(noise.completeness)
    assert math.isnan(noise.effective_codes)
    assert noise.n_codes_90 is None
    assert {fit.n_dims for fit in (few, many, noise)} == {39}  # the columns that vary: live ones
    assert [fit.is_predicted for fit in (few, many, noise)] == [True, True, False]
    assert few.r2_p <= 0.01 and noise.r2_p > 0.05 and few.tested_by == "clips within groups"


def test_noise_is_not_above_its_permutations_however_many_columns():
    rng = np.random.default_rng(2)
    x, _, groups, train, heldout, folds = planted(n=150, d=600)
    y = rng.normal(size=(150, 6))
    fits = fit((x, y, groups, train, heldout, folds), LassoSettings(n_permutations=200))
    assert all(found.r2 < 0.05 for found in fits)
    assert not any(found.is_predicted for found in fits)
    paper = fit_factors_paper(x, y, seed=0, groups_c=np.zeros(len(x)))
    assert all(found.r2 > 0.25 for found in paper)  # in-sample, on noise: why the permuted one stands beside it
    assert all(abs(found.r2 - found.r2_permuted) < 0.25 for found in paper)


def test_held_out_clips_never_reach_the_fit():
    data = planted()
    x, y, groups, train, heldout, folds = data
    other_x, other_y = x.copy(), y.copy()
    other_x[heldout] = 100 + 50 * np.random.default_rng(3).normal(size=other_x[heldout].shape)
    other_y[heldout] = -70 + 30 * np.random.default_rng(4).normal(size=other_y[heldout].shape)
    for settings in (LassoSettings(n_permutations=1), FIXED):
        clean = fit(data, settings)
        spoiled = fit((other_x, other_y, groups, train, heldout, folds), settings)
        for a, b in zip(clean, spoiled, strict=True):
            for name in FIELDS:
                assert getattr(a, name) == getattr(b, name), name
            np.testing.assert_array_equal(a.weights[0], b.weights[0])
            np.testing.assert_allclose(a.weights[1], b.weights[1], atol=1e-3)
            np.testing.assert_array_equal(a.scaler.x_mean, b.scaler.x_mean)
            np.testing.assert_array_equal(a.scaler.x_scale, b.scaler.x_scale)


def test_dead_columns_have_no_weight_even_if_they_wake_up_held_out():
    x, y, groups, train, heldout, folds = planted()
    x[heldout, 7] = 50
    found = fit((x, y, groups, train, heldout, folds))[0]
    assert 7 not in found.weights[0]
    assert found.scaler.x_scale[7] == 1
    assert not lasso_scaler(x, train)[1][7]


def test_missing_values_leave_their_clips_out_of_one_factor_only():
    data = planted()
    x, y, groups, train, heldout, folds = data
    holes = y.copy()
    holes[::4, 0] = np.nan
    some, all_of_it = fit((x, holes, groups, train, heldout, folds)), fit(data)
    kept = np.isfinite(holes[:, 0])
    assert (some[0].n_train, some[0].n_clips) == ((train & kept).sum(), (heldout & kept).sum())
    assert some[0].heldout_index.tolist() == np.flatnonzero(heldout & kept).tolist()
    np.testing.assert_array_equal(some[1].weights[1], all_of_it[1].weights[1])
    target = some[0].how.of(y[:, 0])
    z = (x - some[0].scaler.x_mean) / some[0].scaler.x_scale
    rows = train & kept
    sk = Lasso(alpha=0.1, tol=1e-8).fit(z[rows], (target[rows] - target[rows].mean()) / target[rows].std())
    np.testing.assert_allclose(weights_matrix(some[:1], 40)[:, 0], sk.coef_, atol=0.01)
    assert some[0].intercept == pytest.approx(sk.intercept_, abs=1e-3)  # not 0: the columns are scaled over all clips


def test_threads_change_nothing_and_progress_is_told():
    data, told = planted(), []
    one = fit(data, LassoSettings(n_permutations=40))
    two = fit(data, LassoSettings(n_permutations=40), n_jobs=3, progress=lambda done, total: told.append((done, total)))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.weights[1], b.weights[1])
        assert (a.r2, a.r2_permuted, a.r2_p) == (b.r2, b.r2_permuted, b.r2_p)
    assert told[-1] == (3, 3)


def test_given_alphas_are_used_and_missing_ones_have_a_reason():
    found = fit(planted(), LassoSettings(mode="given", n_permutations=1), given_alphas_g=[0.2, math.nan, 0.05])
    assert [f.alpha for f in found][::2] == [0.2, 0.05]
    assert found[0].alpha_source == "given"
    assert found[1].reason == "no alpha was given"
    with pytest.raises(ValueError, match="one alpha for each factor, 3 in all"):
        fit(planted(), LassoSettings(mode="given"))
    with pytest.raises(ValueError, match="'cv', 'given' or 'fixed'"):
        fit(planted(), LassoSettings(mode="best"))


def test_counting_codes_where_alpha_is_given_changes_nothing_else():
    without = fit(planted())[0]
    with_codes = fit(planted(), LassoSettings(mode="fixed", fixed_alpha=0.1, n_permutations=50, count_codes=True))[0]
    assert without.n_codes_90 is None
    assert with_codes.n_codes_90 == 2
    assert (without.r2, without.r2_folds) == (with_codes.r2, with_codes.r2_folds)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("no clip has a value", lambda y, train: np.full_like(y, np.nan)),
        ("no training clip has a value", lambda y, train: np.where(train[:, None], np.nan, y)),
        ("no held-out clip has a value", lambda y, train: np.where(train[:, None], y, np.nan)),
        ("the same value in every training clip", lambda y, train: np.where(train[:, None], 3.0, y)),
        ("does not differ from the training mean", lambda y, train: np.where(train[:, None], y, y[train].mean(axis=0))),
    ],
)
def test_a_factor_without_a_value_to_score_is_null_with_a_reason(words, change):
    x, y, groups, train, heldout, folds = planted()
    changed = change(y, train)
    if "differ" in words:
        changed[train] = np.sign(changed[train] - changed[train].mean(axis=0))
        changed[np.flatnonzero(train)[: np.sum(train) % 2]] = np.nan
        changed[heldout] = np.nanmean(changed[train], axis=0)
    found = fit((x, changed, groups, train, heldout, folds))[0]
    assert words in found.reason
    assert all(math.isnan(getattr(found, name)) for name in ("r2", "r2_permuted", "completeness"))
    assert not found.is_predicted


@pytest.mark.parametrize(
    "change",
    [
        lambda y: np.round(y * 0.2),  # few values
        lambda y: (y > y.mean(axis=0)).astype(float),  # two
        lambda y: np.where(np.arange(len(y))[:, None] % 97 == 5, y, 0.0),  # nearly always the same
        lambda y: np.exp(3 * y),  # one clip holds nearly everything
        lambda y: np.where(np.arange(len(y))[:, None] == 40, 1e9, y),
    ],
)
def test_whatever_has_a_value_has_a_score(change):
    x, y, groups, train, heldout, folds = planted()
    for found in fit((x, change(y), groups, train, heldout, folds), folds_all_c=np.arange(len(x)) % 5):
        assert found.reason is None and math.isfinite(found.r2) and math.isfinite(found.r2_all)
        assert math.isfinite(found.r2_folds) and math.isfinite(found.r2_p)
        assert np.isfinite(found.predict(x)).all()


def test_heavy_tails_are_ranked_and_predicted_in_their_own_unit():
    x, y, groups, train, heldout, folds = planted(noise=0.1)
    heavy = np.exp(3 * (y - y.mean(axis=0)))
    found = fit((x, heavy, groups, train, heldout, folds))[0]
    assert found.transform.startswith("ranked: one clip holds") and found.is_predicted
    said = found.predict(x)[heldout]
    assert said.min() >= heavy[train, 0].min() and said.max() <= heavy[train, 0].max()
    assert np.corrcoef(np.argsort(np.argsort(said)), np.argsort(np.argsort(heavy[heldout, 0])))[0, 1] > 0.9
    plain = fit((x, y, groups, train, heldout, folds))[0]
    assert plain.transform is None
    assert found.r2 == pytest.approx(plain.r2, abs=0.1)  # ranks do not mind how the values are spread


def test_few_groups_have_scores_and_one_group_or_a_leak_has_none():
    x, y, groups, train, heldout, folds = planted()
    one = fit((x, y, np.full(len(x), "f1", object), train, heldout, folds))[0]
    assert "1 group" in one.reason
    two = np.where(train, "t", "h").astype(object)
    found = fit((x, y, two, train, heldout, folds))[0]
    assert (found.r2 > 0.8, found.n_groups, found.is_predicted) == (True, 1, True)
    leaking = groups.copy()
    leaking[np.flatnonzero(heldout)[0]] = groups[train][0]
    assert "a leak" in fit((x, y, leaking, train, heldout, folds))[0].reason
    assert (
        "fewer than two folds" in fit((x, y, groups, train, heldout, np.where(train, 0, -1)), LassoSettings())[0].reason
    )
    dead = fit((np.zeros_like(x), y, groups, train, heldout, folds))[0]
    assert dead.reason == "no dimension varies over the training clips"


def test_out_of_fold_scores_are_scikit_learns_by_hand():
    data = planted(n=160, d=20)
    x, y, groups, *_ = data
    fold = np.array([int(group[1:]) % 4 for group in groups])
    found = fit(data, folds_all_c=fold)[1]
    error, total, inside = 0.0, 0.0, []
    for one in range(4):
        fitting, scoring = fold != one, fold == one
        scaler = StandardScaler().fit(x[fitting].astype(float))
        low, high = np.quantile(y[fitting, 1], (0.005, 0.995))
        target, measured = np.clip(y[fitting, 1], low, high), np.clip(y[scoring, 1], low, high)
        sk = Lasso(alpha=0.1, tol=1e-8).fit(
            scaler.transform(x[fitting].astype(float)), (target - target.mean()) / target.std()
        )
        said = sk.predict(scaler.transform(x[scoring].astype(float))) * target.std() + target.mean()
        error += np.sum((measured - said) ** 2)
        total += np.sum((measured - target.mean()) ** 2)
        inside.append((measured, said, groups[scoring]))
    assert found.r2_all == pytest.approx(1 - error / total, abs=5e-3)
    assert found.r2_all_within == pytest.approx(
        r2_within_group(*(np.concatenate(part) for part in zip(*inside, strict=True))), abs=5e-3
    )
    assert (found.n_all_clips, found.n_all_groups) == (160, len(set(groups)))


def test_r2_within_group_is_lower_where_codes_only_tell_groups_apart():
    rng = np.random.default_rng(6)
    _, _, groups, train, heldout, folds = planted(n=400)
    level = {group: value for value, group in enumerate(sorted(set(groups)))}
    level_c = np.array([level[group] for group in groups], float)
    x = np.stack([level_c, rng.normal(size=400)], axis=1)
    y = (level_c + rng.normal(size=400) * 0.5)[:, None]
    found = fit((x, y, groups, train, heldout, folds))[0]
    assert found.r2 > 0.8
    assert found.r2_within_group < 0.1
    assert not found.is_predicted  # with 4 held-out groups


def test_the_paper_lasso_equals_scikit_learns_in_sample():
    x, y, *_ = planted(n=100, d=150)
    groups = np.arange(100) % 7
    z = StandardScaler().fit_transform(x.astype(float))
    for g, found in enumerate(fit_factors_paper(x, y, seed=0, groups_c=groups)):
        target = (y[:, g] - y[:, g].mean()) / y[:, g].std()
        sk = Lasso(alpha=0.1, max_iter=10_000, tol=1e-8).fit(z, target)
        dense = weights_matrix([found], 150)
        np.testing.assert_allclose(dense[:, 0], sk.coef_, atol=5e-3)
        assert found.r2 == pytest.approx(sk.score(z, target), abs=5e-3)
        assert (found.n_clips, found.n_groups) == (100, 7)
        assert (found.alpha, found.alpha_source, found.r2) == (0.1, "paper", found.r2_train)
        score, codes = completeness(dense)
        assert (found.completeness, found.effective_codes) == pytest.approx((score[0], codes[0]))


def test_the_published_completeness_of_no_weight_is_a_switch():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(2000, 3)), rng.normal(size=(2000, 1))  # alpha 0.1 keeps nothing
    plain, published = paper(x, y, 0)[0], paper(x, y, 0, completeness_of_no_weight=1.0)[0]
    assert plain.n_weights == 0
    assert math.isnan(plain.completeness)
    assert published.completeness == 1
    assert math.isnan(published.effective_codes)
    constant = paper(x, np.ones((2000, 1)), 0, completeness_of_no_weight=1.0)[0]
    assert "same value" in constant.reason
    assert math.isnan(constant.completeness)
    assert paper(x, np.full((2000, 1), np.nan), 0)[0].reason == "no value"


def paper(x, y, seed, **named):
    return fit_factors_paper(x, y, seed, groups_c=np.zeros(len(x)), **named)
