"""Features against features: matches on shared clips, co-activation, decoder neighbours.

Dictionaries of different encoders have no common axes, so they are matched by activation: the best correlation on the
training clips, reported on the held-out ones. All products run in chunks of features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precompute.metrics import Array, Floats

Mask = NDArray[np.bool_]
CHUNK = 512  # features at a time


@dataclass(frozen=True, eq=False)
class Matches:
    """(features, n_top) best first: the other dictionary's feature (-1: none), r on train and held out (NaN: none)."""

    other: NDArray[np.int64]
    r_train: Floats
    r_heldout: Floats


@dataclass(frozen=True, eq=False)
class Neighbours:
    """(features, n_top) best first: the other feature (-1: none) and the value, cosine or lift (NaN: none)."""

    other: NDArray[np.int64]
    value: Floats


def match_features(
    codes_a_cf: Array, codes_b_cf: Array, train_mask_c: Mask, heldout_mask_c: Mask, n_top: int = 5
) -> Matches:
    """For each feature of a, the features of b with the largest |Pearson r| of activation over the training clips.

    Both matrices are over the same clips. `r_heldout` plays no part in the choice. A feature constant over the training
    clips (as a dead one is) has no match and is none; `r_heldout` is NaN where either is constant over the
    held-out clips.
    """
    train, heldout = np.asarray(train_mask_c, bool), np.asarray(heldout_mask_c, bool)
    a_train, a_varies = unit_columns(codes_a_cf, train)
    b_train, b_varies = unit_columns(codes_b_cf, train)
    a_held, a_held_varies = unit_columns(codes_a_cf, heldout)
    b_held, b_held_varies = unit_columns(codes_b_cf, heldout)
    n_top = min(n_top, b_train.shape[1])
    others, rs, helds = [], [], []
    for start in range(0, a_train.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        r = np.where(b_varies, a_train[:, part].T @ b_train, np.nan)
        r[~a_varies[part]] = np.nan
        other, picked = _best(r, np.abs(r), n_top)
        held = np.einsum("cf,cfn->fn", a_held[:, part], b_held[:, other], optimize=True)
        held = np.where(a_held_varies[part][:, None] & b_held_varies[other] & (other >= 0), held, np.nan)
        others.append(other)
        rs.append(picked)
        helds.append(held)
    return Matches(np.concatenate(others), _clip(np.concatenate(rs)), _clip(np.concatenate(helds)))


def coactivation_lift(codes_cf: Array, n_top: int = 5, *, min_joint: int = 10, max_density: float = 0.5) -> Neighbours:
    """Features active together more often than chance: lift = P(a and b) / (P(a) P(b)), over the given clips.

    Pairs active together on fewer than `min_joint` clips are ignored, and so is any feature active on more than
    `max_density` of the clips: with one that is always on, every pair has lift 1 and says nothing.
    """
    active = (np.asarray(codes_cf) > 0).astype(np.float32)
    n, n_features = active.shape
    count = active.sum(axis=0, dtype=np.float64)
    usable = (count > 0) & (count <= max_density * n)
    others, values = [], []
    for start in range(0, n_features, CHUNK):
        part = slice(start, start + CHUNK)
        joint = (active[:, part].T @ active).astype(np.float64)
        lift = joint * n / np.maximum(np.outer(count[part], count), 1.0)
        lift[(joint < min_joint) | ~usable[None, :] | ~usable[part][:, None]] = np.nan
        _forget_self(lift, start)
        other, value = _best(lift, lift, min(n_top, n_features))
        others.append(other)
        values.append(value)
    return Neighbours(np.concatenate(others), np.concatenate(values))


def decoder_neighbours(w_dec_fd: Array, is_live_f: Mask, n_top: int = 5) -> Neighbours:
    """The live features whose decoder rows point most alike (cosine, -1..1), within one dictionary only."""
    rows = np.asarray(w_dec_fd, np.float64)
    length = np.linalg.norm(rows, axis=1)
    usable = np.asarray(is_live_f, bool) & (length > 0)
    unit = rows / np.where(length > 0, length, 1.0)[:, None]
    others, values = [], []
    for start in range(0, len(unit), CHUNK):
        part = slice(start, start + CHUNK)
        cosine = np.clip(unit[part] @ unit.T, -1.0, 1.0)
        cosine[~usable[None, :] | ~usable[part][:, None]] = np.nan
        _forget_self(cosine, start)
        other, value = _best(cosine, cosine, min(n_top, len(unit)))
        others.append(other)
        values.append(value)
    return Neighbours(np.concatenate(others), np.concatenate(values))


def unit_columns(codes_cf: Array, rows: Mask) -> tuple[Floats, Mask]:
    """(the rows' columns centred and of length 1, 0 where constant; which columns vary)."""
    values = np.asarray(codes_cf)[rows].astype(np.float64)
    if not len(values):
        return values, np.zeros(values.shape[1], dtype=bool)
    varies = np.ptp(values, axis=0) > 0
    values -= values.mean(axis=0)
    length = np.sqrt(np.einsum("cf,cf->f", values, values))
    varies &= length > 0
    return np.where(varies, values / np.where(varies, length, 1.0), 0.0), varies


def _best(values: Floats, ranking: Floats, n_top: int) -> tuple[NDArray[np.int64], Floats]:
    """The columns with the largest ranking in each row, best first (the first column at a tie); -1 and NaN for NaN."""
    score = np.where(np.isnan(ranking), -np.inf, ranking)
    rows = np.arange(len(score))
    order = np.zeros((len(score), n_top), dtype=np.int64)
    found = np.zeros(order.shape, dtype=bool)
    for place in range(n_top):  # few are wanted of many: quicker than sorting all
        order[:, place] = score.argmax(axis=1)
        found[:, place] = np.isfinite(score[rows, order[:, place]])
        score[rows, order[:, place]] = -np.inf
    return np.where(found, order, -1), np.where(found, np.take_along_axis(values, order, axis=1), np.nan)


def _forget_self(table: Floats, start: int) -> None:
    rows = np.arange(len(table))
    table[rows, rows + start] = np.nan


def _clip(r: Floats) -> Floats:
    return np.clip(r, -1.0, 1.0)
