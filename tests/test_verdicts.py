"""What may be said: each verdict on planted effects and on noise, and margins that the documents repeat."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from explorer.claim_tests import above_guess, above_last_layer, difference
from explorer.intervals import Estimate
from explorer.verdicts import FAILS, HOLDS, MARGINS, MIXED, UNSAID, counted, judge, level_of, together

NAN = float("nan")
N_WORLDS = 200
MOST = int(stats.binom.ppf(0.999, N_WORLDS, 0.05))  # of N_WORLDS that may be wrong where 5 in 100 are


def test_an_interval_that_leaves_it_open_tells_nothing() -> None:
    best, kept = MARGINS["best layer"], MARGINS["codes keep accuracy"]
    for value, low, high, said in (
        (0.025, -0.003, 0.053, UNSAID),
        (0.03, 0.01, 0.05, HOLDS),
        (-0.01, -0.03, 0.015, FAILS),
        (0.01, 0.001, 0.019, FAILS),  # surely there, and surely too small to matter
        (0.0, 0.0, 0.0, UNSAID),  # a tie
        (0.3, NAN, NAN, UNSAID),
    ):
        assert judge(Estimate(value, low, high, 20), best) == said
    assert judge(Estimate(-0.05, -0.09, -0.01, 20), kept) == HOLDS
    assert judge(Estimate(-0.08, -0.12, -0.04, 20), kept) == UNSAID
    assert judge(Estimate(-0.2, -0.25, -0.11, 20), kept) == FAILS


def test_several_verdicts_make_one() -> None:
    assert together([HOLDS, HOLDS]) == HOLDS
    assert together([HOLDS, UNSAID]) == together([HOLDS, FAILS]) == MIXED
    assert together([FAILS, FAILS, UNSAID]) == FAILS
    assert together([FAILS, UNSAID]) == together([UNSAID]) == together([]) == UNSAID
    for verdicts, words in (
        ([HOLDS, FAILS, UNSAID, UNSAID], "It holds for 1 of 4 SAEs, does not hold for 1 and is open for 2"),
        ([HOLDS, UNSAID], "It holds for 1 of 2 SAEs and is open for 1"),
        ([FAILS, UNSAID, FAILS], "It does not hold for 2 of 3 SAEs and is open for 1"),
        ([HOLDS], "It holds for the one SAE"),
        ([HOLDS, HOLDS], "It holds for both SAEs"),
        ([HOLDS] * 3, "It holds for all 3 SAEs"),
        ([FAILS], "It does not hold for the one SAE"),
        ([FAILS, FAILS], "It holds for neither of the two SAEs"),
        ([FAILS] * 3, "It holds for none of the 3 SAEs"),
        ([UNSAID], "The one SAE does not settle it"),
        ([UNSAID, UNSAID], "Neither of the two SAEs settles it"),
        ([UNSAID] * 3, "None of the 3 SAEs settles it"),
    ):
        assert counted(verdicts, "SAE") == words
    assert counted([UNSAID, UNSAID], "SAE series") == "Neither of the two SAE series settles it"
    assert (level_of(1), level_of(5)) == pytest.approx((0.95, 0.99))


def test_the_margins_are_those_of_the_documents() -> None:
    text = Path(__file__).parents[1].joinpath("docs", "measures.md").read_text(encoding="utf-8")
    section = text.split("## What may be said")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+) \|[^|]*\| above (\S+) \| below (\S+) \|$", section, re.M)
    written = {name: tuple(float(cell.replace("−", "-")) for cell in cells) for name, *cells in rows}
    assert written == {name: (margin.holds_above, margin.fails_below) for name, margin in MARGINS.items()}


def centroid_hits(x_cd: np.ndarray, labels_c: np.ndarray, folds_c: np.ndarray) -> np.ndarray:
    """(c,) whether each clip is nearest to its own class's mean of the other folds: a quick linear probe."""
    said = np.empty_like(labels_c)
    for fold in np.unique(folds_c):
        fit = folds_c != fold
        names = np.unique(labels_c[fit])
        centers = np.stack([x_cd[fit][labels_c[fit] == name].mean(axis=0) for name in names])
        said[~fit] = names[np.argmin(((x_cd[~fit][:, None] - centers) ** 2).sum(axis=-1), axis=1)]
    return said == labels_c


def world(
    rng: np.random.Generator, sizes_g: np.ndarray, gain_l: tuple[float, ...], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy_gl, guess_g) of layers in which 3 classes are `gain_l` apart; kind 'group': one label for each
    group."""
    groups = np.repeat(np.arange(len(sizes_g)), sizes_g)
    folds = groups if len(sizes_g) <= 8 else groups % 5
    labels = rng.integers(0, 3, len(sizes_g))[groups] if kind == "group" else rng.integers(0, 3, len(groups))
    if len(np.unique(labels)) < 2:
        labels[0] = (labels[0] + 1) % 3
    of_group = rng.normal(size=(len(sizes_g), 6))[groups]
    hits = []
    for gain in gain_l:
        x = rng.normal(size=(len(groups), 6)) + of_group
        x[:, :3] += gain * np.eye(3)[labels]
        hits.append(np.bincount(groups, weights=centroid_hits(x, labels, folds)) / sizes_g)
    guessed = labels == np.bincount(labels).argmax()
    return np.stack(hits, axis=1), np.bincount(groups, weights=guessed) / sizes_g


@pytest.mark.parametrize("kind", ["clips", "group"])
@pytest.mark.parametrize("sizes_g", [np.full(8, 2), np.full(8, 10), np.full(20, 20)], ids=lambda s: f"{len(s)}x{s[0]}")
def test_on_labels_that_mean_nothing_no_layer_is_beyond_chance(kind: str, sizes_g: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    said = []
    for _ in range(N_WORLDS):
        accuracy_gl, guess_g = world(rng, sizes_g, (0.0,) * 5, kind)
        said.append(judge(above_guess(accuracy_gl, guess_g, sizes_g), MARGINS["beyond chance"]))
    assert said.count(HOLDS) <= MOST


@pytest.mark.parametrize(("n_groups", "n"), [(8, 10), (20, 10)])
def test_of_layers_that_are_alike_none_is_called_best(n_groups: int, n: int) -> None:
    rng, sizes_g = np.random.default_rng(2), np.full(n_groups, n)
    said = [
        judge(above_last_layer(world(rng, sizes_g, (1.5,) * 6, "clips")[0], sizes_g), MARGINS["best layer"])
        for _ in range(N_WORLDS)
    ]
    assert said.count(HOLDS) <= MOST


def test_a_planted_best_layer_is_found_and_never_denied() -> None:
    rng, sizes_g = np.random.default_rng(3), np.full(20, 10)
    said = [
        judge(above_last_layer(world(rng, sizes_g, (1.0, 2.0, 1.0, 1.0), "clips")[0], sizes_g), MARGINS["best layer"])
        for _ in range(60)
    ]
    assert said.count(HOLDS) >= 54 and said.count(FAILS) <= 1


@pytest.mark.parametrize(("n_groups", "n"), [(8, 20), (20, 5)])
@pytest.mark.parametrize(("drop", "wrong"), [(0.1, HOLDS), (0.1, FAILS), (0.0, FAILS), (0.3, HOLDS)])
def test_codes_are_rarely_judged_wrongly(n_groups: int, n: int, drop: float, wrong: str) -> None:
    """At the margin itself either verdict is wrong; groups differ in how hard they are, for both probes alike."""
    rng, n_g = np.random.default_rng(4), np.full(n_groups, n)
    said = []
    for _ in range(N_WORLDS):
        rate_g = np.clip(rng.normal(0.7, 0.1, n_groups), 0.35, 0.95)
        dense, codes = rng.binomial(n_g, rate_g) / n_g, rng.binomial(n_g, rate_g - drop) / n_g
        said.append(judge(difference(codes, dense, n_g), MARGINS["codes keep accuracy"]))
    assert said.count(wrong) <= MOST


def test_few_groups_have_no_interval() -> None:
    accuracy_gl, guess_g = world(np.random.default_rng(5), np.full(7, 10), (2.0, 0.0), "clips")
    for found in (above_last_layer(accuracy_gl, np.full(7, 10)), above_guess(accuracy_gl, guess_g, np.full(7, 10))):
        assert math.isfinite(found.value) and math.isnan(found.low)
        assert judge(found, MARGINS["best layer"]) == UNSAID
