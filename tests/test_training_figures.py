"""Figures of one SAE's training: what they draw and say."""

from __future__ import annotations

import pandas as pd

from explorer.figures.training import length_curve, training_curve

NAN = float("nan")


def test_training_curve_is_logarithmic_and_says_the_dead_share() -> None:
    curve = pd.DataFrame({"epoch": [0, 1], "loss": [1.0, 0.1], "dead_fraction": [0.5, NAN]})
    fig = training_curve(curve, False, "#009E73")
    assert fig.layout.yaxis.type == "log"
    assert list(fig.data[0].text) == ["epoch 0: loss 1, dead 50.0 %", "epoch 1: loss 0.1, dead –"]
    assert not fig.layout.shapes


def test_training_curve_shows_where_it_stopped_and_how_far_it_could_have_gone() -> None:
    curve = pd.DataFrame({"epoch": range(20), "loss": 0.5, "dead_fraction": 0.0})
    fig = training_curve(curve, False, "#009E73", most=100, stopped=20)
    assert fig.layout.shapes[0].x0 == 20 and fig.layout.annotations[0].text == "stopped after 20 of 100"
    assert tuple(fig.layout.xaxis.range) == (0, 100)
    assert not training_curve(curve, False, "#009E73", most=20, stopped=20).layout.shapes


def test_length_curve_has_a_line_for_each_fold() -> None:
    rows = pd.DataFrame({"n_epochs": [100, 40, 100, 40], "fold": [0, 0, 1, 1], "fvu": [0.5, 0.4, 0.6, 0.45]})
    fig = length_curve(rows, False, "#009E73", stopped=40)
    assert [list(line.y) for line in fig.data] == [[0.4, 0.5], [0.45, 0.6]]
    assert fig.data[0].text[0] == "fold 0, 40 epochs: FVU 0.400" and fig.layout.annotations[0].text == "chosen"
