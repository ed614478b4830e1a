"""What is known only once all bundles are together: fixed factors, averages an SAE, stability, diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.factors import FACTORS
from precompute.diagnostics import diagnose
from precompute.metrics import disentanglement, effective_numbers

N_FACTORS = 10
_OF_STABILITY = ("stability", "stability_cosine", "n_returns", "stability_n_seeds")
_OWNER = ["representation_id", "protocol"]
_OF_WEIGHTS = ("disentanglement", "disentanglement_fixed", "effective_factors_fixed", "n_predicted")
Tables = dict[str, pd.DataFrame]


def finish_tables(tables: Tables, runs: Sequence[dict[str, Any]]) -> None:
    """Fill in, in place, the columns and tables that follow from the others."""
    scores = None
    if "factor_scores" in tables:
        tables["factor_scores"] = mark_fixed_set(tables["factor_scores"], tables["representations"])
        scores = tables["factor_scores"][_are_acoustic(tables["factor_scores"])]
    if "saes" in tables:
        weights = tables.get("lasso_weights")
        weights = None if weights is None else weights[_are_acoustic(weights)]
        predicted = weights_of_predicted(weights, scores)
        tables["saes"] = describe_weights(average_factors(tables["saes"], scores), weights, scores)
        for more in ("sae_stability", "sae_giants"):
            if more in tables:
                tables["saes"] = tables["saes"].merge(tables[more], on="sae_id", how="left")
        tables["features"] = describe_features(tables["features"], tables.get("feature_stability"), predicted, scores)
        tables["diagnostics"] = diagnose(tables)
    for record in runs:
        tables.setdefault("layer_choices", pd.DataFrame())
        rows = pd.DataFrame(record.get("layer_choices", []))
        tables["layer_choices"] = pd.concat([tables["layer_choices"], rows], ignore_index=True)


def _are_acoustic(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of acoustic factors: averages are over these, whatever else a corpus has numbers of."""
    return rows["factor_index"] < len(FACTORS)


def is_predicted(scores: pd.DataFrame) -> pd.Series:
    """Whether each row's factor is predicted: as it says, else (older artefacts, `paper`) r2 > max(0, r2_permuted)."""
    by_limit = (scores["r2"] > 0) & (scores["r2"] > scores["r2_permuted"])
    if "is_predicted" not in scores:
        return by_limit
    said = scores["is_predicted"].astype("boolean")
    return said.fillna(by_limit.astype("boolean")).astype(bool)


def chosen_by(scores: pd.DataFrame) -> pd.Series:
    """The R2 that factors are chosen by: over folds of training groups, which leaves the held-out ones out of every
    choice; r2 itself for `paper` and in older artefacts."""
    return scores["r2_folds"].fillna(scores["r2"]) if "r2_folds" in scores else scores["r2"]


def mark_fixed_set(scores: pd.DataFrame, representations: pd.DataFrame) -> pd.DataFrame:
    """`factor_scores` with `is_fixed_set`: the 10 factors best predicted from dense states, by mean R2 over them.

    R2 over folds of training groups where the store has it; a store of preset paper alone has the in-sample one. Only
    means above 0 count.
    """
    dense = set(representations.loc[representations["kind"] == "dense", "representation_id"])
    rows = scores.assign(by=chosen_by(scores))[scores["representation_id"].isin(dense) & _are_acoustic(scores)]
    for protocol in ("held-out", "paper"):
        mean = rows.loc[rows["protocol"] == protocol].groupby("factor_index")["by"].mean().dropna()
        if len(mean):
            break
    best = mean[mean > 0].sort_values(ascending=False, kind="stable").index[:N_FACTORS]
    return scores.assign(is_fixed_set=scores["factor_index"].isin(best))


def average_factors(saes: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame:
    """`saes` with informativeness, completeness and effective codes over the top 10 (see `chosen_by`) and over the
    fixed set: means of held-out R2, and of what its predicted factors have."""
    names = ("informativeness", "completeness", "effective_codes")
    columns = {f"{name}{end}": np.full(len(saes), np.nan) for name in names for end in ("", "_fixed")}
    d_of = np.full(len(saes), np.nan)
    if scores is not None:
        by_sae = {key: rows for key, rows in scores.assign(by=chosen_by(scores)).groupby(_OWNER)}
        for at, (sae_id, protocol) in enumerate(zip(saes["sae_id"], saes["protocol"], strict=True)):
            rows = by_sae.get((sae_id, protocol))
            if rows is None:
                continue
            top = rows.dropna(subset=["r2"]).sort_values("by", ascending=False, kind="stable").head(N_FACTORS)
            for end, part in (("", top), ("_fixed", rows[rows["is_fixed_set"]])):
                columns[f"informativeness{end}"][at] = part["r2"].mean()
                columns[f"completeness{end}"][at] = part["completeness"].mean()
                columns[f"effective_codes{end}"][at] = part["effective_codes"].mean()
            d_of[at] = rows["completeness_d"].max()
    return saes.assign(**columns, completeness_d=pd.Series(d_of, index=saes.index).astype("Int64"))


def weights_of_predicted(weights: pd.DataFrame | None, scores: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rows of `lasso_weights` of factors that are predicted. All of them under `paper`, whose protocol has no such
    gate. None where there are no weights."""
    if weights is None or scores is None:
        return None
    return weights.merge(scores.loc[_counts(scores), [*_OWNER, "factor_index"]], on=[*_OWNER, "factor_index"])


def _counts(scores: pd.DataFrame) -> pd.Series:
    return (scores["protocol"] == "paper") | is_predicted(scores)


def describe_weights(saes: pd.DataFrame, weights: pd.DataFrame | None, scores: pd.DataFrame | None) -> pd.DataFrame:
    """`saes` with disentanglement over their own n_predicted factors, and with disentanglement and effective factors
    over the fixed set, which all SAEs share. Undefined under 2 factors."""
    columns = {name: np.full(len(saes), np.nan) for name in _OF_WEIGHTS}
    if weights is not None and scores is not None:
        own = {key: list(rows["factor_index"]) for key, rows in scores[_counts(scores)].groupby(_OWNER)}
        fixed = list(scores.loc[scores["is_fixed_set"], "factor_index"].unique())
        by_sae = {key: rows for key, rows in weights.groupby(_OWNER)}
        known = set(zip(scores["representation_id"], scores["protocol"], strict=True))
        for at, key in enumerate(zip(saes["sae_id"], saes["protocol"], strict=True)):
            if key not in known:
                continue
            rows, mine = by_sae.get(key, weights.iloc[:0]), own.get(key, [])
            columns["n_predicted"][at] = len(mine)
            columns["disentanglement"][at] = disentanglement(_dense_weights(rows, mine)[1])[1]
            _, fixed_fg = _dense_weights(rows, fixed)
            columns["disentanglement_fixed"][at] = disentanglement(fixed_fg)[1]
            columns["effective_factors_fixed"][at] = _mean_by_weight(fixed_fg)
    n_predicted = pd.Series(columns.pop("n_predicted"), index=saes.index).astype("Int64")
    return saes.assign(**columns, n_predicted=n_predicted)


def _mean_by_weight(weights_fg: np.ndarray) -> float:
    """Effective factors, features weighted by their share of all |w|; NaN under 2 factors and without any weight."""
    share = np.abs(weights_fg).sum(axis=1)
    if weights_fg.shape[1] < 2 or not share.sum() > 0:
        return float("nan")
    used = share > 0
    return float(np.average(effective_numbers(weights_fg[used].T), weights=share[used]))


def describe_features(
    features: pd.DataFrame,
    stability: pd.DataFrame | None,
    weights: pd.DataFrame | None,
    scores: pd.DataFrame | None,
) -> pd.DataFrame:
    """`features` with stability over seeds, the factor each weighs in most, its disentanglement and effective factors.

    `weights`: those that `weights_of_predicted` left; a feature without any has no best factor.
    """
    features = features.drop(columns=list(_OF_STABILITY), errors="ignore")
    if stability is not None:
        features = features.merge(stability, on=["sae_id", "feature"], how="left")
    if weights is None or scores is None:
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
    own = scores[_counts(scores)].groupby("representation_id")["factor_index"].unique()
    parts = [
        _disentanglement_rows(str(sae_id), rows, own[sae_id]) for sae_id, rows in codes.groupby("representation_id")
    ]
    features = features.merge(best, on=["sae_id", "feature"], how="left")
    return features.merge(pd.concat(parts), on=["sae_id", "feature"], how="left")


def _dense_weights(rows: pd.DataFrame, factors: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(features that have a weight, their weights of these factors): a feature without one adds nothing."""
    column_of = {int(factor): at for at, factor in enumerate(sorted(factors))}
    rows = rows[rows["factor_index"].isin(column_of)]
    features, place = np.unique(rows["dim"].to_numpy(dtype=int), return_inverse=True)
    weights_fg = np.zeros((len(features), len(column_of)))
    weights_fg[place, rows["factor_index"].map(column_of).to_numpy(dtype=int)] = rows["weight"]
    return features, weights_fg


def _disentanglement_rows(sae_id: str, rows: pd.DataFrame, factors: Sequence[int]) -> pd.DataFrame:
    features, weights_fg = _dense_weights(rows, factors)
    return pd.DataFrame(
        {
            "sae_id": sae_id,
            "feature": features,
            "disentanglement": disentanglement(weights_fg)[0],
            "effective_factors": effective_numbers(weights_fg.T) if weights_fg.shape[1] > 1 else np.nan,
        }
    )
