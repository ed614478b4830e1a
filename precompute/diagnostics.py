"""Plain checks of a store's SAEs against the limits that say when a result should not be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from explorer.claim_tests import MAX_DEAD, completeness_over_live
from explorer.giants import MANY_VARIANCE
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.pooling import Pooling
from explorer.text import count, number, percent, signed

MAX_MSE_GROWTH, BEFORE_SPARSITY = 10.0, 0.90
MAX_PROBE_DROP = 0.10
MAX_DENSE_MASS, MIN_L0_SHARE = 0.50, 0.95
MAY_BE_UNDEFINED = dict.fromkeys(("mse_heldout", "dense_mass"), "float64")
SAME_CURVE = ["encoder_id", "layer", "protocol", "n_features", "n_epochs"]


@dataclass(frozen=True)
class Finding:
    """One check of one SAE (or of a layer's curve, with sae_id None): its value against its limit."""

    run_id: str
    encoder_id: str
    layer: int
    sae_id: str | None
    code: str
    severity: str  # 'ok', 'note' or 'warning'
    value: float | None
    limit_: float | None
    message: str


def diagnose(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The `diagnostics` rows of a store's `saes`; a check whose value is undefined has no row.

    A curve over sparsity is made of SAEs that differ in nothing else but the seed: one width, one number of epochs.
    """
    findings: list[Finding] = []
    complete = _completeness(tables)
    for _, group in tables["saes"].astype(MAY_BE_UNDEFINED).groupby(SAME_CURVE):
        findings += _curve_findings(group.sort_values(["sparsity", "seed"]), complete)
        findings += _giant_findings(group.iloc[0].to_dict(), tables.get("layer_frames"))
        for sae in group.to_dict("records"):
            findings += _sae_findings(sae)
            findings += _probe_findings(sae, tables)
    known = [finding for finding in findings if finding.value is not None and math.isfinite(finding.value)]
    return pd.DataFrame([vars(finding) for finding in known])


def _completeness(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """sae_id, factor_index, complete: of the fixed factors that an SAE predicts, with D = its live features."""
    scores = tables.get("factor_scores")
    if scores is None or not {"is_fixed_set", "effective_codes"}.issubset(scores.columns):
        return pd.DataFrame({"sae_id": [], "factor_index": [], "complete": []})
    rows = scores[scores["is_fixed_set"].fillna(False).astype(bool)].merge(
        tables["saes"][["sae_id", "protocol", "n_live"]],
        left_on=["representation_id", "protocol"],
        right_on=["sae_id", "protocol"],
    )
    found = completeness_over_live(rows["effective_codes"].astype("float64"), rows["n_live"])
    return rows[["sae_id", "factor_index"]].assign(complete=found).dropna()


def _finding(
    sae: dict, code: str, bad: bool, value: float | None, limit: float, text: str, *, soft: bool = False
) -> Finding:
    severity = "ok" if not bad else "note" if soft else "warning"
    return Finding(
        sae["run_id"], sae["encoder_id"], int(sae["layer"]), sae["sae_id"], code, severity, value, limit, text
    )


def _sae_findings(sae: dict) -> list[Finding]:
    dead = sae["n_dead"] / sae["n_features"]
    l0_share = sae["l0_mean"] / sae["k"]
    n_train, n_live = int(sae["n_train_clips"]), int(sae["n_live"])
    few = n_train < n_live
    sizes = f"{count(n_train, 'training clip')} for {count(n_live, 'live feature')}"
    return [
        _finding(sae, "dead", dead > MAX_DEAD, dead, MAX_DEAD, f"{percent(dead)} of the features are dead"),
        _finding(
            sae,
            "dense mass",
            sae["dense_mass"] > MAX_DENSE_MASS,
            sae["dense_mass"],
            MAX_DENSE_MASS,
            f"features active on over half of the clips hold {percent(sae['dense_mass'])} of the activation",
        ),
        _finding(
            sae,
            "l0",
            l0_share < MIN_L0_SHARE,
            l0_share,
            MIN_L0_SHARE,
            f"codes hold {number(sae['l0_mean'], 1)} features on average, k = {sae['k']}",
        ),
        _finding(
            sae,
            "few clips",
            few,
            float(n_train),
            float(n_live),
            f"{sizes}: features can be single clips" if few else sizes,
            soft=True,
        ),
    ]


def _giant_findings(sae: dict, frames: pd.DataFrame | None) -> list[Finding]:
    """Whether a layer's frames vary mostly by giant ones: a note where SAEs stand on means without them."""
    if frames is None:
        return []
    at = (frames["encoder_id"] == sae["encoder_id"]) & (frames["layer"] == sae["layer"]) & (frames["n_giant"] > 0)
    without = Pooling.named(str(sae["pooling"])).without_giants
    left_out = "pooled states leave them out" if without else "pooled states follow them"
    return [
        _finding(
            sae | {"sae_id": None},
            "giant frames",
            row["variance_share"] > MANY_VARIANCE,
            row["variance_share"],
            MANY_VARIANCE,
            f"giant frames ({percent(row['n_giant'] / row['n_frames'])} of all) hold "
            f"{percent(row['variance_share'])} of the variance; {left_out}",
            soft=without,
        )
        for row in frames[at].to_dict("records")
    ]


def _curve_findings(group: pd.DataFrame, completeness: pd.DataFrame) -> list[Finding]:
    first = group.iloc[0].to_dict() | {"sae_id": None}
    findings = []
    mse = group.groupby("sparsity")["mse_heldout"].mean().dropna()
    early = mse[mse.index < BEFORE_SPARSITY]
    if len(early) > 1 and early.iloc[0] > 0:
        growth = float(early.max() / early.iloc[0])
        text = (
            f"held-out MSE before {percent(BEFORE_SPARSITY)} grows to {number(growth, 1)} times its value at "
            f"{percent(mse.index[0])}"
        )
        findings.append(_finding(first, "mse growth", growth > MAX_MSE_GROWTH, growth, MAX_MSE_GROWTH, text))
    of_factors = completeness[completeness["sae_id"].isin(group["sae_id"])]
    n_saes = of_factors["sae_id"].nunique()
    shared = of_factors.groupby("factor_index").filter(lambda rows: len(rows) == n_saes)  # predicted at every sparsity
    complete = shared.merge(group[["sae_id", "sparsity"]], on="sae_id").groupby("sparsity")["complete"].mean()
    if len(complete) > 1:
        rise = float(complete.iloc[-1] - complete.iloc[0])
        text = (
            f"completeness over live features changes by {signed(rise, 3)} from {percent(complete.index[0])} to "
            f"{percent(complete.index[-1])} sparsity"
        )
        findings.append(_finding(first, "completeness", rise <= 0, rise, 0.0, text))
    return findings


def _probe_findings(sae: dict, tables: dict[str, pd.DataFrame]) -> list[Finding]:
    probes = tables.get("probes")
    if probes is None:
        return []
    dense_id = f"{sae['encoder_id']}.L{int(sae['layer']):02d}"
    findings = []
    for label, rows in probes[probes["protocol"] == sae["protocol"]].groupby("label_name"):
        codes = rows.loc[rows["representation_id"] == sae["sae_id"], "accuracy"].dropna()
        dense = rows.loc[rows["representation_id"] == dense_id, "accuracy"].dropna()
        if len(codes) and len(dense):
            drop = float(dense.mean() - codes.mean())
            text = (
                f"{label}: probe accuracy {number(codes.mean(), 3)} on codes, {number(dense.mean(), 3)} on dense states"
            )
            n_groups = int(rows["n_groups"].max()) if "n_groups" in rows else MIN_GROUPS_FOR_INTERVAL
            is_few = n_groups < MIN_GROUPS_FOR_INTERVAL
            if is_few:
                text += f", on {count(n_groups, 'group')}"
            found = _finding(sae, "probe drop", drop > MAX_PROBE_DROP, drop, MAX_PROBE_DROP, text, soft=is_few)
            findings.append(found)
    return findings
