"""Finding features: for a value, for a measure, and within minimal pairs; on perfect, chance and hand-made input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from scipy import stats

from explorer.feature_search import MIN_DESCRIBED, Clips, find_measure, find_value
from explorer.minimal_pairs import commonest_pair, confirmed, paired_changes, pairs_of
from explorer.queries.corpus import fetch_saes
from explorer.queries.features import FeatureFilter, count_features, fetch_feature_table
from explorer.queries.search import (
    fetch_attribute_table,
    fetch_attributes,
    fetch_codes,
    fetch_features_for_measure,
    fetch_features_for_value,
    fetch_pairs,
)
from explorer.store import Store
from tests.browser import Server, settle
from tests.test_pages import at, no_trouble, words

N_GROUPS, N_TRAIN, PER_GROUP, N_FEATURES = 20, 12, 30, 200
GROUPS = np.repeat([f"singer{number:02d}" for number in range(N_GROUPS)], PER_GROUP)
NUMBER = np.repeat(np.arange(N_GROUPS), PER_GROUP)
CLIPS = Clips(GROUPS, NUMBER < N_TRAIN, NUMBER >= N_TRAIN)


def codes(seed: int = 0) -> np.ndarray:
    """Sparse noise: 200 features, a fifth of the clips each."""
    rng = np.random.default_rng(seed)
    shape = (N_GROUPS * PER_GROUP, N_FEATURES)
    return np.where(rng.random(shape) < 0.2, rng.exponential(1.0, shape), 0.0).astype(np.float32)


def has_it(seed: int = 1, share: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).random(N_GROUPS * PER_GROUP) < share


def test_a_feature_that_is_the_value_is_found_and_scored_held_out():
    value, x = has_it(), codes()
    x[:, 7] = value * 2.0
    x[:, 9] = ~value * 1.0
    found = find_value(x, value, CLIPS)
    assert found.reason is None and found.null < 0.5
    for feature, direction in ((7, "above"), (9, "below")):
        assert found.score[feature] == found.train[feature] == 1.0
        assert found.direction is not None and found.direction[feature] == direction
    others = np.delete(found.score, [7, 9])
    assert np.nanmean(others > found.null) < 0.2


def test_among_many_features_of_noise_the_best_does_not_beat_its_control():
    """Ten draws: the feature that training clips choose is above the 95th percentile about once in twenty."""
    above = 0
    for seed in range(10):
        found = find_value(codes(seed), has_it(seed + 100), CLIPS)
        above += found.score[int(np.nanargmax(found.train))] > found.null
    assert above <= 2


def test_the_rule_of_one_value_is_by_hand():
    """Four groups of six; threshold 0 gives 2 hits of 3 on the training part and the same on the other."""
    groups = np.repeat(list("abcd"), 6)
    part = Clips(groups, np.isin(groups, ["a", "b"]), np.isin(groups, ["c", "d"]))
    value = np.tile([True, False, False, False, False, True], 4)
    x = np.zeros((24, 1), np.float32)
    x[::6, 0] = 1.0  # one of the two, in every group, and no false alarm
    found = find_value(x, value, part)
    assert found.precision is not None and found.recall is not None
    assert (found.precision[0], found.recall[0]) == (1.0, 0.5)
    assert found.score[0] == pytest.approx(2 / 3) and found.reason is not None and "fewer than 20" in found.reason


def test_what_cannot_be_said_has_a_reason():
    by_singer = NUMBER % 3 != 0
    found = find_value(codes(), by_singer, CLIPS)
    assert np.isnan(found.null) and found.reason is not None and "never varies within a group" in found.reason
    nobody = Clips(GROUPS, np.ones(len(GROUPS), bool), np.zeros(len(GROUPS), bool))
    described = find_value(codes(), has_it(), nobody)
    assert described.is_described and "fewer than 20 held-out clips" in str(described.reason)
    np.testing.assert_array_equal(described.train, described.score)  # of all clips: nothing is claimed held out
    few = has_it() & (np.cumsum(has_it()) <= 3)
    found = find_value(codes(), few, CLIPS)
    assert found.is_described and np.nanmax(found.score) > 0, "three clips are described, not scored as 0 held out"
    dead = find_value(np.zeros((len(GROUPS), 3), np.float32), has_it(), CLIPS)
    assert np.isnan(dead.train).all()


def test_a_measure_is_found_by_correlation_and_a_group_level_is_chance():
    x, rng = codes().astype(np.float64), np.random.default_rng(3)
    measured = x[:, 4] + 0.1 * rng.standard_normal(len(x))
    found = find_measure(x, measured, CLIPS)
    assert int(np.nanargmax(np.abs(found.train))) == 4
    held = CLIPS.heldout_c
    assert found.score[4] == pytest.approx(stats.pearsonr(x[held, 4], measured[held]).statistic)
    assert found.within is not None and found.within[4] > 0.9 and found.null < 0.3
    level = np.random.default_rng(5).standard_normal(N_GROUPS)[NUMBER]
    x[:, 11] = level + 5.0
    knows_group = find_measure(x, level + 0.3 * rng.standard_normal(len(x)), CLIPS)
    assert knows_group.score[11] > 0.8 and knows_group.null > 0.7  # permuting within groups leaves what groups tell
    few = np.where(np.arange(len(x)) < 10, 1.0, np.nan)
    assert "fewer than 20 clips" in str(find_measure(x, few, CLIPS).reason)


def columns() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("anna", "scales", "a", "straight"),
            ("anna", "scales", "a", "vibrato"),
            ("anna", "scales", "e", "vibrato"),
            ("bert", "scales", None, "straight"),
            ("bert", "scales", None, "vibrato"),
            ("bert", "scales", "a", "belt"),
            ("anna", "scales", "a", "vibrato"),
        ],
        columns=["singer", "exercise", "vowel", "technique"],
    )


def test_pairs_are_alike_in_everything_else():
    pairs = pairs_of(columns(), "technique", "straight", "vibrato")
    assert pairs.to_numpy().tolist() == [[0, 1], [3, 4]]
    assert pairs_of(columns(), "technique", "vibrato", "straight").to_numpy().tolist() == [[1, 0], [4, 3]]
    assert pairs_of(columns(), "technique", "straight", "belt").empty
    assert pairs_of(columns(), "vowel", "a", "e").to_numpy().tolist() == [[1, 2]]


def pair_groups(n_groups: int, each: int = 4) -> np.ndarray:
    return np.repeat([f"g{number}" for number in range(n_groups)], each)


def test_t_is_that_of_the_groups_means():
    rng = np.random.default_rng(0)
    change = rng.standard_normal((48, 5)) + np.array([1.0, 0, 0, -2.0, 0])
    found = paired_changes(change, pair_groups(12))
    by_group = change.reshape(12, 4, 5).mean(axis=1)
    np.testing.assert_allclose(found.t, stats.ttest_1samp(by_group, 0).statistic)
    np.testing.assert_allclose(found.mean, by_group.mean(axis=0))
    assert found.agreeing[3] == (by_group[:, 3] < 0).mean()
    assert (found.n_pairs, found.n_groups) == (48, 12)


def test_the_largest_change_of_many_features_of_noise_is_within_its_control():
    above = 0
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal((48, 300))
        found = paired_changes(noise, pair_groups(12), n_flips=100)
        above += np.abs(found.t).max() > found.null_t
    assert above <= 4


def test_pairs_of_one_group_do_not_count_as_many():
    """One singer of six changes in a hundred pairs: over groups that is nothing."""
    change = np.zeros((600, 2))
    change[:100, 0] = 1.0
    found = paired_changes(change, pair_groups(6, each=100))
    assert abs(found.t[0]) < 1.5 and abs(found.t[0]) <= found.null_t
    assert found.t[1] == 0.0
    few = paired_changes(change[:400], pair_groups(4, each=100))
    assert np.isnan(few.t).all() and np.isnan(few.null_t)


def test_what_holds_up_does_so_on_groups_that_chose_nothing():
    rng = np.random.default_rng(2)
    train, heldout = rng.standard_normal((12, 400)), rng.standard_normal((8, 400))
    train[:, 0] += 4
    train[:, 1] += 4  # only there
    heldout[:, 0] += 4
    heldout[:, 1] = np.tile([1.0, -1.0], 4)
    parts = paired_changes(train, pair_groups(12, 1)), paired_changes(heldout, pair_groups(8, 1))
    held = confirmed(*parts, np.full(400, stats.t.ppf(0.975, 7)))
    assert held[0] and not held[1] and held.sum() == 1
    assert not confirmed(parts[0], paired_changes(heldout[:6], pair_groups(6, 1)), np.zeros(400)).any()


@pytest.fixture
def sae(store: Store) -> dict[str, object]:
    rows = fetch_saes(store)
    return dict(rows[rows["is_reference"]].iloc[0].to_dict())


def test_a_real_store_is_searched_as_its_codes_say(store: Store, sae: dict[str, object]):
    assert {"technique", "vowel", "exercise", "singer"} <= set(fetch_attributes(store)["name"])
    x, table = fetch_codes(store, sae), fetch_attribute_table(store)
    assert x.shape == (len(table), sae["n_features"])
    n_active = store.query("SELECT feature, n_active FROM features WHERE sae_id = ? ORDER BY feature", [sae["sae_id"]])
    np.testing.assert_array_equal((x > 0).sum(axis=0), n_active["n_active"])
    rows = fetch_features_for_value(store, sae, "technique", "vibrato")
    best = rows.iloc[0]
    value = (table["technique"] == "vibrato").to_numpy()
    held = (store.query("SELECT split FROM clips ORDER BY clip_index")["split"] == "held-out").to_numpy()
    assert best["is_described"] == ((value & held).sum() < MIN_DESCRIBED)
    held = np.ones(len(value), bool) if best["is_described"] else held
    above = x[:, int(best["feature"])] > best["threshold"]
    said = above if best["direction"] == "above" else ~above
    hits = (said & value & held).sum()
    assert best["precision"] == pytest.approx(hits / (said & held).sum())
    assert best["recall"] == pytest.approx(hits / (value & held).sum())
    assert rows["train"].is_monotonic_decreasing
    pitch = fetch_features_for_measure(store, sae, "planted", "f0_st")
    assert pitch["train"].abs().is_monotonic_decreasing and {"within", "weight"} <= set(pitch)


def test_filters_narrow_the_table_as_the_columns_say(store: Store, sae: dict[str, object]) -> None:
    sae_id = str(sae["sae_id"])
    rows = store.query(
        "SELECT f.*, g.factor_group FROM features f LEFT JOIN factors g ON g.name = f.best_factor "
        "WHERE sae_id = ? AND NOT is_dead",
        [sae_id],
    )
    group = rows["factor_group"].dropna().mode().iloc[0]
    for chosen, kept in (
        (FeatureFilter(density=(0.1, 0.4)), rows["density"].between(0.1, 0.4)),
        (FeatureFilter(min_groups=6), rows["n_groups_active"] >= 6),
        (FeatureFilter(factor_group=str(group)), rows["factor_group"] == group),
        (FeatureFilter(min_f1=0.01), rows["label_is_shown"].fillna(False).astype(bool) & (rows["label_f1"] >= 0.01)),
        (FeatureFilter(only=(int(rows["feature"].iloc[0]),)), rows["feature"] == rows["feature"].iloc[0]),
    ):
        listed = fetch_feature_table(store, sae_id, chosen, limit=200)
        assert (
            set(listed["feature"]) == set(rows.loc[kept, "feature"])
            and count_features(store, sae_id, chosen) == kept.sum()
        )


def test_pairs_of_a_crossed_corpus_are_all_there(store: Store):
    pairs = fetch_pairs(store, "technique", "straight", "vibrato")
    n = store.query("SELECT count(*) AS n FROM clips WHERE label = 'straight'")["n"][0]
    assert len(pairs) == n and pairs["group_id"].notna().all()
    table = fetch_attribute_table(store).drop(columns="technique")
    for one, other in pairs[["clip_one", "clip_other"]].to_numpy()[:10]:
        assert table.loc[one].equals(table.loc[other])


def test_the_page_finds_features(tiny_store: Path, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"sae": str(sae["sae_id"])}
    page = at("find", tiny_store, monkeypatch, **link, by="technique", **{"value-technique": "belt"})
    no_trouble(page)
    assert "How this is measured" in words(page) and "strongest clips" in words(page)
    assert any("belt" in item.value for item in page.markdown)
    measure = at("find", tiny_store, monkeypatch, **link, by="a measure", measure="planted: pitch")
    no_trouble(measure)
    assert any("r within" in str(item.proto) for item in measure.dataframe) or measure.dataframe
    pairs = at("find", tiny_store, monkeypatch, **link, way="pairs")
    no_trouble(pairs)
    assert "What changes from" in words(pairs) and "pair 1 of" in words(pairs)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"by": "charm"}, "There are: technique"),
        ({"by": "technique", "value-technique": "yodel"}, "belt"),
        ({"way": "pairs", "pair": "9999"}, "no pair 9999"),
        ({"way": "pairs", "differ": "mood"}, "There are: technique"),
        ({"way": "sideways"}, "minimal pairs"),
    ],
)
def test_a_wrong_link_says_what_is_there(
    tiny_store: Path, sae: dict[str, object], params: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at("find", tiny_store, monkeypatch, sae=str(sae["sae_id"]), **params)
    assert said in words(page)
    assert "so-error" not in words(page)


def test_a_pair_is_heard_and_its_feature_opened_and_back_returns(
    browser: Browser, app: Server, sae: dict[str, object]
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"{app.url}/find?sae={sae['sae_id']}&way=pairs")
    settle(page)
    clips = page.locator("section.clip")
    expect(clips).to_have_count(2)
    first = clips.first.get_attribute("data-clip-id")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press(" ")
    expect(clips.nth(1)).to_have_class("clip active playing")
    page.get_by_role("button", name="→").click()
    page.wait_for_function("() => (new URL(location.href).searchParams.get('pair') || '').includes('.')")
    settle(page)
    expect(clips.first).not_to_have_attribute("data-clip-id", str(first))
    clips.first.locator("button.title").click()
    page.wait_for_function("() => location.pathname.endsWith('/features')")
    settle(page)
    page.go_back()
    page.wait_for_function("() => location.pathname.endsWith('/find')")
    settle(page)
    expect(page.get_by_role("heading", name="Find")).to_be_visible()
    context.close()


def test_the_values_shown_first_are_those_with_most_pairs() -> None:
    rows = [("s1", "a", "x"), ("s1", "b", "y"), ("s1", "c", "x"), ("s2", "a", "x"), ("s2", "c", "x"), ("s2", "b", "z")]
    columns = pd.DataFrame(rows, columns=["singer", "vowel", "style"])
    assert commonest_pair(columns, "vowel") == ("a", "c"), "b is never alike in style"
    assert commonest_pair(columns, "style") is None
    assert commonest_pair(columns.assign(style=None), "vowel") == ("a", "b"), "what is missing is alike"
    assert commonest_pair(columns.head(0), "vowel") is None
