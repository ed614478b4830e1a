"""Minimal pairs: two clips alike in every attribute but one, and which features change from the one to the other.

Pairs of one group are not independent: a feature's change is averaged within groups first, and groups are what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from explorer.label_rules import Floats
from explorer.permutation import ALPHA, critical, p_values, sign_flips
from explorer.text import count, number

N_FLIPS = 1024


def pairs_of(columns: pd.DataFrame, differing: str, one: str, other: str) -> pd.DataFrame:
    """The pairs of clips that differ in `differing` (one: its first value, other: its second) and in nothing else.

    columns: text, a row a clip (index: clip_index), a column an attribute; missing values are alike. Returns clip_one
    and clip_other, in order of clip_one. Where several clips are alike, the first is paired with the first.
    """
    alike = [name for name in columns.columns if name != differing]
    table = columns[[*alike, differing]].astype(object).where(columns.notna(), "\0").astype(str)
    table["clip"] = columns.index
    table["take"] = table.groupby([*alike, differing], sort=False).cumcount()
    left, right = (table[table[differing] == value].drop(columns=differing) for value in (one, other))
    pairs = left.merge(right, on=[*alike, "take"], suffixes=("_one", "_other"))
    return pairs[["clip_one", "clip_other"]].sort_values("clip_one", ignore_index=True)


def commonest_pair(columns: pd.DataFrame, differing: str) -> tuple[str, str] | None:
    """The two values of `differing` between which most clips have a partner alike in all other columns, or None.

    Of values with equally many, the first by name. columns: as for `pairs_of`.
    """
    alike = [name for name in columns.columns if name != differing]
    known = columns[columns[differing].notna()].astype(object)
    shared = known[alike].where(known[alike].notna(), "\0").astype(str)
    kinds = pd.Series(["\1".join(row) for row in shared.to_numpy()], index=known.index, dtype=object)
    is_there = (pd.crosstab(kinds, known[differing].astype(str)) > 0).astype(int)
    n_shared = np.triu(is_there.to_numpy().T @ is_there.to_numpy(), k=1)
    if not n_shared.size or not n_shared.max():
        return None
    one, other = np.unravel_index(int(n_shared.argmax()), n_shared.shape)
    return str(is_there.columns[one]), str(is_there.columns[other])


@dataclass(frozen=True, eq=False)
class Changes:
    """How pairs change, one entry a feature: the mean change over groups, t = mean / (SD / sqrt(groups)), and the share
    of groups that change in the mean's direction.

    p: the share of the ways to turn whole groups round under which the largest |t| of all features is as high;
    critical_t: what |t| has to exceed for p <= 0.05. reason: why nothing can be tested, p and critical_t are NaN then.
    """

    mean: Floats
    t: Floats
    agreeing: Floats
    p: Floats
    critical_t: float
    n_pairs: int
    n_groups: int
    reason: str | None = None


def paired_changes(change_pf: ArrayLike, groups_p: ArrayLike, *, n_flips: int = N_FLIPS, seed: int = 0) -> Changes:
    """Of (p, f) changes of activation, second clip less first, in pairs of these groups (p,), at least one.

    Under no effect the change of a group is as likely the other way round: all 2^groups ways to turn groups round are
    gone through where they are no more than `n_flips`, else that many drawn.
    """
    change = np.asarray(change_pf, np.float64)
    names, member = np.unique(np.asarray(groups_p, dtype=object).astype(str), return_inverse=True)
    n_groups = len(names)
    sums = np.zeros((n_groups, change.shape[1]))
    np.add.at(sums, member, change)
    by_group = sums / np.bincount(member)[:, None]
    mean = by_group.mean(axis=0)
    agreeing = np.where(mean != 0, (np.sign(by_group) == np.sign(mean)).mean(axis=0), np.nan)
    nothing = np.full(change.shape[1], np.nan)
    t = _t_values(np.ones((1, n_groups)), by_group)[0] if n_groups > 1 else nothing
    smallest = 2.0 / 2.0**n_groups  # a change and its opposite have the same |t|
    if smallest > ALPHA:
        reason = f"cannot be tested: the smallest p that {count(n_groups, 'group')} can reach is {number(smallest)}"
        return Changes(mean, t, agreeing, nothing, float("nan"), len(change), n_groups, reason)
    signs, is_exact = sign_flips(n_groups, n_flips, seed=seed)
    largest = np.abs(_t_values(signs, by_group)).max(axis=1, initial=0.0)
    p = p_values(np.abs(t), largest, is_exact=is_exact)
    return Changes(mean, t, agreeing, p, critical(largest, is_exact=is_exact), len(change), n_groups)


def _t_values(signs_ng: Floats, by_group: Floats) -> Floats:
    """t of the groups' changes under each row of signs, (n, f); 0 where nothing changes in any group, NaN never.

    Signs leave the sum of squares alone, so that one matrix product serves all of them.
    """
    n = len(by_group)
    mean = signs_ng @ by_group / n
    squares = (by_group**2).sum(axis=0)
    variance = np.maximum(squares - n * mean**2, 1e-12 * squares) / (n - 1)
    return np.where(squares > 0, mean / np.sqrt(np.where(squares > 0, variance, 1.0) / n), 0.0)
