"""Finding features: for a value, for a measure, and within minimal pairs; on perfect, chance and hand-made input."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from scipy import stats

from explorer.feature_search import OF_ONE_FOLD, UNTAUGHT, Clips, find_measure, find_value
from explorer.minimal_pairs import commonest_pair, paired_changes, pairs_of
from explorer.permutation import WHOLE, WITHIN
from explorer.queries import search
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
from tests.test_feature_labels import of_one_mixed_group
from tests.test_pages import at, no_trouble, words

N_GROUPS, N_TRAIN, PER_GROUP, N_FEATURES = 20, 12, 30, 200
GROUPS = np.repeat([f"singer{number:02d}" for number in range(N_GROUPS)], PER_GROUP)
NUMBER = np.repeat(np.arange(N_GROUPS), PER_GROUP)
FOLDS = NUMBER % 5
CLIPS = Clips(GROUPS, NUMBER < N_TRAIN, NUMBER >= N_TRAIN, FOLDS)


def codes(seed: int = 0) -> np.ndarray:
    """Sparse noise: 200 features, a fifth of the clips each."""
    rng = np.random.default_rng(seed)
    shape = (N_GROUPS * PER_GROUP, N_FEATURES)
    return np.where(rng.random(shape) < 0.2, rng.exponential(1.0, shape), 0.0).astype(np.float32)


def has_it(seed: int = 1, share: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).random(N_GROUPS * PER_GROUP) < share


def test_a_feature_that_is_the_value_is_found():
    value, x = has_it(), codes()
    x[:, 7] = value * 2.0
    x[:, 9] = ~value * 1.0
    found = find_value(x, value, CLIPS)
    assert found.reason is None and found.critical < 0.5 and found.level == WITHIN
    for feature, direction in ((7, "above"), (9, "below")):
        assert found.score[feature] == 1.0 and found.p[feature] <= 0.01
        assert found.direction is not None and found.direction[feature] == direction
        assert found.n_hits is not None and found.n_said is not None and found.n_there is not None
        counts = found.n_hits[feature], found.n_said[feature], found.n_there[feature]
        assert counts == (value.sum(),) * 3 and found.unseen is not None and found.unseen[feature] == 1.0
    assert (np.delete(found.p, [7, 9]) > 0.05).all()
    np.testing.assert_array_equal(found.p <= 0.05, found.score > found.critical)


def noise(seed: int, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes that differ by singer, and a value of clips or of singers, or a number that goes with the singer alone."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(len(GROUPS), 60)) + rng.normal(size=(N_GROUPS, 60))[NUMBER] - 1, 0)
    of_singers = rng.standard_normal(N_GROUPS)[NUMBER]
    return x, {"clips": rng.standard_normal(len(GROUPS)), "singers": of_singers,
               "mostly singers": of_singers + 0.1 * rng.standard_normal(len(GROUPS))}[level]  # fmt: skip


@pytest.mark.parametrize("level", ["clips", "singers", "mostly singers"])
@pytest.mark.parametrize("is_measure", [True, False])
def test_among_many_features_of_noise_none_is_found(level: str, is_measure: bool):
    n_false = n = 0
    for seed in range(20):
        x, target = noise(seed, level)
        found = (
            find_measure(x, target, CLIPS)
            if is_measure
            else find_value(x[:, :30], target > 0, CLIPS, n_permutations=40)
        )
        assert found.reason in (None, OF_ONE_FOLD)
        n, n_false = n + (found.reason is None), n_false + bool((found.p <= 0.05).any())
    assert n >= 15 and n_false <= 4  # 20 at 5 %: more than 4 in 0.3 % of cases


def test_a_feature_of_the_group_is_found_for_what_whole_groups_have():
    x, by_singer = codes(), NUMBER % 2 == 0
    x[:, 3] = by_singer * (1 + has_it())
    found = find_value(x, by_singer, CLIPS)
    assert found.level == WHOLE and found.p[3] <= 0.01 and (np.delete(found.p, 3) > 0.05).all()
    few = NUMBER < 4
    part = Clips(GROUPS[few], NUMBER[few] < 3, NUMBER[few] >= 3, NUMBER[few])
    found = find_value(x[few], by_singer[few], part)
    assert found.score[3] == 1.0 and np.isnan(found.p).all() and np.isnan(found.critical)
    assert found.reason == "cannot be tested: the smallest p that exchanging whole groups can reach is 0.17"


def test_the_rule_of_one_value_is_by_hand():
    """Four groups of six; threshold 0 finds one of two clips in each group, and no false alarm."""
    groups = np.repeat(list("abcd"), 6)
    part = Clips(groups, np.isin(groups, ["a", "b"]), np.isin(groups, ["c", "d"]), np.repeat(np.arange(4), 6))
    value = np.tile([True, False, False, False, False, True], 4)
    x = np.zeros((24, 1), np.float32)
    x[::6, 0] = 1.0
    found = find_value(x, value, part)
    assert found.precision is not None and found.recall is not None and found.unseen is not None
    assert (found.precision[0], found.recall[0], found.n_groups) == (1.0, 0.5, 4)
    assert found.f1 is not None and found.f1[0] == found.unseen[0] == pytest.approx(2 / 3)
    assert found.score[0] == pytest.approx(0.4**0.5)  # 4 of 8 and no false alarm, of 24 clips


def test_a_value_that_varies_within_one_group_alone_is_described():
    x, labels, groups = of_one_mixed_group()
    heldout = np.isin(groups, ["g1", "g3"])
    found = find_value(x, labels == "a", Clips(groups, ~heldout, heldout, np.repeat(np.arange(4), 8)))
    assert found.reason == OF_ONE_FOLD and np.isnan(found.p).all() and found.score[0] == 1.0


def test_an_attribute_of_held_out_clips_alone_has_a_reason():
    none = np.zeros(len(GROUPS), bool)
    found = find_value(codes(), has_it(), Clips(GROUPS, none, NUMBER >= N_TRAIN, FOLDS))
    assert found.reason == UNTAUGHT and np.isnan(found.score).all() and np.isnan(found.p).all()


def test_what_cannot_be_said_has_a_reason():
    nobody = Clips(GROUPS, np.ones(len(GROUPS), bool), np.zeros(len(GROUPS), bool), FOLDS)
    found = find_value(codes(), has_it(), nobody)
    assert found.unseen is not None and np.isnan(found.unseen).all() and np.isfinite(found.critical)
    every = find_value(codes(), np.ones(len(GROUPS), bool), CLIPS)
    assert every.reason == "cannot be tested: all clips are alike" and np.isfinite(every.score).any()
    few = has_it() & (np.cumsum(has_it()) <= 3)
    alone = find_value(codes(), few, CLIPS)
    assert np.nanmax(alone.score) > 0.1, "three clips of one singer are described, and not 0 for want of others"
    assert "no group has it that could be left out" in str(alone.reason) and np.isnan(alone.p).all()
    dead = find_value(np.zeros((len(GROUPS), 3), np.float32), has_it(), CLIPS)
    assert np.isnan(dead.score).all() and np.isnan(dead.p).all()


def test_a_measure_is_found_by_correlation_and_a_group_level_is_chance():
    x, rng = codes().astype(np.float64), np.random.default_rng(3)
    measured = x[:, 4] + 0.1 * rng.standard_normal(len(x))
    found = find_measure(x, measured, CLIPS)
    assert int(np.nanargmax(np.abs(found.score))) == 4 and (found.p <= 0.05).sum() == 1
    held = CLIPS.heldout_c
    assert found.unseen is not None and found.r is not None
    assert found.unseen[4] == pytest.approx(stats.pearsonr(x[held, 4], measured[held]).statistic)
    assert found.r[4] == pytest.approx(stats.pearsonr(x[:, 4], measured).statistic)
    off = [values - pd.Series(values).groupby(GROUPS).transform("mean").to_numpy() for values in (x[:, 4], measured)]
    assert found.score[4] == pytest.approx(stats.pearsonr(*off).statistic) and found.score[4] > 0.9
    level = np.random.default_rng(5).standard_normal(N_GROUPS)[NUMBER]
    x[:, 11] = level + 5.0
    knows_group = find_measure(x, level + 0.3 * rng.standard_normal(len(x)), CLIPS)
    assert knows_group.r is not None and knows_group.r[11] > 0.8 and not knows_group.p[11] <= 0.05
    constant = find_measure(x, np.where(np.arange(len(x)) < 10, 1.0, np.nan), CLIPS)
    assert constant.reason == "10 clips have it, with 1 different values" and np.isnan(constant.score).all()


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


@pytest.mark.parametrize("n_groups", [6, 12])
def test_the_largest_change_of_many_features_of_noise_is_within_its_control(n_groups: int):
    above = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).standard_normal((4 * n_groups, 300))
        found = paired_changes(noise, pair_groups(n_groups), n_flips=100)
        above += bool((found.p <= 0.05).any())
        np.testing.assert_array_equal(found.p <= 0.05, np.abs(found.t) > found.critical_t)
    assert above <= 6  # 40 at 5 %: more than 6 in 0.3 % of cases


def test_pairs_of_one_group_do_not_count_as_many():
    """One singer of six changes in a hundred pairs: over groups that is nothing."""
    change = np.zeros((600, 2))
    change[:100, 0] = 1.0
    found = paired_changes(change, pair_groups(6, each=100))
    assert abs(found.t[0]) < 1.5 and found.p[0] > 0.05
    assert found.t[1] == 0.0


@pytest.mark.parametrize(("n_groups", "smallest"), [(1, "1.00"), (2, "0.50"), (4, "0.12"), (5, "0.06")])
def test_with_too_few_groups_a_change_is_described(n_groups: int, smallest: str):
    found = paired_changes(np.ones((4 * n_groups, 2)), pair_groups(n_groups))
    assert found.mean.tolist() == [1.0, 1.0] and np.isnan(found.p).all() and np.isnan(found.critical_t)
    assert str(found.reason).endswith(f"can reach is {smallest}")


def test_six_groups_that_all_change_are_enough():
    change = np.random.default_rng(0).standard_normal((24, 50)) * 0.1
    change[:, 8] += 1.0
    found = paired_changes(change, pair_groups(6))
    assert found.p[8] == 2 / 64 and (np.delete(found.p, 8) > 0.05).all()


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
    assert best["n_there"] == value.sum() and 0 <= best["n_hits"] <= best["n_said"]
    assert best["precision"] == pytest.approx(best["n_hits"] / best["n_said"])
    assert best["recall"] == pytest.approx(best["n_hits"] / value.sum())
    held = (store.query("SELECT split FROM clips ORDER BY clip_index")["split"] == "held-out").to_numpy()
    above = x[:, int(best["feature"])] > best["threshold"]
    said = above if best["direction"] == "above" else ~above
    unseen = 2 * (said & value & held).sum() / ((said & held).sum() + (value & held).sum())
    assert best["unseen"] == pytest.approx(unseen)
    assert rows["score"].is_monotonic_decreasing
    pitch = fetch_features_for_measure(store, sae, "planted", "f0_st")
    assert pitch["score"].abs().is_monotonic_decreasing and {"r", "weight", "p"} <= set(pitch)


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


def test_the_page_says_why_no_feature_could_be_scored(
    tiny_store: Path, sae: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attribute that only held-out clips have: the features are not dead."""
    copy = shutil.copytree(tiny_store, tmp_path / "copy")  # what pages keep of a store stays theirs
    parts = search.fetch_clip_parts
    monkeypatch.setattr(search, "fetch_clip_parts", lambda store: replace(
        parts(store), train_c=np.zeros_like(parts(store).train_c)
    ))  # fmt: skip
    page = at("find", copy, monkeypatch, sae=str(sae["sae_id"]), by="technique", **{"value-technique": "belt"})
    said = words(page)
    assert "No feature of this SAE could be scored for belt." in said and "No training clip has this attribute." in said
    assert "dead" not in said


def test_the_page_finds_features(tiny_store: Path, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"sae": str(sae["sae_id"])}
    page = at("find", tiny_store, monkeypatch, **link, by="technique", **{"value-technique": "belt"})
    no_trouble(page)
    assert "How this is measured" in words(page) and "strongest clips" in words(page)
    assert any("belt" in item.value for item in page.markdown)
    measure = at("find", tiny_store, monkeypatch, **link, by="a measure", measure="planted: pitch")
    no_trouble(measure)
    assert any("r all clips" in str(item.proto) for item in measure.dataframe) or measure.dataframe
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
