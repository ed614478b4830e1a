"""The measures that several parts share: reconstruction, completeness, disentanglement, eta squared, R2, intervals.

Pure functions of numpy arrays. Axes are named by suffix: c clip, d model width, f feature (or any dimension that
carries a weight), g factor. Undefined is NaN, never 0 or 1. Sums run in float64 whatever comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Floats = NDArray[np.float64]

EPS = 1e-6  # of the published completeness and disentanglement


def mse(x_cd: Array, recon_cd: Array) -> float:
    """Mean squared error over all clips and dimensions, in squared units of `x_cd`; NaN for no clips."""
    residual = np.asarray(x_cd, np.float64) - np.asarray(recon_cd, np.float64)
    return float(np.mean(residual**2)) if residual.size else float("nan")


def fvu(x_cd: Array, recon_cd: Array, train_mean_d: Array) -> float:
    """Fraction of variance unexplained, SSE / SST with SST about the *training* mean.

    0 is perfect, 1 is as good as the training mean, and there is no upper bound. NaN when SST is 0.
    """
    x = np.asarray(x_cd, np.float64)
    total = float(np.sum((x - np.asarray(train_mean_d, np.float64)) ** 2))
    error = float(np.sum((x - np.asarray(recon_cd, np.float64)) ** 2))
    return error / total if total > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of training clips: their mean, (rank, d) basis, and the centred clips."""

    mean_d: Floats
    basis_rd: Floats
    centred_cd: Floats

    @classmethod
    def of(cls, train_cd: Array) -> Components:
        """Fit on all of these clips."""
        train = np.asarray(train_cd, np.float64)
        mean_d = train.mean(axis=0) if len(train) else np.zeros(train.shape[1])
        centred = train - mean_d
        singular, basis = np.zeros(0), np.zeros((0, train.shape[1]))
        if len(train):
            _, singular, basis = np.linalg.svd(centred, full_matrices=False)
        tolerance = singular.max(initial=0.0) * max(centred.shape, default=0) * np.finfo(np.float64).eps
        return cls(mean_d, basis[: int(np.sum(singular > tolerance))], centred)

    def used(self, n: int) -> int:
        """How many components a request for n gets: at most the rank."""
        return min(max(int(n), 0), len(self.basis_rd))

    def fvu(self, clips_cd: Array | None = None) -> Floats:
        """(rank + 1,) FVU by number of components on these clips (None: those of the fit); NaN where SST is 0."""
        part = self._about_mean(clips_cd)
        total = float(np.sum(part**2))
        captured = np.concatenate([[0.0], np.cumsum(np.sum((part @ self.basis_rd.T) ** 2, axis=0))])
        return np.maximum(1.0 - captured / total, 0.0) if total > 0 else np.full(len(captured), np.nan)

    def errors(self, clips_cd: Array, n: int) -> tuple[Floats, Floats]:
        """(squared error with n components, squared deviation from the training mean) of each clip."""
        part = self._about_mean(clips_cd)
        total_c = np.sum(part**2, axis=1)
        return np.maximum(total_c - np.sum((part @ self.basis_rd[: self.used(n)].T) ** 2, axis=1), 0.0), total_c

    def _about_mean(self, clips_cd: Array | None) -> Floats:
        if clips_cd is None:
            return self.centred_cd
        return np.asarray(clips_cd, np.float64).reshape(-1, len(self.mean_d)) - self.mean_d


def pca_fvu(pca: Components, heldout_cd: Array, n_components: Sequence[int]) -> list[tuple[int, float, float]]:
    """FVU of PCA for several numbers of components.

    Returns (components used, FVU on the clips of the fit, FVU held out) for each request in its order. SST is about the
    training mean in both parts; NaN where it is 0.
    """
    train, heldout = pca.fvu(), pca.fvu(heldout_cd)
    return [(n, float(train[n]), float(heldout[n])) for n in map(pca.used, n_components)]


def r2_score(measured: Array, predicted: Array, train_mean: float) -> float:
    """R2 = 1 - SSE / SST over all the given clips together, SST about the *training* mean; NaN when SST is 0."""
    measured = np.asarray(measured, np.float64)
    total = float(np.sum((measured - train_mean) ** 2))
    error = float(np.sum((measured - np.asarray(predicted, np.float64)) ** 2))
    return 1.0 - error / total if total > 0 else float("nan")


def r2_within_group(measured: Array, predicted: Array, groups_c: NDArray) -> float:
    """R2 of the deviations from each group's mean, measured and predicted both centred within their group.

    It is what is left when a model only tells groups apart: 0 for group means alone. NaN when nothing varies in groups.
    """
    groups = np.asarray(groups_c)
    _, member_c = np.unique(groups.astype(str) if groups.dtype == object else groups, return_inverse=True)
    size = np.bincount(member_c)

    def deviation(values: Array) -> Floats:
        values = np.asarray(values, np.float64)
        centred = values - (np.bincount(member_c, weights=values) / size)[member_c]
        return np.where(np.abs(centred) > 1e-12 * np.abs(values).max(initial=0.0), centred, 0.0)

    inside = deviation(measured)
    total = float(np.sum(inside**2))
    error = float(np.sum((inside - deviation(predicted)) ** 2))
    return 1.0 - error / total if total > 0 else float("nan")


def completeness(weights_fg: Array) -> tuple[Floats, Floats]:
    """How few codes each factor hangs on: (completeness_g, effective_codes_g), NaN for a factor without a weight.

    Completeness is the reference formula (arXiv 2509.24793, `completeness` in paper_results.json), over D =
    len(weights_fg) codes: p_i = |w_i| / (sum |w| + eps), C = 1 + sum p_i log(p_i + eps) / log D, eps = 1e-6. 1 is one
    code, 0 is all alike. It depends on D through log D, so never compare it across different D; it is NaN at D = 1.
    Effective codes exp(H) = exp(-sum p log p), p exact, do not: 1 for one code, n for n equal ones.
    """
    magnitude = np.abs(np.asarray(weights_fg, np.float64))
    total = magnitude.sum(axis=0)
    return _concentration(magnitude, total), effective_numbers(magnitude)


def effective_numbers(weights_fg: Array) -> Floats:
    """(g,) exp(H) of the shares |w| / sum |w| down each column: 1 for one weight, n for n equal ones; NaN for none."""
    magnitude = np.abs(np.asarray(weights_fg, np.float64))
    total = magnitude.sum(axis=0)
    share = magnitude / np.where(total > 0, total, 1.0)
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=0)
    return np.where(total > 0, np.exp(entropy), np.nan)


def disentanglement(weights_fg: Array) -> tuple[Floats, float]:
    """How few factors each code serves: (per feature, NaN without a weight; the weighted sum over features).

    Reference formula (arXiv 2509.24793): p_j = |w_j| / (sum |w| + eps) over the G factors, D_i = 1 + sum p_j log(p_j +
    eps) / log G. The weighted sum is sum rho_i D_i with rho_i the code's share of all |w|, so it stays within 0..1; the
    authors' code divides it by the number of codes as well, which this does not. NaN when there is no weight at all.
    """
    magnitude = np.abs(np.asarray(weights_fg, np.float64)).T
    total = magnitude.sum(axis=0)
    per_feature = _concentration(magnitude, total)
    used = total > 0
    if not used.any() or np.isnan(per_feature[used]).any():
        return per_feature, float("nan")
    return per_feature, float(np.sum(total[used] * per_feature[used]) / total.sum())


def _concentration(magnitude: Floats, total: Floats) -> Floats:
    """1 + sum p log(p + eps) / log n down the columns; NaN for a column of zeros, and everywhere at n < 2."""
    n = len(magnitude)
    if n < 2:
        return np.full(magnitude.shape[1], np.nan)
    share = magnitude / (total + EPS)
    return np.where(total > 0, 1.0 + np.sum(share * np.log(share + EPS), axis=0) / np.log(n), np.nan)


def eta_squared(values_cf: Array, categories_c: NDArray) -> Floats:
    """(F,) share of each column's variance that lies between categories, 0..1 (eta squared, one-way ANOVA).

    Clips whose category is None or NaN are left out. NaN for a constant column, and everywhere under two categories.
    """
    known = np.array([value is not None and value == value for value in categories_c], dtype=bool)
    values = np.asarray(values_cf, np.float64)[known]
    names, codes = np.unique(np.asarray(categories_c, dtype=object)[known].astype(str), return_inverse=True)
    if len(names) < 2:
        return np.full(np.shape(values_cf)[1], np.nan)
    varies = np.ptp(values, axis=0) > 0
    values = values - values.mean(axis=0)
    member_kc = (codes[None, :] == np.arange(len(names))[:, None]).astype(np.float64)
    sums_kf = member_kc @ values
    between = np.sum(sums_kf**2 / member_kc.sum(axis=1, keepdims=True), axis=0)
    total = np.sum(values**2, axis=0)
    return np.where(varies, np.clip(between / np.where(varies, total, 1.0), 0.0, 1.0), np.nan)


def shared_groups(groups_c: NDArray, train_mask_c: NDArray[np.bool_], heldout_mask_c: NDArray[np.bool_]) -> list[str]:
    """The groups that are in both parts, sorted: a leak where a split by group is claimed."""
    names = np.asarray(groups_c, dtype=object).astype(str)
    return sorted(set(names[train_mask_c]) & set(names[heldout_mask_c]))
