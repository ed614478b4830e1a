"""What is known only once all bundles are together: fixed factors, averages an SAE, stability, diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.factors import FACTORS
from precompute.diagnostics import diagnose
from precompute.metrics import disentanglement

N_FACTORS = 10
Tables = dict[str, pd.DataFrame]


def finish_tables(tables: Tables, runs: Sequence[dict[str, Any]]) -> None:
    """Fill in, in place, the columns and tables that follow from the others."""
    if "factor_scores" in tables:
        tables["factor_scores"] = mark_fixed_set(tables["factor_scores"], tables["representations"])
    if "saes" in tables:
        tables["saes"] = average_factors(tables["saes"], tables.get("factor_scores"))
        weights = weights_of_predicted(tables.get("lasso_weights"), tables.get("factor_scores"))
        tables["features"] = describe_features(tables["features"], tables.get("feature_stability"), weights)
        tables["saes"]["disentanglement"] = tables["saes"].apply(
            lambda row: _weighted_disentanglement(row, weights), axis=1
        )
        tables["diagnostics"] = diagnose(tables)
    for record in runs:
        tables.setdefault("layer_choices", pd.DataFrame())
        rows = pd.DataFrame(record.get("layer_choices", []))
        tables["layer_choices"] = pd.concat([tables["layer_choices"], rows], ignore_index=True)


def mark_fixed_set(scores: pd.DataFrame, representations: pd.DataFrame) -> pd.DataFrame:
    """`factor_scores` with `is_fixed_set`: the 10 factors best predicted from dense states, by mean R2 over them.

    Held-out R2 where the store has it; a store of preset paper alone has the in-sample one. Only means above 0 count.
    """
    dense = set(representations.loc[representations["kind"] == "dense", "representation_id"])
    rows = scores[scores["representation_id"].isin(dense)]
    for protocol in ("held-out", "paper"):
        mean = rows.loc[rows["protocol"] == protocol].groupby("factor_index")["r2"].mean().dropna()
        if len(mean):
            break
    best = mean[mean > 0].sort_values(ascending=False, kind="stable").index[:N_FACTORS]
    return scores.assign(is_fixed_set=scores["factor_index"].isin(best))


def average_factors(saes: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame:
    """`saes` with informativeness, completeness and effective codes over the top 10 by R2 and over the fixed set."""
    names = ("informativeness", "completeness", "effective_codes")
    columns = {f"{name}{end}": np.full(len(saes), np.nan) for name in names for end in ("", "_fixed")}
    d_of = np.full(len(saes), np.nan)
    if scores is not None:
        by_sae = {key: rows for key, rows in scores.groupby(["representation_id", "protocol"])}
        for at, (sae_id, protocol) in enumerate(zip(saes["sae_id"], saes["protocol"], strict=True)):
            rows = by_sae.get((sae_id, protocol))
            if rows is None:
                continue
            top = rows.dropna(subset=["r2"]).sort_values("r2", ascending=False, kind="stable").head(N_FACTORS)
            for end, part in (("", top), ("_fixed", rows[rows["is_fixed_set"]])):
                columns[f"informativeness{end}"][at] = part["r2"].mean()
                columns[f"completeness{end}"][at] = part["completeness"].mean()
                columns[f"effective_codes{end}"][at] = part["effective_codes"].mean()
            d_of[at] = rows["completeness_d"].max()
    return saes.assign(**columns, completeness_d=pd.Series(d_of, index=saes.index).astype("Int64"))


def weights_of_predicted(weights: pd.DataFrame | None, scores: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rows of `lasso_weights` of factors that are predicted: r2 > max(0, r2_permuted). All of them under `paper`,
    whose protocol has no such gate. None where there are no weights."""
    if weights is None or scores is None:
        return None
    names = ["representation_id", "protocol", "factor_index"]
    is_kept = (scores["protocol"] == "paper") | ((scores["r2"] > 0) & (scores["r2"] > scores["r2_permuted"]))
    return weights.merge(scores.loc[is_kept, names], on=names)


def describe_features(
    features: pd.DataFrame, stability: pd.DataFrame | None, weights: pd.DataFrame | None
) -> pd.DataFrame:
    """`features` with stability over seeds, the factor each weighs in most, and its disentanglement.

    `weights`: those that `weights_of_predicted` left; a feature without any has no best factor.
    """
    features = features.drop(columns=["stability", "stability_n_seeds"], errors="ignore")
    if stability is not None:
        features = features.merge(stability, on=["sae_id", "feature"], how="left")
    if weights is None:
        return features
    codes = weights[weights["representation_id"].isin(set(features["sae_id"]))]
    if codes.empty:
        return features
    strongest = codes.loc[
        codes.assign(size=codes["weight"].abs()).groupby(["representation_id", "dim"])["size"].idxmax()
    ]
    best = pd.DataFrame(
        {
            "sae_id": strongest["representation_id"],
            "feature": strongest["dim"],
            "best_factor": [FACTORS[index].name for index in strongest["factor_index"]],
            "best_factor_weight": strongest["weight"],
        }
    )
    parts = [_disentanglement_rows(str(sae_id), rows) for sae_id, rows in codes.groupby("representation_id")]
    features = features.merge(best, on=["sae_id", "feature"], how="left")
    return features.merge(pd.concat(parts), on=["sae_id", "feature"], how="left")


def _dense_weights(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(features that have a weight, their weights of all factors): a feature without one adds nothing."""
    features, place = np.unique(rows["dim"].to_numpy(dtype=int), return_inverse=True)
    weights_fg = np.zeros((len(features), len(FACTORS)))
    weights_fg[place, rows["factor_index"].to_numpy(dtype=int)] = rows["weight"]
    return features, weights_fg


def _disentanglement_rows(sae_id: str, rows: pd.DataFrame) -> pd.DataFrame:
    features, weights_fg = _dense_weights(rows)
    per_feature, _ = disentanglement(weights_fg)
    known = np.isfinite(per_feature)
    return pd.DataFrame({"sae_id": sae_id, "feature": features[known], "disentanglement": per_feature[known]})


def _weighted_disentanglement(sae: pd.Series, weights: pd.DataFrame | None) -> float:
    if weights is None:
        return float("nan")
    rows = weights[(weights["representation_id"] == sae["sae_id"]) & (weights["protocol"] == sae["protocol"])]
    return disentanglement(_dense_weights(rows)[1])[1] if len(rows) else float("nan")
