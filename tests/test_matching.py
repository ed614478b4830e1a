"""Matching of features: chosen on training clips, reported held out, equal to plain loops."""

import numpy as np
import pytest

from precompute import matching
from precompute.matching import coactivation_lift, decoder_neighbours, match_features


@pytest.fixture(params=[512, 7])
def chunk(request, monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", request.param)


def codes(n=200, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, n_features)) < 0.3, rng.exponential(size=(n, n_features)), 0).astype(np.float32)


TRAIN = np.arange(200) < 140


def test_matches_equal_numpys_correlations(chunk):
    a, b = codes(seed=1), codes(n_features=23, seed=2)
    b[:, 4] = a[:, 9] + 0.1 * b[:, 4]
    a[:, 2] = 0
    found = match_features(a, b, TRAIN, ~TRAIN, n_top=3)
    for f in range(20):
        if f == 2:
            assert found.other[f].tolist() == [-1, -1, -1]
            assert np.isnan([found.r_train[f], found.r_heldout[f]]).all()
            continue
        r = np.array([np.corrcoef(a[TRAIN, f], b[TRAIN, j])[0, 1] for j in range(23)])
        expected = np.argsort(-np.abs(r), kind="stable")[:3]
        assert found.other[f].tolist() == expected.tolist()
        np.testing.assert_allclose(found.r_train[f], r[expected], atol=1e-9)
        held = [np.corrcoef(a[~TRAIN, f], b[~TRAIN, j])[0, 1] for j in expected]
        np.testing.assert_allclose(found.r_heldout[f], held, atol=1e-9)
    assert found.other[9, 0] == 4


def test_identical_dictionaries_match_themselves_and_negatives_count(chunk):
    a = codes()
    found = match_features(a, a[:, ::-1], TRAIN, ~TRAIN, n_top=1)
    assert found.other[:, 0].tolist() == list(range(19, -1, -1))
    np.testing.assert_allclose(found.r_heldout[:, 0], 1)
    opposite = match_features(a[:, :1], 5 - a[:, :2], TRAIN, ~TRAIN, n_top=1)
    assert (opposite.other[0, 0], opposite.r_train[0, 0]) == (0, pytest.approx(-1))


def test_held_out_clips_take_no_part_in_the_choice():
    a, b = codes(seed=1), codes(seed=2)
    clean = match_features(a, b, TRAIN, ~TRAIN)
    a[~TRAIN], b[~TRAIN] = 3 * codes(seed=5)[~TRAIN], b[~TRAIN][:, ::-1]
    spoiled = match_features(a, b, TRAIN, ~TRAIN)
    np.testing.assert_array_equal(clean.other, spoiled.other)
    np.testing.assert_array_equal(clean.r_train, spoiled.r_train)


def test_a_match_that_sleeps_held_out_has_no_r_there():
    a = codes()
    b = a.copy()
    b[~TRAIN, 3] = 0
    found = match_features(a, b, TRAIN, ~TRAIN, n_top=30)
    assert found.other.shape == (20, 20)
    assert (found.other[3, 0], found.r_train[3, 0]) == (3, pytest.approx(1))
    assert np.isnan(found.r_heldout[3, 0])
    none = match_features(a, b, TRAIN, np.zeros(200, bool))
    assert np.isnan(none.r_heldout).all()


def test_lift_equals_a_loop_and_ignores_rare_pairs_and_always_on_features(chunk):
    x = codes(n=300, n_features=15)
    x[:, 5] = np.where(x[:, 4] > 0, 1, 0)
    x[:, 0] = 1
    x[:, 1] = 0
    x[:, 1][:4] = 2
    found = coactivation_lift(x, n_top=3, min_joint=10, max_density=0.5)
    active = x > 0
    for f in range(15):
        lift = {}
        for g in range(15):
            joint = np.sum(active[:, f] & active[:, g])
            if g != f and joint >= 10 and active[:, f].mean() <= 0.5 and active[:, g].mean() <= 0.5:
                lift[g] = joint / 300 / (active[:, f].mean() * active[:, g].mean())
        expected = sorted(lift, key=lambda g: (-lift[g], g))[:3]
        assert [g for g in found.other[f] if g >= 0] == expected
        np.testing.assert_allclose(found.value[f][: len(expected)], [lift[g] for g in expected])
    assert found.other[4, 0] == 5
    assert (found.other[[0, 1]] == -1).all()
    assert np.isnan(found.value[[0, 1]]).all()


def test_decoder_neighbours_are_by_cosine_among_live_features(chunk):
    rng = np.random.default_rng(3)
    w = rng.normal(size=(12, 5))
    w[7] = 3 * w[2] + 0.01
    w[9] = 0
    live = np.ones(12, bool)
    live[4] = False
    found = decoder_neighbours(w, live, n_top=2)
    unit = w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12)
    usable = [f for f in range(12) if f not in (4, 9)]
    for f in usable:
        expected = sorted((g for g in usable if g != f), key=lambda g: -float(unit[f] @ unit[g]))[:2]
        assert found.other[f].tolist() == expected
        np.testing.assert_allclose(found.value[f], [unit[f] @ unit[g] for g in expected])
    assert found.other[2, 0] == 7
    assert (found.other[[4, 9]] == -1).all()
