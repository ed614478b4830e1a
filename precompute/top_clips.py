"""Which clips a person hears for each feature, and how its activations are distributed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

N_INTERVALS = 4
PER_INTERVAL = 3
N_RANDOM = 3
N_BINS = 24
N_QUANTILES = 101


@dataclass(frozen=True)
class CodeMatrix:
    """The codes of every clip of the corpus under one SAE, dense, with what decided them."""

    codes_cf: np.ndarray  # float32 activations
    kth_values_c: np.ndarray  # the k-th largest rectified pre-activation of each clip


def list_clips(
    matrix: CodeMatrix, pre_cf: np.ndarray, groups_c: np.ndarray, files_c: np.ndarray, *, n_top: int, seed: int
) -> pd.DataFrame:
    """The listed clips of every feature that is active on any clip, as rows of `listed_clips` (without sae_id).

    top: the strongest, at most one a file, half of them the strongest of each group so that they are not one voice.
    interval: seeded draws from four equal intervals of the activation. random: seeded draws from all clips.
    """
    rows: list[tuple[int, str, float, float, int, int]] = []
    n_clips = len(groups_c)
    rng = np.random.default_rng(seed)
    common = [int(i) for i in rng.permutation(n_clips)[:N_RANDOM]]
    for feature in np.flatnonzero(matrix.codes_cf.max(axis=0) > 0).tolist():
        values = matrix.codes_cf[:, feature]
        active = np.flatnonzero(values > 0)
        order = active[np.lexsort((active, -values[active]))]
        for rank, clip in enumerate(_top_of_groups(order, groups_c, files_c, n_top)):
            rows.append((feature, "top", np.nan, np.nan, rank, clip))
        edges = np.linspace(0.0, float(values.max()), N_INTERVALS + 1)
        for low, high in itertools.pairwise(edges):
            inside = active[(values[active] > low) & (values[active] <= high)]
            drawn = rng.permutation(inside)[:PER_INTERVAL]
            rows.extend((feature, "interval", low, high, rank, int(clip)) for rank, clip in enumerate(drawn))
        rows.extend((feature, "random", np.nan, np.nan, rank, clip) for rank, clip in enumerate(common))
    names = ["feature", "kind", "interval_low", "interval_high", "rank", "clip_index"]
    frame = pd.DataFrame(rows, columns=names)
    at = (frame["clip_index"].to_numpy(dtype=int), frame["feature"].to_numpy(dtype=int))
    frame["value"] = matrix.codes_cf[at]
    frame["preactivation"] = pre_cf[at]
    frame["kth_value"] = matrix.kth_values_c[at[0]]
    frame["is_active"] = frame["value"] > 0
    return frame


def _top_of_groups(order: np.ndarray, groups_c: np.ndarray, files_c: np.ndarray, n_top: int) -> list[int]:
    """The first n_top of `order`, one a file; the strongest of each group are taken first for half of the places."""
    best_of_file: list[int] = []
    leaders: list[int] = []
    seen: set[object] = set()
    voices: set[object] = set()
    n_leaders = (n_top + 1) // 2
    for clip in order.tolist():
        if files_c[clip] in seen:
            continue
        seen.add(files_c[clip])
        best_of_file.append(clip)
        if groups_c[clip] not in voices and len(leaders) < n_leaders:
            voices.add(groups_c[clip])
            leaders.append(clip)
        if len(leaders) == n_leaders and len(best_of_file) >= n_top:
            break  # none of those that follow can be chosen
    rest = [clip for clip in best_of_file if clip not in leaders]
    chosen = set(leaders) | set(rest[: n_top - len(leaders)])
    return [clip for clip in best_of_file if clip in chosen]


def histograms(codes_cf: np.ndarray) -> pd.DataFrame:
    """Histogram and quantiles of the non-zero activations of each feature that has any: `feature_histograms`."""
    heard = np.flatnonzero(codes_cf.max(axis=0) > 0)
    ranked_lc = np.sort(codes_cf[:, heard].T.astype(np.float64), axis=1)
    n_clips = ranked_lc.shape[1]
    n_zero = (ranked_lc <= 0).sum(axis=1)
    largest = ranked_lc[:, -1]
    bins = np.minimum((ranked_lc / largest[:, None] * N_BINS).astype(int), N_BINS - 1)
    counts = np.zeros((len(heard), N_BINS), dtype=np.int32)
    rows, columns = np.nonzero(ranked_lc > 0)
    np.add.at(counts, (rows, bins[rows, columns]), 1)
    # Linear interpolation between order statistics, as numpy's default.
    place = n_zero[:, None] + np.linspace(0, 1, N_QUANTILES) * (n_clips - 1 - n_zero)[:, None]
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, n_clips - 1)
    low, high = np.take_along_axis(ranked_lc, below, axis=1), np.take_along_axis(ranked_lc, above, axis=1)
    quantiles = low + (place - below) * (high - low)
    edges = largest[:, None] * np.linspace(0, 1, N_BINS + 1)
    return pd.DataFrame(
        {
            "feature": heard,
            "n_zero": n_zero,
            "edges": list(edges.astype(np.float32)),
            "counts": list(counts),
            "quantiles": list(quantiles.astype(np.float32)),
        }
    )
