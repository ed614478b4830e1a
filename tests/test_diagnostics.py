"""The checks of a store's SAEs, on rows made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

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


def severity(findings: pd.DataFrame, code: str, sae_id: str | None = "s0") -> str:
    rows = findings[findings["code"] == code]
    rows = rows[rows["sae_id"].isna()] if sae_id is None else rows[rows["sae_id"] == sae_id]
    return str(rows["severity"].iloc[0])


@pytest.mark.parametrize(
    ("code", "at_the_limit", "beyond"),
    [
        ("dead", {"n_dead": 20}, {"n_features": 1000, "n_dead": 201}),
        ("dense mass", {"dense_mass": 0.5}, {"dense_mass": 0.501}),
        ("l0", {"l0_mean": 9.5}, {"l0_mean": 9.49}),
        ("few clips", {"n_train_clips": 95}, {"n_train_clips": 94}),
    ],
)
def test_the_limits_of_an_sae_are_where_the_docs_say(
    code: str, at_the_limit: dict[str, object], beyond: dict[str, object]
) -> None:
    assert severity(found(at_the_limit), code) == "ok"
    assert severity(found(beyond), code) in ("warning", "note")


def curve(*points: tuple[float, float, float]) -> pd.DataFrame:
    """Findings of SAEs of one start each, (sparsity, MSE, completeness over 95 live features)."""
    saes = pd.DataFrame(
        [{**SAE, "sae_id": f"s{i}", "sparsity": s, "mse_heldout": mse} for i, (s, mse, _) in enumerate(points)]
    )
    scores = [
        {"representation_id": f"s{i}", "protocol": "held-out", "factor_index": g, "is_fixed_set": True,
         "effective_codes": 95 ** (1 - complete)}
        for i, (_, _, complete) in enumerate(points) for g in range(3)
    ]  # fmt: skip
    scores += [{**scores[0], "factor_index": 5, "effective_codes": 1.0}]  # predicted at one sparsity alone
    scores += [{**row, "factor_index": 6, "is_fixed_set": False, "effective_codes": 1.0} for row in scores[:1]]
    return diagnose({"saes": saes, "factor_scores": pd.DataFrame(scores)})


def test_the_mse_may_grow_tenfold_before_90_per_cent_sparsity_and_as_it_likes_from_there() -> None:
    assert severity(curve((0.75, 1.0, 0.1), (0.89, 10.0, 0.2)), "mse growth", None) == "ok"
    assert severity(curve((0.75, 1.0, 0.1), (0.89, 10.01, 0.2)), "mse growth", None) == "warning"
    late = curve((0.75, 1.0, 0.1), (0.8, 2.0, 0.2), (0.90, 50.0, 0.3), (0.99, 99.0, 0.4))
    assert severity(late, "mse growth", None) == "ok"
    growth = late[late["code"] == "mse growth"].iloc[0]
    assert growth["value"] == 2.0 and "before 90 %" in growth["message"] and "at 75 %" in growth["message"]
    assert "mse growth" not in set(curve((0.75, 1.0, 0.1), (0.90, 50.0, 0.2))["code"])  # one point is no curve
    assert "mse growth" not in set(curve((0.75, 0.0, 0.1), (0.80, 50.0, 0.2))["code"])  # of nothing nothing grows
    assert severity(curve((0.75, 1.0, 0.1), (0.8, 12.0, 0.2), (0.85, 3.0, 0.3)), "mse growth", None) == "warning"


def test_completeness_must_rise() -> None:
    for last, said in ((0.5, "warning"), (0.49, "warning"), (0.501, "ok")):
        findings = curve((0.75, 1.0, 0.5), (0.85, 1.0, 0.9), (0.95, 1.0, last))
        assert severity(findings, "completeness", None) == said
    assert "completeness" not in set(curve((0.75, 1.0, 0.5))["code"])
    assert severity(curve((0.75, 1.0, 0.5), (0.85, 1.0, 0.4)), "completeness", None) == "warning"


def test_a_probe_may_lose_ten_points_on_codes_and_each_label_under_its_protocol_counts() -> None:
    def drop(codes: float, dense: float, protocol: str = "held-out") -> pd.DataFrame:
        probes = [
            {"label_name": "technique", "protocol": protocol, "representation_id": name, "accuracy": accuracy}
            for name, accuracy in (("s0", codes), ("e.L01", dense), ("e.L01", None), ("e.L11", 1.0))
        ]
        return diagnose({"saes": pd.DataFrame([{**SAE, "sae_id": "s0"}]), "probes": pd.DataFrame(probes)})

    assert severity(drop(0.701, 0.8), "probe drop") == "ok"
    assert severity(drop(0.699, 0.8), "probe drop") == "warning"
    assert "probe drop" not in set(drop(0.1, 0.8, protocol="paper")["code"])
    assert "probe drop" not in set(drop(np.nan, 0.8)["code"])
    assert "probe drop" not in set(drop(0.1, np.nan)["code"])
    assert drop(0.699, 0.8).query("code == 'probe drop'")["limit_"].iloc[0] == 0.10


def test_a_layer_has_two_digits_in_its_name_and_messages_say_the_numbers() -> None:
    findings = found({"layer": 1, "n_dead": 21, "dense_mass": 0.51}).set_index("code")["message"]
    assert findings["dead"] == "21 % of the features are dead"
    assert "51 % of the activation" in findings["dense mass"]
    assert findings["few clips"] == "200 training clips for 95 live features"
