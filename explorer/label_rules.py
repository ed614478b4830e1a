"""Rules that give a label by one feature's activation: above a threshold or not, chosen on one part, scored on another.

What automatic labels and the search for features share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
DIRECTIONS = ("above", "below")
QUANTILES = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, eq=False)
class Part:
    """One part's labelled clips: for each threshold, which features are above it (float32 0/1, for matmul)."""

    above: list[Single]  # thresholds of (clips, features)
    n_above: Floats  # (thresholds, features)


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


def part_of(codes_cf: Single, thresholds_tf: Single) -> Part:
    above = [(codes_cf > threshold).astype(np.float32) for threshold in thresholds_tf]
    return Part(above, np.array([part.sum(axis=0, dtype=np.float64) for part in above]))


def members_of(labels: NDArray, names: NDArray) -> Single:
    """(labels, clips) 0/1."""
    return (names[:, None] == labels[None, :].astype(str)).astype(np.float32)


def choose_and_score(
    train: Part, heldout: Part, member_pkc: Single, member_heldout_pkc: Single
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]], Floats, tuple[Floats, Floats, Floats]]:
    """Choose each feature's rule on train and score it held out, for a stack of p labelings at once.

    Returns (threshold, label, direction as indices, each (p, f)); f1 on train (p, f); (precision, recall, f1) held out,
    (p, f). Precision is NaN where the rule never fires, recall and f1 where no held-out clip has the label.
    """
    p, k, _ = member_pkc.shape
    best = np.full((p, train.n_above.shape[1]), -1.0)
    chosen = np.zeros((3, *best.shape), dtype=np.intp)
    for t, above in enumerate(train.above):
        hits = (member_pkc.reshape(p * k, -1) @ above).reshape(p, k, -1).astype(np.float64)
        n_label = member_pkc.sum(axis=2, dtype=np.float64)[:, :, None]
        for direction in (0, 1):
            hits_now = hits if direction == 0 else n_label - hits
            fires = train.n_above[t] if direction == 0 else len(above) - train.n_above[t]
            f1 = 2 * hits_now / np.maximum(n_label + fires, 1)
            label = np.argmax(f1, axis=1)
            top = np.take_along_axis(f1, label[:, None], axis=1)[:, 0]
            better = top > best
            best = np.where(better, top, best)
            chosen = np.where(better, np.stack([np.full_like(label, t), label, np.full_like(label, direction)]), chosen)
    return (chosen[0], chosen[1], chosen[2]), best, _score(heldout, member_heldout_pkc, chosen)


def _score(part: Part, member_pkc: Single, chosen: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """(precision, recall, f1) of the chosen (threshold, label, direction) on one part, each (p, f)."""
    p, k, n = member_pkc.shape
    hits, fires = np.zeros(chosen.shape[1:]), np.zeros(chosen.shape[1:])
    for t, above in enumerate(part.above):
        here = chosen[0] == t
        if here.any():
            table = (member_pkc.reshape(p * k, n) @ above).reshape(p, k, -1)
            hits = np.where(here, np.take_along_axis(table, chosen[1][:, None], axis=1)[:, 0], hits)
            fires = np.where(here, part.n_above[t], fires)
    n_label = np.take_along_axis(member_pkc.sum(axis=2, dtype=np.float64), chosen[1], axis=1)
    below = chosen[2] == 1
    hits, fires = np.where(below, n_label - hits, hits), np.where(below, n - fires, fires)
    precision = np.where(fires > 0, hits / np.maximum(fires, 1), np.nan)
    recall = np.where(n_label > 0, hits / np.maximum(n_label, 1), np.nan)
    return precision, recall, np.where(n_label > 0, 2 * hits / np.maximum(n_label + fires, 1), np.nan)


def permuted_within(labels: NDArray, groups: NDArray, rng: np.random.Generator) -> NDArray:
    """The labels shuffled among the clips of each group."""
    shuffled = np.lexsort((rng.random(len(labels)), groups))
    permuted = labels.copy()
    permuted[np.argsort(groups, kind="stable")] = labels[shuffled]
    return permuted
