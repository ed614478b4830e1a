"""How many matches of two SAEs would hold up by chance: the activations of one exchanged against those of the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from explorer.permutation import ALPHA, Exchange, Floats, critical, exchange_of

N_DRAWS = 200
MOST_NUMBERS = 400_000  # clips times matches; of more matches a sample stands for all
Rows = NDArray[np.intp]


def held_up_by_chance(
    a_cm: NDArray, b_cm: NDArray, sign_m: Floats, groups_c: NDArray, *, bar: float, seed: int = 0
) -> int | None:
    """How many matches reach a correlation of `bar` on these clips in 95 of 100 exchanges; None where too few exist.

    a_cm, b_cm: (clips, matches) activations of both features of each match, on clips that had no part in choosing
    them; sign_m: the sign of the correlation that chose it, in whose direction it counts. Two things are exchanged, as
    for acoustic factors: clips within their groups, and whole groups, each at 0.05 over the number of ways; the smaller
    of both numbers counts. A constant column has no correlation.
    """
    n_clips, n_all = a_cm.shape
    n_taken = min(n_all, max(1, MOST_NUMBERS // max(n_clips, 1)))
    taken = np.sort(np.random.default_rng(seed).choice(n_all, n_taken, replace=False))
    pairs = _Pairs(a_cm[:, taken].astype(np.float64), b_cm[:, taken].astype(np.float64))
    limits = []
    for rows_n, is_exact, alpha in _ways(groups_c, seed):
        null_n = [int(np.sum(sign_m[taken] * pairs.correlation(rows) >= bar)) for rows in rows_n]
        limits.append(critical(null_n, is_exact=is_exact, alpha=alpha))
    return math.ceil(min(limits) * n_all / n_taken) if limits else None


class _Pairs:
    """Two columns of activations a match; one of them mostly 0, so that sums of products run over its other clips."""

    def __init__(self, a_cm: Floats, b_cm: Floats) -> None:
        self._clip, self._match = np.nonzero(a_cm)
        self._active = a_cm[self._clip, self._match]
        self._a_mean, self._a_sd = a_cm.mean(axis=0), a_cm.std(axis=0)
        self._b_cm, self._b2_cm = b_cm, b_cm**2
        self._rounding = 1e-9 * np.abs(a_cm).max(axis=0, initial=0.0) * np.abs(b_cm).max(axis=0, initial=0.0)

    def correlation(self, rows: Rows) -> Floats:
        """(matches,) r of each a with its b, whose clips are taken in the order `rows`; NaN for constant ones."""
        n, m = self._b_cm.shape
        products = self._active * self._b_cm[rows[self._clip], self._match]
        share_c = np.bincount(rows, minlength=n) / n  # of a group that is repeated clips count more than once
        b_mean, b_square = share_c @ self._b_cm, share_c @ self._b2_cm
        spread = self._a_sd * np.sqrt(np.maximum(b_square - b_mean**2, 0.0))
        together = np.bincount(self._match, products, minlength=m) / n - self._a_mean * b_mean
        return np.divide(together, spread, out=np.full(m, np.nan), where=spread > self._rounding)


def _ways(groups_c: NDArray, seed: int) -> list[tuple[Iterator[Rows], bool, float]]:
    """(orders of the clips, whether these are all there are, alpha) of each way of exchanging that can reach alpha."""
    names, group = np.unique(np.asarray(groups_c, dtype=object).astype(str), return_inverse=True)
    members = [np.flatnonzero(group == at) for at in range(len(names))]
    found: list[tuple[Exchange, Callable[[Rows], Rows], int]] = []
    if len(names) < len(group):
        found.append((exchange_of(np.arange(len(group)), group), lambda rows: rows, seed))
    if len(names) > 1:
        found.append((exchange_of(np.arange(len(names)), names), partial(_of_groups, members), seed + 1))
    able = [way for way in found if way[0].smallest_p <= ALPHA / len(found)]
    able = able or [way for way in found if way[0].smallest_p <= ALPHA][:1]
    return [
        (map(order, _each(exchange, own_seed)), exchange.is_exact(N_DRAWS), ALPHA / len(able))
        for exchange, order, own_seed in able
    ]


def _each(exchange: Exchange, seed: int) -> Iterator[Rows]:
    return (row for rows in exchange.permuted(N_DRAWS, seed=seed) for row in rows)


def _of_groups(members: Sequence[Rows], places: Rows) -> Rows:
    """The clips when each group takes another's place; a smaller one's are repeated."""
    rows = np.empty(sum(map(len, members)), np.intp)
    for own, other in zip(members, places, strict=True):
        rows[own] = np.resize(members[other], len(own))
    return rows
