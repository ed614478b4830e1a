"""Where to start: what chance reaches in all reference SAEs together decides, not in each alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.queries.first_looks import fetch_first_looks, fetch_joint_limits
from explorer.store import SCHEMA_VERSION, Store, new_generation, open_store

N = 100


def store_of(folder: Path, reached: dict[str, np.ndarray], f1: dict[str, float], direction: str = "above") -> Store:
    """One reference SAE a name, each with one feature whose label is shown with this F1."""
    saes = [
        {"sae_id": name, "encoder_id": "e", "layer": i, "level": "clip", "is_reference": True}
        for i, name in enumerate(f1)
    ]
    features = [
        {"sae_id": name, "feature": 3, "label_name": "digit", "label": "seven", "label_direction": direction,
         "label_f1": score, "label_mcc": score, "label_is_shown": True}
        for name, score in f1.items()
    ]  # fmt: skip
    nulls = [
        {"sae_id": name, "label_name": "digit", "labels": ["seven"], "level": "clips within groups", "alpha": 0.05,
         "is_exact": False, "reached": values}
        for name, values in reached.items()
    ]  # fmt: skip
    with new_generation(folder) as writer:
        writer.insert("meta", pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}]))
        writer.insert("encoders", pd.DataFrame([{"encoder_id": "e", "name": "hubert", "display_name": "HuBERT"}]))
        writer.insert("saes", pd.DataFrame(saes))
        writer.insert("features", pd.DataFrame(features))
        if nulls:
            writer.insert("label_nulls", pd.DataFrame(nulls))
    return open_store(folder)


def test_the_limit_is_of_the_best_of_all_saes_under_the_same_permutation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reached = {name: rng.random(N) / 2 for name in ("a", "b", "c")}
    store = store_of(tmp_path / "s", reached, {"a": 0.9, "b": 0.9, "c": 0.9})
    largest = np.sort(np.max(list(reached.values()), axis=0))
    assert fetch_joint_limits(store)["seven"] == pytest.approx(largest[-5], abs=1e-6)  # (4 + 1) / 101 draws are beyond


def test_what_one_sae_alone_would_show_has_to_beat_all_of_them(tmp_path: Path) -> None:
    low, high = np.full(N, 0.2), np.full(N, 0.6)
    looks = fetch_first_looks(store_of(tmp_path / "s", {"a": low, "b": high}, {"a": 0.5, "b": 0.7}))
    assert looks["sae_id"].tolist() == ["b"] and looks["label"].tolist() == ["seven"]
    older = fetch_first_looks(store_of(tmp_path / "older", {}, {"a": 0.5, "b": 0.7}))
    assert older["sae_id"].tolist() == ["b", "a"]  # a store whose nulls were not kept


def test_a_feature_that_fires_on_all_but_a_label_is_no_start(tmp_path: Path) -> None:
    low = np.full(N, 0.2)
    assert len(fetch_first_looks(store_of(tmp_path / "above", {"a": low}, {"a": 0.9}))) == 1
    assert not len(fetch_first_looks(store_of(tmp_path / "below", {"a": low}, {"a": 0.9}, "below")))


def test_on_noise_hardly_any_store_starts_with_a_label(tmp_path: Path) -> None:
    """Twenty SAEs a store: by themselves one in twenty would show a label, and so most stores something."""
    rng, n_false, n_alone = np.random.default_rng(1), 0, 0
    for trial in range(20):
        draws = {f"s{i:02d}": rng.random(N + 1) for i in range(20)}
        store = store_of(
            tmp_path / f"{trial}", {k: v[1:] for k, v in draws.items()}, {k: v[0] for k, v in draws.items()}
        )
        n_false += bool(len(fetch_first_looks(store)))
        n_alone += any(v[0] > np.quantile(v[1:], 0.95) for v in draws.values())
    assert n_false <= 4 and n_alone >= 8


def store_of_factors(folder: Path, p: dict[str, float]) -> Store:
    """One reference SAE a name, each with a feature whose best factor is predicted where this p allows it."""
    saes = [
        {"sae_id": name, "encoder_id": "e", "layer": i, "level": "clip", "is_reference": True}
        for i, name in enumerate(p)
    ]
    features = [
        {"sae_id": name, "feature": 3, "best_factor": "loudness", "best_factor_weight": 0.5, "n_groups_active": 4,
         "label_is_shown": False}
        for name in p
    ]  # fmt: skip
    scores = [
        {"representation_id": name, "protocol": "held-out", "factor_index": 0, "seed": 0, "r2": 0.3, "r2_p": value,
         "is_predicted": value <= 0.05}
        for name, value in p.items()
    ]  # fmt: skip
    with new_generation(folder) as writer:
        writer.insert("meta", pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}]))
        writer.insert("encoders", pd.DataFrame([{"encoder_id": "e", "name": "hubert", "display_name": "HuBERT"}]))
        factor = {"factor_index": 0, "name": "loudness", "display_name": "loudness", "factor_group": "loudness"}
        writer.insert("factors", pd.DataFrame([factor]))
        writer.insert("saes", pd.DataFrame(saes))
        writer.insert("features", pd.DataFrame(features))
        writer.insert("factor_scores", pd.DataFrame(scores))
    return open_store(folder)


def test_a_factor_to_start_with_has_to_be_told_among_all_saes(tmp_path: Path) -> None:
    looks = fetch_first_looks(store_of_factors(tmp_path / "two", {"a": 0.02, "b": 0.04}))
    assert looks["sae_id"].tolist() == ["a"] and looks["why"].tolist() == ["factor"]
    assert fetch_first_looks(store_of_factors(tmp_path / "one", {"b": 0.04}))["sae_id"].tolist() == ["b"]


def test_on_noise_hardly_any_store_starts_with_a_factor(tmp_path: Path) -> None:
    """Twenty SAEs a store, whose p are right: by themselves one in twenty would have a factor, most stores one."""
    rng, n_false, n_alone = np.random.default_rng(2), 0, 0
    for trial in range(20):
        p = {f"s{i:02d}": float(value) for i, value in enumerate(rng.random(20))}
        n_false += bool(len(fetch_first_looks(store_of_factors(tmp_path / f"{trial}", p))))
        n_alone += min(p.values()) <= 0.05
    assert n_false <= 4 and n_alone >= 8
