"""explorer/factor_words.py: which rows are predicted, and in which words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.factor_words import BY_CHANCE, PREDICTED, TOO_SMALL, are_predicted, p_words, verdict
from explorer.figures.factors import predicted_measured

ROW = {"protocol": "held-out", "r2": 0.4, "r2_p": 0.01, "is_predicted": True, "untested": None, "tested_by": "clips"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, PREDICTED),
        ({"r2_p": 0.2, "is_predicted": False}, BY_CHANCE),
        ({"r2": 0.04, "is_predicted": False}, TOO_SMALL),
        (
            {"untested": "cannot be tested: all clips are alike", "r2_p": np.nan},
            "cannot be tested: all clips are alike",
        ),
        ({"r2": np.nan, "r2_p": np.nan, "is_predicted": pd.NA}, ""),
        ({"r2_p": np.nan, "is_predicted": False}, BY_CHANCE),  # of an older store
        ({"protocol": "paper", "r2_p": None}, "above shuffled factors, in sample"),
        ({"protocol": "paper", "r2_p": None, "is_predicted": False}, "not above shuffled factors"),
    ],
)
def test_a_verdict_says_what_can_be_told(change, words):
    assert verdict({**ROW, **change}) == words


def test_p_is_said_with_what_was_exchanged():
    assert p_words(ROW) == "p 0.010, clips exchanged"
    assert p_words({**ROW, "r2_p": None}) == ""


def test_rows_without_a_verdict_go_by_their_limit():
    rows = pd.DataFrame({"r2": [0.5, 0.5, 0.5, 0.5, -0.1], "r2_permuted": [0.1, 0.6, np.nan, 0.6, -0.2]})
    assert are_predicted(rows).tolist() == [True, False, False, False, False]
    assert are_predicted(rows.assign(is_predicted=[False, None, None, True, None])).tolist() == [
        False, False, False, True, False
    ]  # fmt: skip
    assert are_predicted(rows.add_suffix("_a"), "_a").tolist()[0]


def test_ranked_values_have_no_unit_on_their_figure():
    rows = pd.DataFrame({"clip_id": ["c"], "title": ["one"], "group_id": ["g"], "measured": [1.0], "predicted": [1.5]})
    fig = predicted_measured(rows, False, "#009E73", name="F0 mean", unit="st", is_clipped=True, is_ranked=True)
    assert fig.layout.xaxis.title.text == "measured F0 mean, rank as normal score"
