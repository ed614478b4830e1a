"""precompute/stability.py: which features return from another start; on copies, on noise, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from precompute.stability import RETURNS_R, stability

N_CLIPS, N_FEATURES = 240, 24
TRAIN = np.arange(N_CLIPS) % 4 != 0


def codes(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((N_CLIPS, N_FEATURES)) < 0.2, rng.exponential(size=(N_CLIPS, N_FEATURES)), 0)


def decoder(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N_FEATURES, 16))


def test_a_reordered_copy_returns_whole_and_keeps_its_directions() -> None:
    order = np.random.default_rng(1).permutation(N_FEATURES)
    one, other = stability([codes(), codes()[:, order]], [decoder(), decoder()[order]], TRAIN, ~TRAIN)
    for found in (one, other):
        np.testing.assert_allclose(found.r, 1)
        np.testing.assert_allclose(found.cosine, 1)
        assert (found.n_returns == 1).all() and found.share == 1.0 and found.n_others == 1
        assert found.limit == RETURNS_R


def test_a_partner_is_not_shared() -> None:
    """Three features of one SAE are alike; the other has one such: it is the partner of one of them alone."""
    a, b = codes(), codes(5)
    a[:, 1] = a[:, 2] = a[:, 0]
    b[:, 7] = a[:, 0]
    one, other = stability([a, b], [None, None], TRAIN, ~TRAIN)
    assert (one.n_returns[:3] == 1).sum() == 1 and other.n_returns[7] == 1
    assert np.isnan(one.cosine).all()


def test_of_noise_hardly_anything_returns() -> None:
    shares = [
        found.share
        for seed in range(10)
        for found in stability([codes(seed), codes(seed + 50)], [None] * 2, TRAIN, ~TRAIN)
    ]
    assert np.mean(shares) <= 0.05


def test_half_of_the_features_in_one_of_two_other_starts() -> None:
    a, b, c = codes(), codes(7), codes(8)
    b[:, :12] = a[:, :12]
    first, second, third = stability([a, b, c], [decoder(), decoder(1), decoder(2)], TRAIN, ~TRAIN)
    assert first.n_others == 2 and (first.n_returns[:12] == 1).all()
    assert first.share == 0.0  # one of two is not more than half
    np.testing.assert_array_equal(second.n_returns[:12], first.n_returns[:12])
    assert np.nanmax(third.n_returns) <= 1


def test_dead_and_sleeping_features_and_a_single_start_are_undefined() -> None:
    a, b = codes(), codes()
    a[:, 3] = 0
    a[~TRAIN, 4] = 0
    one, other = stability([a, b], [None, None], TRAIN, ~TRAIN)
    assert np.isnan(one.r[[3, 4]]).all() and np.isnan(one.n_returns[[3, 4]]).all()
    assert other.r[3] == 0 and other.r[4] == pytest.approx(0)  # live here, and found in no other start
    (alone,) = stability([a], [None], TRAIN, ~TRAIN)
    assert np.isnan(alone.r).all() and np.isnan(alone.share)
