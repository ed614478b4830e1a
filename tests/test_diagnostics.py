"""The checks of a store's SAEs, on rows made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from precompute.diagnostics import diagnose

SAE = {
    "run_id": "r",
    "encoder_id": "e",
    "layer": 1,
    "protocol": "held-out",
    "n_features": 100,
    "n_epochs": 40,
    "seed": 0,
    "k": 10,
    "sparsity": 0.9,
    "n_dead": 5,
    "n_live": 95,
    "n_train_clips": 200,
    "l0_mean": 10.0,
    "dense_mass": 0.1,
    "mse_heldout": 1.0,
    "completeness": 0.5,
}


def found(*saes: Mapping[str, object]) -> pd.DataFrame:
    rows = [{**SAE, "sae_id": f"s{i}", **values} for i, values in enumerate(saes)]
    return diagnose({"saes": pd.DataFrame(rows)})


def test_each_limit_is_a_warning_beyond_it_only() -> None:
    findings = found({}, {"n_dead": 21, "dense_mass": 0.51, "l0_mean": 9.4, "n_train_clips": 94})
    bad = findings[(findings["sae_id"] == "s1")].set_index("code")["severity"].to_dict()
    assert bad == {"dead": "warning", "dense mass": "warning", "l0": "warning", "few clips": "note"}
    assert set(findings.loc[findings["sae_id"] == "s0", "severity"]) == {"ok"}


def test_an_undefined_value_is_no_finding() -> None:
    findings = found({"dense_mass": None, "mse_heldout": None}, {"dense_mass": np.nan, "sparsity": 0.95})
    assert set(findings.loc[findings["sae_id"] == "s0", "code"]) == {"dead", "l0", "few clips"}
    assert findings["value"].notna().all()


def test_a_curve_is_of_saes_that_were_trained_alike() -> None:
    """Two trainings in one store are two curves: the MSE of each grows fifteenfold, and that of a mixture would not."""
    few = [{"sparsity": 0.75, "mse_heldout": 1.0}, {"sparsity": 0.85, "mse_heldout": 15.0}]
    many = [{**row, "n_epochs": 100, "mse_heldout": 10 * row["mse_heldout"]} for row in few]
    wide = [{**row, "n_features": 50, "mse_heldout": 2.0} for row in few]
    growth = found(*few, *many, *wide)
    growth = growth[growth["code"] == "mse growth"]
    assert sorted(growth["value"]) == [1.0, 15.0, 15.0]
    assert sorted(growth["severity"]) == ["ok", "warning", "warning"]
