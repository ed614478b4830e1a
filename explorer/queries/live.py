"""What a store knows that a new sound is read against: features, probes, Lasso models, factors of the corpus, codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explorer.prediction import FactorModels, LabelProbe
from explorer.queries.against import VALUES
from explorer.queries.corpus import plain, record
from explorer.queries.factors import predicted
from explorer.queries.labels import shown_label
from explorer.store import Store

PROTOCOLS = ("held-out", "paper")  # the better one that a store has
N_BINS = 24


def fetch_encoder(store: Store, encoder_id: str) -> dict[str, Any]:
    """The row of `encoders`, as plain values."""
    return record(store.query("SELECT * FROM encoders WHERE encoder_id = ?", [encoder_id]))


def fetch_places(store: Store) -> list[str]:
    """Where this store's runs found their encoders ('hubert=DIR'), the newest run's first. May be of other machines."""
    rows = store.query(
        "SELECT unnest(json_extract_string(config_json, '$.encoders[*]')) AS place, started_at FROM runs "
        "ORDER BY started_at DESC"
    )
    return list(dict.fromkeys(str(place) for place in rows["place"]))


def fetch_live_features(store: Store, sae_id: str) -> pd.DataFrame:
    """A row a feature, by feature: what it is called and how it is active in the corpus.

    feature, label (shown), density (%), max_value, preactivation_mean, is_dense, n_zero, n_active, quantiles
    (101 of the non-zero activations, None where there are none).
    """
    return store.query(
        f"SELECT f.feature, {shown_label('f')} AS label, 100 * f.density AS density, f.max_value, "  # noqa: S608
        "f.preactivation_mean, f.is_dense, f.n_active, h.quantiles, "
        "coalesce(h.n_zero, (SELECT count(*) FROM clips)) AS n_zero "
        "FROM features f LEFT JOIN feature_histograms h USING (sae_id, feature) WHERE f.sae_id = ? ORDER BY f.feature",
        [sae_id],
    )


def fetch_label_probe(store: Store, representation_id: str) -> LabelProbe | None:
    """The probe of labels on these codes that was fitted on the training part, held-out before paper; None where there
    is none."""
    rows = store.query(
        "SELECT p.probe_id, p.label_name, p.protocol, p.accuracy, p.chance, p.n_clips, p.n_groups, "
        "w.class, w.intercept, w.weights "
        "FROM probes p JOIN probe_weights w USING (probe_id) "
        "WHERE p.representation_id = ? AND list_contains(?::TEXT[], p.protocol) "
        "ORDER BY list_position(?::TEXT[], p.protocol), p.seed, p.probe_id, w.class",
        [representation_id, list(PROTOCOLS), list(PROTOCOLS)],
    )
    rows = rows[rows["probe_id"] == rows["probe_id"].iloc[0]] if len(rows) else rows
    if rows.empty:
        return None
    scaler = store.query("SELECT center, scale FROM probe_scalers WHERE probe_id = ?", [rows["probe_id"].iloc[0]])
    return LabelProbe(
        classes=tuple(rows["class"].astype(str)),
        center_d=np.asarray(scaler["center"].iloc[0], np.float64),
        scale_d=np.asarray(scaler["scale"].iloc[0], np.float64),
        weights_kd=np.stack([np.asarray(row, np.float64) for row in rows["weights"]]),
        intercept_k=rows["intercept"].to_numpy(np.float64),
        label_name=str(rows["label_name"].iloc[0]),
        protocol=str(rows["protocol"].iloc[0]),
        accuracy=plain(rows["accuracy"].iloc[0]),
        chance=plain(rows["chance"].iloc[0]),
        n_clips=plain(rows["n_clips"].iloc[0]),
        n_groups=plain(rows["n_groups"].iloc[0]),
    )


def fetch_factor_models(store: Store, representation_id: str) -> FactorModels | None:
    """The Lasso models of all factors that these codes were scored for, held-out before paper; None where there is
    none."""
    there = store.query("SELECT DISTINCT protocol FROM lasso_models WHERE representation_id = ?", [representation_id])
    protocol = next((name for name in PROTOCOLS if name in set(there["protocol"])), None)
    if protocol is None:
        return None
    models = store.query(
        f"SELECT m.*, coalesce(s.r2_all, s.r2) AS r2, {predicted('s')} AS is_predicted, s.untested FROM lasso_models m "  # noqa: S608
        "LEFT JOIN factor_scores s USING (representation_id, protocol, factor_index) "
        "WHERE m.representation_id = ? AND m.protocol = ? ORDER BY m.factor_index",
        [representation_id, protocol],
    )
    scaler = store.query(
        "SELECT x_mean, x_scale FROM lasso_scalers WHERE representation_id = ? AND protocol = ?",
        [representation_id, protocol],
    ).iloc[0]
    entries = store.query(
        "SELECT factor_index, dim, weight FROM lasso_weights WHERE representation_id = ? AND protocol = ?",
        [representation_id, protocol],
    )
    x_mean = np.asarray(scaler["x_mean"], np.float64)
    weights = np.zeros((len(models), len(x_mean)))
    row_of = pd.Series(np.arange(len(models)), index=models["factor_index"])
    weights[row_of[entries["factor_index"]].to_numpy(), entries["dim"].to_numpy()] = entries["weight"].to_numpy()
    columns = {name: models[name].to_numpy(np.float64) for name in ("intercept", "y_mean", "y_scale")}
    return FactorModels(
        factor_index_m=models["factor_index"].to_numpy(np.int64),
        r2_m=models["r2"].to_numpy(np.float64, na_value=np.nan),
        is_tested_m=models["untested"].isna().to_numpy(),
        is_predicted_m=models["is_predicted"].astype("boolean").fillna(False).to_numpy(bool),
        x_mean_f=x_mean,
        x_scale_f=np.asarray(scaler["x_scale"], np.float64),
        weights_mf=weights,
        intercept_m=columns["intercept"],
        y_mean_m=columns["y_mean"],
        y_scale_m=columns["y_scale"],
        protocol=protocol,
        knots_m=tuple(_knots(knots) for knots in models["knots"]),
    )


def _knots(held: Any) -> np.ndarray | None:
    """The knots of a ranked factor; None where it is not."""
    return np.asarray(held, np.float64) if np.ndim(held) == 1 and len(held) > 1 else None


def fetch_factor_spread(store: Store) -> pd.DataFrame:
    """Every factor and other measure that is predicted, and how it lies in the corpus: factor_index, name,
    display_name, unit, factor_group, n, low, median and high (5th, 50th, 95th percentile)."""
    return store.query(
        "SELECT f.factor_index, f.name, f.display_name, f.unit, f.factor_group, count(v.value)::INTEGER AS n, "  # noqa: S608
        "quantile_cont(v.value, 0.05) AS low, quantile_cont(v.value, 0.5) AS median, "
        "quantile_cont(v.value, 0.95) AS high "
        f"FROM factors f LEFT JOIN {VALUES} v USING (factor_index) GROUP BY ALL ORDER BY f.factor_index"
    )


def fetch_factor_histograms(store: Store) -> pd.DataFrame:
    """How each factor is spread over the corpus between its 1st and 99th percentile: factor_index, counts (N_BINS,) and
    edges (N_BINS + 1,). Factors that no clip has are left out."""
    rows = store.query(
        f"SELECT factor_index, list(value) AS held FROM {VALUES} WHERE isfinite(value) "  # noqa: S608
        "GROUP BY factor_index ORDER BY factor_index"
    )
    parts = [np.histogram(values, N_BINS, tuple(np.quantile(values, (0.01, 0.99)))) for values in rows["held"]]
    return pd.DataFrame(
        {"factor_index": rows["factor_index"], "counts": [one for one, _ in parts], "edges": [one for _, one in parts]}
    )


def fetch_original(store: Store, clip_index: int) -> dict[str, Any]:
    """Where a clip was cut: path (relative to the data set's root), sha256, start_s, duration_s, preview, roots (of
    the store's runs, newest first; they may be of other machines). What is not stored is None."""
    rows = store.query(
        "SELECT f.path, f.sha256, c.start_s, c.duration_s, c.preview FROM clips c "
        "LEFT JOIN files f USING (file_id) WHERE c.clip_index = ?",
        [clip_index],
    )
    roots = store.query("SELECT config_json->>'root' AS root FROM runs ORDER BY started_at DESC")
    return record(rows) | {"roots": list(dict.fromkeys(str(root) for root in roots["root"].dropna()))}


def fetch_clips_named(store: Store, text: str, limit: int) -> pd.DataFrame:
    """clip_index, clip_id, title and group_id of the first clips whose title or id holds every word of `text`."""
    words = text.lower().split()
    return store.query(
        "SELECT clip_index, clip_id, title, group_id FROM clips WHERE NOT is_silent "
        "AND len(list_filter(?::TEXT[], lambda w: NOT contains(lower(title || ' ' || clip_id), w))) = 0 "
        "ORDER BY clip_index LIMIT ?",
        [words, limit],
    )
