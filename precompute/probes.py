"""Linear probes: what a label classifier can read from frozen representations, and how surely.

One solver (`fit_probe`), one scorer, five protocols. Everything that is fitted - the scaler, C, the weights - sees the
fitting clips only. A clip whose label is None is left out. Scores are None, with a reason in words, where they are not
defined. The published recipe (a linear layer trained with Adam) is in `run_paper_probe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from explorer.text import count
from precompute.metrics import Array, Floats, shared_groups
from precompute.probe_result import ClassScore, LinearProbe, Mask, ProbeResult, as_labels, is_known, score_predictions

__all__ = ["ClassScore", "LinearProbe", "ProbeResult", "attribute_baseline", "fit_probe", "fit_probes", "one_hot"]
__all__ += ["run_paper_probe", "run_probe", "standardiser"]

PROTOCOLS = ("held-out", "all-groups", "group-folds", "random-folds")
_ROTATE_UP_TO = 1024  # rows or columns: above this the decomposition costs more than it saves
_FLAT = 1e-13  # a principal axis whose square is below this share of the longest one's is rounding


def fit_probe(x_cd: Array, labels_c: NDArray, *, c: float, seed: int = 0) -> LinearProbe:
    """Multinomial logistic regression with an L2 penalty on columns standardised over exactly these clips.

    The minimum that scikit-learn's `LogisticRegression(C=c)` finds on the same standardised columns, reached faster:
    the penalty is rotation invariant, so the clips are turned to their principal axes and those are scaled to similar
    curvature. A constant column has scale 1 and weight 0. The optimum is unique, so `seed` changes nothing; it is taken
    so that every fit is called alike. Raises ValueError for fewer than two classes.
    """
    del seed
    return fit_probes(x_cd, labels_c, c_grid=(c,))[0]


def fit_probes(x_cd: Array, labels_c: NDArray, *, c_grid: Sequence[float]) -> list[LinearProbe]:
    """`fit_probe` for several C on the same clips, sharing the decomposition and starting each from the one before."""
    classes, y = np.unique(np.asarray(labels_c, dtype=object).astype(str), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"A probe needs at least two classes; these clips have {len(classes)}: {list(classes)}.")
    center_d, scale_d, varies_d = standardiser(x_cd)
    turned = _principal_axes((np.asarray(x_cd, np.float64)[:, varies_d] - center_d[varies_d]) / scale_d[varies_d])
    onehot = np.eye(len(classes))[y]
    start = np.zeros((turned.z.shape[1] + 1, len(classes)))
    probes = []
    for c in c_grid:
        # Two classes: scikit-learn fits one weight vector w; softmax with +-w/2 has the same penalty at C / 2.
        start = _minimise(turned, onehot, c / 2 if len(classes) == 2 else c, start)
        weights = np.zeros((len(classes), len(varies_d)))
        weights[:, varies_d] = (start[:-1] if turned.back_dr is None else turned.back_dr @ start[:-1]).T
        probes.append(LinearProbe(tuple(classes.tolist()), center_d, scale_d, weights, start[-1].copy()))
    return probes


def standardiser(x_cd: Array) -> tuple[Floats, Floats, Mask]:
    """(mean, standard deviation, whether it varies) of each column. A constant one has the scale 1."""
    x = np.asarray(x_cd, np.float64)
    if not len(x):
        return np.zeros(x.shape[1]), np.ones(x.shape[1]), np.zeros(x.shape[1], dtype=bool)
    varies = np.ptp(x, axis=0) > 0
    scale = np.where(varies, x.std(axis=0), 1.0)
    varies &= scale > 0  # a spread below what float64 can square
    return x.mean(axis=0), np.where(varies, scale, 1.0), varies


@dataclass(frozen=True, eq=False)
class _Rotated:
    """Clips on their principal axes (n, r), each column's mean square, and what turns weights back (None: nothing)."""

    z: Floats
    size_r: Floats
    back_dr: Floats | None


def _principal_axes(z: Floats) -> _Rotated:
    """Turn the clips to their principal axes. Axes without length are left out: no weight can lie on them."""
    n, d = z.shape
    if min(n, d) > _ROTATE_UP_TO or min(n, d) == 0:
        return _Rotated(z, np.mean(z**2, axis=0), None)
    squares, vectors = np.linalg.eigh(z @ z.T if n < d else z.T @ z)
    kept = squares > _FLAT * max(float(squares[-1]), 0.0)
    squares, vectors = squares[kept][::-1], vectors[:, kept][:, ::-1]
    if n < d:  # the axes themselves are z.T @ vectors / length
        lengths = np.sqrt(squares)
        return _Rotated(vectors * lengths, squares / n, z.T @ (vectors / lengths))
    return _Rotated(z @ vectors, squares / n, vectors)


def _minimise(turned: _Rotated, onehot: Floats, c: float, start: Floats) -> Floats:
    """The weights (axes + intercept last, classes) at the minimum of sum log-loss + |W|^2 / 2C."""
    z, (n, k) = turned.z, onehot.shape
    penalty = 1.0 / (c * n)
    # Unknowns are scaled so that the curvature at zero weights is near 1 along every axis.
    unit = 1.0 / np.sqrt(np.append(turned.size_r / k + penalty, 1.0 / k))[:, None]

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = unit * flat.reshape(-1, k)
        logits = z @ w[:-1] + w[-1]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        total = shares.sum(axis=1, keepdims=True)
        value = np.mean(np.log(total[:, 0]) - np.sum(onehot * logits, axis=1)) + 0.5 * penalty * np.sum(w[:-1] ** 2)
        error = (shares / total - onehot) / n
        gradient = np.vstack([z.T @ error + penalty * w[:-1], error.sum(axis=0)])
        return float(value), (unit * gradient).ravel()

    options = {"maxiter": 2000, "maxfun": 4000, "gtol": 1e-6, "ftol": 1e-15}
    found = minimize(loss, (start / unit).ravel(), jac=True, method="L-BFGS-B", options=options)
    return unit * found.x.reshape(-1, k)


def run_probe(
    x_cd: Array,
    labels_c: NDArray,
    groups_c: NDArray,
    *,
    protocol: str,
    train_mask_c: Mask,
    heldout_mask_c: Mask,
    folds_c: NDArray[np.integer],
    c_grid: Sequence[float],
    seed: int,
    x_by_fold: Mapping[int, Array] | None = None,
) -> ProbeResult:
    """Score a probe under one protocol. `x_by_fold` takes the place of `x_cd` where a fold is scored.

    'held-out': fitted on the training clips, scored on the held-out ones; with several `c_grid` values C is the one
    with the best out-of-fold accuracy over `folds_c` inside train (the smaller at a tie). 'all-groups': out-of-fold
    predictions over `folds_c` (-1: in no fold), of all clips. 'group-folds' and 'random-folds': the same inside train.
    C is chosen inside each fold's fitting part, where there are several. A class with no fitting clip cannot be
    predicted: its clips are not scored and `reason` says how many.
    Scores are None with a reason where there is nothing to score: no label, one class, one group, or (where the split
    is by group) a group on both sides. Never raises for such data; ValueError for an unknown protocol.
    """
    labels = as_labels(labels_c)
    known = is_known(labels)
    groups = np.asarray(groups_c, dtype=object).astype(str)
    train, heldout = np.asarray(train_mask_c, bool) & known, np.asarray(heldout_mask_c, bool) & known
    folds = np.where(known if protocol == "all-groups" else train, np.asarray(folds_c), -1)
    empty = ProbeResult(protocol, seed)
    if protocol == "held-out":
        parts, numbers = [(train, heldout)], [-1]
    elif protocol in ("all-groups", "group-folds", "random-folds"):
        inside = folds >= 0
        numbers = np.unique(folds[inside]).tolist()
        parts = [(inside & (folds != fold), folds == fold) for fold in numbers]
    else:
        raise ValueError(f"Unknown protocol {protocol!r}: use {', '.join(map(repr, PROTOCOLS))}.")
    reason = _why_not(labels, groups, parts, by_group=protocol != "random-folds")
    if reason:
        return replace(empty, reason=reason)
    predictions, fitted = np.full(len(labels), None, dtype=object), np.zeros(len(labels), dtype=bool)
    chosen, probe, unseen = set(), None, np.zeros(len(labels), dtype=bool)
    for fold, (fit, score) in zip(numbers, parts, strict=True):
        classes = np.unique(labels[fit].astype(str))
        unseen |= score & ~np.isin(np.where(known, labels, "").astype(str), classes)
        if len(classes) < 2:
            continue
        x = x_cd if x_by_fold is None else x_by_fold[fold]
        c = c_grid[0] if len(c_grid) == 1 else _choose_c(x[fit], labels[fit], folds[fit], c_grid)
        probe = fit_probe(x[fit], labels[fit], c=c, seed=seed)
        chosen.add(c)
        score = score & ~unseen
        predictions[score] = probe.predict(x[score])
        fitted |= fit
    result = score_predictions(empty, labels, predictions, labels[fitted], groups, unseen)
    c_used = float(next(iter(chosen))) if len(chosen) == 1 else None
    return replace(result, c=c_used, probe=probe if protocol == "held-out" else None)


def _why_not(labels: NDArray, groups: NDArray, parts: list[tuple[Mask, Mask]], *, by_group: bool) -> str | None:
    """Why these parts cannot be scored at all, in words; None when they can."""
    fit_any = np.any([fit for fit, _ in parts], axis=0) if parts else np.zeros(len(labels), bool)
    score_any = np.any([score for _, score in parts], axis=0) if parts else np.zeros(len(labels), bool)
    used = fit_any | score_any
    if not used.any():
        return "no labelled clip"
    if not score_any.any():
        return "no labelled clip to score"
    if by_group and len(set(groups[used])) < 2:
        return f"only one group ({groups[used][0]}): nothing can be concluded about unseen groups"
    if not fit_any.any():
        return "only one fold: there is no other to fit on" if len(parts) == 1 else "no labelled clip to fit on"
    n_classes = len(set(labels[fit_any]))
    if n_classes < 2:
        return f"a probe needs two classes; the fitting clips have {n_classes}"
    for fit, score in parts:
        shared = shared_groups(groups, fit, score) if by_group else []
        if shared:
            return f"a leak: {count(len(shared), 'group')} on both sides of the split, such as {shared[0]}"
    return None


def _choose_c(x_cd: Array, labels: NDArray, folds: NDArray[np.integer], c_grid: Sequence[float]) -> float:
    """The C with the most right out-of-fold predictions; the smallest at a tie, or when there are no folds."""
    grid = sorted(c_grid)
    right = np.zeros(len(grid), dtype=int)
    for fold in np.unique(folds[folds >= 0]):
        fit, score = (folds >= 0) & (folds != fold), folds == fold
        if len(set(labels[fit])) < 2:
            continue
        probes = fit_probes(x_cd[fit], labels[fit], c_grid=grid)
        right += [int(np.sum(probe.predict(x_cd[score]) == labels[score])) for probe in probes]
    return grid[int(np.argmax(right))]


def one_hot(attributes: Sequence[NDArray], fit_mask_c: Mask) -> NDArray[np.float32]:
    """(clips, categories) 0/1 columns of all attributes, categories taken from the fitting clips only.

    A category that no fitting clip has, and a missing value, are zeros in all columns of their attribute.
    """
    blocks = [np.zeros((len(fit_mask_c), 0), np.float32)]
    for attribute in attributes:
        values = as_labels(attribute)
        categories = sorted({value for value in values[np.asarray(fit_mask_c, bool)] if value is not None})
        blocks.append(
            np.array([[v == name for name in categories] for v in values], np.float32).reshape(len(values), -1)
        )
    return np.concatenate(blocks, axis=1)


def attribute_baseline(
    attributes: Sequence[NDArray],
    labels_c: NDArray,
    groups_c: NDArray,
    *,
    protocol: str,
    train_mask_c: Mask,
    heldout_mask_c: Mask,
    folds_c: NDArray[np.integer],
    c_grid: Sequence[float],
    seed: int,
) -> ProbeResult:
    """`run_probe` on nothing but attributes, one-hot: what gives the label away without listening."""
    return run_probe(
        one_hot(attributes, np.asarray(folds_c) >= 0 if protocol == "all-groups" else train_mask_c),
        labels_c,
        groups_c,
        protocol=protocol,
        train_mask_c=train_mask_c,
        heldout_mask_c=heldout_mask_c,
        folds_c=folds_c,
        c_grid=c_grid,
        seed=seed,
    )


def run_paper_probe(
    x_train: Array,
    y_train: NDArray,
    x_valid: Array,
    y_valid: NDArray,
    x_test: Array,
    y_test: NDArray,
    seed: int,
    groups_test: NDArray | None = None,
) -> ProbeResult:
    """The published probe: one linear layer on unscaled columns, Adam 1e-3, batch 32, 120 epochs, lowest validation
    loss.

    Scored on the test clips; `predictions` is over them. Classes are those of the training clips. Without `groups_test`
    there are no group rows. x_train may be (clips, crops, d): each epoch then draws one crop of each clip, as
    published. Initial weights and the order of the batches come from `seed`. Scores are None with a
    reason where a part has no labelled clip or train has one class. Source: `protocol.probe` in paper_results.json.
    """
    result = ProbeResult("paper", seed)
    train, valid, test = as_labels(y_train), as_labels(y_valid), as_labels(y_test)
    classes = sorted({label for label in train if label is not None})
    unseen = np.array([label is not None and label not in classes for label in test], dtype=bool)
    known = [np.array([label in classes for label in part], dtype=bool) for part in (train, valid, test)]
    if len(classes) < 2:
        return replace(result, reason=f"a probe needs two classes; the training clips have {len(classes)}")
    if not known[1].any() or not known[2].any():
        return replace(
            result, reason=f"no labelled clip of a known class in the {'test' if known[1].any() else 'validation'} part"
        )
    index = {name: i for i, name in enumerate(classes)}
    fit, check = (
        (np.asarray(x, np.float32)[rows], np.array([index[label] for label in part[rows]]))
        for x, part, rows in ((x_train, train, known[0]), (x_valid, valid, known[1]))
    )
    weights, intercept = _train_linear_layer(*fit, *check, n_classes=len(classes), seed=seed)
    d = weights.shape[1]
    probe = LinearProbe(tuple(classes), np.zeros(d), np.ones(d), weights, intercept)
    predictions = np.full(len(test), None, dtype=object)
    predictions[known[2]] = probe.predict(np.asarray(x_test)[known[2]])
    groups = np.full(len(test), "", dtype=object) if groups_test is None else np.asarray(groups_test, dtype=object)
    scored = score_predictions(result, test, predictions, train[known[0]], groups.astype(str), unseen)
    if groups_test is None:
        scored = replace(scored, groups=(), n_groups=0, ci_low=None, ci_high=None)
    return replace(scored, probe=probe)


def _train_linear_layer(
    x: NDArray[np.float32], y: NDArray, x_valid: NDArray[np.float32], y_valid: NDArray, *, n_classes: int, seed: int
) -> tuple[Floats, Floats]:
    """(weights_kd, intercept_k) of the epoch with the lowest validation loss; initialised as torch.nn.Linear is."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    bound = 1.0 / np.sqrt(x.shape[-1])
    weight = ((torch.rand(n_classes, x.shape[-1], generator=generator) * 2 - 1) * bound).requires_grad_()
    bias = ((torch.rand(n_classes, generator=generator) * 2 - 1) * bound).requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=1e-3, fused=True)
    crops, targets = torch.from_numpy(x), torch.from_numpy(y)
    inputs_valid, targets_valid = torch.from_numpy(x_valid), torch.from_numpy(y_valid)
    cross_entropy, linear = torch.nn.functional.cross_entropy, torch.nn.functional.linear
    best, kept = float("inf"), (weight.detach().clone(), bias.detach().clone())
    for _ in range(120):
        inputs = crops
        if crops.ndim == 3:
            drawn = torch.randint(crops.shape[1], (len(crops),), generator=generator)
            inputs = crops[torch.arange(len(crops)), drawn]
        order = torch.randperm(len(inputs), generator=generator)
        for batch, truth in zip(inputs[order].split(32), targets[order].split(32), strict=True):
            optimiser.zero_grad()
            cross_entropy(linear(batch, weight, bias), truth).backward()
            optimiser.step()
        with torch.no_grad():
            lowest = float(cross_entropy(linear(inputs_valid, weight, bias), targets_valid))
        if lowest < best:
            best, kept = lowest, (weight.detach().clone(), bias.detach().clone())
    return kept[0].double().numpy(), kept[1].double().numpy()
