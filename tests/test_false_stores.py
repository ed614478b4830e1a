"""Whole stores of noise say hardly anything, nothing where nothing can be tested, and what is planted they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks._noise_corpora import (
    COLOURED,
    OF_BOTH,
    OF_CLIPS,
    OF_GROUPS,
    PERMUTED,
    WHITE,
    Design,
    Workshop,
    columns_of,
    states_of,
)
from benchmarks._store_statements import Said, what_is_found
from benchmarks.false_stores import Rate, all_said, kept_said, made_store, rates_of
from explorer.permutation import ALPHA
from explorer.store import Store

UNTESTABLE = Design(2, 12, COLOURED, OF_GROUPS)
NOISE = (Design(8, 6, COLOURED, PERMUTED), Design(8, 6, WHITE, OF_BOTH, has_reading=False, seed=1))
PLANTED = Design(8, 6, WHITE, OF_CLIPS, strength=4.0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def said(shop: Workshop) -> list[list[Said]]:
    return [of_store for _, of_store in all_said(shop, [UNTESTABLE, *NOISE])]


@pytest.fixture(scope="module")
def planted(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = made_store(shop, PLANTED, tmp_path_factory.mktemp("planted") / "store")
    yield store
    store.close()


@pytest.mark.slow
def test_stores_of_noise_say_no_more_than_chance_allows(said: list[list[Said]]) -> None:
    rates = rates_of(said)
    assert not {kind: rate for kind, rate in rates.items() if rate.is_too_often}
    every = [one for of_store in said for one in of_store if not one.kind.startswith("Stability")]
    n, n_said = sum(one.n for one in every), sum(one.n_said for one in every)
    assert n > 60
    assert n_said <= stats.binom.ppf(0.999, n, ALPHA), [one for one in every if one.n_said]


@pytest.mark.slow
def test_two_groups_of_which_nothing_can_be_told_say_nothing_of_labels_or_claims(said: list[list[Said]]) -> None:
    of_two = {one.kind: one for one in said[0]}
    asked = [kind for kind in of_two if "label" in kind or kind.startswith(("claim", "Layers"))]
    assert len(asked) >= 9
    for kind in asked:
        assert of_two[kind].n == of_two[kind].n_said == of_two[kind].n_forbidden == 0, kind
    assert sum(one.n_forbidden for one in said[0]) == 0


@pytest.mark.slow
def test_what_is_planted_strongly_is_said_everywhere(planted: Store) -> None:
    assert all(what_is_found(planted).values()), what_is_found(planted)


@pytest.mark.slow
def test_states_are_drawn_for_the_clips_in_the_order_of_the_store(planted: Store) -> None:
    clips = planted.query("SELECT f.path, c.label FROM clips c JOIN files f USING (file_id) ORDER BY clip_index")
    columns = columns_of(PLANTED)
    assert clips["path"].tolist() == columns.file_c and clips["label"].tolist() == columns.label_c.tolist()


def test_noise_has_nothing_to_do_with_columns_and_planted_states_have() -> None:
    for strength, least, most in ((0.0, 0.0, 0.35), (4.0, 0.8, 1.0)):
        design = Design(40, 5, WHITE, OF_CLIPS, strength=strength)
        states, columns = states_of(design, "some", 2, 24).astype(float), columns_of(design)
        for target in (columns.label_c == "a", columns.reading_c, columns.level_c):
            centred = np.column_stack([np.ones(len(states)), states])
            left = target - centred @ np.linalg.lstsq(centred, target.astype(float), rcond=None)[0]
            assert least <= 1 - left.var() / np.var(target) <= most
    one, other = (states_of(Design(8, 6), "some", layer, 24) for layer in (0, 1))
    assert not np.allclose(one, other)


def test_a_rate_counts_statements_that_are_false_together_as_fewer() -> None:
    apart = Rate(tuple(Said("x", 10, 1) for _ in range(20)))
    at_once = Rate(tuple(Said("x", 10, 10 if place < 2 else 0) for place in range(20)))
    assert (apart.n_false, apart.n) == (at_once.n_false, at_once.n) == (20, 200)
    assert apart.is_too_often and not at_once.is_too_often
    assert at_once.interval[0] < apart.interval[0] and at_once.interval[1] > apart.interval[1]
    assert Rate((Said("x", 0, 0, 3, 1),)).is_too_often


@pytest.mark.slow
def test_stores_that_a_file_knows_are_not_made_again(shop: Workshop, tmp_path: Path, said: list[list[Said]]) -> None:
    path = tmp_path / "said.jsonl"
    designs = [replace(UNTESTABLE, seed=seed) for seed in (1, 2)]
    rows = [json.dumps({"store": str(one), "said": [asdict(part) for part in said[0]]}) for one in designs]
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    assert list(kept_said(shop, designs, path)) == [(str(one), said[0]) for one in designs]
