"""Figures of hand-made rows: what is drawn, what is not drawn, what a click carries, and what hovering says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.figures.classes import class_recall, confusion_matrix, dense_factor_groups
from explorer.figures.compare import factor_pairs, match_scatter
from explorer.figures.curves import chance_level, layer_curves
from explorer.figures.factors import cluster_order, lasso_marks, predicted_measured, r2_completeness, top_features
from explorer.figures.sparsity import MEASURES, add_shares, legend_html, series_styles, sparsity_panel
from explorer.figures.theme import encoder_color
from explorer.text import MISSING, count, is_false, number, percent, signed

NAN = float("nan")
DEFAULT_BLUE = "#1f77b4"


def trace_with(fig: go.Figure, key: str) -> go.Scatter:
    """The one trace of `fig` that has `key` set."""
    found = [trace for trace in fig.data if trace[key] is not None]
    assert len(found) == 1, [trace.name for trace in found]
    return found[0]


# Words ---------------------------------------------------------------------------------------------------------------


def test_undefined_is_said_and_never_becomes_zero() -> None:
    for value in (None, NAN, pd.NA):
        assert number(value) == percent(value) == signed(value) == MISSING == "–"
        assert "unknown" in count(value, "clip")
        assert not is_false(value)


def test_numbers_read_as_people_write_them() -> None:
    assert number(-0.126) == "−0.13"
    assert number(0.0) == "0.00"
    assert number(0.0004) == "0.0004"  # a small number is not rounded to a zero that it is not
    assert number(3.3e-16) == number(-3.3e-16) == "0.00"  # what rounding leaves of an R2 of 0
    assert number(math.inf) == "∞"
    assert percent(0.95) == "95 %"
    assert percent(0.995) == "99.5 %"
    assert signed(0.5) == "+0.50"
    assert signed(-0.5) == "−0.50"
    assert count(1, "clip") == "1 clip"
    assert count(1234, "clip") == "1,234 clips"
    assert is_false(False)
    assert is_false(np.False_)


# Layers --------------------------------------------------------------------------------------------------------------


def probe_rows() -> pd.DataFrame:
    base = {
        "encoder_id": "hubert-00000000", "name": "hubert", "display_name": "HuBERT", "is_trained": True, "seed": 0,
        "balanced_accuracy": 0.5, "macro_f1": 0.4, "chance": 0.25, "n_clips": 40, "n_groups": 4, "n_classes": 5,
        "ci_low": NAN, "ci_high": NAN, "is_chosen": False, "role": None, "protocol": "held-out", "reason": None,
    }  # fmt: skip
    return pd.DataFrame(
        [
            {**base, "layer": 0, "accuracy": 0.3, "probe_id": "p0"},
            {**base, "layer": 1, "accuracy": 0.7, "probe_id": "p1", "is_chosen": True, "role": "best"},
            {**base, "layer": 2, "accuracy": NAN, "probe_id": "p2", "reason": "one class only"},
            {**base, "layer": 0, "accuracy": 0.4, "probe_id": "q0", "encoder_id": "mert-00000000", "name": "mert",
             "display_name": "MERT", "is_trained": False},
        ]
    )  # fmt: skip


GROUPS = pd.DataFrame(
    [
        {"encoder_id": "hubert-00000000", "display_name": "HuBERT", "layer": 0, "group_id": g, "accuracy": a, "n": 10,
         "probe_id": "p0"}
        for g, a in (("f1", 0.2), ("m1", 0.4))
    ]
)  # fmt: skip
NO_GROUPS = GROUPS.iloc[:0]


@pytest.mark.parametrize("dark", [False, True])
def test_layer_curves_carry_the_probe_and_say_its_n(dark: bool) -> None:
    fig = layer_curves(probe_rows(), GROUPS, dark, selected=("hubert-00000000", 1))
    dots, *marks = [trace for trace in fig.data if trace.customdata is not None]
    assert [list(row) for row in marks[0].customdata] == [
        ["hubert-00000000", layer, f"p{layer}"] for layer in (0, 1, 2)
    ]
    assert list(marks[0].marker.symbol) == ["circle", "diamond", "circle"]
    assert "40 clips of 4 groups" in marks[0].text[0]
    assert "held-out" in marks[0].text[0]
    assert "one class only" in marks[0].text[2]
    assert "random weights" in marks[1].text[0]
    assert marks[0].marker.color == encoder_color("hubert")
    assert sorted(dots.y) == [0.2, 0.4]
    assert [list(row) for row in dots.customdata] == [["hubert-00000000", 0, "p0"]] * 2
    ring = next(trace for trace in fig.data if trace.name == "shown below")
    assert (list(ring.x), list(ring.y)) == ([1], [0.7])


def test_layer_curves_draw_intervals_only_where_the_store_has_them() -> None:
    without = layer_curves(probe_rows(), NO_GROUPS, False)
    assert not any(trace.error_y.array is not None for trace in without.data)
    rows = probe_rows()
    rows.loc[1, ["ci_low", "ci_high"]] = [0.6, 0.85]
    few = layer_curves(rows, NO_GROUPS, False).data  # 4 groups
    assert not any(trace.error_y.array is not None or trace.mode == "lines" for trace in few)
    rows["n_groups"] = 8
    rows.loc[0, ["ci_low", "ci_high"]] = [0.9, 0.95]  # of another quantity than the accuracy
    assert any(trace.mode == "lines" for trace in layer_curves(rows, NO_GROUPS, False).data)
    bar = next(trace for trace in layer_curves(rows, NO_GROUPS, False).data if trace.error_y.array is not None)
    assert list(bar.x) == [1]
    assert bar.error_y.array == pytest.approx([0.15])
    assert bar.error_y.arrayminus == pytest.approx([0.1])


def test_chance_is_of_the_metric_that_is_shown() -> None:
    rows = probe_rows()
    assert chance_level(rows, "accuracy") == 0.25
    assert chance_level(rows, "balanced_accuracy") == pytest.approx(1 / 5)
    assert chance_level(rows, "macro_f1") is None
    attributes = pd.DataFrame([{"attribute": "singer", "accuracy": 0.33, "balanced_accuracy": NAN, "macro_f1": NAN}])
    levels = layer_curves(rows, NO_GROUPS, False, attributes=attributes).layout.annotations
    same = layer_curves(rows, NO_GROUPS, False, attributes=attributes.assign(accuracy=0.25)).layout.annotations
    assert [note.text for note in same] == ["chance, knowing only singer: 0.25"]
    assert sorted(str(note.text) for note in levels) == ["chance: 0.25", "knowing only singer: 0.33"]
    near = layer_curves(rows, NO_GROUPS, False, attributes=attributes.assign(accuracy=0.27)).layout
    assert [note.text for note in near.annotations if note.text] == ["chance, knowing only singer: 0.25 to 0.27"]
    assert len(near.shapes) == 2
    many = pd.concat([attributes.assign(attribute=name) for name in "abcde"])
    levels = layer_curves(rows, NO_GROUPS, False, attributes=many).layout.annotations
    assert "knowing only a, b, c and 2 more: 0.33" in [note.text for note in levels]


def test_confusion_shades_by_row_and_keeps_the_counts() -> None:
    rows = pd.DataFrame([("a", "a", 3), ("a", "b", 1), ("b", "b", 2)], columns=["true_class", "predicted_class", "n"])
    heat = confusion_matrix(rows, False).data[0]
    np.testing.assert_allclose(np.asarray(heat.z, dtype=float), [[0.75, 0.25], [0.0, 1.0]])
    assert np.asarray(heat.text).tolist() == [["3", "1"], ["", "2"]]
    assert "3 of 4 a clips" in heat.hovertext[0][0]
    assert [list(line) for line in heat.customdata] == [[["a", "a"], ["a", "b"]], [None, ["b", "b"]]]


def test_a_class_that_was_only_predicted_has_no_made_up_share() -> None:
    rows = pd.DataFrame([("a", "b", 4)], columns=["true_class", "predicted_class", "n"])
    shares = np.asarray(confusion_matrix(rows, False).data[0].z, dtype=float)
    assert np.isnan(shares[1]).all()


def test_an_undefined_recall_shows_its_reason_and_no_bar() -> None:
    rows = pd.DataFrame(
        [
            {"class": "a", "recall": 0.8, "precision": 0.7, "f1": 0.75, "n": 25, "reason": None},
            {"class": "b", "recall": NAN, "precision": NAN, "f1": NAN, "n": 0, "reason": "no clip of it was scored"},
        ]
    )
    fig = class_recall(rows, False, "#009E73")
    assert math.isnan(fig.data[0].x[1])
    assert "undefined: no clip of it was scored" in [note.text for note in fig.layout.annotations]
    assert "20 of 25" in fig.data[0].text[0]


def test_dense_factor_groups_print_the_true_number_and_leave_gaps() -> None:
    base = {"display_name": "HuBERT", "best_factor": "F0 mean", "n_scored": 4, "n_undefined": 1, "n_above": 2,
            "n_clips": 40, "n_groups": 4, "best_name": "F0_mean", "sae_id": "s1", "is_extra": False}  # fmt: skip
    rows = pd.DataFrame(
        [
            {**base, "layer": 3, "factor_group": "pitch", "r2_median": 0.6, "r2_best": 0.9},
            {**base, "layer": 3, "factor_group": "mfcc", "r2_median": -0.4, "r2_best": 0.1},
            {**base, "layer": 7, "factor_group": "pitch", "r2_median": 0.5, "r2_best": 0.8, "sae_id": None},
        ]
    )
    heat = dense_factor_groups(rows, True).data[0]
    assert list(heat.x) == ["HuBERT L3", "HuBERT L7"]
    assert list(heat.y) == ["mfcc", "pitch"]
    assert heat.text[0][0] == "−0.40"
    assert heat.z[0][0] == 0.0
    assert heat.z[0][1] is None
    assert heat.text[0][1] == ""
    assert heat.hovertext[0][1] == "mfcc from HuBERT L7: not computed"
    assert list(heat.customdata[1]) == [["s1", "F0_mean"], None], "layers without an SAE lead nowhere"
    column = {**base, "layer": 3, "factor_group": "age", "r2_median": 0.2, "r2_best": 0.2, "is_extra": True}
    heat = dense_factor_groups(pd.concat([rows, pd.DataFrame([column])]), True).data[0]
    assert list(heat.y) == ["mfcc", "pitch", "age"], "a column stands below the groups of factors"


# Sparsity ------------------------------------------------------------------------------------------------------------


def sae_rows() -> pd.DataFrame:
    base = {
        "encoder_id": "hubert-00000000", "name": "hubert", "display_name": "HuBERT", "layer": 3, "method": "sound",
        "level": "clip", "n_features": 100, "protocol": "held-out", "run_id": "r1", "is_trained": True, "n_dead": 10,
        "n_epochs": 40, "dense_accuracy": 0.8, "probe_n_clips": 40, "probe_n_groups": 4, "pca_k_fvu_heldout": 0.3,
        "completeness": NAN,
    }  # fmt: skip
    points = [("s0", 0.75, 25, 0, 0.2, 0.7), ("s1", 0.95, 5, 0, 0.4, 0.6), ("s2", 0.95, 5, 1, 0.5, NAN)]
    return add_shares(
        pd.DataFrame(
            [
                {**base, "sae_id": i, "sparsity": s, "k": k, "seed": seed, "fvu_heldout": f, "accuracy": a,
                 "l0_mean": 0.9 * k}
                for i, s, k, seed, f, a in points
            ]
        )
    )  # fmt: skip


def test_sparsity_panel_draws_every_seed_their_mean_and_their_range() -> None:
    rows = sae_rows()
    fig = sparsity_panel(rows, MEASURES["fvu"], False, styles=series_styles(rows))
    marks = trace_with(fig, "customdata")
    assert [row[0] for row in marks.customdata] == ["s0", "s1", "s2"]
    assert list(marks.x) == pytest.approx([75, 95, 95])
    mean = next(trace for trace in fig.data if trace.name == "HuBERT L3")
    assert list(mean.y) == pytest.approx([0.2, 0.45])
    spread = next(trace for trace in fig.data if trace.name == "HuBERT L3, range of seeds")
    assert list(spread.y) == [0.4, 0.5, None]
    control = next(trace for trace in fig.data if trace.name == "HuBERT L3, control")
    assert list(control.y) == pytest.approx([0.3, 0.3])
    words = marks.text[0]
    assert all(part in words for part in ("k = 25 of 100", "seed 0", "SAE s0", "run r1", "held-out"))


def test_sparsity_panel_leaves_out_what_is_undefined() -> None:
    rows = sae_rows()
    styles = series_styles(rows)
    marks = trace_with(sparsity_panel(rows, MEASURES["accuracy"], False, styles=styles), "customdata")
    assert [row[0] for row in marks.customdata] == ["s0", "s1"]
    empty = sparsity_panel(rows, MEASURES["completeness"], True, styles=styles)
    assert not any(trace.customdata is not None for trace in empty.data)
    assert "undefined for every SAE" in empty.layout.annotations[0].text


def test_shares_are_hand_worked() -> None:
    rows = sae_rows()
    assert rows["dead_share"].tolist() == pytest.approx([0.1] * 3)
    assert rows["l0_share"].tolist() == pytest.approx([0.9] * 3)


def test_series_of_two_widths_are_two_series_and_say_so() -> None:
    rows = pd.concat([sae_rows(), sae_rows().assign(n_features=200)])
    styles = series_styles(rows)
    assert sorted(style["name"] for style in styles.values()) == ["HuBERT L3 · D = 100", "HuBERT L3 · D = 200"]
    assert len({style["dash"] for style in styles.values()}) == 2


def test_the_legend_escapes_names() -> None:
    rows = sae_rows().assign(display_name="<b>x</b>")
    styles = series_styles(rows)
    html = legend_html(styles, list(styles))
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt; L3" in html


# Factors -------------------------------------------------------------------------------------------------------------

WEIGHTS = pd.DataFrame(
    [(0, 5, 0.5), (0, 6, -0.2), (1, 5, 0.4), (1, 6, -0.1), (2, 9, 0.3), (2, 5, 0.01)],
    columns=["factor_index", "feature", "weight"],
).assign(label=[None, "trill", None, "trill", None, None], density=0.25)
SCORES = pd.DataFrame(
    {
        "factor_index": [0, 1, 2, 3],
        "name": ["f0", "f1", "f2", "f3"],
        "display_name": ["F0 mean", "F0 spread", "loudness", "jitter"],
        "factor_group": ["pitch", "pitch", "loudness", "quality"],
        "r2": [0.8, 0.5, 0.3, NAN],
        "r2_shown": [0.8, 0.5, 0.3, NAN],
        "r2_within_group": [0.7, 0.4, NAN, NAN],
        "within_shown": [0.7, 0.4, NAN, NAN],
        "n_shown_clips": [40] * 4,
        "n_shown_groups": [4] * 4,
        "r2_permuted": [0.0, 0.0, 0.35, NAN],
        "completeness": [0.9, 0.6, NAN, NAN],
        "completeness_d": [100, 100, 100, 100],
        "effective_codes": [1.6, 5.0, NAN, NAN],
        "n_weights": [2, 2, 2, 0],
        "n_clips": [40] * 4,
        "n_groups": [4] * 4,
        "alpha": [0.01] * 4,
        "alpha_source": ["cross-validated"] * 4,
        "protocol": ["held-out"] * 4,
        "seed": [0] * 4,
    }
)


def test_top_features_hold_the_strongest_of_each_factor_first() -> None:
    assert top_features(WEIGHTS, 10) == [5, 9, 6]  # 5 leads factors 0 and 1, 9 leads factor 2, 6 leads none
    assert top_features(WEIGHTS, 1) == [5]


def test_cluster_order_puts_alike_rows_together_and_rows_without_weights_last() -> None:
    order = cluster_order(WEIGHTS, [0, 2, 1, 3], "factor_index", "feature")
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(1)) == 1
    assert order[-1] == 3
    assert cluster_order(WEIGHTS, [2, 0], "factor_index", "feature") == [2, 0]


def test_lasso_marks_carry_feature_and_factor_and_say_the_cell_in_words() -> None:
    fig = lasso_marks(WEIGHTS, SCORES, [0, 1, 2], [5, 6, 9], False)
    marks = trace_with(fig, "customdata")
    assert [tuple(row) for row in marks.customdata] == [(5, 0), (6, 0), (5, 1), (6, 1), (9, 2), (5, 2)]
    assert list(zip(marks.x, marks.y, strict=True))[:2] == [(0, 0), (1, 0)]
    assert marks.marker.symbol == "square"
    assert marks.marker.cmin == -marks.marker.cmax == -0.5
    assert "raises the predicted <b>F0 mean</b> by 0.500" in marks.text[0]
    assert "feature 6 (trill)" in marks.text[1]
    assert "lowers" in marks.text[1]
    assert "40 clips" in marks.text[0]
    assert "25 % of clips" in marks.text[0]


def test_r2_completeness_draws_only_factors_that_have_both() -> None:
    fig = r2_completeness(SCORES, False, "#009E73", selected=1)
    marks = trace_with(fig, "customdata")
    assert [row[0] for row in marks.customdata] == [0, 1]
    assert list(marks.marker.size) == [9, 14]
    lines = [(shape.x0, shape.y0) for shape in fig.layout.shapes]
    assert (0.7, 0) in lines
    assert (0, 0.8) in lines
    assert "D = 100" in fig.layout.yaxis.title.text


def test_predicted_measured_hand_worked() -> None:
    rows = pd.DataFrame(
        {"clip_id": ["c1", "c2"], "title": ["one", "two"], "group_id": ["f1", "m1"], "measured": [1.0, 3.0],
         "predicted": [1.5, 2.0]}
    )  # fmt: skip
    fig = predicted_measured(rows, False, "#009E73", name="F0 mean", unit="st", is_clipped=True)
    marks = trace_with(fig, "customdata")
    assert [row[0] for row in marks.customdata] == ["c1", "c2"]
    assert "error +0.500" in marks.text[0]
    assert "error −1.000" in marks.text[1]
    assert list(fig.data[0].x) == list(fig.data[0].y) == [1.0, 3.0]
    assert fig.layout.xaxis.title.text == "measured F0 mean, clipped (st)"
    assert "<br>measured 1.000, clipped, predicted" in marks.text[0]
    assert len(predicted_measured(rows.iloc[:0], True, "#009E73", name="x", unit=None, is_clipped=False).data) == 1


# Compare -------------------------------------------------------------------------------------------------------------


def test_factor_pairs_leave_out_what_one_side_lacks() -> None:
    rows = pd.DataFrame(
        {
            "factor_index": [0, 1], "display_name": ["F0 mean", "jitter"], "factor_group": ["pitch", "quality"],
            "r2_a": [0.7, 0.2], "r2_b": [-0.1, NAN], "r2_permuted_a": [0.0, 0.0], "r2_permuted_b": [0.0, NAN],
            "effective_codes_a": [2.0, 3.0], "effective_codes_b": [NAN, NAN], "n_clips_a": [40, 40],
            "n_clips_b": [40, 0],
        }
    )  # fmt: skip
    fig = factor_pairs(rows, False, name_a="HuBERT L3", name_b="MERT L7")
    marks = trace_with(fig, "customdata")
    assert list(marks.x) == [0.7]
    assert list(marks.y) == [-0.1]
    assert fig.layout.yaxis.range[0] < -0.1
    assert "HuBERT L3" in fig.layout.xaxis.title.text


def test_match_scatter_leaves_out_undefined_correlations_and_marks_the_open_pair() -> None:
    rows = pd.DataFrame(
        {"feature": [1, 2, 3], "other_feature": [7, 8, 9], "r_train": [0.9, 0.8, 0.7], "r_heldout": [0.5, NAN, -0.1]}
    )
    marks = trace_with(match_scatter(rows, True, selected=(3, 9)), "customdata")
    assert [tuple(row) for row in marks.customdata] == [(1, 7), (3, 9)]
    assert list(marks.marker.size) == [7, 13]


def test_no_figure_falls_back_to_the_library_blue() -> None:
    rows = sae_rows()
    pairs = pd.DataFrame({"feature": [1], "other_feature": [7], "r_train": [0.9], "r_heldout": [0.5]})
    figures = [
        layer_curves(probe_rows(), GROUPS, False),
        sparsity_panel(rows, MEASURES["fvu"], False, styles=series_styles(rows)),
        lasso_marks(WEIGHTS, SCORES, [0], [5], False),
        r2_completeness(SCORES, False, "#009E73"),
        match_scatter(pairs, False),
    ]
    for fig in figures:
        for trace in fig.data:
            color = trace.line.color if trace.mode == "lines" else trace.marker.color
            assert color is not None, trace.name
        assert DEFAULT_BLUE not in fig.to_json().lower()
