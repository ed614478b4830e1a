"""Automatic labels of features: the one label, threshold and direction that fits a feature's activation best.

Permutation decides whether a label is shown, and no count of clips: the whole procedure is repeated on labels that are
exchanged where they vary, and a label is shown where the score of the best of all features is beaten. The best of
2,048 chance features always looks good.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from explorer.label_rules import (
    DIRECTIONS,
    QUANTILES,
    TIE,
    Cell,
    Single,
    cells_of,
    choose_and_score,
    members_of,
    thresholds_of,
)
from explorer.permutation import ALPHA, WITHIN, Exchange, critical, exchange_of, p_values
from explorer.text import number
from precompute.metrics import Array, Floats
from precompute.probe_result import as_labels, is_known

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
ROWS_AT_ONCE = 100  # labelings times labels: what one product of matrices takes


@dataclass(frozen=True)
class LabelSettings:
    """Thresholds: 0 (active at all) and these quantiles of the feature's non-zero training activations.

    The seed is the same for all SAEs of a corpus, so that a permutation is the same one in each.
    """

    quantiles: tuple[float, ...] = QUANTILES
    n_permutations: int = 100
    alpha: float = ALPHA
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LabelNull:
    """What the best of all features reaches by chance for some labels: those that vary within groups, or those that
    whole groups have. names: these labels. reached: (n,) MCC over all groups. `why_not`: why nothing can be tested."""

    names: tuple[str, ...]
    exchange: Exchange
    reached: Floats
    is_exact: bool
    alpha: float

    @property
    def why_not(self) -> str | None:
        if self.exchange.why_not:
            return self.exchange.why_not
        smallest = 1 / len(self.reached) if self.is_exact else 1 / (len(self.reached) + 1)
        if not len(self.reached) or smallest > self.alpha:
            return f"cannot be tested: {len(self.reached)} permutations give no p under {number(smallest, 3)}"
        return None

    @property
    def critical_mcc(self) -> float:
        """What has to be exceeded; NaN where nothing can be tested."""
        return float("nan") if self.why_not else critical(self.reached, is_exact=self.is_exact, alpha=self.alpha)


@dataclass(frozen=True, eq=False)
class FeatureLabels:
    """One entry a feature. The rule says `label` where the activation is above (direction 'above': >) `threshold`, or
    not above it ('below': <=). mcc_train chose it. `label` is None for a feature without a rule.

    mcc (Matthews correlation, of deviations from group means where labels vary within groups) and f1: out of fold over
    all groups; n_hits, n_said and n_there are the clips they stand on, n_groups the groups that have the label.
    precision, recall and f1_unseen are of the rule on the held-out clips, which nothing has seen, with the same counts.
    p: the share of permutations in which the best of all features scores as high. null_mcc: what MCC has to exceed, NaN
    where nothing can be tested. `reason` says why a label is not shown.
    """

    label: NDArray[np.object_]
    direction: NDArray[np.object_]
    threshold: Floats
    mcc_train: Floats
    mcc: Floats
    f1: Floats
    n_hits: Ints
    n_said: Ints
    n_there: Ints
    n_groups: Ints
    precision: Floats
    recall: Floats
    f1_unseen: Floats
    n_unseen_hits: Ints
    n_unseen_said: Ints
    n_unseen_there: Ints
    n_unseen_groups: Ints
    p: Floats
    null_mcc: Floats
    is_shown: Mask
    reason: NDArray[np.object_]
    nulls: tuple[LabelNull, ...] = ()


def label_features(
    codes_cf: Array,
    labels_c: NDArray,
    groups_c: NDArray,
    *,
    train_mask_c: Mask,
    heldout_mask_c: Mask,
    folds_c: NDArray[np.integer],
    settings: LabelSettings | None = None,
) -> FeatureLabels:
    """Label every feature of `codes_cf` (activations >= 0). Clips whose label is None, and those in neither part, are
    left out. folds_c: by group over all clips, -1 for none.

    Labels that vary within groups are exchanged there, those that whole groups have among groups. Never raises for
    missing labels, one label or one group: there are reasons instead.
    """
    settings = settings or LabelSettings()
    labels = as_labels(labels_c)
    train, heldout = np.asarray(train_mask_c, bool), np.asarray(heldout_mask_c, bool)
    rows = np.flatnonzero(is_known(labels) & (train | heldout))
    labels, train, groups = labels[rows].astype(str), train[rows], np.asarray(groups_c, dtype=object).astype(str)[rows]
    codes = np.asarray(codes_cf, np.float32)
    names = np.unique(labels[train])
    if why := _why_not(names, labels, train):
        return _nothing(codes.shape[1], why)
    clips = _Labelled(codes[rows], labels, groups, train, np.asarray(folds_c)[rows])
    families = _families(names, labels, groups)
    alpha = settings.alpha / len(families)
    return functools.reduce(_better, [_of_family(clips, own, exchange, alpha, settings) for own, exchange in families])


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The labelled clips: activations (c, f) and, of each, label, group, whether it trains, fold."""

    codes_cf: Single
    labels_c: NDArray
    groups_c: NDArray
    train_c: Mask
    folds_c: NDArray[np.integer]


def _families(names: NDArray, labels: NDArray, groups: NDArray) -> list[tuple[NDArray, Exchange]]:
    """The labels that vary where the labels as a whole do, and those that only whole groups have: how each kind is
    exchanged. One family where there is one kind."""
    exchange = exchange_of(labels, groups)
    is_whole = np.array([_is_of_whole_groups(labels == name, groups) for name in names])
    if is_whole.all() or not is_whole.any() or not exchange.is_within_groups:
        return [(names, exchange)]
    of_groups = exchange_of(np.where(np.isin(labels, names[is_whole]), labels, "\0"), groups)
    return [(names[~is_whole], exchange), (names[is_whole], of_groups)]


def _of_family(
    clips: _Labelled, own: NDArray, exchange: Exchange, alpha: float, settings: LabelSettings
) -> FeatureLabels:
    """Label every feature with one of `own`, and test it against what chance reaches for these."""
    labels, groups, train = clips.labels_c, clips.groups_c, clips.train_c
    thresholds = thresholds_of(clips.codes_cf[train], settings.quantiles)
    member = members_of(labels, own)
    cells = cells_of(
        clips.codes_cf, thresholds, clips.folds_c, train,
        level=exchange.level, member_kc=member, groups_c=groups,
    )  # fmt: skip
    rules = choose_and_score(cells, member[None])
    active = clips.codes_cf[train].max(axis=0, initial=0) > 0
    null = _null(cells, own, exchange, active, alpha, settings)
    has_rule = active & (rules.mcc_train[0] > TIE)
    label, everyone, unseen = rules.label[0], rules.all_groups, rules.unseen
    mcc, critical_mcc = np.where(has_rule, everyone.mcc[0], np.nan), null.critical_mcc
    p = np.ones(len(label)) if null.why_not else p_values(mcc, null.reached, is_exact=null.is_exact)
    n_groups, n_unseen_groups = (_groups_with(own, labels[part], groups[part]) for part in (slice(None), ~train))
    reasons = np.full(len(label), null.why_not, dtype=object)
    if exchange.level == WITHIN:
        n_varies = np.array([_n_groups_in_which_it_varies(labels == name, groups) for name in own])
        reasons[n_varies[label] == 1] = "it varies within one group alone, so that nothing can be said of others"
    reasons[n_groups[label] == 1] = "one group alone has it, so that nothing can be said of others"
    can_tell = np.array([reason is None for reason in reasons], dtype=bool)
    is_shown = has_rule & (p <= alpha) & can_tell
    for i in np.flatnonzero(~is_shown & can_tell):
        reasons[i] = f"MCC {number(mcc[i])}; the best feature reaches {number(critical_mcc)} on exchanged labels"
    reasons[~has_rule] = "goes with no label on the training clips"
    reasons[~active] = "not active on any labelled training clip"
    return FeatureLabels(
        label=np.array([str(own[k]) if on else None for k, on in zip(label, has_rule, strict=True)], dtype=object),
        direction=np.array(
            [DIRECTIONS[way] if on else None for way, on in zip(rules.direction[0], has_rule, strict=True)]
        ),
        threshold=np.where(has_rule, thresholds[rules.threshold[0], np.arange(len(label))].astype(np.float64), np.nan),
        mcc_train=np.where(has_rule, rules.mcc_train[0].astype(np.float64), np.nan),
        mcc=mcc,
        f1=np.where(has_rule, everyone.f1[0], np.nan),
        n_hits=_whole(everyone.n_hits),
        n_said=_whole(everyone.n_said),
        n_there=_whole(everyone.n_there),
        n_groups=n_groups[label],
        precision=np.where(has_rule, unseen.precision[0], np.nan),
        recall=np.where(has_rule, unseen.recall[0], np.nan),
        f1_unseen=np.where(has_rule, unseen.f1[0], np.nan),
        n_unseen_hits=_whole(unseen.n_hits),
        n_unseen_said=_whole(unseen.n_said),
        n_unseen_there=_whole(unseen.n_there),
        n_unseen_groups=n_unseen_groups[label],
        p=p,
        null_mcc=np.full(len(label), critical_mcc),
        is_shown=is_shown,
        reason=reasons,
        nulls=(null,),
    )


def _better(one: FeatureLabels, other: FeatureLabels) -> FeatureLabels:
    """Of each feature the label that fits the training clips better."""
    takes_other = np.nan_to_num(other.mcc_train, nan=-1) > np.nan_to_num(one.mcc_train, nan=-1) + TIE
    columns = [field.name for field in fields(FeatureLabels) if field.name != "nulls"]
    return FeatureLabels(
        **{name: np.where(takes_other, getattr(other, name), getattr(one, name)) for name in columns},
        nulls=one.nulls + other.nulls,
    )


def _why_not(names: NDArray, labels: NDArray, train: Mask) -> str | None:
    if not train.any():
        return "no labelled training clip"
    if len(names) < 2 and len(set(labels)) < 2:
        return f"only one label ({names[0]})"
    return None


def _nothing(n_features: int, reason: str) -> FeatureLabels:
    none, nan = np.full(n_features, None, dtype=object), np.full(n_features, np.nan)
    zero, why = np.zeros(n_features, np.int64), np.full(n_features, reason, dtype=object)
    return FeatureLabels(
        none, none, nan, nan, nan, nan, zero, zero, zero, zero, nan, nan, nan, zero, zero, zero, zero,
        np.ones(n_features), nan, np.zeros(n_features, dtype=bool), why,
    )  # fmt: skip


def _null(
    cells: list[Cell], own: NDArray, exchange: Exchange, active: Mask, alpha: float, settings: LabelSettings
) -> LabelNull:
    n = settings.n_permutations if active.any() and not exchange.why_not else 0
    member_of = (exchange.values[:, None] == own[None]).astype(np.float32).T  # (names, values)
    reached: list[float] = []
    for codes in exchange.permuted(n, seed=settings.seed, chunk=max(1, ROWS_AT_ONCE // len(own))) if n else ():
        member: Single = np.ascontiguousarray(np.moveaxis(member_of[:, codes], 0, 1))
        rules = choose_and_score(cells, member)
        mcc = np.nan_to_num(rules.all_groups.mcc)
        reached += np.where(active & (rules.mcc_train > TIE), mcc, -1.0).max(axis=1).tolist()
    return LabelNull(tuple(map(str, own)), exchange, np.array(reached), exchange.is_exact(n), alpha)


def _n_groups_in_which_it_varies(has_it: Mask, groups: NDArray) -> int:
    return len(set(groups[has_it]) & set(groups[~has_it]))


def _is_of_whole_groups(has_it: Mask, groups: NDArray) -> bool:
    return not _n_groups_in_which_it_varies(has_it, groups)


def _groups_with(names: NDArray, labels: NDArray, groups: NDArray) -> Ints:
    """(names,) in how many groups each label is found."""
    return np.array([len(set(groups[labels == name])) for name in names], dtype=np.int64)


def _whole(n_pf: Single) -> Ints:
    return n_pf[0].astype(np.int64)
