"""The shared measures: by hand, against other implementations, and at their degenerate ends."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from explorer.intervals import t_interval
from precompute.metrics import (
    Components,
    completeness,
    disentanglement,
    eta_squared,
    fvu,
    mse,
    pca_fvu,
    r2_score,
    r2_within_group,
    shared_groups,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_mse_and_fvu_by_hand():
    x = np.array([[1.0, 0.0], [3.0, 0.0]], np.float32)
    recon = np.array([[1.0, 1.0], [3.0, 1.0]], np.float32)
    assert mse(x, recon) == 0.5
    assert fvu(x, recon, np.array([2.0, 0.0])) == 1.0  # SSE 2, SST 1 + 1
    assert fvu(x, recon, np.array([0.0, 0.0])) == pytest.approx(2 / 10)  # about another mean: SST 1 + 9


def test_fvu_is_0_for_perfect_1_for_the_mean_and_nan_without_variance(rng):
    x = rng.normal(size=(50, 6))
    mean = x.mean(axis=0)
    assert fvu(x, x, mean) == 0
    assert fvu(x, np.broadcast_to(mean, x.shape), mean) == pytest.approx(1)
    assert math.isnan(fvu(np.ones((3, 2)), np.zeros((3, 2)), np.ones(2)))
    assert math.isnan(mse(np.zeros((0, 2)), np.zeros((0, 2))))


@pytest.mark.parametrize(("n", "d"), [(60, 12), (9, 30)])
def test_pca_fvu_equals_scikit_learns_reconstruction(rng, n, d):
    train, heldout = rng.normal(size=(n, d)) * np.arange(1, d + 1), rng.normal(size=(20, d))
    for k, (used, on_train, held) in zip((1, 4, 8), pca_fvu(Components.of(train), heldout, (1, 4, 8)), strict=True):
        pca = PCA(k).fit(train)
        assert used == k
        assert on_train == pytest.approx(
            fvu(train, pca.inverse_transform(pca.transform(train)), train.mean(0)), abs=1e-9
        )
        assert held == pytest.approx(
            fvu(heldout, pca.inverse_transform(pca.transform(heldout)), train.mean(0)), abs=1e-9
        )


def test_pca_fvu_uses_at_most_the_rank_and_says_so(rng):
    train = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10))
    (none, train_none, _), (used, on_train, _) = pca_fvu(Components.of(train), train[:5], (0, 9))
    assert none == 0
    assert train_none == pytest.approx(1)
    assert used == 3
    assert on_train == pytest.approx(0, abs=1e-9)
    constant = pca_fvu(Components.of(np.ones((4, 3))), np.ones((2, 3)), (2,))
    assert constant[0][0] == 0
    assert math.isnan(constant[0][1])
    assert math.isnan(pca_fvu(Components.of(train), train[:0], (2,))[0][2])


def reference_concentration(weights):
    """The published formula, one number at a time."""
    total = sum(abs(w) for w in weights)
    out = 1.0
    for w in weights:
        p = abs(w) / (total + 1e-6)
        out += p * math.log(p + 1e-6) / math.log(len(weights))
    return out


def test_completeness_equals_a_loop_over_the_published_formula(rng):
    weights = rng.normal(size=(40, 5)) * (rng.random((40, 5)) < 0.3)
    score, _ = completeness(weights)
    np.testing.assert_allclose(score, [reference_concentration(weights[:, g]) for g in range(5)], atol=1e-12)


def test_completeness_of_one_all_and_no_code():
    one, even, none = np.zeros(100), np.full(100, -0.3), np.zeros(100)
    one[4] = 2.0
    score, codes = completeness(np.stack([one, even, none], axis=1))
    assert score[0] == pytest.approx(1, abs=1e-5)
    assert score[1] == pytest.approx(0, abs=1e-3)
    assert math.isnan(score[2])  # the published code says 1.0 here
    assert codes[0] == pytest.approx(1)
    assert codes[1] == pytest.approx(100)
    assert math.isnan(codes[2])


def test_effective_codes_do_not_depend_on_the_number_of_codes_but_completeness_does():
    narrow, wide = np.zeros((768, 1)), np.zeros((2048, 1))
    narrow[:16], wide[:16] = 1.0, 1.0
    (c_narrow, n_narrow), (c_wide, n_wide) = completeness(narrow), completeness(wide)
    assert n_narrow[0] == pytest.approx(16)
    assert n_wide[0] == pytest.approx(16)
    assert c_wide[0] > c_narrow[0] + 0.04  # log D alone
    assert math.isnan(completeness(np.ones((1, 1)))[0][0])


def test_disentanglement_equals_a_loop_and_is_a_properly_weighted_mean(rng):
    weights = rng.normal(size=(12, 6)) * (rng.random((12, 6)) < 0.5)
    weights[3] = 0
    per_feature, total = disentanglement(weights)
    expected = [reference_concentration(row) if np.any(row) else math.nan for row in weights]
    np.testing.assert_allclose(per_feature, expected, atol=1e-12)
    share = np.abs(weights).sum(axis=1) / np.abs(weights).sum()
    assert total == pytest.approx(sum(s * d for s, d in zip(share, expected, strict=True) if s > 0))
    assert disentanglement(np.eye(6))[1] == pytest.approx(1, abs=1e-4)
    assert math.isnan(disentanglement(np.zeros((3, 4)))[1])
    assert math.isnan(disentanglement(np.ones((3, 1)))[1])  # one factor: log 1 = 0


def test_eta_squared_equals_the_anova_sums_and_scipys_f(rng):
    values, category = rng.normal(size=(90, 3)), np.array(["a", "b", "c"], object)[rng.integers(0, 3, 90)]
    values[:, 1] += np.where(category == "b", 2.0, 0.0)
    eta = eta_squared(values, category)
    for f in range(3):
        f_value = stats.f_oneway(*[values[category == name, f] for name in "abc"]).statistic
        assert eta[f] == pytest.approx(f_value * 2 / (f_value * 2 + 87))  # F = (eta / 2) / ((1 - eta) / 87)
    assert eta[1] > 0.3 > eta[0]


def test_eta_squared_at_its_ends():
    values = np.array([[1.0, 5.0, 0.1], [1.0, 5.0, 0.3], [2.0, 5.0, 0.1], [2.0, 5.0, 0.3]], np.float32)
    eta = eta_squared(values, np.array(["a", "a", "b", "b"], object))
    assert eta[0] == 1
    assert math.isnan(eta[1])
    assert eta[2] == pytest.approx(0)
    assert np.isnan(eta_squared(values, np.array(["a", "a", None, None], object))).all()
    assert np.isnan(eta_squared(values, np.array([None] * 4, object))).all()


def test_r2_is_about_the_training_mean():
    assert r2_score(np.array([1.0, 3.0]), np.array([1.0, 3.0]), 0.0) == 1
    assert r2_score(np.array([1.0, 3.0]), np.array([2.0, 2.0]), 0.0) == pytest.approx(1 - 2 / 10)
    assert r2_score(np.array([1.0, 3.0]), np.array([0.0, 0.0]), 0.0) == 0
    assert math.isnan(r2_score(np.array([2.0, 2.0]), np.array([1.0, 1.0]), 2.0))


def test_r2_within_group_ignores_what_only_tells_groups_apart():
    groups = np.array(["a", "a", "b", "b"], object)
    measured = np.array([0.0, 1.0, 10.0, 11.0])
    assert r2_within_group(measured, np.array([0.5, 0.5, 10.5, 10.5]), groups) == 0
    assert r2_within_group(measured, measured + np.array([5, 5, -5, -5]), groups) == pytest.approx(1)
    assert r2_within_group(measured, np.array([0.0, 2.0, 0.0, 2.0]), groups) == pytest.approx(0)
    assert math.isnan(r2_within_group(np.array([1.1, 1.1, 7.3, 7.3]), measured, groups))


def test_t_interval_equals_scipys_and_needs_eight_groups(rng):
    values = rng.normal(size=9)
    expected = stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval(np.full(8, 0.5)) == (0.5, 0.5)
    assert all(math.isnan(end) for end in t_interval(values[:7]))
    assert all(math.isnan(end) for end in t_interval(np.append(values[:7], np.nan)))


def test_shared_groups_finds_a_planted_leak():
    groups = np.array(["f1", "f2", "m1", "m2", "f2"], object)
    train = np.array([True, True, True, False, False])
    assert shared_groups(groups, train, ~train) == ["f2"]
    assert shared_groups(groups, train, np.array([False, False, False, True, False])) == []
