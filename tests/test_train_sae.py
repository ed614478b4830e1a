"""Training: what a sound SAE reaches on data whose dictionary is known, and that nothing else is seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from precompute.metrics import fvu
from precompute.train_sae import TrainSettings, train_paper, train_sound

D_MODEL, N_FEATURES, K = 48, 64, 4


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """States made of 30 sparse directions, and the directions (each of length 1)."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(30, D_MODEL))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strengths = (rng.random((1200, 30)) < 0.1) * rng.gamma(4, 0.5, size=(1200, 30))
    return (strengths @ directions + 0.01 * rng.normal(size=(1200, D_MODEL)) + 5).astype(np.float32), directions


def test_planted_directions_are_found_and_few_features_die(planted: tuple[np.ndarray, np.ndarray]) -> None:
    states, directions = planted
    sae, curve = train_sound(states, TrainSettings(K, N_FEATURES, epochs=60, seed=0))
    codes = sae.encode(states).dense()
    decoder = sae.w_dec_fd / np.linalg.norm(sae.w_dec_fd, axis=1, keepdims=True)
    found = (decoder @ directions.T).max(axis=0)
    assert fvu(states, sae.decode(sae.encode(states)), states.mean(axis=0)) < 0.15
    assert np.mean(found > 0.8) > 0.6
    assert np.mean(codes.max(axis=0) == 0) < 0.05
    assert curve[-1].loss < curve[0].loss


@pytest.mark.parametrize("k", [2, 4, 8, 40])
def test_few_clips_are_reconstructed_at_every_k(k: int) -> None:
    """With a dozen clips of a wide state and k near or over their number, nothing may blow up, seen or unseen."""
    rng = np.random.default_rng(3)
    states = (rng.normal(size=(200, 12)) * np.arange(1, 13) ** -0.5 @ rng.normal(size=(12, 96)) + 2).astype(np.float32)
    train, unseen = states[:12], states[12:]
    sae, _ = train_sound(train, TrainSettings(k, 256, epochs=60))
    mean = train.mean(axis=0)
    assert fvu(train, sae.decode(sae.encode(train)), mean) < 0.3
    assert fvu(unseen, sae.decode(sae.encode(unseen)), mean) < 1.5


def test_the_same_seed_gives_the_same_weights(planted: tuple[np.ndarray, np.ndarray]) -> None:
    states = planted[0][:200]
    first, second = (train_sound(states, TrainSettings(K, N_FEATURES, epochs=3, seed=1))[0] for _ in range(2))
    other, _ = train_sound(states, TrainSettings(K, N_FEATURES, epochs=3, seed=2))
    np.testing.assert_array_equal(first.w_enc_df, second.w_enc_df)
    assert not np.array_equal(first.w_enc_df, other.w_enc_df)


def test_the_input_map_is_affine_in_raw_units(planted: tuple[np.ndarray, np.ndarray]) -> None:
    states = planted[0]
    sae, _ = train_sound(states, TrainSettings(K, N_FEATURES, epochs=3))
    between = sae.preactivations((states[:1] + states[1:2]) / 2)
    np.testing.assert_allclose(between, sae.preactivations(states[:2]).mean(axis=0, keepdims=True), atol=1e-3)


def test_constant_states_do_not_break_it() -> None:
    sae, _ = train_sound(np.ones((10, D_MODEL), np.float32), TrainSettings(K, N_FEATURES, epochs=2))
    assert np.isfinite(sae.w_enc_df).all()


def test_the_published_recipe_trains_layers_together(planted: tuple[np.ndarray, np.ndarray]) -> None:
    states = planted[0][:160]
    crops = np.stack([states, states + 0.01], axis=1)
    settings = TrainSettings(K, N_FEATURES, epochs=5, batch_size=16, seed=42)
    fitted = train_paper({3: crops, 6: crops * 2}, {3: states, 6: states * 2}, settings, last_batch_checkpoint=True)
    assert set(fitted) == {3, 6}
    sae, curve = fitted[3]
    assert not np.array_equal(sae.w_enc_df, fitted[6][0].w_enc_df)  # each with a start of its own
    assert not sae.b_dec_d.any() and len(curve) == 5 and curve[-1].loss < curve[0].loss


def test_the_published_recipe_repeats_beside_other_trainings(planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Several train at once in one process: none may draw from, or set, the generator that all share."""
    states = planted[0][:64]
    torch.manual_seed(7)
    shared = torch.get_rng_state()

    def train(k: int) -> np.ndarray:
        settings = TrainSettings(k, N_FEATURES, epochs=2, batch_size=16, seed=42)
        return train_paper({3: states[:, None]}, {3: states}, settings, last_batch_checkpoint=True)[3][0].w_enc_df

    alone = [train(k) for k in (2, 4, 8, 16)]
    assert torch.equal(torch.get_rng_state(), shared)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, (2, 4, 8, 16)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(alone[0]).max() > 0.5 * D_MODEL**-0.5  # weights of the published size, not zeros
