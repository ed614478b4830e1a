"""explorer/permutation.py: at which level values are exchanged, how many ways there are, and what p they give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from explorer.permutation import ALPHA, CLIPS, WHOLE, WITHIN, critical, exchange_of, p_values

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "groups", "level", "n"),
    [
        ("abab", "xxyy", WITHIN, 4),
        ("aabb", "xyzw", CLIPS, 6),
        ("aabbaabb", "xxyyzzww", WHOLE, 6),
        ("aabb", "xxxx", CLIPS, 6),
        ("aaaa", "xxyy", WHOLE, 1),
        ("abc", "xyz", CLIPS, 6),
    ],
)
def test_values_are_exchanged_where_they_vary(values, groups, level, n):
    found = exchange_of(list(values), list(groups))
    assert (found.level, found.n_arrangements) == (level, n)
    assert found.smallest_p == pytest.approx(1 / n)
    assert (found.why_not is None) == (1 / n <= ALPHA)


def test_a_few_stray_clips_do_not_make_a_value_of_groups_one_of_clips():
    groups = [f"s{i}" for i in range(40) for _ in range(2)]
    values = ["f" if i % 2 else "m" for i in range(40) for _ in range(2)]
    values[0] = "f"  # one clip of one speaker has the other value
    assert exchange_of(values, groups).level == WHOLE


@pytest.mark.parametrize(("values", "groups"), [("aabbc", "xxxyy"), ("aabbaabb", "xxyyzzww"), ("aabb", "xyzw")])
def test_all_arrangements_are_gone_through_once_and_keep_what_stays(values, groups):
    found = exchange_of(list(values), list(groups))
    rows = np.concatenate(list(found.permuted(1000, chunk=3)))
    assert found.is_exact(1000) and len(rows) == found.n_arrangements == len({tuple(row) for row in rows})
    assert tuple(found.code_c) in {tuple(row) for row in rows}
    group_c = np.array(list(groups))
    for row in rows:
        assert sorted(row) == sorted(found.code_c)
        for group in set(groups):
            here = group_c == group
            if found.level == WITHIN:
                assert sorted(row[here]) == sorted(found.code_c[here])
            elif found.level == WHOLE:
                assert len(set(row[here])) == 1


def test_the_count_is_what_brute_force_finds():
    values, groups = list("aabbab"), list("xxxyyy")
    brute = {
        (one, two) for one in itertools.permutations(values[:3]) for two in itertools.permutations(values[3:])
    }  # fmt: skip
    assert exchange_of(values, groups).n_arrangements == len(brute)


@pytest.mark.parametrize("level", [WITHIN, WHOLE])
def test_draws_are_repeatable_and_keep_the_level(level):
    groups = np.repeat(np.arange(30), 4)
    values = RNG.integers(0, 3, 120) if level == WITHIN else np.repeat(RNG.integers(0, 3, 30), 4)
    found = exchange_of(values, groups)
    first, again = (np.concatenate(list(found.permuted(25, seed=3))) for _ in range(2))
    assert found.level == level and first.shape == (25, 120) and np.array_equal(first, again)
    assert len({tuple(row) for row in first}) == 25 and not found.is_exact(25)
    for row in first:
        for one in range(30):
            here = row[groups == one]
            if level == WITHIN:
                assert sorted(here) == sorted(found.code_c[groups == one])
            else:
                assert len(set(here)) == 1


def test_p_values_by_hand():
    null = [0.1, 0.2, 0.3, 0.4]
    assert p_values([0.4, 0.25, 0.05, np.nan], null, is_exact=True).tolist() == [0.25, 0.5, 1.0, 1.0]
    assert p_values([0.5, 0.4, np.nan], null, is_exact=False).tolist() == [1 / 5, 2 / 5, 1.0]


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("n", [19, 20, 40, 100, 101])
def test_what_exceeds_the_critical_value_and_nothing_else_has_a_small_p(n, is_exact):
    null = np.round(RNG.random(n), 2)  # with ties
    limit = critical(null, is_exact=is_exact)
    tried = np.unique(np.concatenate([null, null + 0.005, [2.0]]))
    small = p_values(tried, null, is_exact=is_exact) <= ALPHA
    if math.isnan(limit):
        assert not small.any()
    else:
        assert np.array_equal(small, tried > limit)


def test_under_no_effect_small_p_values_are_rare():
    groups = np.repeat(np.arange(6), 5)
    n_small = 0
    for trial in range(300):
        rng = np.random.default_rng(trial)
        labels, score = rng.integers(0, 2, 30), rng.random(30) + np.repeat(rng.random(6), 5) * 5
        found = exchange_of(labels, groups)
        if found.why_not:
            continue

        def statistic(code, score=score):
            return abs(score[code == 1].mean() - score[code == 0].mean())

        null = [statistic(row) for rows in found.permuted(60, seed=trial) for row in rows]
        p = p_values(statistic(found.code_c), null, is_exact=found.is_exact(60))
        n_small += bool(p <= ALPHA)
    assert n_small <= 25  # 15 expected; the binomial's 99.5th percentile is 25


def test_one_mixed_group_of_many_makes_values_no_matter_of_clips():
    """What varies within one group alone says nothing of others: its two parts are units among the whole groups."""
    groups, values = np.repeat(np.arange(10), 30), np.repeat(np.arange(10) % 2, 30)
    values[3] = 1
    assert exchange_of(values, groups).level == WHOLE
    values[33] = 0
    assert exchange_of(values, groups).level == WITHIN
    few = np.repeat(np.arange(3), 30)
    assert exchange_of(values[:90] * (few > 0), few).level == WITHIN  # a third of the clips are mixed
