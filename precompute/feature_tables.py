"""One SAE's codes over the corpus, as the store's tables of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explorer.sae import SAE, top_k_codes
from explorer.same_as_label import same_as_label
from precompute.atlas import feature_map
from precompute.job import Job, is_categorical
from precompute.label_tables import label_columns, label_nulls, label_sae
from precompute.matching import coactivation_lift, decoder_neighbours
from precompute.metrics import Components, eta_squared, fvu, mse, pca_fvu
from precompute.top_clips import CodeMatrix, histograms, list_clips

DENSE_DENSITY = 0.5
N_NEIGHBOURS = 6
NAN = float("nan")
Columns = Mapping[str, np.ndarray]  # one value a clip


@dataclass(frozen=True, eq=False)
class AnalysedSAE:
    """An SAE run over every clip of the corpus."""

    states_cd: np.ndarray
    pre_cf: np.ndarray
    codes_cf: np.ndarray
    kth_values_c: np.ndarray

    @classmethod
    def of(cls, sae: SAE, states_cd: np.ndarray) -> AnalysedSAE:
        """Encode all clips."""
        pre_cf = sae.preactivations(states_cd)
        codes = top_k_codes(pre_cf, sae.k)
        return cls(states_cd, pre_cf, codes.dense(), codes.kth_values())

    def sparse_rows(self) -> pd.DataFrame:
        """(clip_index, feature, value) of every non-zero activation."""
        clips, features = np.nonzero(self.codes_cf)
        values = self.codes_cf[clips, features]
        return pd.DataFrame(
            {
                "clip_index": clips.astype("int32"),
                "feature": features.astype("int32"),
                "value": values.astype("float32"),
            }
        )


def sae_tables(
    job: Job, sae: SAE, analysed: AnalysedSAE, head: Mapping[str, Any], *, makes_map: bool
) -> dict[str, pd.DataFrame]:
    """The rows of `saes`, `pca_baselines`, `sae_group_errors`, `features` and of everything that hangs on a feature."""
    sae_id = str(head["sae_id"])
    codes_cf = analysed.codes_cf
    matrix = CodeMatrix(codes_cf, analysed.kth_values_c)
    arrays = job.arrays
    numbers, baselines, by_group = _reconstruction(job, sae, analysed)
    listed = list_clips(
        matrix, analysed.pre_cf, arrays.groups_c, arrays.files_c, n_top=job.config.n_top_clips, seed=int(head["seed"])
    )
    labels = label_sae(job, codes_cf)
    tables = {
        "saes": pd.DataFrame([{**head, **numbers}]),
        "pca_baselines": baselines.assign(encoder_id=head["encoder_id"], layer=head["layer"]),
        "sae_group_errors": by_group,
        "features": pd.concat(
            [_features(job, analysed, makes_map=makes_map, seed=int(head["seed"])), label_columns(job, labels)], axis=1
        ),
        "label_nulls": label_nulls(job, labels),
        "feature_histograms": histograms(codes_cf),
        "feature_attribute_shares": attribute_shares(
            codes_cf, job.arrays.labels, job.arrays.attributes, {job.corpus.group_name: job.arrays.groups_c}
        ),
        "feature_label_counts": _label_counts(job, codes_cf),
        "feature_neighbours": _neighbours(sae, codes_cf, is_live(codes_cf, job.fit_c)),
        "listed_clips": listed,
    }
    return {
        name: rows if name in ("saes", "pca_baselines") else rows.assign(sae_id=sae_id)
        for name, rows in tables.items()
        if len(rows.columns)
    }


def _reconstruction(job: Job, sae: SAE, analysed: AnalysedSAE) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    fit_c, score_c = job.fit_c, job.score_c
    states, codes = analysed.states_cd, analysed.codes_cf
    recon = codes @ sae.w_dec_fd + sae.b_dec_d
    mean_d = states[fit_c].mean(axis=0, dtype=np.float64)
    density_f = (codes > 0).mean(axis=0)
    n_live = int(is_live(codes, fit_c).sum())
    wanted = [sae.k, max(1, min(sae.d_model, n_live))]
    pca = Components.of(states[fit_c]) if fit_c.sum() > 1 else None
    baselines = pca_fvu(pca, states[score_c], wanted) if pca else []
    total = float(codes.sum())
    numbers: dict[str, Any] = {
        "mse_train": mse(states[fit_c], recon[fit_c]),
        "mse_heldout": mse(states[score_c], recon[score_c]) if score_c.any() else NAN,
        "fvu_train": fvu(states[fit_c], recon[fit_c], mean_d),
        "fvu_heldout": fvu(states[score_c], recon[score_c], mean_d) if score_c.any() else NAN,
        "l0_mean": float((codes > 0).sum(axis=1).mean()),
        "n_live": n_live,
        "n_dead": sae.n_features - n_live,
        "n_dense": int((density_f > DENSE_DENSITY).sum()),
        "dense_mass": float(codes[:, density_f > DENSE_DENSITY].sum()) / total if total else NAN,
    }
    if len(baselines) == 2 and score_c.any():
        (k_n, _, k_fvu), (live_n, _, live_fvu) = baselines
        numbers |= {"pca_k_n": k_n, "pca_k_fvu_heldout": k_fvu, "pca_live_n": live_n, "pca_live_fvu_heldout": live_fvu}
    frame = pd.DataFrame(baselines, columns=["n_components", "fvu_train", "fvu_heldout"])
    by_group = pd.DataFrame()
    if pca and score_c.any():
        by_group = group_errors(pca, sae.k, states[score_c], recon[score_c], job.arrays.groups_c[score_c])
    return numbers, frame.drop_duplicates("n_components"), by_group


def group_errors(
    pca: Components, k: int, states_cd: np.ndarray, recon_cd: np.ndarray, groups_c: np.ndarray
) -> pd.DataFrame:
    """By group of scored clips: n_clips, and the sums of squares of which FVU is a ratio, `sse` and `sse_pca_k` over
    `sst`."""
    sse_pca_c, sst_c = pca.errors(states_cd, k)
    sse_c = np.sum((np.asarray(states_cd, np.float64) - recon_cd) ** 2, axis=1)
    rows = pd.DataFrame({"group_id": groups_c.astype(str), "sse": sse_c, "sse_pca_k": sse_pca_c, "sst": sst_c})
    by_group = rows.groupby("group_id")
    return by_group.sum().assign(n_clips=by_group.size()).reset_index()


def _features(job: Job, analysed: AnalysedSAE, *, makes_map: bool, seed: int) -> pd.DataFrame:
    codes = analysed.codes_cf
    active = codes > 0
    n_active = active.sum(axis=0)
    sums = codes.sum(axis=0, dtype=np.float64)
    groups = np.unique(job.arrays.groups_c.astype(str), return_inverse=True)[1]
    n_groups = np.array([len(np.unique(groups[column])) for column in active.T])
    live = is_live(codes, job.fit_c)
    method = job.config.feature_map
    xy = feature_map(codes, live, method=method, seed=seed) if makes_map else np.full((len(live), 2), np.nan)
    return pd.DataFrame(
        {
            "feature": np.arange(codes.shape[1]),
            "n_active": n_active,
            "density": active.mean(axis=0),
            "mean_active": np.divide(sums, n_active, out=np.full(len(sums), np.nan), where=n_active > 0),
            "max_value": codes.max(axis=0),
            "is_dead": ~live,
            "is_dense": active.mean(axis=0) > DENSE_DENSITY,
            "n_groups_active": n_groups,
            "preactivation_mean": analysed.pre_cf.mean(axis=0, dtype=np.float64),
            "map_x": xy[:, 0],
            "map_y": xy[:, 1],
        }
    )


def attribute_shares(codes_cf: np.ndarray, labels: Columns, attributes: Columns, groups: Columns) -> pd.DataFrame:
    """Eta squared of activation by every column with a usable number of values, for features active on any clip:
    feature, column_name, share. An attribute that is a label under another name is left out."""
    again = {name for labels_c in labels.values() for name in same_as_label(attributes, labels_c)}
    columns = {**groups, **labels, **attributes}
    heard = np.flatnonzero(codes_cf.max(axis=0) > 0)
    parts = []
    for name, values in columns.items():
        if is_categorical(values) and name not in again:
            share_f = eta_squared(codes_cf[:, heard], values)
            parts.append(pd.DataFrame({"feature": heard, "column_name": name, "share": share_f}).dropna())
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _label_counts(job: Job, codes_cf: np.ndarray) -> pd.DataFrame:
    name = job.corpus.label_name
    if name is None or name not in job.arrays.labels:
        return pd.DataFrame()
    labels_c = job.arrays.labels[name]
    parts = []
    for label in sorted({value for value in labels_c if value is not None}):
        rows = codes_cf[labels_c == label]
        n_active = (rows > 0).sum(axis=0)
        heard = np.flatnonzero(n_active)
        values = {"feature": heard, "label": label, "n_active": n_active[heard], "n_clips": len(rows)}
        parts.append(pd.DataFrame({**values, "mean_value": rows[:, heard].mean(axis=0)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def is_live(codes_cf: np.ndarray, fit_c: np.ndarray) -> np.ndarray:
    """(f,) whether a feature is live: active on a training clip. The others are dead, whatever held-out clips do."""
    live_f: np.ndarray = codes_cf[fit_c].max(axis=0, initial=0) > 0
    return live_f


def _neighbours(sae: SAE, codes_cf: np.ndarray, live_f: np.ndarray) -> pd.DataFrame:
    """Of live features among live features."""
    parts = []
    for kind, found in (
        ("decoder", decoder_neighbours(sae.w_dec_fd, live_f, n_top=N_NEIGHBOURS)),
        ("lift", coactivation_lift(np.where(live_f, codes_cf, 0), n_top=N_NEIGHBOURS)),
    ):
        feature, rank = np.nonzero(found.other >= 0)
        values = {
            "feature": feature,
            "rank": rank,
            "other": found.other[feature, rank],
            "value": found.value[feature, rank],
        }
        parts.append(pd.DataFrame({**values, "kind": kind}))
    return pd.concat(parts, ignore_index=True)
