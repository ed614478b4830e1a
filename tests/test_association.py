"""Activation against a measure: r over all and within groups, the tuning curve, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from explorer.association import associate, tuning_curve
from explorer.errors import NotInStoreError
from explorer.figures.features import map_colors
from explorer.measures import PLANTED
from explorer.queries.against import fetch_against, fetch_measures
from explorer.queries.corpus import fetch_saes, resolve_feature
from explorer.queries.features import fetch_feature_map, fetch_label_errors
from explorer.store import Store
from explorer.ui.feature_map import map_data
from tests.test_pages import at, charts, no_trouble, words

N_GROUPS, PER_GROUP = 12, 40
GROUPS = np.repeat([f"singer{number}" for number in range(N_GROUPS)], PER_GROUP)


def draws(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(len(GROUPS))


def test_a_perfect_line_and_its_mirror():
    x = draws(0)
    for slope in (2.0, -0.5):
        found = associate(slope * x + 3, x, GROUPS)
        assert found.r == pytest.approx(np.sign(slope)) and found.within == pytest.approx(np.sign(slope))
        assert (found.n_clips, found.n_groups) == (len(GROUPS), N_GROUPS)


def test_r_is_scipys_and_noise_has_none():
    x, y = draws(0), draws(1)
    found = associate(x, y, GROUPS)
    assert found.r == pytest.approx(stats.pearsonr(x, y).statistic)
    assert abs(found.r) < 0.15 and abs(found.within) < 0.15 and found.low < 0 < found.high


def test_what_only_tells_groups_apart_has_nothing_within_them():
    """A feature that knows the singer, and a measure that goes with the singer: r is high, within there is nothing."""
    level = np.repeat(np.arange(N_GROUPS), PER_GROUP).astype(float)
    found = associate(level + 0.3 * draws(2), level + 0.3 * draws(3), GROUPS)
    assert found.r > 0.95 and abs(found.within) < 0.15
    within = associate(draws(4), -draws(4) + 5 * level, GROUPS)
    assert abs(within.r) < 0.3 and within.within == pytest.approx(-1.0)


def test_too_little_is_undefined():
    x = draws(0)
    assert np.isnan(associate(np.zeros_like(x), x, GROUPS).r)
    assert np.isnan(associate(x[:2], x[:2], GROUPS[:2]).r)
    one = associate(x[:PER_GROUP], x[:PER_GROUP], GROUPS[:PER_GROUP])
    assert one.r == pytest.approx(1.0) and np.isnan(one.within) and np.isnan(one.low)
    gaps = np.where(np.arange(len(x)) % 2, x, np.nan)
    assert associate(x, gaps, GROUPS).n_clips == len(x) // 2


def test_a_tuning_curve_shows_the_shape_that_r_misses():
    """A feature that answers to the middle of a range: r is near 0, the curve has a peak there."""
    measured = np.random.default_rng(5).uniform(-3, 3, len(GROUPS))
    values = np.exp(-(measured**2))
    curve = tuning_curve(values, measured, GROUPS)
    assert len(curve) == 10 and curve["n_clips"].sum() == len(GROUPS)
    assert abs(associate(values, measured, GROUPS).r) < 0.15
    top = curve.loc[curve["mean"].idxmax()]
    assert abs(top["measured"]) < 0.7 and top["mean"] > 0.8 and top["low"] <= top["mean"] <= top["high"]
    by_hand = tuning_curve([1.0, 3.0, 5.0, 7.0], [0.0, 0.0, 1.0, 1.0], ["a", "b", "a", "a"], n_bins=2)
    assert list(by_hand["mean"]) == [2.0, 6.0] and list(by_hand["n_groups"]) == [2, 1]
    assert tuning_curve(values, np.ones_like(values), GROUPS).empty
    assert tuning_curve([], [], []).empty


@pytest.fixture
def sae(store: Store) -> dict[str, object]:
    rows = fetch_saes(store)
    return dict(rows[rows["is_reference"]].iloc[0].to_dict())


def test_every_clip_has_its_activation_and_its_measure(store: Store, sae: dict[str, object]):
    measures = fetch_measures(store)
    assert list(measures["kind"][:1]) == [PLANTED] and (measures["kind"] != PLANTED).sum() == 88
    assert {"f0_st", "gain_db"} <= set(measures["name"]) and "vowel" not in set(measures["name"])
    feature = int(store.query("SELECT feature FROM features WHERE sae_id = ? ORDER BY n_active DESC LIMIT 1",
                              [sae["sae_id"]])["feature"][0])  # fmt: skip
    rows = fetch_against(store, sae, feature, PLANTED, "f0_st")
    row = resolve_feature(store, str(sae["sae_id"]), feature)
    assert len(rows) == store.query("SELECT count(*) AS n FROM clips")["n"][0]
    assert (rows["value"] > 0).sum() == row["n_active"] and rows["value"].max() == pytest.approx(row["max_value"])
    factor = measures[measures["kind"] != PLANTED].iloc[0]
    measured = fetch_against(store, sae, feature, str(factor["kind"]), str(factor["name"]))["measured"]
    stored = store.query("SELECT value FROM factor_values WHERE factor_index = 0 ORDER BY clip_index")["value"]
    np.testing.assert_array_equal(measured, stored)
    with pytest.raises(NotInStoreError, match="no measure"):
        fetch_against(store, sae, feature, PLANTED, "charm")
    with pytest.raises(NotInStoreError, match="not stored"):
        fetch_against(store, {**sae, "codes_by_feature_file": None}, feature, PLANTED, "f0_st")


def test_false_alarms_and_misses_are_those_that_precision_and_recall_count(store: Store, sae: dict[str, object]):
    """For every rule of an SAE, shown or not: the stored scores follow from the clips that are listed as wrong."""
    rows = store.query(
        "SELECT * FROM features WHERE sae_id = ? AND label IS NOT NULL AND label_precision IS NOT NULL", [sae["sae_id"]]
    )
    assert len(rows) > 20 and {"above", "below"} >= set(rows["label_direction"])
    for row in rows.to_dict("records")[:40]:
        wrong = fetch_label_errors(store, sae, {**row, "label_is_shown": True}, limit=10_000)
        n_there = int(
            store.query(
                "SELECT count(*) AS n FROM clips JOIN clip_columns v USING (clip_index) "
                "WHERE v.role = 'label' AND v.name = ? AND v.value = ? AND split = 'held-out'",
                [row["label_name"], row["label"]],
            )["n"][0]
        )
        n_false, n_missed = ((wrong["kind"] == kind).sum() for kind in ("false alarm", "miss"))
        right = n_there - n_missed
        assert row["label_recall"] == pytest.approx(right / n_there)
        if right + n_false:
            assert row["label_precision"] == pytest.approx(right / (right + n_false))
    assert fetch_label_errors(store, sae, {**rows.iloc[0].to_dict(), "label_is_shown": False}).empty


def test_the_page_draws_activations_against_a_measure(
    tiny_store: Path, store: Store, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = int(store.query("SELECT feature FROM features WHERE sae_id = ? ORDER BY n_active DESC LIMIT 1",
                              [sae["sae_id"]])["feature"][0])  # fmt: skip
    link = {"sae": str(sae["sae_id"]), "feature": str(feature), "view": "against"}
    page = at("features", tiny_store, monkeypatch, **link, measure="planted: pitch")
    no_trouble(page)
    said = " ".join(item.value for item in page.markdown)
    assert "r with pitch" in said and "within singers" in said
    (figure,) = [spec for spec in charts(page) if spec["data"][-1].get("name") == "mean over groups"]
    n_dots = sum(len(trace["customdata"]) for trace in figure["data"][:-1])
    assert n_dots == store.query("SELECT count(*) AS n FROM clips")["n"][0]
    wrong = at("features", tiny_store, monkeypatch, **link, measure="charm")
    assert "“charm”, which is not here" in words(wrong)


def test_the_map_is_coloured_by_kinds_and_by_numbers_with_grey_for_what_is_missing() -> None:
    rows = pd.DataFrame({"label": ["belt", None, "a<b", "belt"], "density": [0.0, 0.5, 1.0, None]})
    kinds = map_colors(rows, "label", False)
    assert kinds.colors[0] == kinds.colors[3] != kinds.colors[2] and kinds.colors[1] == kinds.kinds[-1][0]
    assert [name for _, name in kinds.kinds] == ["a<b", "belt", "none shown"] and not kinds.ramp
    numbers = map_colors(rows, "density", True)
    assert numbers.ends == (0.0, 1.0) and numbers.colors[0] == numbers.ramp[0] and numbers.colors[2] == numbers.ramp[-1]
    assert numbers.colors[3] == numbers.kinds[0][0]
    assert map_colors(rows.assign(stability=None), "stability", False).kinds[0][1] == "not stored"


def test_the_map_keeps_its_shape_and_names_what_it_plays(store: Store, sae: dict[str, object]) -> None:
    rows = fetch_feature_map(store, str(sae["sae_id"]))
    data = map_data(rows, map_colors(rows, "label", False), 460)
    spread = np.ptp(rows["map_x"]) / np.ptp(rows["map_y"])
    assert np.ptp(data["x"]) / np.ptp(data["y"]) == pytest.approx(spread, rel=0.01)
    assert min(data["x"] + data["y"]) >= 0 and max(data["x"] + data["y"]) <= 1
    best = store.query(
        "SELECT clip_id FROM listed_clips JOIN clips USING (clip_index) WHERE sae_id = ? AND feature = ? "
        "AND kind = 'top' ORDER BY rank LIMIT 1",
        [sae["sae_id"], data["feature"][0]],
    )["clip_id"][0]
    assert data["clip_id"][0] == best
