"""Names of a data set in figures: plotly reads its texts as markup, so what a data set says is escaped."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.figures import classes, compare, curves, factors, sparsity, training
from explorer.figures.theme import shown
from tests.test_figures import GROUPS, SCORES, WEIGHTS, probe_rows, sae_rows

EVIL, SAFE = "<b>a&b</b>", "&lt;b&gt;a&amp;b&lt;/b&gt;"
NAN = float("nan")


def _confusion() -> go.Figure:
    rows = pd.DataFrame([(EVIL, EVIL, 3)], columns=["true_class", "predicted_class", "n"])
    return classes.confusion_matrix(rows, False)


def _recall() -> go.Figure:
    row = {"class": EVIL, "recall": NAN, "precision": NAN, "f1": NAN, "n": 3, "reason": EVIL}
    return classes.class_recall(pd.DataFrame([row]), False, "#009E73")


def _dense_groups() -> go.Figure:
    row = {"display_name": EVIL, "layer": 3, "factor_group": "pitch", "r2_median": NAN, "r2_best": NAN,
           "best_factor": NAN, "n_scored": 0, "n_undefined": 4, "n_above": 0, "n_clips": 40, "n_groups": 4,
           "best_name": NAN, "sae_id": None, "is_extra": False}  # fmt: skip
    return classes.dense_factor_groups(pd.DataFrame([row]), False)


def _layers() -> go.Figure:
    probes = probe_rows().assign(display_name=EVIL, role=EVIL, reason=EVIL, is_chosen=True)
    attributes = pd.DataFrame([{"attribute": EVIL, "accuracy": 0.4}])
    return curves.layer_curves(probes, GROUPS.assign(group_id=EVIL), False, attributes=attributes)


def _sparsity() -> go.Figure:
    rows = sae_rows().assign(display_name=EVIL)
    return sparsity.sparsity_panel(rows, sparsity.MEASURES["fvu"], False, styles=sparsity.series_styles(rows))


def _weights() -> go.Figure:
    return factors.lasso_marks(WEIGHTS.assign(label=EVIL), SCORES, [0], [5], False)


def _predicted() -> go.Figure:
    rows = pd.DataFrame({"clip_id": ["c"], "title": [EVIL], "group_id": [EVIL], "measured": [1.0], "predicted": [2.0]})
    return factors.predicted_measured(rows, False, "#009E73", name="F0", unit="st", is_clipped=True)


def _pairs() -> go.Figure:
    names = [f"{name}_{side}" for name in ("r2", "r2_permuted", "effective_codes", "n_clips") for side in "ab"]
    row = {"factor_index": 0, "display_name": "F0", "factor_group": "pitch", **dict.fromkeys(names, 1.0)}
    return compare.factor_pairs(pd.DataFrame([row]), False, name_a=EVIL, name_b=EVIL)


@pytest.mark.parametrize("draw", [_confusion, _recall, _dense_groups, _layers, _sparsity, _weights, _predicted, _pairs])
def test_names_are_drawn_letter_by_letter(draw: Callable[[], go.Figure]) -> None:
    # legends of the sparsity figure are drawn by the page; plotly's own is off, so its trace names are never shown
    fig = draw().for_each_trace(lambda trace: trace.update(name=None) if draw is _sparsity else None)
    fig.for_each_trace(lambda trace: trace.update(customdata=None) if draw is _confusion else None)
    text = str(fig.to_dict())
    assert EVIL not in text
    assert SAFE in text
    assert ">nan" not in text.lower()
    assert "nan " not in text.lower()


def test_a_group_without_a_best_factor_says_none() -> None:
    assert "best: none" in _dense_groups().data[0].hovertext[0][0]


def test_quotation_marks_stay_as_they_are() -> None:
    assert shown('it\'s "so"') == 'it\'s "so"'


def test_a_long_class_has_a_short_tick_and_is_whole_on_hover() -> None:
    long = "a" * 400
    rows = pd.DataFrame([(long, long, 3), ("b", "b", 1)], columns=["true_class", "predicted_class", "n"])
    fig = classes.confusion_matrix(rows, False)
    assert max(len(text) for text in (*fig.layout.xaxis.ticktext, *fig.layout.yaxis.ticktext)) <= 28
    assert long in fig.data[0].hovertext[0][0] and long in fig.data[0].x
    recall = pd.DataFrame([{"class": long, "recall": 0.5, "precision": 0.5, "f1": 0.5, "n": 30, "reason": None}])
    bars = classes.class_recall(recall, False, "#009E73")
    assert len(bars.layout.yaxis.ticktext[0]) <= 28 and long in bars.data[0].hovertext[0]


def test_ticks_of_a_logarithmic_axis_are_numbers_as_everywhere() -> None:
    curve = pd.DataFrame({"epoch": [1, 2], "loss": [3e-5, 4e-4], "dead_fraction": [0.0, 0.1]})
    axis = training.training_curve(curve, False, "#009E73").layout.yaxis
    assert axis.type == "log" and list(axis.ticktext)[:4] == ["1e−5", "2e−5", "5e−5", "0.0001"]
    assert not training.training_curve(curve.assign(loss=NAN), False, "#009E73").layout.yaxis.ticktext
