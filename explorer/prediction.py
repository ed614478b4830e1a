"""What codes tell: label probabilities and acoustic factors, from stored weights. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearProbe:
    """logits = ((x - center_d) / scale_d) @ weights_kd.T + intercept_k; one row of weights a class, also for two."""

    classes: tuple[str, ...]
    center_d: Floats
    scale_d: Floats
    weights_kd: Floats
    intercept_k: Floats

    def logits(self, x_cd: ArrayLike) -> Floats:
        """(clips, classes) logits, natural log units; (classes,) of one row (d,)."""
        x = (np.asarray(x_cd, np.float64) - self.center_d) / self.scale_d
        logits: Floats = x @ self.weights_kd.T + self.intercept_k
        return logits

    def predict(self, x_cd: ArrayLike) -> NDArray[np.object_]:
        """The likeliest class of each clip."""
        return np.array(self.classes, dtype=object)[np.argmax(self.logits(x_cd), axis=1)]


@dataclass(frozen=True, eq=False)
class LabelProbe(LinearProbe):
    """The probe of a label on codes, with what it scored under its protocol (None where undefined)."""

    label_name: str = ""
    protocol: str = ""
    accuracy: float | None = None
    chance: float | None = None
    n_clips: int | None = None
    n_groups: int | None = None

    def probabilities(self, code_f: ArrayLike) -> Floats:
        """(k,) probabilities of one code; they add up to 1."""
        logits = self.logits(code_f)
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    def terms(self, code_f: ArrayLike) -> Floats:
        """(k, f) weight times standardised activation: with the intercept they add up to the logits exactly.

        A feature that is silent has a term too, since 0 is below its mean.
        """
        return self.weights_kd * (np.asarray(code_f, np.float64) - self.center_d) / self.scale_d

    def contrast(self, code_f: ArrayLike, class_index: int) -> Floats:
        """(f,) how far each feature moves one class's logit against the mean of all classes' logits.

        A number added to every class's weight changes no probability, so only the difference means something.
        """
        terms = self.terms(code_f)
        return terms[class_index] - terms.mean(axis=0)


@dataclass(frozen=True, eq=False)
class FactorModels:
    """Lasso models of m factors: y = (weights @ ((x - x_mean) / x_scale) + intercept) * y_scale + y_mean, in the
    factor's unit; of a ranked one, with knots, that is a normal score. r2: over all groups where the store has that;
    is_predicted: whether that
    holds on unseen groups, is_tested: whether it could be told."""

    factor_index_m: NDArray[np.int64]
    r2_m: Floats
    is_predicted_m: NDArray[np.bool_]
    is_tested_m: NDArray[np.bool_]
    x_mean_f: Floats
    x_scale_f: Floats
    weights_mf: Floats
    intercept_m: Floats
    y_mean_m: Floats
    y_scale_m: Floats
    protocol: str
    knots_m: tuple[Floats | None, ...] = ()

    def predict(self, code_f: ArrayLike) -> Floats:
        """(m,) predicted factors of one code, in their units."""
        z = (np.asarray(code_f, np.float64) - self.x_mean_f) / self.x_scale_f
        said: Floats = (self.weights_mf @ z + self.intercept_m) * self.y_scale_m + self.y_mean_m
        for at, knots in enumerate(self.knots_m):
            if knots is not None:
                said[at] = unranked(said[at], knots)
        return said


def unranked(scores: ArrayLike, knots: Floats) -> Floats:
    """Normal scores of ranks as values: `knots` are the values at evenly spaced shares from 0 to 1."""
    return np.asarray(np.interp(ndtr(scores), np.linspace(0.0, 1.0, len(knots)), knots))


def scaled(code_f: ArrayLike, feature: int, by: float) -> Floats:
    """The code with one activation multiplied by `by`: 0 removes the feature."""
    changed = np.array(code_f, np.float64)
    changed[feature] *= by
    return changed


def percentile_among(value: float, n_zero: int, quantiles: ArrayLike | None, n_active: int) -> float:
    """The share (%) of clips whose activation is below `value`. NaN where no clip is known.

    quantiles: of the n_active non-zero activations, evenly spaced from the smallest to the largest.
    """
    if n_zero + n_active == 0:
        return float("nan")
    if value <= 0:
        return 0.0
    below = 0.0
    if quantiles is not None and n_active:
        steps = np.asarray(quantiles, np.float64)
        if value > steps[-1]:
            below = 1.0
        elif value >= steps[0]:
            below = float(np.interp(value, steps, np.linspace(0, 1, len(steps))))
    return 100 * (n_zero + below * n_active) / (n_zero + n_active)
