"""Which features of an SAE return when it is trained again from another start: partners one to one, beside chance.

A feature's best match can be shared by many and always exists; a partner cannot be shared, and what partners reach
between dictionaries of unrelated clips is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from precompute.matching import unit_columns
from precompute.metrics import Array, Floats

RETURNS_R = 0.5  # a smaller r is no return, whatever chance reaches
NULL_QUANTILE = 0.95
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stability:
    """One entry a feature, over the other starts: mean r of activation with its partner on held-out clips (0 where it
    has none), mean cosine of the two decoder rows (NaN where it has none), and in how many it returns: r above `limit`.
    All NaN for a feature that is dead or does not vary over the held-out clips; n_others: how many starts."""

    r: Floats
    cosine: Floats
    n_returns: Floats
    n_others: int
    limit: float

    @property
    def share(self) -> float:
        """Of the features that vary, the share that returns in more than half of the other starts; NaN for none."""
        known = self.n_returns[np.isfinite(self.n_returns)]
        return float(np.mean(known > self.n_others / 2)) if self.n_others and len(known) else float("nan")


def stability(
    codes: Sequence[Array], decoders: Sequence[Array | None], train_c: Mask, heldout_c: Mask, *, seed: int = 0
) -> list[Stability]:
    """Of each of several SAEs of one layer and size: codes (c, f) over the same clips, decoders (f, d) or None.

    Partners maximise the sum of Pearson's r over the training clips, one to one (Hungarian algorithm), among pairs with
    r > 0. limit: the 95th percentile of the same when the clips of one SAE are shuffled, but at least RETURNS_R.
    """
    units = [[unit_columns(x_cf, rows) for rows in (train_c, heldout_c)] for x_cf in codes]
    rows = [None if w is None else w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-30) for w in decoders]
    n, n_features, rng = len(codes), codes[0].shape[1], np.random.default_rng(seed)
    r, cosine = np.full((n, n, n_features), np.nan), np.full((n, n, n_features), np.nan)
    by_chance: list[Floats] = []
    for i, j in combinations(range(n), 2):
        one, other, found = _partners(units[i], units[j])
        r[i, j, one] = r[j, i, other] = found
        w_i, w_j = rows[i], rows[j]
        if w_i is not None and w_j is not None:
            cosine[i, j, one] = cosine[j, i, other] = np.einsum("pd,pd->p", w_i[one], w_j[other])
        shuffled = [(part[rng.permutation(len(part))], varies) for part, varies in units[j]]
        by_chance.append(_partners(units[i], shuffled)[2])
    reached = np.concatenate(by_chance) if by_chance else np.zeros(0)
    limit = max(RETURNS_R, float(np.quantile(reached, NULL_QUANTILE)) if len(reached) else 0.0)
    result = []
    for i in range(n):
        known, others = units[i][0][1] & units[i][1][1] & (n > 1), np.arange(n) != i
        r_of, cosine_of = np.nan_to_num(r[i][others]), cosine[i][others]
        n_partners = np.isfinite(cosine_of).sum(axis=0)
        mean_cosine = np.where(n_partners > 0, np.nansum(cosine_of, axis=0) / np.maximum(n_partners, 1), np.nan)
        result.append(
            Stability(
                r=np.where(known, r_of.sum(axis=0) / max(n - 1, 1), np.nan),
                cosine=np.where(known, mean_cosine, np.nan),
                n_returns=np.where(known, (r_of > limit).sum(axis=0), np.nan),
                n_others=n - 1,
                limit=limit,
            )
        )
    return result


def _partners(
    one: Sequence[tuple[Floats, Mask]], other: Sequence[tuple[Floats, Mask]]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """(features, their partners, r on held-out clips), by unit columns over the training and the held-out clips; 0 for
    one that does not vary over the held-out clips."""
    (a_train, a_varies), (a_held, _) = one
    (b_train, b_varies), (b_held, _) = other
    a, b = np.flatnonzero(a_varies), np.flatnonzero(b_varies)
    r_ab = a_train[:, a].T @ b_train[:, b]
    at_a, at_b = linear_sum_assignment(r_ab, maximize=True)
    kept = r_ab[at_a, at_b] > 0
    a, b = a[at_a[kept]], b[at_b[kept]]
    return a, b, np.einsum("cp,cp->p", a_held[:, a], b_held[:, b])
