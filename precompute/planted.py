"""How well what was planted in a generated corpus is recovered on unseen singers: from all dimensions, and from one.

Numbers by the Lasso of `attribution` (R2 held out, SST about the training mean), categories by the probe of `probes`
(accuracy); from a single feature by a line fitted on the training clips, or by the rules of `feature_labels` (MCC).
Each beside two controls: what permuted values, the commonest class or the best of permuted labels reach; and for
numbers what someone knows who has only read what was sung, not heard it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from explorer.chance import above_chance
from precompute.attribution import fit_factors
from precompute.factor_fit import NAN, LassoSettings, permuted_limit
from precompute.factor_target import Target, make_target
from precompute.feature_labels import LabelSettings, label_features
from precompute.metrics import Array, Floats, r2_score
from precompute.probe_result import is_known
from precompute.probes import run_probe

FOUND_SHARE = 0.25
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Split:
    """Who trains and who is held out: groups, masks, and folds (-1: in none) of the training groups and of all."""

    groups_c: NDArray
    train_c: Mask
    heldout_c: Mask
    folds_c: NDArray[np.integer]
    folds_all_c: NDArray[np.integer]


@dataclass(frozen=True)
class How:
    """How alpha and C are found, over which folds `Split` says; and on how many threads."""

    lasso: LassoSettings
    c_grid: Sequence[float]
    n_jobs: int = 1


@dataclass(frozen=True)
class Recovery:
    """One parameter from one representation. score_kind: 'r2', 'accuracy' or 'mcc'; NaN with a reason where undefined.

    control is what chance reaches by the same steps, told what the design says (`from_design`); a perfect score is 1
    for all three kinds.
    """

    parameter: str
    score_kind: str
    score: float = NAN
    control: float = NAN
    told: float = NAN
    n_train: int = 0
    n_clips: int = 0
    n_groups: int = 0
    n_weights: int | None = None
    feature: int | None = None
    direction: str | None = None
    reason: str | None = None

    @property
    def is_found(self) -> bool:
        """Whether a quarter of what chance leaves is recovered; never where the score is undefined."""
        return above_chance(self.score, self.control) >= FOUND_SHARE

    @property
    def is_beyond(self) -> bool:
        """Whether it is found, and a quarter also of what the design leaves: more than the technique is heard."""
        return self.is_found and above_chance(self.score, self.told) >= FOUND_SHARE


def from_all(
    x_cd: Array,
    numbers: Mapping[str, Floats],
    words: Mapping[str, NDArray],
    split: Split,
    how: How,
) -> list[Recovery]:
    """Every parameter from all dimensions of `x_cd`. numbers: (c,) floats, NaN where undefined; words: (c,) or None."""
    found = []
    if numbers:
        y_cp = np.stack(list(numbers.values()), axis=1)
        fits = fit_factors(
            x_cd,
            y_cp,
            split.groups_c,
            train_mask=split.train_c,
            heldout_mask=split.heldout_c,
            folds_c=split.folds_c,
            settings=how.lasso,
            n_jobs=how.n_jobs,
        )
        found += [
            Recovery(
                name,
                "r2",
                score=fit.r2,
                control=fit.r2_refits,
                n_train=fit.n_train,
                n_clips=fit.n_clips,
                n_groups=fit.n_groups,
                n_weights=fit.n_weights,
                reason=fit.reason,
            )
            for name, fit in zip(numbers, fits, strict=True)
        ]
    for name, values_c in words.items():
        probe = run_probe(
            x_cd,
            values_c,
            split.groups_c,
            protocol="held-out",
            train_mask_c=split.train_c,
            heldout_mask_c=split.heldout_c,
            folds_c=split.folds_c,
            c_grid=how.c_grid,
            seed=how.lasso.seed,
        )
        score, chance = (NAN if value is None else float(value) for value in (probe.accuracy, probe.chance))
        n_train = int(np.sum(split.train_c & is_known(values_c)))
        found.append(
            Recovery(
                name,
                "accuracy",
                score=score,
                control=chance,
                n_train=n_train,
                n_clips=probe.n_clips,
                n_groups=probe.n_groups,
                reason=probe.reason,
            )
        )
    return found


def from_design(numbers: Mapping[str, Floats], cells_c: NDArray, split: Split) -> dict[str, float]:
    """R2 held out of every number predicted by the mean of the training clips of its cell; NaN where undefined.

    cells_c: (c,) what each clip was to be (its technique and exercise). Measured about the training mean as all scores
    are, so that (score - told) / (1 - told) is a representation's R2 about the cells' means.
    """
    told = {}
    for name, values_c in numbers.items():
        train, heldout = (np.flatnonzero(mask & np.isfinite(values_c)) for mask in (split.train_c, split.heldout_c))
        if not len(train) or not len(heldout) or np.ptp(values_c[heldout]) == 0:
            told[name] = NAN
            continue
        mean = float(values_c[train].mean())
        cells, place = np.unique(cells_c[train], return_inverse=True)
        sums, counts = np.bincount(place, weights=values_c[train]), np.bincount(place)
        means = dict(zip(cells, sums / counts, strict=True))
        said = np.array([means.get(cell, mean) for cell in cells_c[heldout]])
        told[name] = r2_score(values_c[heldout], said, mean)
    return told


def from_one(
    codes_cf: Array,
    numbers: Mapping[str, Floats],
    words: Mapping[str, NDArray],
    split: Split,
    *,
    n_permutations: int,
    seed: int,
) -> list[Recovery]:
    """Every parameter from the one feature that fits it best on the training clips (a category: one a value)."""
    codes = np.asarray(codes_cf, np.float64)
    found = [
        _line(codes, name, values_c, split, n_permutations=n_permutations, rng=np.random.default_rng([seed, place]))
        for place, (name, values_c) in enumerate(numbers.items())
    ]
    return found + [_rules(codes, name, values_c, split, n_permutations, seed) for name, values_c in words.items()]


def _line(
    codes_cf: Floats, name: str, values_c: Floats, split: Split, *, n_permutations: int, rng: np.random.Generator
) -> Recovery:
    present = np.isfinite(values_c)
    train, heldout = np.flatnonzero(split.train_c & present), np.flatnonzero(split.heldout_c & present)
    groups = np.asarray(split.groups_c, dtype=object).astype(str)
    n_groups = len(set(groups[heldout]))
    blank = Recovery(name, "r2", n_train=len(train), n_clips=len(heldout), n_groups=n_groups)
    target = make_target(values_c[train], values_c[heldout])
    if isinstance(target, str):
        return replace(blank, reason=target)
    if not len(heldout):
        return replace(blank, reason="no held-out clip has a value")
    best = _best_line(codes_cf[train], target.train)
    if best is None:
        return replace(blank, reason="no feature varies over the training clips")
    feature, slope = best
    permuted = []
    for _ in range(n_permutations):
        chance = _best_line(codes_cf[train], rng.permutation(target.train))
        permuted += [] if chance is None else [_line_r2(codes_cf, train, heldout, target, *chance)]
    return replace(
        blank,
        score=_line_r2(codes_cf, train, heldout, target, feature, slope),
        control=permuted_limit(permuted),
        feature=feature,
        direction="rises" if slope > 0 else "falls",
    )


def _best_line(codes_cf: Floats, target_c: Floats) -> tuple[int, float] | None:
    """(feature, slope) of the largest absolute correlation with a target of mean 0; None where no feature varies."""
    centred = codes_cf - codes_cf.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    varies = spread > 1e-9 * max(float(spread.max(initial=0.0)), 1e-12)
    if not varies.any():
        return None
    products = target_c @ centred
    r = np.where(varies, np.abs(products) / np.where(varies, spread, 1.0), -1.0)
    feature = int(np.argmax(r))
    return feature, float(products[feature] / spread[feature] ** 2)


def _line_r2(codes_cf: Floats, train: NDArray, heldout: NDArray, target: Target, feature: int, slope: float) -> float:
    said = slope * (codes_cf[heldout, feature] - codes_cf[train, feature].mean())
    return r2_score(target.heldout, said * target.scale + target.mean, target.mean)


def _rules(codes_cf: Floats, name: str, values_c: NDArray, split: Split, n_permutations: int, seed: int) -> Recovery:
    labels = label_features(
        codes_cf,
        values_c,
        split.groups_c,
        train_mask_c=split.train_c,
        heldout_mask_c=split.heldout_c,
        folds_c=split.folds_all_c,
        settings=LabelSettings(n_permutations=max(n_permutations, 20), seed=seed),
    )
    known = is_known(values_c)
    groups = np.asarray(split.groups_c, dtype=object).astype(str)
    heldout = split.heldout_c & known
    blank = Recovery(
        name, "mcc", n_train=int(np.sum(split.train_c & known)), n_clips=int(heldout.sum()),
        n_groups=len(set(groups[heldout])),
    )  # fmt: skip
    names = sorted({str(value) for value in values_c[split.train_c & known]})
    best = {}
    for value in names:
        rows = np.flatnonzero([label == value for label in labels.label])
        if len(rows):
            best[value] = int(rows[np.argmax(labels.mcc_train[rows])])
    if not best:
        return replace(blank, reason=str(labels.reason[0]) if len(labels.reason) else "no feature")
    control = max((null.critical_mcc for null in labels.nulls if null.why_not is None), default=float("nan"))
    if not np.isfinite(control):
        return replace(blank, reason=str(next((null.why_not for null in labels.nulls), "nothing to compare with")))
    scores = [labels.mcc[best[value]] if value in best else 0.0 for value in names]
    clearest = max(best, key=lambda value: labels.mcc_train[best[value]])
    return replace(
        blank,
        score=float(np.mean(np.nan_to_num(scores))),
        control=control,
        feature=best[clearest],
        direction=clearest,
    )
