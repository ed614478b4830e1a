"""Automatic labels of features: the one label, threshold and direction that fits a feature's activation best.

The rule is chosen on training groups by F1 and scored on held-out groups. It is shown only if it beats what the best
of all features reaches under labels permuted within their group: the best of 2,048 chance features always looks good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.label_rules import (
    DIRECTIONS,
    QUANTILES,
    Part,
    choose_and_score,
    members_of,
    part_of,
    permuted_within,
    thresholds_of,
)
from explorer.text import count, number
from precompute.metrics import Array, Floats
from precompute.probe_result import as_labels, is_known

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelSettings:
    """Thresholds: 0 (active at all) and these quantiles of the feature's non-zero training activations."""

    quantiles: tuple[float, ...] = QUANTILES
    n_permutations: int = 100
    null_quantile: float = 0.95
    min_positives: int = 20
    min_groups: int = 5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FeatureLabels:
    """One entry a feature. The rule says `label` where the activation is above (direction 'above': >) `threshold`, or
    not above it ('below': <=). precision, recall and f1 are held out, f1_train is on the training clips that chose the
    rule; NaN where undefined. `label` is None for a feature without a rule. `reason` says why a label is not shown.

    `null_f1`: the 95th percentile, over permutations, of the best feature's held-out F1 among labels with enough clips
    to be shown; NaN without permutations or such labels.
    """

    label: NDArray[np.object_]
    direction: NDArray[np.object_]
    threshold: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    f1_train: Floats
    is_shown: Mask
    reason: NDArray[np.object_]
    null_f1: float
    n_permutations: int


def label_features(
    codes_cf: Array,
    labels_c: NDArray,
    groups_c: NDArray,
    *,
    train_mask_c: Mask,
    heldout_mask_c: Mask,
    settings: LabelSettings | None = None,
) -> FeatureLabels:
    """Label every feature of `codes_cf` (activations >= 0). Clips whose label is None are left out.

    A label is shown if its held-out F1 is above `null_f1` and it has at least 20 clips from 5 groups in each part. The
    null distribution repeats the whole procedure (choice, scoring, and which labels may be shown) under labels permuted
    within each group. Labels that never vary within a group cannot be told from their group, so nothing is shown then.
    At ties the lower threshold, the first label and 'above' win. Never raises for missing labels, one label or one
    group: there are reasons instead.
    """
    settings = settings or LabelSettings()
    labels = as_labels(labels_c)
    known = is_known(labels)
    train = np.flatnonzero(np.asarray(train_mask_c, bool) & known)
    heldout = np.flatnonzero(np.asarray(heldout_mask_c, bool) & known)
    groups = np.asarray(groups_c, dtype=object).astype(str)
    codes = np.asarray(codes_cf, np.float32)
    names = np.unique(labels[train].astype(str))
    why = _why_not(names, groups, train, heldout)
    if why:
        return _nothing(codes.shape[1], why)
    thresholds = thresholds_of(codes[train], settings.quantiles)
    parts = part_of(codes[train], thresholds), part_of(codes[heldout], thresholds)
    member = tuple(members_of(labels[rows], names) for rows in (train, heldout))
    active = codes[train].max(axis=0) > 0
    rule, f1_train, scores = choose_and_score(*parts, member[0][None], member[1][None])
    counts = [_n_positive(labels[rows], groups[rows], names) for rows in (train, heldout)]
    enough = np.array([all(_is_enough(part[i], settings) for part in counts) for i in range(len(names))], dtype=bool)
    null_f1 = _null(parts, labels, names, groups, (train, heldout), active, enough, settings)
    t, k, direction = (axis[0] for axis in rule)
    precision, recall, f1 = (np.where(active, score[0], np.nan) for score in scores)
    varies = any(len(set(labels[rows][groups[rows] == g])) > 1 for rows in (train, heldout) for g in set(groups[rows]))
    reasons = _reasons(f1, null_f1, [tuple(part[i] for part in counts) for i in k], active, settings, varies)
    return FeatureLabels(
        label=_or_none(names[k], active),
        direction=_or_none(np.array(DIRECTIONS)[direction], active),
        threshold=np.where(active, thresholds[t, np.arange(len(t))].astype(np.float64), np.nan),
        precision=precision,
        recall=recall,
        f1=f1,
        f1_train=np.where(active, f1_train[0], np.nan),
        is_shown=np.array([reason is None for reason in reasons], dtype=bool),
        reason=np.array(reasons, dtype=object),
        null_f1=null_f1,
        n_permutations=settings.n_permutations,
    )


def _why_not(names: NDArray, groups: NDArray, train: NDArray[np.intp], heldout: NDArray[np.intp]) -> str | None:
    if not len(train) or not len(heldout):
        return f"no labelled clip in the {'training' if not len(train) else 'held-out'} part"
    if len(names) < 2:
        return f"only one label in the training part ({names[0]})"
    shared = sorted(set(groups[train]) & set(groups[heldout]))
    if shared:
        return (
            f"{count(len(shared), 'group')} in both parts, such as {shared[0]}: nothing can be concluded "
            "about unseen groups"
        )
    return None


def _nothing(n_features: int, reason: str) -> FeatureLabels:
    none, nan = np.full(n_features, None, dtype=object), np.full(n_features, np.nan)
    why = np.full(n_features, reason, dtype=object)
    shown = np.zeros(n_features, dtype=bool)
    return FeatureLabels(none, none, nan, nan, nan, nan, nan, shown, why, float("nan"), 0)


def _or_none(names_f: NDArray, active: Mask) -> NDArray[np.object_]:
    return np.array([str(name) if alive else None for name, alive in zip(names_f, active, strict=True)], dtype=object)


def _null(
    parts: tuple[Part, Part],
    labels: NDArray,
    names: NDArray,
    groups: NDArray,
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    active: Mask,
    enough_k: Mask,
    settings: LabelSettings,
    chunk: int = 10,
) -> float:
    """The percentile, over labels permuted within group, of the best feature's held-out F1, usable labels only."""
    if settings.n_permutations < 1 or not active.any() or not enough_k.any():
        return float("nan")
    rng = np.random.default_rng(settings.seed)
    best: list[float] = []
    while len(best) < settings.n_permutations:
        n = min(chunk, settings.n_permutations - len(best))
        member = [
            np.stack([members_of(permuted_within(labels[part], groups[part], rng), names) for _ in range(n)])
            for part in rows
        ]
        (_, label, _), _, (_, _, f1) = choose_and_score(*parts, *member)
        best += np.where(enough_k[label] & active, f1, 0.0).max(axis=1).tolist()
    return float(np.quantile(best, settings.null_quantile))


def _n_positive(labels: NDArray, groups: NDArray, names: NDArray) -> list[tuple[int, int]]:
    """(clips, groups) that have each label."""
    return [(int(np.sum(labels == name)), len(set(groups[labels == name]))) for name in names]


def _is_enough(count: tuple[int, int], settings: LabelSettings) -> bool:
    return count[0] >= settings.min_positives and count[1] >= settings.min_groups


def _reasons(
    f1: Floats,
    null_f1: float,
    counts: list[tuple[tuple[int, int], ...]],
    active: Mask,
    settings: LabelSettings,
    varies: bool,
) -> list[str | None]:
    """Why each feature's label is not shown; None where it is."""
    reasons: list[str | None] = []
    for i, parts in enumerate(counts):
        few = [
            f"{count(n, 'clip')} from {count(n_groups, 'group')} in the {part} part, fewer than "
            f"{settings.min_positives} from "
            f"{settings.min_groups}"
            for part, (n, n_groups) in zip(("training", "held-out"), parts, strict=True)
            if not _is_enough((n, n_groups), settings)
        ]
        if not active[i]:
            reasons.append("not active on any labelled training clip")
        elif few:
            reasons.append(few[0])
        elif not varies:
            reasons.append("the label never varies within a group, so it cannot be separated from the group")
        elif np.isnan(null_f1):
            reasons.append("no permutations to compare with")
        elif f1[i] > null_f1:
            reasons.append(None)
        else:
            reasons.append(
                f"held-out F1 {number(f1[i])} is not above {number(null_f1)}, the best feature's under permuted labels"
            )
    return reasons
