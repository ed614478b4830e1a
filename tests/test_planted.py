"""What was planted and what was found: on perfect, chance and hand-worked input, and in a real store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.figures.planted import short_score
from explorer.store import Store
from explorer.ui.planted import conclusion
from precompute.datasets.singing.truth import PLANTED
from precompute.factor_fit import LassoSettings
from precompute.planted import How, Recovery, Split, from_all, from_design, from_one
from tests.hand_store import write_scored_store
from tests.test_pages import at, charts, no_trouble, words

N_GROUPS, N_TRAIN, PER_GROUP = 14, 8, 24
HOW = How(LassoSettings(alphas=8, eps=0.01, n_permutations=3, count_codes=False), (0.1,))


def split() -> Split:
    groups = np.repeat([f"singer{number}" for number in range(N_GROUPS)], PER_GROUP).astype(object)
    number = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    return Split(groups, number < N_TRAIN, number >= N_TRAIN, np.where(number < N_TRAIN, number % 2, -1), number % 5)


def noise(n_dims: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N_GROUPS * PER_GROUP, n_dims))


def vowels(seed: int = 1) -> np.ndarray:
    values = np.array(list("aeiou"), dtype=object)
    return values[np.random.default_rng(seed).integers(0, 5, N_GROUPS * PER_GROUP)]


def test_what_is_there_is_found_and_what_is_not_is_not():
    x, rng = noise(), np.random.default_rng(2)
    numbers = {"there": 3.0 + x[:, 0] - 2 * x[:, 5], "not": rng.standard_normal(len(x))}
    there, absent = from_all(x, numbers, {}, split(), HOW)
    assert there.score > 0.95 and there.is_found and there.score_kind == "r2"
    assert (there.n_train, there.n_clips, there.n_groups) == (N_TRAIN * PER_GROUP, 6 * PER_GROUP, 6)
    assert absent.score < 0.1 and not absent.is_found


def test_a_vowel_is_found_in_states_that_carry_it_and_not_in_noise():
    said = vowels()
    carrying = noise()
    for place, vowel in enumerate("aeiou"):
        carrying[:, place] += 4.0 * (said == vowel)
    (found,) = from_all(carrying, {}, {"vowel": said}, split(), HOW)
    (missed,) = from_all(noise(), {}, {"vowel": said}, split(), HOW)
    assert found.score_kind == "accuracy" and found.score > 0.8 and found.is_found
    assert missed.score < 0.45 and not missed.is_found
    assert 0.15 < found.control < 0.35


def test_one_feature_is_a_line_through_its_training_clips():
    codes = np.maximum(noise(), 0.0)
    line = from_one(codes, {"p": 10 - 2.0 * codes[:, 3]}, {}, split(), n_permutations=3, seed=0)[0]
    assert (line.feature, line.direction) == (3, "falls")
    assert line.score > 0.99 and line.is_found
    rng = np.random.default_rng(5)
    chance = from_one(codes, {"p": rng.standard_normal(len(codes))}, {}, split(), n_permutations=3, seed=0)[0]
    assert chance.score < 0.1 and not chance.is_found
    dead = from_one(np.zeros_like(codes), {"p": codes[:, 0]}, {}, split(), n_permutations=3, seed=0)[0]
    assert dead.reason is not None and "no feature" in dead.reason and not dead.is_found


def test_one_feature_a_vowel():
    said = vowels()
    codes = np.zeros((len(said), 8))
    for place, vowel in enumerate("aeiou"):
        codes[:, place] = 1.0 * (said == vowel)
    (found,) = from_one(codes, {}, {"vowel": said}, split(), n_permutations=20, seed=0)
    assert found.score_kind == "mcc" and found.score == pytest.approx(1.0) and found.is_found
    assert found.direction in tuple("aeiou")


def test_a_vowel_in_noise_is_not_found_with_few_singers_either():
    of_all = split()
    few = np.isin(of_all.groups_c, [f"singer{number}" for number in range(N_TRAIN, N_TRAIN + 3)])
    codes = np.maximum(noise(40), 0.0)
    (found,) = from_one(codes, {}, {"vowel": vowels()}, replace(of_all, heldout_c=few), n_permutations=20, seed=0)
    assert found.score < found.control and not found.is_found and found.reason is None
    alike = np.full(len(of_all.groups_c), "a", dtype=object)
    (found,) = from_one(codes, {}, {"vowel": alike}, replace(of_all, heldout_c=few), n_permutations=20, seed=0)
    assert np.isnan(found.score) and not found.is_found and found.reason == "only one label (a)"


def test_what_only_follows_the_technique_is_found_but_not_beyond_it():
    """States that know the cell and nothing else: effort follows the cell, and half of it is the clip's own."""
    cells = np.random.default_rng(6).integers(0, 6, N_GROUPS * PER_GROUP)
    own = np.random.default_rng(7).standard_normal(len(cells))
    effort = cells - 2.5 + own
    knows_cell, knows_both = noise(), noise()
    for value in range(6):
        knows_cell[:, value] += 6.0 * (cells == value)
    knows_both = np.column_stack([knows_cell, own])
    told = from_design({"effort": effort}, cells.astype(str), split())
    assert told["effort"] == pytest.approx(np.var(cells) / np.var(effort), abs=0.08)
    by_cell, by_both = (
        replace(from_all(x, {"effort": effort}, {}, split(), HOW)[0], told=told["effort"])
        for x in (knows_cell, knows_both)
    )
    assert by_cell.is_found and not by_cell.is_beyond
    assert by_both.is_found and by_both.is_beyond


def test_what_the_design_cannot_tell_is_undefined():
    cells = np.repeat("same", N_GROUPS * PER_GROUP)
    nowhere, steady = np.full(len(cells), np.nan), np.full(len(cells), 2.0)
    told = from_design({"nowhere": nowhere, "steady": steady, "noise": noise()[:, 0]}, cells, split())
    assert np.isnan(told["nowhere"]) and np.isnan(told["steady"]) and told["noise"] == pytest.approx(0.0, abs=1e-9)


def test_too_little_to_judge_says_why():
    x = noise()
    few = np.where(np.arange(len(x)) < 30, x[:, 0], np.nan)
    numbers = {"constant": np.full(len(x), 15.0), "few": few}
    for item in (*from_all(x, numbers, {}, split(), HOW), *from_one(x, numbers, {}, split(), n_permutations=2, seed=0)):
        assert np.isnan(item.score) and item.reason and not item.is_found


@pytest.mark.parametrize(
    ("score", "control", "is_found"),
    [(0.25, -0.4, True), (0.24, -0.4, False), (0.40, 0.20, True), (0.39, 0.20, False), (float("nan"), 0.0, False)],
)
def test_found_is_a_quarter_of_what_chance_leaves(score: float, control: float, is_found: bool):
    assert Recovery("p", "r2", score, control).is_found == is_found


def test_a_store_of_generated_singing_has_the_table(store: Store):
    parameters = store.query("SELECT * FROM planted_parameters")
    assert set(parameters["name"]) == {item.name for item in PLANTED}
    scores = store.query("SELECT * FROM planted_scores")
    assert set(scores["kind"]) == {"dense", "lasso", "feature", "factors"}
    n_layers = store.query("SELECT sum(n_layers + 1) AS n FROM encoders")["n"].iloc[0]
    assert len(scores[scores["kind"] == "dense"]) == n_layers * len(PLANTED)
    assert scores[scores["score"].isna()]["reason"].notna().all()
    assert not scores["in_teacher"].any()
    assert not (scores["is_beyond"] & ~scores["is_found"]).any()
    told = scores.groupby("parameter")["told"].nunique()
    assert told["f0_st"] == 1 and told["vowel"] == 0
    values = store.query("SELECT parameter, count(*) AS n FROM planted_values GROUP BY parameter").set_index(
        "parameter"
    )
    n_clips = store.query("SELECT count(*) AS n FROM clips")["n"].iloc[0]
    assert values.loc["f0_st", "n"] == values.loc["vowel", "n"] == n_clips
    assert 0 < values.loc["vibrato_rate_hz", "n"] < n_clips


def test_the_measured_factors_find_pitch(store: Store):
    """The baseline that is no encoder: mean f0 is one of the factors."""
    rows = store.query("SELECT * FROM planted_scores WHERE kind = 'factors'").set_index("parameter")
    assert rows.loc["f0_st", "is_found"]


@pytest.mark.parametrize(("read_from", "kind"), [(None, "dense"), ("one feature", "feature")])
def test_the_page_says_what_was_planted_and_what_was_found(
    tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch, read_from: str | None, kind: str
) -> None:
    params = {} if read_from is None else {"planted": read_from}
    page = at("overview", tiny_store, monkeypatch, **params)
    no_trouble(page)
    assert "What we planted, what was found" in words(page) and "How this is measured" in words(page)
    (figure,) = [spec for spec in charts(page) if spec["data"][0]["type"] == "heatmap"]
    wanted = store.query("SELECT DISTINCT encoder_id, layer FROM planted_scores WHERE kind = $kind", {"kind": kind})
    assert sum(len(trace["x"]) for trace in figure["data"]) == len(wanted)
    assert {name for trace in figure["data"] for name in trace["y"]} == {item.display_name for item in PLANTED}


def test_a_store_of_recordings_has_no_such_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_scored_store(tmp_path)
    page = at("overview", tmp_path, monkeypatch)
    no_trouble(page)
    assert "What we planted" not in words(page)


def test_a_conclusion_names_who_finds_what() -> None:
    rows = pd.DataFrame(
        [
            ("pitch", "A", True, True, False),
            ("pitch", "B", True, True, False),
            ("vowel", "A", False, False, False),
            ("vowel", "B", True, True, False),
            ("effort", "A", True, False, False),
            ("effort", "B", False, False, False),
            ("gain", "A", False, False, True),
            ("gain", "B", False, False, True),
        ],
        columns=["parameter_name", "encoder_display", "is_found", "is_beyond", "is_nuisance"],
    )
    assert conclusion(rows, "one feature") == (
        "Predicted from one feature. In some layer of every encoder: pitch. In some layer of some encoders only: "
        "vowel by B. In some layer, but no better than from technique and exercise alone: effort. "
        "Not found: gain (of the recording)."
    )


@pytest.mark.parametrize(
    ("score", "text"), [(0.614, ".61"), (1.0, "1"), (0.0, "0"), (-0.3, "&lt;0"), (7e-4, ".0007"), (1e-15, "0")]
)
def test_a_cell_is_short(score: float, text: str) -> None:
    assert short_score(score) == text
