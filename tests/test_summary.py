"""What is counted once everything is together: averages over factors, the fixed set, best factors. By hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.factors import FACTORS
from precompute.summary import (
    N_FACTORS,
    average_factors,
    describe_weights,
    finish_tables,
    is_predicted,
    mark_fixed_set,
    weights_of_predicted,
)

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


def described_tables(
    protocol: str, rows: list[tuple[object, ...]], values: list[tuple[int, int, float]]
) -> dict[str, pd.DataFrame]:
    """The tables of one SAE with these scores and (factor, dimension, weight), finished."""
    weights = pd.DataFrame([weight(*value, protocol) for value in values])
    sae = {"run_id": "r", "encoder_id": "e", "layer": 1, "n_features": 4, "n_epochs": 1, "seed": 0, "k": 1}
    sae |= {"sparsity": 0.75, "n_dead": 0, "n_live": 4, "n_train_clips": 9, "l0_mean": 1.0, "dense_mass": 0.0}
    tables = {
        "saes": pd.DataFrame([{**sae, "sae_id": "s", "protocol": protocol, "mse_heldout": 1.0}]),
        "features": pd.DataFrame({"sae_id": "s", "feature": range(4)}),
        "representations": REPRESENTATIONS,
        "factor_scores": scores_of(*rows),
        "lasso_weights": weights,
    }
    finish_tables(tables, [])
    return tables


def described(protocol: str) -> tuple[pd.DataFrame, float]:
    """Features and the SAE's disentanglement: factor 0 is predicted; 1 is not above the permuted one, 2 not above 0."""
    rows = [factor(0, 0.5, protocol=protocol), factor(1, 0.2, protocol=protocol, permuted=0.3)]
    rows.append(factor(2, -0.1, protocol=protocol, permuted=-0.2))
    tables = described_tables(protocol, rows, [(0, 0, 0.1), (1, 0, -0.9), (2, 0, 0.5), (0, 1, -0.4), (2, 2, 0.7)])
    return tables["features"].set_index("feature"), float(tables["saes"]["disentanglement"].iloc[0])


def test_best_factors_are_predicted_ones_and_one_factor_has_no_disentanglement() -> None:
    features, weighted = described("held-out")
    assert features["best_factor"].fillna("").tolist() == [FACTORS[0].name, FACTORS[0].name, "", ""]
    assert features["best_factor_weight"].tolist()[:2] == [0.1, -0.4]
    assert features["disentanglement"].isna().all() and features["effective_factors"].isna().all()
    assert np.isnan(weighted)


@pytest.mark.parametrize(("n", "expected"), [(1, np.nan), (2, 0.0), (5, 0.0), (63, 0.0), (88, 0.0)])
def test_factors_served_alike_have_a_disentanglement_of_nought(n: int, expected: float) -> None:
    """By hand: n of 88 factors are predicted, each feature weighs alike in all of them."""
    rows = [factor(g, 0.9 if g < n else -0.1) for g in range(88)]
    scores = scores_of(*rows).assign(is_fixed_set=lambda frame: frame["factor_index"] < 4)
    weights = pd.DataFrame([weight(g, f, 0.3 + f, "held-out") for g in range(88) for f in range(3)])
    saes = pd.DataFrame({"sae_id": ["s"], "protocol": ["held-out"]})
    found = describe_weights(saes, weights, scores).iloc[0]
    assert found["n_predicted"] == n
    assert found["disentanglement"] == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert found["disentanglement_fixed"] == pytest.approx(0, abs=1e-4)
    assert found["effective_factors_fixed"] == pytest.approx(4)
    parted = pd.DataFrame([weight(g, g, 1.0, "held-out") for g in range(88)])
    found = describe_weights(saes, parted, scores).iloc[0]
    assert found["disentanglement"] == pytest.approx(np.nan if n == 1 else 1.0, abs=1e-4, nan_ok=True)
    assert found["effective_factors_fixed"] == pytest.approx(1)


def test_features_have_effective_factors_over_what_is_predicted() -> None:
    tables = described_tables("held-out", [factor(g, 0.5) for g in range(3)], [(0, 0, 1.0), (1, 0, 1.0), (2, 1, 1.0)])
    features = tables["features"].set_index("feature")
    assert features["effective_factors"].tolist()[:2] == pytest.approx([2.0, 1.0])
    assert features["disentanglement"].tolist()[:2] == pytest.approx([1 - np.log(2) / np.log(3), 1.0], abs=1e-4)
    assert features["effective_factors"].isna().tolist() == [False, False, True, True]


def test_what_is_predicted_is_said_by_the_row_else_by_its_limit() -> None:
    rows = scores_of(factor(0, 0.5), factor(1, 0.02), factor(2, np.nan), factor(3, 0.5, permuted=np.nan))
    assert is_predicted(rows).tolist() == [True, False, False, False]
    said = rows.assign(is_predicted=[False, True, None, None])
    assert is_predicted(said).tolist() == [False, True, False, False]
    assert is_predicted(rows.assign(is_predicted=None)).tolist() == [True, False, False, False]


def test_held_out_scores_choose_nothing() -> None:
    """The top 10 and the fixed set are chosen by R2 over folds of training groups; only their value is held out."""
    rows = [factor(g, 0.9 - 0.05 * g, of=of) for of in ("a", "s") for g in range(14)]
    scores = scores_of(*rows).assign(r2_folds=lambda frame: 0.1 + 0.05 * frame["factor_index"])
    assert fixed(scores) == list(range(4, 14))
    saes = pd.DataFrame({"sae_id": ["s"], "protocol": ["held-out"]})
    marked = mark_fixed_set(scores, REPRESENTATIONS)
    mean = average_factors(saes, marked).iloc[0]
    chosen = np.mean([0.9 - 0.05 * g for g in range(4, 14)])
    assert (mean["informativeness"], mean["informativeness_fixed"]) == pytest.approx((chosen, chosen))
    assert fixed(scores.assign(r2=-scores["r2"])) == fixed(scores)


def test_the_published_protocol_has_no_such_gate() -> None:
    features, _ = described("paper")
    assert features["best_factor"].fillna("").tolist() == [FACTORS[1].name, FACTORS[0].name, FACTORS[2].name, ""]


def test_without_scores_there_are_no_weights_to_tell() -> None:
    assert weights_of_predicted(None, None) is None
