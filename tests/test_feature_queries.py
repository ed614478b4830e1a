"""What the cards of a feature show, worked out by hand on a store written by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from explorer.queries.compare import fetch_matched_pairs
from explorer.queries.corpus import fetch_corpus, resolve_feature
from explorer.queries.factors import fetch_lasso_weights
from explorer.queries.features import (
    FeatureFilter,
    count_features,
    fetch_attribute_shares,
    fetch_feature_map,
    fetch_feature_table,
    fetch_histogram,
    fetch_label_counts,
    fetch_matches,
    fetch_neighbours,
)
from explorer.store import Store, open_store
from explorer.ui.feature_cards import label_sentence
from tests.hand_features import OTHERS, SAE, write_feature_store


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(write_feature_store(tmp_path_factory.mktemp("hand_features")))
    yield store
    store.close()


def test_shares_of_labels_are_of_all_labelled_clips_those_of_absent_labels_too(hand: Store) -> None:
    rows = fetch_label_counts(hand, SAE, 0).set_index("label")
    assert rows.index.tolist() == ["vibrato", "clean"]
    assert rows["share_active"].tolist() == [3 / 4, 1 / 4]
    assert rows["share_all"].tolist() == [5 / 14, 6 / 14]


def test_matches_are_the_best_of_each_other_sae_and_the_limit_counts_saes(hand: Store) -> None:
    rows = fetch_matches(hand, SAE, 0)
    assert rows["other_sae_id"].tolist() == list(OTHERS[:6])
    assert rows["other_feature"].tolist() == [0] * 6
    np.testing.assert_allclose(rows["r_train"], [0.9, 0.85, 0.8, 0.75, 0.7, 0.65])
    assert fetch_matches(hand, SAE, 0, limit=100)["other_sae_id"].tolist() == list(OTHERS)
    assert fetch_matches(hand, SAE, 1).empty


def test_neighbours_come_by_rank_within_their_kind(hand: Store) -> None:
    rows = fetch_neighbours(hand, SAE, 0, limit=2)
    assert rows[["kind", "rank", "other"]].to_numpy().tolist() == [
        ["decoder", 0, 1], ["decoder", 1, 2], ["lift", 0, 1], ["lift", 1, 2]
    ]  # fmt: skip


def test_attribute_shares_come_largest_first_and_then_by_name(hand: Store) -> None:
    assert fetch_attribute_shares(hand, SAE, 0)["column_name"].tolist() == ["singer", "exercise", "vowel"]


def test_a_histogram_is_given_back_as_it_was_stored(hand: Store) -> None:
    histogram = fetch_histogram(hand, SAE, 0)
    assert histogram is not None
    assert histogram["n_zero"] == 12
    assert histogram["edges"].tolist() == [0.0, 1.0, 2.0]
    assert histogram["counts"].tolist() == [3, 1]
    assert histogram["quantiles"][[0, 50, 100]].tolist() == [0.0, 1.0, 2.0]
    assert fetch_histogram(hand, SAE, 1) is None


def test_a_label_that_speaks_for_silence_reads_not_wherever_it_is_shown(hand: Store) -> None:
    def shown(values: object) -> list[str | None]:
        return [value if isinstance(value, str) else None for value in list(values)]  # type: ignore[call-overload]

    everywhere = ["not clean", "vibrato", None, None]
    table = fetch_feature_table(hand, SAE, FeatureFilter(sort="number"))
    assert shown(table["label"]) == everywhere
    assert shown(fetch_feature_map(hand, SAE)["label"]) == everywhere
    assert [resolve_feature(hand, SAE, feature)["shown_label"] for feature in range(4)] == everywhere
    assert shown(fetch_matches(hand, SAE, 0, limit=1)["label"]) == ["not clean"]
    assert shown(fetch_neighbours(hand, SAE, 0, limit=1)["label"]) == ["vibrato", "vibrato"]
    assert shown(fetch_lasso_weights(hand, SAE, "held-out")["label"]) == ["not clean", "not clean"]
    pairs = fetch_matched_pairs(hand, SAE, OTHERS[0])
    assert shown(pairs["label_a"]) == shown(pairs["label_b"]) == ["not clean"]


def test_the_search_finds_a_label_as_it_reads(hand: Store) -> None:
    for text, n in (("not clean", 1), ("CLEAN", 1), ("vibrato", 1), ("not vibrato", 0)):
        assert count_features(hand, SAE, FeatureFilter(text=text)) == n, text


def test_the_sentence_under_a_label_says_its_rule(hand: Store) -> None:
    facts = fetch_corpus(hand)
    label, sentence = label_sentence(resolve_feature(hand, SAE, 0), facts)
    assert label == "not clean"
    assert sentence == (
        "automatic label: clean where its activation is at most 0.25 · 4 of 4 clips of 2 unseen singers, 1 false alarm "
        "(F1 0.90; MCC 0.80, chance reaches 0.30)"
    )
    label, sentence = label_sentence(resolve_feature(hand, SAE, 1), facts)
    assert label == "vibrato"
    assert "at most" not in sentence
    assert label_sentence(resolve_feature(hand, SAE, 2), facts)[0] is None


def test_what_a_label_stands_on_is_said_in_clips_and_groups(hand: Store) -> None:
    facts, row = fetch_corpus(hand), resolve_feature(hand, SAE, 1)
    nowhere_unseen = {**row, "label_unseen_there": 0, "label_unseen_hits": 0, "label_unseen_said": 1}
    assert (
        "14 of 15 clips of 4 singers, each left out in turn, 2 false alarms" in label_sentence(nowhere_unseen, facts)[1]
    )
    exact = {**row, "label_unseen_said": 4, "label_unseen_groups": 1}
    assert "4 of 4 clips of 1 unseen singer (F1" in label_sentence(exact, facts)[1]
    older = {**row, **{name: None for name in row if name.startswith("label_unseen")}, "label_there": None}
    assert label_sentence(older, facts)[1] == "automatic label (F1 0.90; MCC 0.80, chance reaches 0.30)"
    hidden = {**row, "shown_label": None, "label_is_shown": False, "label_reason": "F1 0.30; the best reaches 0.50"}
    assert label_sentence(hidden, facts) == (
        None,
        "no technique label: F1 0.30; the best reaches 0.50. Nearest is vibrato: 4 of 4 clips of 2 unseen singers, "
        "1 false alarm.",
    )
