"""One dictionary's codes over the clips, drawn at random, and every table that hangs on its features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from explorer.store import write_parquet
from precompute.top_clips import N_INTERVALS, N_RANDOM, PER_INTERVAL, histograms

N_TOP, N_NEIGHBOURS = 12, 6
DEAD_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class DrawnCodes:
    """Codes (clips, features) with exactly k active a clip, and what the store says of the clips and features."""

    codes_cf: np.ndarray
    k: int

    @classmethod
    def draw(cls, rng: np.random.Generator, n_clips: int, n_features: int, k: int) -> DrawnCodes:
        """Features differ in how readily they are active; the last DEAD_SHARE of them never are."""
        pre_cf = rng.gumbel(size=(n_clips, n_features)).astype(np.float32) + rng.normal(size=n_features).astype("f4")
        pre_cf[:, n_features - round(DEAD_SHARE * n_features) :] = -np.inf
        kth_c = np.partition(pre_cf, n_features - k, axis=1)[:, n_features - k, None]
        return cls(np.where(pre_cf >= kth_c, pre_cf - kth_c + np.float32(0.1), np.float32(0)), k)

    def rows(self) -> pd.DataFrame:
        """(clip_index, feature, value) of every non-zero activation, by clip."""
        clips, features = np.nonzero(self.codes_cf)
        values = self.codes_cf[clips, features]
        return pd.DataFrame({"clip_index": clips.astype("int32"), "feature": features.astype("int32"), "value": values})

    def live(self) -> np.ndarray:
        """The features that are ever active."""
        return np.flatnonzero(self.codes_cf.max(axis=0) > 0)

    def feature_columns(self, groups_c: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The columns of `features` that codes tell, and a place on the map."""
        active_cf = self.codes_cf > 0
        n_active = active_cf.sum(axis=0)
        n_features = len(n_active)
        with np.errstate(invalid="ignore"):
            mean = self.codes_cf.sum(axis=0, dtype=np.float64) / n_active
        in_group = np.stack([active_cf[groups_c == group].any(axis=0) for group in np.unique(groups_c)])
        xy = rng.normal(size=(n_features, 2)) + 6 * rng.normal(size=(12, 2))[np.arange(n_features) % 12]
        xy[n_active == 0] = np.nan
        return {
            "n_active": n_active,
            "density": n_active / len(active_cf),
            "mean_active": mean,
            "max_value": self.codes_cf.max(axis=0).astype(np.float64),
            "is_dead": n_active == 0,
            "is_dense": n_active > len(active_cf) / 2,
            "n_groups_active": in_group.sum(axis=0),
            "map_x": xy[:, 0],
            "map_y": xy[:, 1],
        }

    def histograms(self) -> pd.DataFrame:
        """As precompute makes them."""
        return histograms(self.codes_cf)

    def label_counts(self, labels_c: np.ndarray) -> pd.DataFrame:
        """On how many clips of each label every feature is active."""
        names, codes = np.unique(labels_c, return_inverse=True)
        one_lc = (codes == np.arange(len(names))[:, None]).astype(np.float32)
        n_active_lf = one_lc @ (self.codes_cf > 0).astype(np.float32)
        n_clips_l = one_lc.sum(axis=1)
        mean_lf = one_lc @ self.codes_cf / n_clips_l[:, None]
        feature, label = np.nonzero(n_active_lf.T)
        return pd.DataFrame(
            {
                "feature": feature,
                "label": pd.Categorical.from_codes(label, categories=list(names)),
                "n_active": n_active_lf[label, feature].astype("int32"),
                "n_clips": n_clips_l[label].astype("int32"),
                "mean_value": mean_lf[label, feature].astype(np.float64),
            }
        )

    def listed_clips(self, rng: np.random.Generator) -> pd.DataFrame:
        """The lists of every live feature, as many as precompute lists: top, intervals, random."""
        live, (n_clips, _) = self.live(), self.codes_cf.shape
        codes_cl = self.codes_cf[:, live]
        n_drawn = N_INTERVALS * PER_INTERVAL
        top_tl = _largest(codes_cl, N_TOP)
        drawn_tl = _largest((codes_cl > 0) * rng.random(codes_cl.shape, dtype=np.float32), n_drawn)
        common_tl = np.repeat(rng.permutation(n_clips)[:N_RANDOM, None], len(live), axis=1)
        clips_lt = np.concatenate([top_tl, drawn_tl, common_tl]).T
        kind = np.repeat([0, 1, 2], [len(top_tl), len(drawn_tl), len(common_tl)])
        rank = np.concatenate([np.arange(len(top_tl)), np.arange(len(drawn_tl)) % PER_INTERVAL, np.arange(N_RANDOM)])
        low = np.full(len(kind), np.nan)
        low[kind == 1] = (np.arange(len(drawn_tl)) // PER_INTERVAL) / N_INTERVALS
        feature = np.repeat(live, len(kind))
        clips, largest = clips_lt.ravel(), np.repeat(codes_cl.max(axis=0), len(kind)).astype(np.float64)
        value = self.codes_cf[clips, feature].astype(np.float64)
        frame = pd.DataFrame(
            {
                "feature": feature,
                "kind": pd.Categorical.from_codes(np.tile(kind, len(live)), ["top", "interval", "random"]),
                "interval_low": np.tile(low, len(live)) * largest,
                "interval_high": np.tile(low + 1 / N_INTERVALS, len(live)) * largest,
                "rank": np.tile(rank, len(live)),
                "clip_index": clips,
                "value": value,
                "preactivation": np.where(value > 0, value, 0.05),
                "kth_value": 0.1,
                "is_active": value > 0,
            }
        )
        return frame[frame["is_active"] | (frame["kind"] == "random")]


def _largest(values_cl: np.ndarray, n: int) -> np.ndarray:
    """The rows of the n largest values of each column, largest first."""
    values_lc = np.ascontiguousarray(values_cl.T)
    found_ln = np.argpartition(-values_lc, n - 1, axis=1)[:, :n]
    order_ln = np.argsort(-np.take_along_axis(values_lc, found_ln, axis=1), axis=1)
    return np.take_along_axis(found_ln, order_ln, axis=1).T


def neighbours(live: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Neighbours of both kinds of every live feature."""
    n = len(live) * 2 * N_NEIGHBOURS
    rank = np.tile(np.arange(N_NEIGHBOURS), 2 * len(live))
    kind = np.tile(np.repeat([0, 1], N_NEIGHBOURS), len(live))
    return pd.DataFrame(
        {
            "feature": np.repeat(live, 2 * N_NEIGHBOURS),
            "kind": pd.Categorical.from_codes(kind, ["decoder", "lift"]),
            "rank": rank,
            "other": rng.choice(live, n),
            "value": np.where(kind == 0, 0.8 - 0.1 * rank, 6.0 - rank) + 0.1 * rng.random(n),
        }
    )


def attribute_shares(live: np.ndarray, columns: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Shares of variance of every live feature by each of `columns`."""
    names = pd.Categorical.from_codes(np.tile(np.arange(len(columns)), len(live)), columns)
    return pd.DataFrame(
        {"feature": np.repeat(live, len(columns)), "column_name": names, "share": rng.random(len(names)) ** 3}
    )


def write_codes(rows: pd.DataFrame, by_clip: Path, by_feature: Path) -> None:
    """Both orders of one dictionary's codes."""
    write_parquet(rows, by_clip, order_by=["clip_index", "feature"])
    write_parquet(rows, by_feature, order_by=["feature", "clip_index"])


def write_traces(listed: pd.DataFrame, path: Path, n_points: int, hop_s: float, rng: np.random.Generator) -> None:
    """A trace of noise for every listed clip; noise packs worse than any real trace."""
    pairs = listed[["feature", "clip_index"]].drop_duplicates()
    noise = rng.integers(0, 256, (len(pairs), n_points), dtype=np.uint8)
    points = np.empty(len(pairs), dtype=object)
    points[:] = [row.tobytes() for row in noise]
    columns = {
        "feature": pairs["feature"].astype("int32"),
        "clip_index": pairs["clip_index"].astype("int32"),
        "n_points": np.int32(n_points),
        "t0_s": hop_s / 2,
        "hop_s": hop_s,
        "low": np.float32(-0.5),
        "step": np.float32(2.0 / 255),
        "padded_share": 0.0,
        "points": points,
    }
    write_parquet(pd.DataFrame(columns), path, order_by=["feature", "clip_index"], row_group_size=2048)
