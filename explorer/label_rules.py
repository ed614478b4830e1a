"""Rules that give a label by one feature's activation: above a threshold or not.

What automatic labels and the search for features share. Rules are chosen, and tested, by the Matthews correlation
(MCC, phi): F1 cannot tell a rule from saying a common label always. The label of a feature and its rule are chosen on
training clips. The score is out of fold over all groups: threshold and direction are chosen anew without each fold's
groups.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
T = TypeVar("T", np.float32, np.float64)
DIRECTIONS = ("above", "below")
QUANTILES = (0.25, 0.5, 0.75, 0.9)
_TIE = 1e-6  # float32


@dataclass(frozen=True, eq=False)
class Cell:
    """The labelled clips of one fold (-1: of none) and one part: for each threshold, which features are above it
    (float32 0/1, for matmul)."""

    rows: NDArray[np.intp]
    fold: int
    is_train: bool
    above: list[Single]  # thresholds of (clips, features)
    n_above: Single  # (thresholds, features)


@dataclass(frozen=True, eq=False)
class Counts:
    """Of rules on n clips: those that have the label and are said to have it, are said to, and have it; (p, f) each."""

    n_hits: Single
    n_said: Single
    n_there: Single
    n: int

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
        """Matthews correlation, -1 to 1: Pearson's r of the label and what is said. 0 for a rule that says the same of
        every clip, NaN where no clip has the label."""
        hits, said, there = (part.astype(np.float64) for part in (self.n_hits, self.n_said, self.n_there))
        return np.where(there > 0, _mcc(hits, said, there, self.n), np.nan)


@dataclass(frozen=True, eq=False)
class Rules:
    """The rule of each feature under p labelings: threshold, label and direction as indices, (p, f) each.

    mcc_train: what chose it. unseen: this rule on the clips that do not train. all_groups: out of fold, the label as
    chosen, threshold and direction chosen on the other folds.
    """

    threshold: NDArray[np.intp]
    label: NDArray[np.intp]
    direction: NDArray[np.intp]
    mcc_train: Single
    unseen: Counts
    all_groups: Counts


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


def cells_of(codes_cf: Single, thresholds_tf: Single, folds_c: NDArray, train_c: NDArray[np.bool_]) -> list[Cell]:
    """The clips by fold and part."""
    cells = []
    for fold, is_train in sorted({(int(fold), bool(trains)) for fold, trains in zip(folds_c, train_c, strict=True)}):
        rows = np.flatnonzero((folds_c == fold) & (train_c == is_train))
        above = [(codes_cf[rows] > threshold).astype(np.float32) for threshold in thresholds_tf]
        cells.append(Cell(rows, fold, is_train, above, np.array([part.sum(axis=0) for part in above])))
    return cells


def choose_and_score(cells: Sequence[Cell], member_pkc: Single) -> Rules:
    """Choose each feature's rule on the training cells and score it, for p labelings of k labels at once.

    At ties the lower threshold, the first label and 'above' win. A fold without another that has the label is told
    nothing.
    """
    tables = [_table(cell, member_pkc) for cell in cells]
    there = [member_pkc[:, :, cell.rows].sum(axis=2) for cell in cells]
    train = [at for at, cell in enumerate(cells) if cell.is_train]
    n_train = sum(len(cells[at].rows) for at in train)
    hits_tpkf = _sum(tables[at] for at in train)
    n_above_tf = _sum(cells[at].n_above for at in train)
    n_there = _sum(there[at] for at in train)[:, :, None]
    best, threshold, label, direction = _best_rule(hits_tpkf, n_above_tf, n_there, n_train)
    own = [np.take_along_axis(table, label[None, :, None], axis=2)[:, :, 0] for table in tables]  # (t, p, f)
    own_there = [np.take_along_axis(n, label, axis=1) for n in there]
    unseen = _counts(cells, own, own_there, [at for at in range(len(cells)) if at not in train], threshold, direction)
    return Rules(threshold, label, direction, best, unseen, _out_of_fold(cells, own, own_there))


def describe(cells: Sequence[Cell], member_pkc: Single) -> Counts:
    """Of each feature's best rule on all clips, on these clips themselves."""
    fitted, same = ([replace(cell, is_train=trains) for cell in cells] for trains in (True, False))
    return choose_and_score([*fitted, *same], member_pkc).unseen


def _best_rule(
    hits_tpkf: Single, n_above_tf: Single, n_there: Single, n: int
) -> tuple[Single, NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """(MCC, threshold, label, direction) of the best rule of each feature on n clips, (p, f) each. n_there: how many of
    them have each label, to be broadcast to (p, k, f)."""
    best = np.full((hits_tpkf.shape[1], hits_tpkf.shape[3]), -1.0, np.float32)
    threshold, label, direction = (np.zeros(best.shape, np.intp) for _ in range(3))
    for t, n_above in enumerate(n_above_tf):
        above = _mcc(hits_tpkf[t], n_above, n_there, n)
        for way, mcc in enumerate((above, -above)):
            first = np.argmax(mcc, axis=1)
            top = np.take_along_axis(mcc, first[:, None], axis=1)[:, 0]
            better = top > best + _TIE
            for chosen, value in ((best, top), (threshold, t), (label, first), (direction, way)):
                np.copyto(chosen, value, where=better)
    return best, threshold, label, direction


def _mcc(n_hits: NDArray[T], n_said: NDArray[T], n_there: NDArray[T], n: int) -> NDArray[T]:
    """Matthews correlation of rules on n clips; 0 where a rule, or the label, is the same for all of them."""
    share = n_there / max(n, 1)
    spread = np.sqrt(n_said * (1 - n_said / max(n, 1))) * np.sqrt(n_there * (1 - share))
    mcc = np.where(spread > 0, (n_hits - n_said * share) / np.where(spread > 0, spread, 1), 0)
    return np.clip(mcc, -1, 1).astype(n_hits.dtype)  # rounding may pass 1


def _table(cell: Cell, member_pkc: Single) -> Single:
    """(t, p, k, f) clips of the cell that are above and have the label."""
    p, k, _ = member_pkc.shape
    member = np.ascontiguousarray(member_pkc[:, :, cell.rows]).reshape(p * k, -1)
    return np.stack([(member @ above).reshape(p, k, -1) for above in cell.above])


def _counts(
    cells: Sequence[Cell], own: Sequence[Single], there: Sequence[Single], scored: Sequence[int],
    threshold: NDArray[np.intp], direction: NDArray[np.intp],
) -> Counts:  # fmt: skip
    """Of one rule a feature, over the scored cells together."""
    if not scored:
        nothing = np.zeros(threshold.shape, np.float32)
        return Counts(nothing, nothing, nothing, 0)
    hits_tpf, n_above_tf = _sum(own[at] for at in scored), _sum(cells[at].n_above for at in scored)
    n_there, n = _sum(there[at] for at in scored), sum(len(cells[at].rows) for at in scored)
    n_hits = np.take_along_axis(hits_tpf, threshold[None], axis=0)[0]
    n_above = np.take_along_axis(n_above_tf, threshold, axis=0)
    is_below = direction == 1
    n_hits, n_said = np.where(is_below, n_there - n_hits, n_hits), np.where(is_below, n - n_above, n_above)
    return Counts(n_hits, n_said, n_there, n)


def _out_of_fold(cells: Sequence[Cell], own: Sequence[Single], there: Sequence[Single]) -> Counts:
    """Every fold scored by the threshold and direction that are best on the others, all folds together."""
    folded = [at for at, cell in enumerate(cells) if cell.fold >= 0]
    shape = there[0].shape
    n_hits, n_said, n_there = (np.zeros(shape, np.float32) for _ in range(3))
    for fold in sorted({cells[at].fold for at in folded}):
        fit = [at for at in folded if cells[at].fold != fold]
        scored = [at for at in folded if cells[at].fold == fold]
        fold_there = _sum(there[at] for at in scored)
        n_there += fold_there
        if not fit:
            continue
        hits_tpf, n_above_tf = _sum(own[at] for at in fit), _sum(cells[at].n_above for at in fit)
        fit_there, n_fit = _sum(there[at] for at in fit), sum(len(cells[at].rows) for at in fit)
        _, threshold, _, direction = _best_rule(hits_tpf[:, :, None], n_above_tf, fit_there[:, None], n_fit)
        counts = _counts(cells, own, there, scored, threshold, direction)
        speaks = fit_there > 0
        n_hits += np.where(speaks, counts.n_hits, 0)
        n_said += np.where(speaks, counts.n_said, 0)
    return Counts(n_hits, n_said, n_there, sum(len(cells[at].rows) for at in folded))


def _sum(parts: Iterable[Single]) -> Single:
    return functools.reduce(np.add, parts)
