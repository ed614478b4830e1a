"""Rules that give a label by one feature's activation: above a threshold or not.

What automatic labels and the search for features share. Rules are chosen, and tested, by the Matthews correlation
(MCC, phi): F1 cannot tell a rule from saying a common label always. Where a label varies within groups it is of the
deviations from group means, so that a feature gets nothing for knowing the group. The label of a feature and its rule
are chosen on training clips. The score is out of fold over all groups: threshold and direction are chosen anew without
each fold's groups.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from explorer.permutation import CLIPS, WITHIN

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Indices = NDArray[np.intp]
DIRECTIONS = ("above", "below")
QUANTILES = (0.25, 0.5, 0.75, 0.9)
TIE = _FLAT = 1e-6  # float32
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over clips: of the products of deviations from the mean (what is said, the label), and of both squares."""

    products: NDArray
    said: NDArray
    label: NDArray

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.products + other.products, self.said + other.said, self.label + other.label)

    @property
    def correlation(self) -> NDArray:
        """-1 to 1; 0 where either does not vary."""
        spread = np.sqrt(np.maximum(self.said, 0)) * np.sqrt(np.maximum(self.label, 0))
        varies = spread > _FLAT
        return np.clip(np.where(varies, self.products / np.where(varies, spread, 1), 0), -1, 1)  # rounding may pass 1


@dataclass(frozen=True, eq=False)
class Within:
    """What groups by themselves give, for labels that are exchanged within groups: the hits to be expected, and the
    sums of squared deviations from group means of being above and of having the label. Of k labels, with axes to be
    broadcast to (t, p, k, f). None of these changes when labels are exchanged."""

    expected: Single
    above: Single
    label: Single

    def __add__(self, other: Within) -> Within:
        return Within(self.expected + other.expected, self.above + other.above, self.label + other.label)


@dataclass(frozen=True, eq=False)
class Cell:
    """The labelled clips of one fold (-1: of none) and one part: for each threshold, which features are above it
    (float32 0/1, for matmul)."""

    rows: Indices
    fold: int
    is_train: bool
    above: list[Single]  # thresholds of (clips, features)
    n_above: Single  # (thresholds, features)
    within: Within | None = None


@dataclass(frozen=True, eq=False)
class Counts:
    """Of rules on n clips: those that have the label and are said to have it, are said to, and have it; (p, f) each.
    within: of the deviations from group means, where they count."""

    n_hits: Single
    n_said: Single
    n_there: Single
    n: int
    within: Moments | None = None

    def __add__(self, other: Counts) -> Counts:
        within = self.within + other.within if self.within and other.within else None
        return Counts(
            self.n_hits + other.n_hits, self.n_said + other.n_said, self.n_there + other.n_there, self.n + other.n,
            within,
        )  # fmt: skip

    def where(self, speaks: NDArray[np.bool_]) -> Counts:
        """Nothing is said where it does not speak."""
        within = self.within and Moments(
            np.where(speaks, self.within.products, 0), np.where(speaks, self.within.said, 0), self.within.label
        )
        n_hits, n_said = (np.where(speaks, n, 0) for n in (self.n_hits, self.n_said))
        return replace(self, n_hits=n_hits, n_said=n_said, within=within)

    @property
    def precision(self) -> Floats:
        """NaN where a rule never speaks."""
        return np.where(self.n_said > 0, self.n_hits.astype(np.float64) / np.maximum(self.n_said, 1), np.nan)

    @property
    def recall(self) -> Floats:
        """NaN where no clip has the label."""
        return np.where(self.n_there > 0, self.n_hits.astype(np.float64) / np.maximum(self.n_there, 1), np.nan)

    @property
    def f1(self) -> Floats:
        """NaN where no clip has the label."""
        score = 2.0 * self.n_hits.astype(np.float64) / np.maximum(self.n_there + self.n_said, 1)
        return np.where(self.n_there > 0, score, np.nan)

    @property
    def mcc(self) -> Floats:
        """Matthews correlation, -1 to 1: Pearson's r of the label and what is said, or of their deviations from group
        means. 0 where either is the same for every clip (of a group), NaN where no clip has the label. To 6 decimals:
        what differs by rounding alone is a tie."""
        hits, said, there = (part.astype(np.float64) for part in (self.n_hits, self.n_said, self.n_there))
        moments = self.within or _moments(hits, said, there, self.n)
        return np.where(there > 0, moments.correlation.astype(np.float64).round(_DECIMALS), np.nan)


@dataclass(frozen=True, eq=False)
class Rules:
    """The rule of each feature under p labelings: threshold, label and direction as indices, (p, f) each.

    mcc_train: what chose it. unseen: this rule on the clips that do not train. all_groups: out of fold, the label as
    chosen, threshold and direction chosen on the other folds.
    """

    threshold: Indices
    label: Indices
    direction: Indices
    mcc_train: Single
    unseen: Counts
    all_groups: Counts


@dataclass(frozen=True, eq=False)
class _Tally:
    """Sums over clips for p labelings of k labels, with axes to be broadcast to (t, p, k, f); of one label a feature k
    is 1."""

    hits: Single
    above: Single
    there: Single
    n: int
    within: Within | None

    def __add__(self, other: _Tally) -> _Tally:
        within = self.within + other.within if self.within and other.within else None
        return _Tally(
            self.hits + other.hits, self.above + other.above, self.there + other.there, self.n + other.n, within
        )

    def of_label(self, label_pf: Indices) -> _Tally:
        """Each feature's own label's."""
        index = label_pf[None, :, None]

        def own(part: Single) -> Single:
            shape = (part.shape[0], label_pf.shape[0], part.shape[2], label_pf.shape[1])
            return np.take_along_axis(np.broadcast_to(part, shape), index, axis=2)

        within = self.within and Within(own(self.within.expected), self.within.above, own(self.within.label))
        return _Tally(own(self.hits), self.above, own(self.there), self.n, within)

    def mcc(self, t: int) -> Single:
        """(p, k, f) of the rules 'above the threshold t'; of 'not above' it is the negative."""
        if self.within is None:
            return _moments(self.hits[t], self.above[t], self.there[0], self.n).correlation
        products = self.hits[t] - self.within.expected[t]
        return Moments(products, self.within.above[t], self.within.label[0]).correlation

    def counts(self, threshold_pf: Indices, direction_pf: Indices) -> Counts:
        """Of one rule a feature; k is 1."""
        is_below, there = direction_pf == 1, np.broadcast_to(self.there[0, :, 0], threshold_pf.shape)

        def at(part: Single) -> Single:
            shape = (len(part), *threshold_pf.shape)
            return np.take_along_axis(np.broadcast_to(part[:, :, 0], shape), threshold_pf[None], axis=0)[0]

        hits, above = at(self.hits), at(self.above)
        within = None
        if self.within is not None:
            products = hits - at(self.within.expected)
            label = np.broadcast_to(self.within.label[0, :, 0], products.shape)
            within = Moments(np.where(is_below, -products, products), at(self.within.above), label)
        n_hits, n_said = np.where(is_below, there - hits, hits), np.where(is_below, self.n - above, above)
        return Counts(n_hits, n_said, there, self.n, within)


def thresholds_of(codes_cf: Single, quantiles: tuple[float, ...]) -> Single:
    """(thresholds, features): 0, then quantiles of each feature's non-zero activations (always an observed value)."""
    n = codes_cf.shape[1]
    ranked, ends = _active_ranked(codes_cf)
    n_active = np.diff(ends)
    rows = [np.zeros(n)]
    for quantile in quantiles:
        place = ends[:-1] + np.floor(quantile * np.maximum(n_active - 1, 0)).astype(np.intp)
        rows.append(np.where(n_active > 0, np.append(ranked, 0.0)[np.where(n_active > 0, place, -1)], 0.0))
    return np.stack(rows).astype(np.float32)


def _active_ranked(codes_cf: Single) -> tuple[Single, NDArray[np.intp]]:
    """The activations above 0, feature by feature and ascending, and where each feature's begin and the last's end.

    One sort of integers, feature before value: positive floats are in the order of their bits.
    """
    n = codes_cf.shape[1]
    at = np.flatnonzero(codes_cf > 0)
    feature, value = (at % n).astype(np.uint64), np.ascontiguousarray(codes_cf, np.float32).ravel()[at]
    keys = feature << np.uint64(32) | value.view(np.uint32)
    keys.sort()
    ends = np.append(0, np.cumsum(np.bincount(feature.astype(np.intp), minlength=n)))
    return keys.astype(np.uint32).view(np.float32), ends


def members_of(labels: NDArray, names: NDArray) -> Single:
    """(labels, clips) 0/1."""
    return (names[:, None] == labels[None, :].astype(str)).astype(np.float32)


def cells_of(
    codes_cf: Single,
    thresholds_tf: Single,
    folds_c: NDArray,
    train_c: NDArray[np.bool_],
    *,
    level: str = CLIPS,
    member_kc: Single | None = None,
    groups_c: NDArray | None = None,
) -> list[Cell]:
    """The clips by fold and part. level: at which k labels are exchanged; within groups scores are of deviations from
    group means, unless a group is in several cells, which then says nothing of its own."""
    cells = []
    for fold, is_train in sorted({(int(fold), bool(trains)) for fold, trains in zip(folds_c, train_c, strict=True)}):
        rows = np.flatnonzero((folds_c == fold) & (train_c == is_train))
        above = [(codes_cf[rows] > threshold).astype(np.float32) for threshold in thresholds_tf]
        cells.append(Cell(rows, fold, is_train, above, np.array([part.sum(axis=0) for part in above])))
    if level != WITHIN or member_kc is None or groups_c is None:
        return cells
    inside = [set(groups_c[cell.rows]) for cell in cells]
    if sum(map(len, inside)) > len(set().union(*inside)):
        return cells
    return [replace(cell, within=_within(cell, member_kc[:, cell.rows], groups_c[cell.rows])) for cell in cells]


def _within(cell: Cell, member_kc: Single, groups_c: NDArray) -> Within:
    _, group = np.unique(groups_c, return_inverse=True)
    of_group = np.eye(group.max(initial=-1) + 1, dtype=np.float64)[:, group]  # (groups, clips)
    size = of_group.sum(axis=1, keepdims=True)
    there = of_group @ member_kc.T  # (groups, labels)
    above = np.stack([of_group @ part for part in cell.above])  # (thresholds, groups, features)
    return Within(
        ((there / size).T[None] @ above)[:, None].astype(np.float32),
        (above * (1 - above / size)).sum(axis=1)[:, None, None].astype(np.float32),
        (there * (1 - there / size)).sum(axis=0)[None, None, :, None].astype(np.float32),
    )


def choose_and_score(cells: Sequence[Cell], member_pkc: Single) -> Rules:
    """Choose each feature's rule on the training cells and score it, for p labelings of k labels at once.

    At ties the lower threshold, 'above' and then the first label win. A fold is told nothing where no other has the
    label or, within groups, none has a group in which it varies.
    """
    tallies = [_tally(cell, member_pkc) for cell in cells]
    best, threshold, label, direction = _best_rule(
        _sum([tally for tally, cell in zip(tallies, cells, strict=True) if cell.is_train])
    )
    own = [tally.of_label(label) for tally in tallies]
    nothing = np.zeros(best.shape, np.float32)
    unseen = Counts(nothing, nothing, nothing, 0)
    if rest := [tally for tally, cell in zip(own, cells, strict=True) if not cell.is_train]:
        unseen = _sum(rest).counts(threshold, direction)
    return Rules(threshold, label, direction, best, unseen, _out_of_fold(cells, own, best.shape))


def describe(cells: Sequence[Cell], member_pkc: Single) -> Counts:
    """Of each feature's best rule on all clips, on these clips themselves."""
    fitted, same = ([replace(cell, is_train=trains) for cell in cells] for trains in (True, False))
    return choose_and_score([*fitted, *same], member_pkc).unseen


def _tally(cell: Cell, member_pkc: Single) -> _Tally:
    p, k, _ = member_pkc.shape
    member = np.ascontiguousarray(member_pkc[:, :, cell.rows])
    hits = np.stack([(member.reshape(p * k, -1) @ above).reshape(p, k, -1) for above in cell.above])
    return _Tally(hits, cell.n_above[:, None, None], member.sum(axis=2)[None, :, :, None], len(cell.rows), cell.within)


def _best_rule(tally: _Tally) -> tuple[Single, Indices, Indices, Indices]:
    """(MCC, threshold, label, direction) of the best rule of each feature, (p, f) each."""
    n_thresholds, p, _, f = tally.hits.shape
    best = np.full((p, f), -1.0, np.float32)
    threshold, label, direction = (np.zeros(best.shape, np.intp) for _ in range(3))
    for t in range(n_thresholds):
        above = tally.mcc(t)
        for way, mcc in enumerate((above, -above)):
            first = np.argmax(mcc, axis=1)
            top = np.take_along_axis(mcc, first[:, None], axis=1)[:, 0]
            better = top > best + TIE
            for chosen, value in ((best, top), (threshold, t), (label, first), (direction, way)):
                np.copyto(chosen, value, where=better)
    return best, threshold, label, direction


def _out_of_fold(cells: Sequence[Cell], own: Sequence[_Tally], shape: tuple[int, ...]) -> Counts:
    """Every fold scored by the threshold and direction that are best on the others, all folds together."""
    found = []
    for fold in sorted({cell.fold for cell in cells if cell.fold >= 0}):
        fit = [tally for tally, cell in zip(own, cells, strict=True) if cell.fold not in (-1, fold)]
        scored = _sum([tally for tally, cell in zip(own, cells, strict=True) if cell.fold == fold])
        threshold, direction = np.zeros(shape, np.intp), np.zeros(shape, np.intp)
        speaks = np.zeros(shape, bool)
        if fit:
            fitted = _sum(fit)
            _, threshold, _, direction = _best_rule(fitted)
            told = fitted.there if fitted.within is None else fitted.within.label
            speaks = np.broadcast_to(told[0, :, 0] > _FLAT, shape)
        found.append(scored.counts(threshold, direction).where(speaks))
    nothing = np.zeros(shape, np.float32)
    return functools.reduce(Counts.__add__, found) if found else Counts(nothing, nothing, nothing, 0)


def _moments(hits: NDArray, said: NDArray, there: NDArray, n: int) -> Moments:
    """Over n clips together."""
    share = there / max(n, 1)
    return Moments(hits - said * share, said * (1 - said / max(n, 1)), there * (1 - share))


def _sum(tallies: Sequence[_Tally]) -> _Tally:
    return functools.reduce(_Tally.__add__, tallies)
