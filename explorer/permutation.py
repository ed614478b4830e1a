"""What chance reaches: values permuted at the level where they vary, and the p values that this gives.

A value that varies within groups is exchanged among the clips of each group: whatever sets groups apart stays where it
is. A value that each group has whole is exchanged among whole groups. Where there is one clip a group, or one group,
that is among clips. Exact where all arrangements can be gone through (Phipson & Smyth 2010, arXiv 1603.05766).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explorer.text import number

ALPHA = 0.05
WITHIN, WHOLE, CLIPS = "clips within groups", "whole groups", "clips"
FEW_MIXED = 0.2  # a share of clips: with so few in groups of several values, the values belong to the groups
_TIE = 1e-9
_DRAWN_AT_ONCE = 200_000  # units: a few megabytes
Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Exchange:
    """How the values of c clips may be exchanged if nothing goes with them.

    level: what is exchanged. values: (k,) the distinct ones, sorted; code_c: (c,) each clip's, as an index.
    n_arrangements: how many different ones there are, the true one included; infinite where they are countless.
    """

    level: str
    values: NDArray
    code_c: Codes
    n_arrangements: float
    _unit_c: Codes  # what is exchanged: a clip, or a group's clips of one value
    _block_u: Codes  # units are exchanged inside a block alone

    @property
    def smallest_p(self) -> float:
        """The smallest p value that can be reached, however strongly something goes with the values."""
        return 1.0 / self.n_arrangements if math.isfinite(self.n_arrangements) else 0.0

    @property
    def is_within_groups(self) -> bool:
        """Whether groups keep the values that they have."""
        return len(set(self._block_u.tolist())) > 1

    @property
    def why_not(self) -> str | None:
        """Why nothing can be tested, in words; None where it can."""
        if self.smallest_p <= ALPHA:
            return None
        if len(self.values) < 2:
            return "cannot be tested: all clips are alike"
        return f"cannot be tested: the smallest p that exchanging {self.level} can reach is {number(self.smallest_p)}"

    def is_exact(self, n: int) -> bool:
        """Whether `n` permutations are enough for all arrangements."""
        return self.n_arrangements <= n

    def permuted(self, n: int, *, seed: int = 0, chunk: int = 10) -> Iterator[Codes]:
        """(at most `chunk`, c) codes of permuted values: `n` in all, drawn at random; where there are no more than `n`
        arrangements, each of them once, the true one included."""
        code_u = np.zeros(len(self._block_u), np.intp)
        code_u[self._unit_c] = self.code_c
        arranged = self._all(code_u) if self.is_exact(n) else self._drawn(code_u, n, np.random.default_rng(seed))
        while rows := list(itertools.islice(arranged, chunk)):
            yield np.stack(rows)[:, self._unit_c]

    def _drawn(self, code_u: Codes, n: int, rng: np.random.Generator) -> Iterator[Codes]:
        by_block = np.argsort(self._block_u, kind="stable")
        small = self._block_u.astype(np.min_scalar_type(int(self._block_u.max(initial=0))))
        left = n
        while left > 0:
            at_once = min(left, max(1, _DRAWN_AT_ONCE // max(len(code_u), 1)))
            left -= at_once
            order = np.argsort(rng.random((at_once, len(code_u))), axis=1)
            within = np.argsort(small[order], axis=1, kind="stable")  # each block's units together, in that order
            rows = np.empty((at_once, len(code_u)), np.intp)
            rows[:, by_block] = code_u[np.take_along_axis(order, within, axis=1)]
            yield from rows

    def _all(self, code_u: Codes) -> Iterator[Codes]:
        blocks = [np.flatnonzero(self._block_u == block) for block in np.unique(self._block_u)]
        for choice in itertools.product(*(list(_arrangements(code_u[units])) for units in blocks)):
            row = np.empty_like(code_u)
            for units, codes in zip(blocks, choice, strict=True):
                row[units] = codes
            yield row


def exchange_of(values_c: ArrayLike, groups_c: ArrayLike) -> Exchange:
    """How values (text or numbers, none missing) may be exchanged among clips of these groups, at the level where they
    vary: see the module."""
    values, code = np.unique(np.asarray(values_c), return_inverse=True)
    _, group = np.unique(np.asarray(groups_c, dtype=object).astype(str), return_inverse=True)
    code, group = code.astype(np.intp), group.astype(np.intp)
    n_groups = int(group.max(initial=-1)) + 1
    pairs, unit = np.unique(np.stack([group, code]), axis=1, return_inverse=True)
    unit = np.asarray(unit).reshape(-1).astype(np.intp)
    is_mixed = np.bincount(pairs[0].astype(np.intp), minlength=n_groups) > 1
    every = np.arange(len(code), dtype=np.intp)
    within = _n_arrangements(code, group)
    is_told = within >= 1 / ALPHA and is_mixed.sum() > 1  # one group alone says nothing of others
    if is_mixed.any() and (is_told or np.mean(is_mixed[group]) > FEW_MIXED):
        return Exchange(CLIPS if n_groups == 1 else WITHIN, values, code, within, every, group)
    block = np.zeros(pairs.shape[1], dtype=np.intp)
    whole = _n_arrangements(pairs[1].astype(np.intp), block)
    return Exchange(CLIPS if len(block) == len(code) else WHOLE, values, code, whole, unit, block)


def p_values(observed: ArrayLike, null: ArrayLike, *, is_exact: bool) -> Floats:
    """The share of `null` (n,) that is as large as each observed value; 1 for NaN. Of a null that was drawn, the true
    arrangement is counted as one more draw, so that p is never 0."""
    found, reached = np.asarray(observed, np.float64), np.sort(np.asarray(null, np.float64))
    at_least = len(reached) - np.searchsorted(reached, np.where(np.isnan(found), -np.inf, found) - _TIE)
    if is_exact:
        return np.where(np.isnan(found), 1.0, at_least / max(len(reached), 1))
    return np.where(np.isnan(found), 1.0, (at_least + 1) / (len(reached) + 1))


def critical(null: ArrayLike, *, is_exact: bool, alpha: float = ALPHA) -> float:
    """What has to be exceeded for p <= alpha: the largest value of the null that is not beyond it. NaN where none can
    be."""
    reached = np.sort(np.asarray(null, np.float64))
    candidates = np.append(reached, np.inf)
    fits = p_values(np.nextafter(candidates[:-1] + 2 * _TIE, np.inf), reached, is_exact=is_exact) <= alpha
    return float(reached[fits][0]) if fits.any() else float("nan")


def sign_flips(n_units: int, n: int, *, seed: int = 0) -> tuple[Floats, bool]:
    """((ways, units) of 1 and -1, whether these are all ways to turn units round): all where they are no more than `n`,
    else `n` drawn at random."""
    if 2**n_units <= n:
        return np.array(list(itertools.product((1.0, -1.0), repeat=n_units))), True
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(n, n_units)), False


def _n_arrangements(code: Codes, block: Codes) -> float:
    """The product over blocks of n! / prod n_k!; infinite from 1e15 on."""
    total = 0.0
    for one in np.unique(block):
        counts = np.bincount(code[block == one])
        total += math.lgamma(counts.sum() + 1) - sum(math.lgamma(n + 1) for n in counts)
    return float(round(math.exp(total))) if total < math.log(1e15) else math.inf


def _arrangements(codes: Codes) -> Iterator[Codes]:
    """Every different order of some codes, repeated ones not told apart; in lexicographic order."""
    row = np.sort(codes)
    while True:
        yield row.copy()
        rises = np.flatnonzero(row[:-1] < row[1:])
        if not len(rises):
            return
        at = int(rises[-1])
        swap = at + 1 + int(np.flatnonzero(row[at + 1 :] > row[at])[-1])
        row[at], row[swap] = row[swap], row[at]
        row[at + 1 :] = row[at + 1 :][::-1].copy()
