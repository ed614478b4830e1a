"""What a probe is and what it scored: LinearProbe, ProbeResult, and the one scorer of predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from explorer.intervals import t_interval
from explorer.prediction import LinearProbe
from explorer.text import count

Mask = NDArray[np.bool_]
MIN_CLIPS_PER_CLASS = 20


@dataclass(frozen=True)
class ClassScore:
    """One class: `n` scored clips that truly have it; scores are None, with the reason, under 20 of them."""

    name: str
    recall: float | None
    precision: float | None
    f1: float | None
    n: int
    reason: str | None


@dataclass(frozen=True)
class ProbeResult:
    """What one probe scored. Scores are over all scored clips together (for folds: all out-of-fold predictions).

    `chance` is the accuracy of always saying the fitting part's commonest class. `ci_low`, `ci_high`: 95 % t interval
    of the mean per-group accuracy, None under 8 groups. `predictions` has one entry per clip handed in, None where the
    clip was not scored. `probe` is the fitted one (protocols 'held-out' and 'paper'). `c` is None where none was used.
    """

    protocol: str
    seed: int
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    chance: float | None = None
    n_clips: int = 0
    n_groups: int = 0
    n_classes: int = 0
    c: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    reason: str | None = None
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[str, str, int], ...] = ()  # (true, predicted, n), n > 0
    groups: tuple[tuple[str, float, int], ...] = ()  # (group, accuracy, n)
    probe: LinearProbe | None = None
    predictions: NDArray[np.object_] | None = None


def is_known(values_c: NDArray) -> Mask:
    """(c,) bool: which clips have a value, as None stands for none."""
    return np.array([value is not None for value in values_c], dtype=bool)


def as_labels(labels_c: NDArray) -> NDArray[np.object_]:
    """An object array of str or None; None, NaN and '' all mean 'no label'."""
    return np.array([None if v is None or v != v or v == "" else str(v) for v in labels_c], dtype=object)


def score_predictions(
    result: ProbeResult, labels: NDArray, predictions: NDArray, chance: NDArray, groups: NDArray, unseen: Mask
) -> ProbeResult:
    """`result` with every score filled in from the clips that have a prediction.

    Balanced accuracy is the mean recall of the classes present; macro-F1 is over the classes present or predicted, 0
    for one never rightly predicted (both as scikit-learn's). `unseen`: clips that could not be scored, for the reason.
    """
    scored = is_known(predictions)
    reason = None
    if unseen.any():
        names = ", ".join(sorted(set(labels[unseen])))
        reason = f"{count(unseen.sum(), 'clip')} not scored, their class has no clip to fit on: {names}"
    missing = tuple(
        ClassScore(name, None, None, None, 0, "no clip to fit on")
        for name in sorted(set(labels[unseen]) - set(labels[scored]))
    )
    if not scored.any():
        return replace(result, classes=missing, reason=reason or "no clip could be scored")
    truth, said, group = labels[scored].astype(str), predictions[scored].astype(str), groups[scored]
    names_k = np.unique(np.concatenate([truth, said]))
    table = np.zeros((len(names_k), len(names_k)), dtype=int)
    np.add.at(table, (np.searchsorted(names_k, truth), np.searchsorted(names_k, said)), 1)
    hits, n_true, n_said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    per_group = [
        (str(g), float(np.mean(truth[group == g] == said[group == g])), int(np.sum(group == g)))
        for g in np.unique(group)
    ]
    low, high = t_interval(np.array([accuracy for _, accuracy, _ in per_group]))
    return replace(
        result,
        accuracy=float(hits.sum() / table.sum()),
        balanced_accuracy=float(np.mean(hits[n_true > 0] / n_true[n_true > 0])),
        macro_f1=float(np.mean(2 * hits / (n_true + n_said))),
        chance=float(np.mean(chance[scored] == labels[scored])),
        n_clips=int(scored.sum()),
        n_groups=len(per_group),
        n_classes=int(np.sum(n_true > 0)),
        ci_low=None if np.isnan(low) else low,
        ci_high=None if np.isnan(high) else high,
        reason=reason,
        classes=tuple(_class_score(str(names_k[i]), hits[i], n_true[i], n_said[i]) for i in range(len(names_k)))
        + missing,
        confusion=tuple((str(names_k[i]), str(names_k[j]), int(table[i, j])) for i, j in np.argwhere(table)),
        groups=tuple(per_group),
        predictions=predictions,
    )


def _class_score(name: str, hits: int, n_true: int, n_said: int) -> ClassScore:
    if n_true < MIN_CLIPS_PER_CLASS:
        return ClassScore(
            name, None, None, None, int(n_true), f"{count(n_true, 'clip')}, fewer than {MIN_CLIPS_PER_CLASS}"
        )
    precision = float(hits / n_said) if n_said else None
    return ClassScore(name, float(hits / n_true), precision, float(2 * hits / (n_true + n_said)), int(n_true), None)
