"""Matches of two SAEs against what chance lets hold up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from explorer.match_chance import held_up_by_chance
from explorer.sae import top_k_codes
from explorer.store import Store
from precompute.matching import match_features

BAR = 0.5
Codes = NDArray[np.float32]


def noise(n_groups: int, per_group: int, seed: int, *, between: float) -> tuple[Codes, NDArray[np.intp]]:
    """Codes of a random dictionary over states drawn apart for every seed, and the clips' groups."""
    rng = np.random.default_rng([n_groups, per_group, seed])
    group = np.repeat(np.arange(n_groups), per_group)
    states = rng.standard_normal((len(group), 32)) + between * rng.standard_normal((n_groups, 32))[group]
    return top_k_codes((states @ rng.standard_normal((32, 96))).astype(np.float32), 8).dense(), group


def held(a_cf: Codes, b_cf: Codes, group: NDArray[np.intp], n_held_out: int) -> tuple[int, int | None]:
    """(how many strong matches hold up, how many would by chance) on the first groups."""
    train = group >= n_held_out
    found = match_features(a_cf, b_cf, train, ~train, n_top=1)
    feature = np.flatnonzero((found.other[:, 0] >= 0) & (np.abs(found.r_train[:, 0]) >= BAR))
    other, r_train, r_heldout = (part[feature, 0] for part in (found.other, found.r_train, found.r_heldout))
    by_chance = held_up_by_chance(
        a_cf[~train][:, feature], b_cf[~train][:, other], np.sign(r_train), group[~train], bar=BAR
    )
    return int(np.nansum(r_heldout * np.sign(r_train) >= BAR)), by_chance


@pytest.mark.parametrize("between", [0.0, 2.0])
@pytest.mark.parametrize(("n_groups", "per_group", "n_held_out"), [(2, 12, 1), (8, 6, 2), (12, 5, 4), (40, 2, 12)])
def test_dictionaries_that_have_nothing_in_common_hold_up_no_more_than_chance(
    n_groups: int, per_group: int, n_held_out: int, between: float
) -> None:
    n_false, n_some = 0, 0
    for trial in range(20):
        a_cf, group = noise(n_groups, per_group, 2 * trial, between=between)
        b_cf, _ = noise(n_groups, per_group, 2 * trial + 1, between=between)
        n, by_chance = held(a_cf, b_cf, group, n_held_out)
        assert by_chance is not None
        n_false, n_some = n_false + (n > by_chance), n_some + (n > 0)
    assert n_false <= 4  # 20 at 0.05: five or more have a chance of 0.003
    assert between or n_some >= 10, "without this test most pairs would have matches that hold up"


def test_dictionaries_of_the_same_states_hold_up() -> None:
    a_cf, group = noise(12, 5, 0, between=1.0)
    rng = np.random.default_rng(1)
    b_cf = np.where(rng.random(a_cf.shape) < 0.9, a_cf, 0)[:, rng.permutation(a_cf.shape[1])]
    n, by_chance = held(a_cf, b_cf, group, 4)
    assert by_chance is not None and n > by_chance + 10, (n, by_chance)


def test_what_goes_with_whole_groups_alone_can_hold_up() -> None:
    """One clip a group and a half, as of speakers: the groups themselves are exchanged."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(12), 2)
    on_g = rng.random((12, 30)) < 0.3
    a, b = (on_g[group] * (1 + 0.1 * rng.random((24, 30))) for _ in range(2))
    by_chance = held_up_by_chance(a, b, np.ones(30), group, bar=BAR)
    assert by_chance is not None and by_chance < 15


def test_too_few_clips_to_exchange_tell_nothing() -> None:
    three = np.eye(3)
    assert held_up_by_chance(three, three, np.ones(3), np.array(["g", "g", "g"]), bar=BAR) is None
    assert held_up_by_chance(three, three, np.ones(3), np.array(["g", "h", "i"]), bar=BAR) is None


def test_constant_columns_never_hold_up_and_units_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    a, b, group = rng.random((30, 4)), np.ones((30, 4)), np.arange(30) % 6
    assert held_up_by_chance(a, b, np.ones(4), group, bar=BAR) == 0
    b = rng.random((30, 4))
    limits = [held_up_by_chance(a * unit, b * unit, np.ones(4), group, bar=0.2) for unit in (1e-9, 1.0, 1e9)]
    assert limits[0] == limits[1] == limits[2]


def test_a_sample_stands_for_many_matches() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((400, 3000)).astype(np.float32), rng.random((400, 3000)).astype(np.float32)
    limit = held_up_by_chance(a, b, np.ones(3000), np.arange(400) % 40, bar=0.05)
    assert limit is not None and 0.14 * 3000 < limit < 0.22 * 3000  # r beyond 0.05 has a chance of 0.16


def test_the_page_asks_for_the_clips_that_matching_held_out(store: Store) -> None:
    from explorer.queries.compare import fetch_match_chance, fetch_matched_pairs, strong_matches

    pair = store.query("SELECT sae_id, other_sae_id FROM feature_matches WHERE kind = 'encoder' ORDER BY ALL").iloc[0]
    said = fetch_match_chance(store, pair["sae_id"], pair["other_sae_id"]).iloc[0]
    n = len(strong_matches(fetch_matched_pairs(store, pair["sae_id"], pair["other_sae_id"])))
    assert said["why"] == "" and 0 <= said["by_chance"] <= n if n else said["why"]
