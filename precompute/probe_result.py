"""What a probe is and what it scored: LinearProbe, ProbeResult, and the one scorer of predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from explorer.intervals import share_interval
from explorer.prediction import LinearProbe
from explorer.text import count

Mask = NDArray[np.bool_]
NO_CLIP = "no clip of it was scored"


@dataclass(frozen=True)
class ClassScore:
    """One class: `n` scored clips that truly have it. A score is None only where it has no value: recall and F1 of a
    class without a scored clip (with the reason), precision of one that no clip was called."""

    name: str
    recall: float | None
    precision: float | None
    f1: float | None
    n: int
    reason: str | None


@dataclass(frozen=True)
class GroupScore:
    """One group: the accuracy of its `n` scored clips, and what the constant guess `chance` has on them."""

    name: str
    accuracy: float
    n: int
    chance: float


@dataclass(frozen=True)
class ProbeResult:
    """What one probe scored. Scores are over all scored clips together (for folds: all out-of-fold predictions).

    `chance` is the accuracy of one constant guess: of the classes that were scored, the one commonest among all clips
    that were fitted on. `ci_low`, `ci_high`: the 95 % interval of `accuracy` over groups (`share_interval`), None under
    8 groups. `predictions` has one entry per clip handed in, None where the clip was not scored. `probe` is the fitted
    one (protocols 'held-out' and 'paper'). `c` is None where none was used.
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
    groups: tuple[GroupScore, ...] = ()
    probe: LinearProbe | None = None
    predictions: NDArray[np.object_] | None = None


def is_known(values_c: NDArray) -> Mask:
    """(c,) bool: which clips have a value, as None stands for none."""
    return np.array([value is not None for value in values_c], dtype=bool)


def as_labels(labels_c: NDArray) -> NDArray[np.object_]:
    """An object array of str or None; None, NaN and '' all mean 'no label'."""
    return np.array([None if v is None or v != v or v == "" else str(v) for v in labels_c], dtype=object)


def score_predictions(
    result: ProbeResult, labels: NDArray, predictions: NDArray, fitted: NDArray, groups: NDArray, unseen: Mask
) -> ProbeResult:
    """`result` with every score filled in from the clips that have a prediction.

    Balanced accuracy and macro-F1 are means over the classes that were scored: one that was only predicted costs
    precision where its clips belong, and is no class of its own (scikit-learn's macro-F1 counts it as 0). `fitted`: the
    labels of the clips that anything was fitted on. `unseen`: clips that could not be scored, for the reason.
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
    truth, said = labels[scored].astype(str), predictions[scored].astype(str)
    names_k = np.unique(np.concatenate([truth, said]))
    table = np.zeros((len(names_k), len(names_k)), dtype=int)
    np.add.at(table, (np.searchsorted(names_k, truth), np.searchsorted(names_k, said)), 1)
    hits, n_true, n_said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    is_scored = n_true > 0
    per_group = _group_scores(groups[scored], truth == said, truth == constant_guess(fitted.astype(str), truth))
    n_of = np.array([group.n for group in per_group])
    interval = share_interval(np.array([group.accuracy for group in per_group]) * n_of, n_of)
    return replace(
        result,
        accuracy=float(hits.sum() / table.sum()),
        balanced_accuracy=float(np.mean(hits[is_scored] / n_true[is_scored])),
        macro_f1=float(np.mean((2 * hits / (n_true + n_said))[is_scored])),
        chance=float(np.sum([group.chance * group.n for group in per_group]) / n_of.sum()),
        n_clips=int(scored.sum()),
        n_groups=len(per_group),
        n_classes=int(np.sum(is_scored)),
        ci_low=None if np.isnan(interval.low) else interval.low,
        ci_high=None if np.isnan(interval.high) else interval.high,
        reason=reason,
        classes=tuple(_class_score(str(names_k[i]), hits[i], n_true[i], n_said[i]) for i in range(len(names_k)))
        + missing,
        confusion=tuple((str(names_k[i]), str(names_k[j]), int(table[i, j])) for i, j in np.argwhere(table)),
        groups=per_group,
        predictions=predictions,
    )


def constant_guess(fitted: NDArray, truth: NDArray) -> str:
    """Of the classes in `truth`, the one commonest in `fitted`; the first by name at a tie."""
    classes = np.unique(truth)
    return str(classes[int(np.argmax([np.sum(fitted == name) for name in classes]))])


def _group_scores(groups: NDArray, is_right: Mask, is_guessed: Mask) -> tuple[GroupScore, ...]:
    members = [(str(name), groups == name) for name in np.unique(groups)]
    return tuple(
        GroupScore(name, float(np.mean(is_right[of])), int(np.sum(of)), float(np.mean(is_guessed[of])))
        for name, of in members
    )


def _class_score(name: str, hits: int, n_true: int, n_said: int) -> ClassScore:
    precision = float(hits / n_said) if n_said else None
    if not n_true:
        return ClassScore(name, None, precision, None, 0, NO_CLIP)
    return ClassScore(name, float(hits / n_true), precision, float(2 * hits / (n_true + n_said)), int(n_true), None)
