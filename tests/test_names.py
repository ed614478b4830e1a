"""Names that tell apart: two checkpoints of a family, SAEs that differ in their epochs, recipes as series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from explorer.figures.classes import dense_factor_groups
from explorer.figures.curves import layer_curves
from explorer.figures.sparsity import MEASURES, add_shares, legend_html, series_styles, sparsity_panel
from explorer.naming import sae_names, sae_title
from explorer.queries import claims, corpus, curves, runs, selection
from explorer.store import Store, open_store
from tests.mixed_store import NEW_75, NEW_95, OLD_75, OLD_95, OTHER_75, mixed_tables, write_tables


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(write_tables(tmp_path_factory.mktemp("mixed"), mixed_tables()))
    yield opened
    opened.close()


def test_every_query_tells_two_encoders_of_one_name_apart(store: Store) -> None:
    both = {"HuBERT (aaaaaaaa)", "HuBERT (bbbbbbbb)"}
    assert set(corpus.fetch_encoders(store)["display_name"]) == both
    assert set(corpus.fetch_saes(store)["encoder_display"]) == both
    for rows in (
        curves.fetch_layer_probes(store, "technique", "held-out"),
        curves.fetch_layer_probe_groups(store, "technique", "held-out"),
        curves.fetch_dense_factor_groups(store, "held-out"),
        curves.fetch_sae_points(store, "technique"),
        claims.fetch_recovery(store),
    ):
        assert set(rows["display_name"]) == both
    assert runs.fetch_diagnostics(store).empty


def test_an_encoder_alone_of_its_name_keeps_it(tmp_path: Path) -> None:
    tables = mixed_tables()
    tables["encoders"].loc[1, "display_name"] = "MERT"
    opened = open_store(write_tables(tmp_path / "two", tables))
    assert corpus.fetch_encoders(opened)["display_name"].tolist() == ["HuBERT", "MERT"]
    opened.close()


def test_no_cell_of_the_factor_groups_overwrites_another(store: Store) -> None:
    heat = dense_factor_groups(curves.fetch_dense_factor_groups(store, "held-out"), False).data[0]
    assert list(heat.x) == ["HuBERT (aaaaaaaa) L1", "HuBERT (bbbbbbbb) L1"]
    assert heat.customdata[0][0] != heat.customdata[0][1]


def test_encoders_of_one_colour_have_lines_of_their_own(store: Store) -> None:
    probes = curves.fetch_layer_probes(store, "technique", "held-out")
    many = probes.assign(n_groups=20)
    lines = [trace for trace in layer_curves(many, probes.iloc[:0], False).data if trace.mode == "lines"]
    assert len({trace.line.color for trace in lines}) == 1
    assert len({trace.line.dash for trace in lines}) == 2
    few = [trace for trace in layer_curves(probes, probes.iloc[:0], False).data if trace.customdata is not None]
    assert len({tuple(trace.marker.symbol) for trace in few}) == 2
    points = add_shares(curves.fetch_sae_points(store, "technique"))
    styles = series_styles(points[points["protocol"] == "held-out"])
    assert len({(style["color"], style["dash"]) for style in styles.values()}) == len(styles)
    assert len({style["name"] for style in styles.values()}) == len(styles)
    legend = legend_html(styles, list(styles))
    assert [legend.count(sign) for sign in "●■▲✚✖"] == [1, 1, 1, 1, 0]


def test_two_recipes_are_two_series_and_no_range_of_seeds(store: Store) -> None:
    points = add_shares(curves.fetch_sae_points(store, "technique"))
    points = points[points["sae_id"].isin([OLD_75, OLD_95, NEW_75, NEW_95, OTHER_75])]
    styles = series_styles(points)
    assert sorted(style["name"] for style in styles.values()) == [
        "HuBERT (aaaaaaaa) L1 · 100 epochs",
        "HuBERT (aaaaaaaa) L1 · 40 epochs",
        "HuBERT (bbbbbbbb) L1",
    ]
    fig = sparsity_panel(points, MEASURES["fvu"], False, styles=styles)
    assert not any("range of seeds" in str(trace.name) for trace in fig.data)
    lines = {trace.name: list(trace.y) for trace in fig.data if trace.mode == "lines" and "control" not in trace.name}
    assert lines["HuBERT (aaaaaaaa) L1 · 40 epochs"] == pytest.approx([0.5, 0.6])
    assert lines["HuBERT (aaaaaaaa) L1 · 100 epochs"] == pytest.approx([0.3, 0.4])
    marks = next(trace for trace in fig.data if trace.customdata is not None)
    assert "40 epochs" in marks.text[[row[0] for row in marks.customdata].index(OLD_75)]


def test_no_two_saes_share_a_name(store: Store) -> None:
    saes = corpus.fetch_saes(store)
    names = sae_names(saes, with_encoder=True)
    assert set(names) == set(saes["sae_id"])
    assert len(set(names.values())) == len(saes)
    assert names[OLD_75] == "HuBERT (aaaaaaaa) L1 · k = 60 of 240 · seed 0 · 40 epochs"
    assert names[OTHER_75] == "HuBERT (bbbbbbbb) L1 · k = 60 of 240 · seed 0"
    twins = saes[saes["sae_id"].isin([OLD_75, NEW_75])].assign(n_epochs=40)
    assert sae_names(twins) == {
        OLD_75: "k = 60 of 240 · seed 0 · old75",
        NEW_75: "k = 60 of 240 · seed 0 · new75",
    }


@pytest.mark.parametrize(
    ("column", "values", "ends"),
    [
        ("n_features", (2048, 512), ("k = 60 of 2048 · seed 0", "k = 60 of 512 · seed 0")),
        ("k", (60, 61), ("k = 60 of 240 · seed 0", "k = 61 of 240 · seed 0")),
        ("seed", (0, 1), ("seed 0", "seed 1")),
        ("layer", (1, 2), ("L1 · k = 60 of 240 · seed 0", "L2 · k = 60 of 240 · seed 0")),
        ("level", ("clip", "frame"), ("seed 0", "seed 0 · frames")),
        ("method", ("topk", "jumprelu"), ("seed 0 · topk", "seed 0 · jumprelu")),
        ("protocol", ("held-out", "random"), ("seed 0 · protocol held-out", "seed 0 · protocol random")),
        ("n_epochs", (40, 100), ("seed 0 · 40 epochs", "seed 0 · 100 epochs")),
        ("encoder_display", ("HuBERT (aaaaaaaa)", "HuBERT (bbbbbbbb)"), ("seed 0", "seed 0")),
    ],
)
def test_saes_that_differ_in_one_thing_are_told_apart_by_it(
    store: Store, column: str, values: tuple[object, ...], ends: tuple[str, ...]
) -> None:
    saes = corpus.fetch_saes(store)
    row = saes[saes["sae_id"] == OLD_75].iloc[0].to_dict() | {"n_epochs": 40, "protocol": "held-out"}
    twins = pd.DataFrame([{**row, "sae_id": name, column: value} for name, value in zip("ab", values, strict=True)])
    names = sae_names(twins, with_encoder=True)
    assert names["a"] != names["b"]
    assert all(name.endswith(end) for name, end in zip(names.values(), ends, strict=True))
    if column in ("n_features", "k", "seed", "layer", "level", "encoder_display"):
        assert {sae_title(one) for one in twins.to_dict("records")} == set(names.values())


def test_the_newest_run_says_which_recipe_speaks(store: Store) -> None:
    points = curves.fetch_sae_points(store, "technique")
    kept = selection.newest_recipe(points)
    assert set(points["sae_id"]) - set(kept["sae_id"]) == {OLD_75, OLD_95}
    undated = points.assign(run_started_at=None, n_epochs=points["n_epochs"].where(points["sae_id"] != OLD_75))
    assert set(undated["sae_id"]) - set(selection.newest_recipe(undated)["sae_id"]) == {OLD_75, OLD_95}
    later = points.assign(run_started_at=points["run_id"].map({"r-old": "2026-03-01", "r-new": "2026-02-01"}))
    assert not set(selection.newest_recipe(later)["sae_id"]) & {NEW_75, NEW_95}
    assert selection.newest_recipe(pd.DataFrame(points.iloc[:0])).empty


def test_claims_are_of_the_newest_recipe_and_say_what_they_left_out(store: Store) -> None:
    found = {claim.title: claim for claim in claims.fetch_claims(store, "technique")}
    pca = found["SAEs reconstruct unseen clips better than PCA with k components"]
    assert "FVU is lower for none of 6 SAEs: median FVU 0.350" in pca.sentence
    assert "2 SAEs of an older recipe left out" in pca.sentence
