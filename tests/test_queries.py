"""Queries of the curves, factors, compare and runs pages, on a store the real pipeline made and on an empty one.

Every aggregate is calculated a second time here, from the tables themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from explorer.measures import are_acoustic
from explorer.queries import claims, compare, curves, factors, first_looks, runs
from explorer.store import SCHEMA_VERSION, Store, new_generation, open_store
from precompute.artefacts import Bundle
from precompute.lasso_stage import _add_tables
from tests.hand_store import HAND_SAE, write_scored_store
from tests.test_attribution import fit, planted


@pytest.fixture(scope="module")
def label(store: Store) -> str:
    return store.meta()["label_name"]


@pytest.fixture(scope="module")
def tables(store: Store) -> dict[str, pd.DataFrame]:
    names = ("probes", "representations", "saes", "factor_scores", "factors", "lasso_weights", "feature_matches",
             "encoders", "clips", "probe_groups", "layer_choices", "listed_clips", "generation_files")  # fmt: skip
    return {name: store.query(f'SELECT * FROM "{name}"') for name in names}


@pytest.fixture(scope="module")
def scored_sae(tables: dict[str, pd.DataFrame]) -> str:
    """An SAE whose factors were scored."""
    scored = set(tables["factor_scores"]["representation_id"]) & set(tables["saes"]["sae_id"])
    assert scored, "the store under test scores no factor from codes"
    return min(scored)


def first_protocol(store: Store, sae_id: str) -> str:
    return factors.fetch_factor_protocols(store, sae_id)[0]


# Curves --------------------------------------------------------------------------------------------------------------


def test_layer_probes_are_all_dense_probes_of_that_label_and_protocol(
    store: Store, label: str, tables: dict[str, pd.DataFrame]
) -> None:
    probes = tables["probes"].merge(tables["representations"], on="representation_id")
    for protocol in curves.PROTOCOLS:
        wanted = probes[
            (probes["kind"] == "dense") & (probes["label_name"] == label) & (probes["protocol"] == protocol)
        ]
        rows = curves.fetch_layer_probes(store, label, protocol)
        assert sorted(rows["probe_id"]) == sorted(wanted["probe_id"])
        if len(rows):
            assert rows[["n_clips", "n_groups", "chance"]].notna().all().all()
            assert rows["protocol"].unique().tolist() == [protocol]
    assert len(curves.fetch_layer_probes(store, label, "held-out")), "the store under test has no held-out probe"


def test_chosen_layers_are_those_with_saes(store: Store, label: str, tables: dict[str, pd.DataFrame]) -> None:
    rows = curves.fetch_layer_probes(store, label, "held-out")
    chosen = rows[rows["is_chosen"]][["encoder_id", "layer"]].drop_duplicates()
    stored = tables["layer_choices"]
    wanted = stored[stored["is_chosen"]][["encoder_id", "layer"]].drop_duplicates()
    assert set(map(tuple, chosen.to_numpy())) == set(map(tuple, wanted.to_numpy()))


def test_group_accuracies_make_up_the_probes_accuracy(store: Store, label: str) -> None:
    probes = curves.fetch_layer_probes(store, label, "held-out")
    groups = curves.fetch_layer_probe_groups(store, label, "held-out")
    assert len(groups)
    keys = ["encoder_id", "layer", "seed"]
    totals = groups.assign(right=groups["accuracy"] * groups["n"]).groupby(keys)[["right", "n"]].sum()
    accuracy = probes.set_index(keys)["accuracy"]
    assert (totals["n"] == probes.set_index(keys)["n_clips"]).all()
    np.testing.assert_allclose((totals["right"] / totals["n"]).to_numpy(), accuracy[totals.index].to_numpy(), atol=1e-9)


def test_confusion_and_recall_agree(store: Store, label: str) -> None:
    probe = curves.fetch_layer_probes(store, label, "group-folds").iloc[0]
    confusion = curves.fetch_probe_confusion(store, probe["probe_id"])
    classes = curves.fetch_probe_classes(store, probe["probe_id"])
    right = confusion[confusion["true_class"] == confusion["predicted_class"]]["n"].sum()
    assert confusion["n"].sum() == probe["n_clips"]
    assert right / confusion["n"].sum() == pytest.approx(probe["accuracy"])
    assert classes["n"].sum() == probe["n_clips"]
    for row in classes.to_dict("records"):
        own = confusion[confusion["true_class"] == row["class"]]
        if pd.isna(row["recall"]):
            assert row["reason"]
        else:
            hits = own[own["predicted_class"] == row["class"]]["n"].sum()
            assert hits / own["n"].sum() == pytest.approx(row["recall"])
    assert curves.fetch_probe(store, probe["probe_id"])["kind"].tolist() == ["dense"]


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [("dense", "held-out"), ("dense", "group-folds"), ("dense", "random-folds"), ("codes", "held-out")],
)
def test_the_clips_behind_a_confusion_are_as_many_as_it_counts_and_of_its_classes(
    store: Store, label: str, protocol: str, kind: str
) -> None:
    probe = store.query(
        "SELECT probe_id FROM probes JOIN representations USING (representation_id) "
        "WHERE kind = ? AND protocol = ? AND label_name = ? ORDER BY probe_id LIMIT 1",
        [kind, protocol, label],
    )["probe_id"][0]
    said = dict(store.query("SELECT clip_index, predicted_class FROM probe_predictions WHERE probe_id = ?", [probe])
                .itertuples(index=False))  # fmt: skip
    for true_class, predicted_class, n in curves.fetch_probe_confusion(store, probe).itertuples(index=False):
        rows = curves.fetch_confused(store, probe, true_class, predicted_class, limit=1000)
        assert len(rows) == n == rows["n_all"].iloc[0]
        assert rows["clip_index"].is_unique
        assert {said[index] for index in rows["clip_index"]} == {predicted_class}
        truth = store.query("SELECT DISTINCT value FROM clip_columns WHERE role = 'label' AND name = ? "
                            "AND clip_index IN (SELECT unnest(?))", [label, rows["clip_index"].tolist()])  # fmt: skip
        assert truth["value"].tolist() == [true_class]
        n_groups = rows["group_id"].nunique()
        assert rows["group_id"].iloc[:n_groups].is_unique, "the first ones are of one group each"
        assert set(rows["split"]) == {"held-out" if protocol == "held-out" else "train"}


@pytest.mark.parametrize("probed", [None, "all-groups"])
def test_sae_points_put_the_right_dense_probe_beside_each_sae(
    store: Store, label: str, tables: dict[str, pd.DataFrame], probed: str | None
) -> None:
    points = curves.fetch_sae_points(store, label, probed)
    assert set(points["probe_protocol"]) == {probed or "held-out"} and set(points["probe_is_blind"]) == {not probed}
    assert sorted(points["sae_id"]) == sorted(tables["saes"]["sae_id"])
    probes = tables["probes"][tables["probes"]["label_name"] == label].merge(
        tables["representations"], on="representation_id"
    )
    for row in points.to_dict("records"):
        dense = probes[
            (probes["kind"] == "dense")
            & (probes["encoder_id"] == row["encoder_id"])
            & (probes["layer"] == row["layer"])
            & (probes["protocol"] == row["probe_protocol"])
        ]["accuracy"].mean()
        codes = probes[(probes["representation_id"] == row["sae_id"]) & (probes["protocol"] == row["probe_protocol"])][
            "accuracy"
        ].mean()
        assert not np.isnan(codes)
        np.testing.assert_allclose([row["dense_accuracy"], row["accuracy"]], [dense, codes], equal_nan=True)
        assert row["completeness_d"] <= row["n_live"] or pd.isna(row["completeness_d"])  # live features that vary
    held = (tables["clips"]["split"] == "held-out").sum()
    assert (points[points["protocol"] == "held-out"]["n_heldout_clips"] == held).all()
    assert curves.fetch_sae_points(store, None)["accuracy"].isna().all()


def test_dense_factor_groups_are_medians_over_each_group(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    scores = tables["factor_scores"].merge(tables["representations"], on="representation_id")
    scores = scores[(scores["kind"] == "dense") & (scores["protocol"] == "held-out")].merge(
        tables["factors"][["factor_index", "factor_group", "display_name"]], on="factor_index"
    )
    scores["factor_group"] = scores["factor_group"].mask(~are_acoustic(scores), scores["display_name"])
    rows = curves.fetch_dense_factor_groups(store, "held-out")
    wanted = scores.groupby(["encoder_id", "layer", "factor_group"])["r2"].agg(["median", "count", "size"])
    assert len(rows) == len(wanted)
    for row in rows.itertuples():
        median, n, size = wanted.loc[(row.encoder_id, row.layer, row.factor_group)]
        np.testing.assert_allclose(row.r2_median, median, equal_nan=True)
        assert (row.n_scored, row.n_scored + row.n_undefined) == (n, size)


def test_dense_means_are_of_the_ten_highest(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    scores = tables["factor_scores"].merge(tables["representations"], on="representation_id")
    dense = scores[(scores["kind"] == "dense") & (scores["factor_index"] < 88)]
    rows = curves.fetch_dense_factor_means(store)
    assert len(rows) == len(dense.groupby(["representation_id", "protocol"]))
    for row in rows.itertuples():
        mine = dense[
            (dense["encoder_id"] == row.encoder_id)
            & (dense["layer"] == row.layer)
            & (dense["protocol"] == row.protocol)
        ]
        by = mine["r2_folds"].fillna(mine["r2"]).where(mine["r2"].notna())
        top = mine.assign(by=by).sort_values("by", ascending=False, na_position="last").head(10)
        np.testing.assert_allclose(row.informativeness, top["r2"].mean(), equal_nan=True)
        fixed = mine[mine["is_fixed_set"].fillna(False).astype(bool)]
        np.testing.assert_allclose(row.informativeness_fixed, fixed["r2"].mean(), equal_nan=True)


# Factors -------------------------------------------------------------------------------------------------------------


def test_factor_scores_name_every_factor_and_say_why_one_is_undefined(store: Store, scored_sae: str) -> None:
    protocol = first_protocol(store, scored_sae)
    rows = factors.fetch_factor_scores(store, scored_sae, protocol)
    assert rows["factor_index"].is_unique
    undefined = rows[rows["r2_shown"].isna()]
    assert undefined["reason"].notna().all()
    reasons = factors.fetch_undefined_reasons(store, scored_sae, protocol)
    assert reasons["n_factors"].sum() == len(undefined)
    tested = rows[rows["r2_p"].notna()]
    assert len(tested) and ((tested["r2_p"] <= 0.05) == (tested["r2"] > tested["r2_permuted"])).all()
    assert (tested["r2_p"].isna() | tested["tested_by"].notna()).all() and rows["r2_all"].notna().any()
    sound = rows["is_predicted"].fillna(False).astype(bool)
    assert ((rows["r2_p"] <= 0.05) & (rows["r2_shown"] >= 0.05))[sound].all()
    assert rows[~sound]["completeness"].isna().all(), "a factor that is not predicted must have no completeness"


def test_lasso_weights_are_the_non_zero_ones(store: Store, scored_sae: str, tables: dict[str, pd.DataFrame]) -> None:
    protocol = first_protocol(store, scored_sae)
    rows = factors.fetch_lasso_weights(store, scored_sae, protocol)
    weights = tables["lasso_weights"]
    mine = weights[(weights["representation_id"] == scored_sae) & (weights["protocol"] == protocol)]
    assert len(rows) == (mine["weight"] != 0).sum()
    np.testing.assert_allclose(rows["weight"].abs().sum(), mine["weight"].abs().sum())
    for _, part in rows.groupby("factor_index"):
        assert part["weight"].abs().is_monotonic_decreasing


class Collected:
    """Takes a stage's tables in place of a bundle."""

    def __init__(self) -> None:
        self.tables: dict[str, pd.DataFrame] = {}

    def add_table(self, name: str, rows: pd.DataFrame) -> None:
        self.tables[name] = rows

    def add_facts(self, facts: dict[str, object]) -> None:
        """Nothing is asked of them."""


def test_predictions_give_back_the_stored_r2(tmp_path: Path) -> None:
    """R2 about the training mean: with the stored clip bounds and mean, 1 - SSE / SST of the scored clips."""
    data, bundle = planted(), Collected()
    n_clips = len(data[0])
    _add_tables(cast(Bundle, bundle), fit(data), "rep", "held-out", 0, np.arange(n_clips))
    clips = pd.DataFrame({"clip_index": range(n_clips), "clip_id": [f"c{i}" for i in range(n_clips)]})
    names = pd.DataFrame({"factor_index": range(3), "name": ["few", "many", "noise"]})
    meta = pd.DataFrame([("schema_version", str(SCHEMA_VERSION))], columns=["key", "value"])
    with new_generation(tmp_path) as writer:
        for name, rows in {"meta": meta, "clips": clips, "factors": names, **bundle.tables}.items():
            writer.insert(name, rows)
    store = open_store(tmp_path)
    models = store.query("SELECT * FROM lasso_models").set_index("factor_index")
    scores = factors.fetch_factor_scores(store, "rep", "held-out")
    assert scores["r2"].notna().sum() == 3
    for row in scores.to_dict("records"):
        rows = factors.fetch_factor_predictions(store, "rep", "held-out", row["factor_index"])
        model = models.loc[row["factor_index"]]
        measured = rows["measured"]
        assert measured.between(model["clip_low"], model["clip_high"]).all()
        error = ((measured - rows["predicted"]) ** 2).sum()
        total = ((measured - model["y_mean"]) ** 2).sum()
        assert len(rows) == row["n_clips"]
        assert 1 - error / total == pytest.approx(row["r2"], abs=1e-6)
    store.close()


def test_a_hand_made_store_gives_its_factors_back(tmp_path: Path) -> None:
    hand = open_store(write_scored_store(tmp_path / "hand"))
    rows = factors.fetch_factor_scores(hand, HAND_SAE, "held-out").set_index("name")
    assert rows["r2"].tolist()[:2] == [0.8, 0.1]
    assert rows["is_predicted"].astype(object).where(rows["is_predicted"].notna(), None).tolist() == [
        True, False, None, None
    ]  # fmt: skip
    reasons = factors.fetch_undefined_reasons(hand, HAND_SAE, "held-out")
    assert reasons[["n_factors", "n_reasons"]].to_numpy().tolist() == [[2, 2]]  # they differ in a number only
    weights = factors.fetch_lasso_weights(hand, HAND_SAE, "held-out")
    assert weights[["factor_index", "feature", "weight"]].to_numpy().tolist() == [[0, 2, -0.5], [0, 1, 0.25]]
    predicted = factors.fetch_factor_predictions(hand, HAND_SAE, "held-out", 0)
    assert predicted["measured"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert predicted["split"].unique().tolist() == ["held-out"]
    assert factors.fetch_factor_protocols(hand, HAND_SAE) == ["held-out"]
    hand.close()


# Compare -------------------------------------------------------------------------------------------------------------


def test_factor_pairs_set_both_sides_beside_each_other(store: Store, scored_sae: str) -> None:
    protocol = first_protocol(store, scored_sae)
    own = factors.fetch_factor_scores(store, scored_sae, protocol).set_index("factor_index")
    same = compare.fetch_factor_pairs(store, scored_sae, scored_sae, protocol)
    np.testing.assert_array_equal(same["r2_a"].to_numpy(), same["r2_b"].to_numpy())
    np.testing.assert_array_equal(same["r2_a"].to_numpy(), own.loc[same["factor_index"], "r2"].to_numpy())
    alone = compare.fetch_factor_pairs(store, scored_sae, "no such SAE", protocol)
    assert len(alone) == len(own)
    assert alone["r2_b"].isna().all()


def test_matched_pairs_are_the_best_ones_strongest_first(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    stored = tables["feature_matches"]
    a, b = stored[["sae_id", "other_sae_id"]].iloc[0]
    mine = stored[(stored["sae_id"] == a) & (stored["other_sae_id"] == b)]
    rows = compare.fetch_matched_pairs(store, a, b)
    assert sorted(rows["feature"]) == sorted(set(mine["feature"]))
    for _, part in rows.groupby("is_rare", sort=False):
        assert part["r_heldout"].isna().is_monotonic_increasing
        holds = (part["r_train"].abs() >= 0.5) & (part["r_heldout"] * np.sign(part["r_train"]) >= 0.5)
        assert holds.is_monotonic_decreasing and part[holds]["r_train"].is_monotonic_decreasing
        assert part[~holds & part["r_heldout"].notna()]["r_train"].is_monotonic_decreasing
    assert rows["is_rare"].is_monotonic_increasing
    best = mine.sort_values("rank").drop_duplicates("feature").set_index("feature")["other_feature"]
    assert rows.set_index("feature")["other_feature"].to_dict() == best.to_dict()
    partners = compare.fetch_match_partners(store, a)
    assert set(partners["other_sae_id"]) == set(stored[stored["sae_id"] == a]["other_sae_id"])


def test_pair_clips_are_top_clips_of_either_with_both_values(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    match = tables["feature_matches"].iloc[0]
    a, fa, b, fb = match["sae_id"], int(match["feature"]), match["other_sae_id"], int(match["other_feature"])
    rows = compare.fetch_pair_clips(store, a, fa, b, fb, limit=50)
    listed = tables["listed_clips"]
    of_a = listed[(listed["sae_id"] == a) & (listed["feature"] == fa)]
    of_b = listed[(listed["sae_id"] == b) & (listed["feature"] == fb)]
    top = set(of_a[of_a["kind"] == "top"]["clip_index"]) | set(of_b[of_b["kind"] == "top"]["clip_index"])
    assert set(rows["clip_index"]) == top
    for row in rows.to_dict("records"):
        for value, side in ((row["value_a"], of_a), (row["value_b"], of_b)):
            there = side[side["clip_index"] == row["clip_index"]]["value"]
            assert pd.isna(value) if there.empty else value == pytest.approx(there.iloc[0])


# Runs ----------------------------------------------------------------------------------------------------------------


def test_runs_have_timings_and_the_files_add_up(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    rows = runs.fetch_runs(store)
    assert len(rows)
    timings = runs.fetch_timings(store, rows["run_id"].iloc[0])
    assert len(timings)
    assert (timings["seconds"] >= 0).all()
    sizes = runs.fetch_generation_sizes(store)
    files = runs.fetch_generation_files(store)
    assert sizes["n_files"].sum() == len(files) == len(tables["generation_files"])
    assert sizes["megabytes"].sum() * 1e6 == pytest.approx(files["n_bytes"].sum())
    for row in files.itertuples():
        assert store.file(row.path).stat().st_size == row.n_bytes


def test_diagnostics_put_warnings_first(store: Store) -> None:
    severity = runs.fetch_diagnostics(store)["severity"].map({"warning": 0, "note": 1, "ok": 2})
    assert len(severity)
    assert severity.is_monotonic_increasing


# A store with nothing in it, and hostile values -----------------------------------------------------------------------

FETCHES: tuple[Callable[[Store], pd.DataFrame], ...] = (
    curves.fetch_probe_choices,
    lambda s: curves.fetch_layer_probes(s, "x", "held-out"),
    lambda s: curves.fetch_layer_probe_groups(s, "x", "held-out"),
    lambda s: curves.fetch_attribute_probes(s, "x", "held-out"),
    lambda s: curves.fetch_probe(s, "x"),
    lambda s: curves.fetch_probe_classes(s, "x"),
    lambda s: curves.fetch_probe_confusion(s, "x"),
    lambda s: curves.fetch_dense_factor_groups(s, "held-out"),
    lambda s: curves.fetch_dense_factor_means(s),
    lambda s: curves.fetch_sae_points(s, "x"),
    curves.fetch_pca,
    lambda s: curves.fetch_training_curves(s, "x"),
    lambda s: curves.fetch_lengths(s, "x"),
    lambda s: factors.fetch_factor_scores(s, "x", "held-out"),
    lambda s: factors.fetch_lasso_weights(s, "x", "held-out"),
    lambda s: factors.fetch_factor_predictions(s, "x", "held-out", 0),
    lambda s: factors.fetch_undefined_reasons(s, "x", "held-out"),
    factors.fetch_factors,
    lambda s: compare.fetch_factor_pairs(s, "x", "y", "held-out"),
    lambda s: compare.fetch_matched_pairs(s, "x", "y"),
    lambda s: compare.fetch_match_partners(s, "x"),
    lambda s: compare.fetch_pair_clips(s, "x", 0, "y", 0),
    runs.fetch_runs,
    lambda s: runs.fetch_timings(s, "x"),
    runs.fetch_generation_files,
    runs.fetch_generation_sizes,
    runs.fetch_diagnostics,
    claims.fetch_recovery,
    first_looks.fetch_first_looks,
)


@pytest.mark.parametrize("fetch", FETCHES)
def test_an_empty_store_answers_with_no_rows_and_the_same_columns(
    fetch: Callable[[Store], pd.DataFrame], empty: Store, store: Store
) -> None:
    rows = fetch(empty)
    assert rows.empty
    assert list(rows.columns) == list(fetch(store).columns)


def test_values_are_bound_never_pasted(store: Store) -> None:
    hostile = "x' OR '1'='1"
    assert curves.fetch_layer_probes(store, hostile, "held-out").empty
    assert factors.fetch_factor_scores(store, hostile, hostile).empty
    assert compare.fetch_matched_pairs(store, hostile, hostile).empty
    assert runs.fetch_timings(store, hostile).empty
