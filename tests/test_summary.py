"""What is counted once everything is together: averages over factors, the fixed set, best factors. By hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.factors import FACTORS
from precompute.metrics import disentanglement
from precompute.summary import N_FACTORS, average_factors, finish_tables, mark_fixed_set, weights_of_predicted

COLUMNS = ["representation_id", "protocol", "factor_index", "r2", "r2_permuted", "completeness", "effective_codes"]


def scores_of(*rows: tuple[object, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.assign(completeness_d=100)


def factor(
    index: int, r2: float, completeness: float = np.nan, codes: float = np.nan, **where: object
) -> tuple[object, ...]:
    names = {"of": "s", "protocol": "held-out", "permuted": 0.05, **where}
    return (names["of"], names["protocol"], index, r2, names["permuted"], completeness, codes)


REPRESENTATIONS = pd.DataFrame({"representation_id": ["a", "b", "s"], "kind": ["dense", "dense", "codes"]})


def fixed(scores: pd.DataFrame) -> list[int]:
    marked = mark_fixed_set(scores, REPRESENTATIONS)
    return sorted(set(marked.loc[marked["is_fixed_set"], "factor_index"]))


def test_the_fixed_set_is_by_mean_r2_over_dense_states() -> None:
    rows = [factor(0, 0.9, of="a"), factor(1, 0.2, of="a"), factor(2, np.nan, of="a"), factor(3, -0.5, of="a")]
    rows += [factor(0, 0.5, of="b"), factor(1, 0.8, of="b"), factor(2, 0.6, of="b")]
    rows += [factor(3, 0.99), factor(4, 0.99)]  # codes have no say
    scores = scores_of(*rows)
    assert fixed(scores) == [0, 1, 2]
    many = [factor(10 + i, 0.3 + 0.01 * i, of="a") for i in range(N_FACTORS)]
    assert fixed(scores_of(*rows, *many)) == sorted({0, 2, 1, *range(13, 20)})  # means 0.7, 0.6, 0.5, then 0.39 down
    assert (
        mark_fixed_set(scores, REPRESENTATIONS).loc[scores["representation_id"] == "s", "is_fixed_set"].eq(False).all()
    )


def test_in_sample_scores_are_used_only_where_there_are_no_held_out_ones() -> None:
    paper = [factor(5, 0.9, of="a", protocol="paper")]
    assert fixed(scores_of(*paper)) == [5]
    assert fixed(scores_of(*paper, factor(6, 0.1, of="a"))) == [6]
    assert fixed(scores_of(factor(6, -0.1, of="a"))) == []


def test_averages_are_over_the_ten_best_and_over_the_fixed_set() -> None:
    tail = [factor(10 + i, 0.3) for i in range(8)]
    rows = [factor(0, 0.9, 0.8, 4.0), factor(1, 0.4, 0.6, 8.0), factor(2, 0.1), factor(3, np.nan), *tail]
    scores = scores_of(*rows).assign(is_fixed_set=lambda frame: frame["factor_index"].isin([0, 2, 3]))
    saes = pd.DataFrame({"sae_id": ["s", "t"], "protocol": ["held-out", "held-out"]})
    mean = average_factors(saes, scores).iloc[0]
    assert mean["informativeness"] == pytest.approx((0.9 + 0.4 + 8 * 0.3) / 10)  # without the 0.1
    assert (mean["completeness"], mean["effective_codes"]) == (pytest.approx(0.7), pytest.approx(6))
    assert mean["informativeness_fixed"] == pytest.approx(0.5)  # 0.9 and 0.1; an undefined one is left out
    assert (mean["completeness_fixed"], mean["effective_codes_fixed"]) == (0.8, 4.0)
    assert mean["completeness_d"] == 100
    undefined = average_factors(saes, scores).iloc[1].drop(["sae_id", "protocol"])
    assert undefined.isna().all() and average_factors(saes, None).drop(columns=list(saes)).isna().all(axis=None)


def weight(index: int, dim: int, value: float, protocol: str) -> dict[str, object]:
    return {"representation_id": "s", "protocol": protocol, "factor_index": index, "dim": dim, "weight": value}


def described(protocol: str) -> tuple[pd.DataFrame, float]:
    """Features and the SAE's disentanglement: factor 0 is predicted; 1 is not above the permuted one, 2 not above 0."""
    rows = [factor(0, 0.5, protocol=protocol), factor(1, 0.2, protocol=protocol, permuted=0.3)]
    scores = scores_of(*rows, factor(2, -0.1, protocol=protocol, permuted=-0.2))
    values = [(0, 0, 0.1), (1, 0, -0.9), (2, 0, 0.5), (0, 1, -0.4), (2, 2, 0.7)]  # factor, dimension, weight
    weights = pd.DataFrame([weight(*value, protocol) for value in values])
    sae = {"run_id": "r", "encoder_id": "e", "layer": 1, "n_features": 4, "n_epochs": 1, "seed": 0, "k": 1}
    sae |= {"sparsity": 0.75, "n_dead": 0, "n_live": 4, "n_train_clips": 9, "l0_mean": 1.0, "dense_mass": 0.0}
    tables = {
        "saes": pd.DataFrame([{**sae, "sae_id": "s", "protocol": protocol, "mse_heldout": 1.0}]),
        "features": pd.DataFrame({"sae_id": "s", "feature": range(4)}),
        "representations": REPRESENTATIONS,
        "factor_scores": scores,
        "lasso_weights": weights,
    }
    finish_tables(tables, [])
    return tables["features"].set_index("feature"), tables["saes"]["disentanglement"].iloc[0]


def test_best_factor_and_disentanglement_know_predicted_factors_only() -> None:
    features, weighted = described("held-out")
    assert features["best_factor"].fillna("").tolist() == [FACTORS[0].name, FACTORS[0].name, "", ""]
    assert features["best_factor_weight"].tolist()[:2] == [0.1, -0.4]
    matrix_fg = np.zeros((2, len(FACTORS)))
    matrix_fg[:, 0] = [0.1, -0.4]
    per_feature, expected = disentanglement(matrix_fg)
    assert features["disentanglement"].tolist()[:2] == per_feature.tolist() and weighted == expected
    assert features["disentanglement"].isna().tolist() == [False, False, True, True]


def test_the_published_protocol_has_no_such_gate() -> None:
    features, _ = described("paper")
    assert features["best_factor"].fillna("").tolist() == [FACTORS[1].name, FACTORS[0].name, FACTORS[2].name, ""]


def test_without_scores_there_are_no_weights_to_tell() -> None:
    assert weights_of_predicted(None, None) is None
