"""The length of an SAE's training: shorter where few clips are learned by heart, untouched where clips suffice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from explorer.sae import SAE
from explorer.store import open_store
from explorer.text import length_words
from precompute import sae_stage, train_length
from precompute.artefacts import Artefacts
from precompute.config import RunConfig
from precompute.encoder_choice import choose_encoders
from precompute.metrics import fvu
from precompute.pipeline import open_job
from precompute.reporting import Reporter
from precompute.train_length import (
    BEST_THEN,
    ENOUGH_CLIPS,
    NO_SHORTER_BETTER,
    NOTHING_APART,
    Length,
    apart,
    choose_length,
    clearly_better,
    shorter,
    train_to_length,
)
from precompute.train_sae import TrainSettings, train_sound
from tests.conftest import tiny_config

D_MODEL = 64
WIDE = TrainSettings(k=16, n_features=256, epochs=100)


def states_of(n: int, *, rank: int | None, seed: int = 0) -> np.ndarray:
    """(n, D_MODEL) states: noise in all directions alike, or of `rank` directions and hardly any noise."""
    rng = np.random.default_rng(seed)
    if rank is None:
        return rng.normal(size=(n, D_MODEL)).astype(np.float32)
    directions = np.random.default_rng(99).normal(size=(rank, D_MODEL))
    return (rng.normal(size=(n, rank)) @ directions + 0.05 * rng.normal(size=(n, D_MODEL))).astype(np.float32)


def unseen_fvu(sae: SAE, train: np.ndarray, unseen: np.ndarray) -> float:
    return fvu(unseen, sae.decode(sae.encode(unseen)), train.mean(axis=0))


def same_weights(one: SAE, other: SAE) -> bool:
    return np.array_equal(one.w_enc_df, other.w_enc_df) and np.array_equal(one.w_dec_fd, other.w_dec_fd)


def folds_of(n: int) -> np.ndarray:
    return np.arange(n) % 5


@pytest.fixture(scope="module")
def overfit() -> tuple[np.ndarray, np.ndarray, SAE, Length]:
    """Few clips that have nothing in common, as many unseen ones, and the SAE trained to the length found."""
    train, unseen = states_of(60, rank=None), states_of(200, rank=None, seed=1)
    sae, _, length = train_to_length(train, folds_of(60), replace(WIDE, k=4))
    return train, unseen, sae, length


def test_few_clips_are_not_learned_by_heart(overfit: tuple[np.ndarray, np.ndarray, SAE, Length]) -> None:
    train, unseen, sae, length = overfit
    whole, _ = train_sound(train, replace(WIDE, k=4))
    assert length.n_epochs < WIDE.epochs and length.reason == BEST_THEN
    assert unseen_fvu(sae, train, unseen) < 0.9 * unseen_fvu(whole, train, unseen)


def test_the_sae_is_fitted_on_all_training_clips_for_that_length(
    overfit: tuple[np.ndarray, np.ndarray, SAE, Length],
) -> None:
    train, _, sae, length = overfit
    again, _ = train_sound(train, replace(WIDE, k=4, epochs=length.n_epochs))
    assert same_weights(sae, again)
    assert choose_length(train, folds_of(60), replace(WIDE, k=4)) == length


def test_states_that_gain_from_long_training_keep_it() -> None:
    train = states_of(60, rank=6)
    sae, _, length = train_to_length(train, folds_of(60), replace(WIDE, k=4))
    assert length.n_epochs == WIDE.epochs and length.reason == NO_SHORTER_BETTER
    assert {one.n_epochs for one in length.tried} >= {100, 40, 20, 10, 5}
    assert same_weights(sae, train_sound(train, replace(WIDE, k=4))[0])


def test_with_as_many_clips_as_features_nothing_is_tried_or_changed() -> None:
    train, settings = states_of(64, rank=None), TrainSettings(4, 64, epochs=10)
    sae, _, length = train_to_length(train, folds_of(64), settings)
    assert (length.n_epochs, length.reason, length.tried) == (10, ENOUGH_CLIPS, ())
    assert same_weights(sae, train_sound(train, settings)[0])


def test_the_clips_of_a_fold_are_never_in_the_fit_that_they_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip holds its own number; every fit inside must lack one whole fold, and the last one must have all."""
    train, folds = states_of(40, rank=None), np.repeat(np.arange(4), 10)
    train[:, 0] = np.arange(40)
    seen: list[set[int]] = []
    real = train_sound

    def watched(states: np.ndarray, *args: object) -> object:
        seen.append(set(states[:, 0].astype(int).tolist()))
        return real(states, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_length, "train_sound", watched)
    _, _, length = train_to_length(train, folds, replace(WIDE, epochs=20))
    assert len(length.tried) == len(seen) - 1
    for one, clips in zip(length.tried, seen, strict=False):
        assert clips == set(range(40)) - set(np.flatnonzero(folds == one.fold).tolist())
    assert seen[-1] == set(range(40))


@pytest.mark.parametrize(
    ("groups", "folds"),
    [
        (["a"] * 4, [0, 1, 0, 1]),  # one group: its folds are by file
        (["a", "a", "b", "b"], [0, 1, 1, 1]),  # a group on both sides
        (["a", "a", "b", "b"], [0, 0, -1, -1]),  # a group in no fold
        (["a", "b"], [0, 0]),
        ([], []),
    ],
)
def test_folds_that_keep_no_groups_apart_are_not_used(groups: list[str], folds: list[int]) -> None:
    assert apart(groups, np.array(folds)) is None


def test_folds_of_whole_groups_are_used() -> None:
    folds = np.array([0, 0, 1, 1])
    assert apart(["a", "a", "b", "b"], folds) is folds


def test_without_groups_to_keep_apart_the_whole_length_stays_and_says_so() -> None:
    length = choose_length(states_of(20, rank=None), None, replace(WIDE, epochs=7))
    assert (length.n_epochs, length.reason) == (7, NOTHING_APART)


@pytest.mark.parametrize("states", [np.ones((12, D_MODEL), np.float32), states_of(2, rank=None), states_of(3, rank=2)])
def test_degenerate_states_keep_finite_weights(states: np.ndarray) -> None:
    sae, _, length = train_to_length(states, np.arange(len(states)) % 3, replace(WIDE, epochs=6))
    assert np.isfinite(sae.w_enc_df).all() and 1 <= length.n_epochs <= 6


def test_one_clip_trains_for_the_whole_length() -> None:
    sae, _, length = train_to_length(states_of(1, rank=None), apart(["a"], np.array([0])), replace(WIDE, epochs=3))
    assert length.n_epochs == 3 and np.isfinite(sae.w_enc_df).all()


@pytest.mark.parametrize(
    ("found", "left", "best"),
    [
        ({100: [0.5, 0.5], 40: [0.4, 0.45], 20: [0.44, 0.42]}, [40, 20], 40),
        ({100: [0.5, 0.5], 40: [0.495, 0.494]}, [40], 100),  # lower, but by less than the margin
        ({100: [0.5, 0.5], 40: [0.2, 0.51]}, [], 100),  # not lower in every fold
        ({100: [float("nan")], 40: [float("nan")]}, [], 100),
        ({100: []}, [], 100),  # too few epochs for a shorter length
    ],
)
def test_a_shorter_length_must_be_clearly_better(found: dict[int, list[float]], left: list[int], best: int) -> None:
    assert clearly_better(found, 100, left) == best


def test_lengths_are_whole_epochs_under_the_longest() -> None:
    assert shorter(100) == [40, 20, 10, 5]
    assert shorter(30) == [12, 6, 3, 2]
    assert shorter(2) == [1] and shorter(1) == []


def test_a_run_keeps_what_was_tried_and_where_each_sae_stopped(tiny_store: Path) -> None:
    store = open_store(tiny_store)
    saes = store.query(
        "SELECT sae_id, n_train_clips, n_features, n_epochs, n_epochs_trained, epochs_reason, "
        "(SELECT count(*) FROM sae_curves c WHERE c.sae_id = s.sae_id) AS n_points FROM saes s"
    )
    lengths = store.query("SELECT * FROM sae_lengths")
    folds = set(store.query("SELECT DISTINCT fold_group FROM clips WHERE split = 'train'")["fold_group"])
    assert (saes["n_train_clips"] < saes["n_features"]).all() and set(lengths["sae_id"]) == set(saes["sae_id"])
    assert (saes["n_points"] == saes["n_epochs_trained"]).all()
    assert set(lengths["fold"]) <= folds and set(lengths["n_epochs"]) <= {15, *shorter(15)}
    for row in saes.itertuples():
        is_short = row.n_epochs_trained < row.n_epochs
        assert row.epochs_reason == (BEST_THEN if is_short else NO_SHORTER_BETTER)


@pytest.mark.parametrize(
    ("n_features", "changes"),
    [(None, True), (16, False)],  # with more training clips than features the folds have no part in the weights
)
def test_an_sae_is_named_by_the_folds_that_chose_its_length(
    n_features: int | None, changes: bool, tiny_sources: Path, tmp_path: Path
) -> None:
    def ids(config: RunConfig, *, shifted: bool) -> dict[int, str]:
        job = open_job(config, Artefacts(config.store, tmp_path / "scratch"), Reporter())
        folds_c = np.where(job.arrays.fold_group_c < 0, -1, 4 - job.arrays.fold_group_c)
        if shifted:
            job = replace(job, arrays=replace(job.arrays, fold_group_c=folds_c))
        work = choose_encoders(config, job.artefacts)[0].at(job)
        return sae_stage.sae_ids(work, (1, 4), sae_stage.train_settings(work, 0.8, 0))

    config = tiny_config(tiny_sources, tmp_path / "store", n_features=n_features)
    assert (ids(config, shifted=False) != ids(config, shifted=True)) == changes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((20, 100, "so"), "Stopped after 20 of 100 epochs: so."),
        ((100, 100, "so"), "Trained for the whole 100 epochs: so."),
        ((1, 1, "so"), "Trained for the whole 1 epoch: so."),
        ((None, 100, None), ""),
        ((float("nan"), 100, None), ""),
    ],
)
def test_the_length_is_said_in_one_sentence(values: tuple[object, object, object], words: str) -> None:
    assert length_words(*values) == words
