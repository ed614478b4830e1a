"""Intervals over groups: of the quantity that is shown, inside its range, and as often right as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from explorer.intervals import ratio_interval, share_interval


def test_one_large_group_and_nine_small_ones_have_an_interval_about_their_accuracy() -> None:
    found = share_interval([360] + [10] * 9, [400] + [20] * 9)
    assert found.value == pytest.approx(450 / 580)
    assert 0 <= found.low < found.value < found.high <= 1


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_contains_its_point_and_stays_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_g = rng.integers(1, 60, rng.integers(8, 25))
    found = share_interval(rng.binomial(n_g, rng.beta(0.3, 0.3, len(n_g))), n_g)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_no_interval_under_eight_groups_and_groups_without_clips_are_none() -> None:
    for found in (share_interval([5] * 7, [10] * 7), ratio_interval([1.0] * 7, [10] * 7)):
        assert math.isnan(found.low) and math.isnan(found.high)
        assert found.value in (0.5, 0.1) and found.n_groups == 7
    assert share_interval([5] * 8 + [0], [10] * 8 + [0]).n_groups == 8
    assert math.isnan(share_interval([5] * 7 + [0], [10] * 7 + [0]).low)


def test_a_share_of_one_or_none_has_the_exact_interval_of_groups_that_agree() -> None:
    exact = stats.binomtest(10, 10).proportion_ci(method="exact")
    found = share_interval([3] * 10, [3] * 10)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    mirrored = share_interval([0] * 10, [3] * 10)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - exact.high, 1 - exact.low))


def test_groups_that_agree_by_accident_are_no_surer_than_independent_clips() -> None:
    found = share_interval([2] * 8, [4] * 8)
    assert found.low < 0.5 - 1.9 * math.sqrt(0.25 / 32) * 0.9 and found.high > 0.5


def test_equal_groups_have_students_interval_of_their_mean() -> None:
    values = np.random.default_rng(0).normal(size=12)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    found = ratio_interval(values * 7, np.full(12, 7))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


@pytest.mark.parametrize("n_groups", [8, 20])
@pytest.mark.parametrize(("share", "spread"), [(0.5, 0.1), (0.8, 0.1), (0.6, 0.3)])
def test_intervals_of_groups_of_unequal_size_hold_the_truth_nine_times_in_ten(
    n_groups: int, share: float, spread: float
) -> None:
    rng = np.random.default_rng(n_groups)
    n_g = np.round(np.geomspace(8, 80, n_groups)).astype(int)
    a = (1 - spread) / spread
    rates = rng.beta(a * share, a * (1 - share), (600, n_groups))
    found = [share_interval(rng.binomial(n_g, rate_g), n_g) for rate_g in rates]
    assert np.mean([one.low <= share <= one.high for one in found]) >= 0.90
    apart = [ratio_interval(rng.binomial(n_g, rate_g) - share * n_g, n_g) for rate_g in rates]
    assert np.mean([one.low <= 0 <= one.high for one in apart]) >= 0.90
