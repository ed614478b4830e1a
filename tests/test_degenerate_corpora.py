"""Corpora in which little or nothing can be measured: a run ends well, and what is undefined is NULL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from explorer.store import Store, open_store
from precompute.diagnostics import diagnose
from precompute.pipeline import run
from tests.conftest import tiny_config

RATE_HZ = 16_000


def sound(seconds: float, seed: int) -> np.ndarray:
    """A tone that glides, with some noise."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).normal(0, 0.02, len(t))
    return 0.3 * np.sin(2 * np.pi * (180 + 40 * seed + 60 * t) * t) + noise


def run_on(files: dict[str, np.ndarray], tiny_sources: Path, folder: Path) -> Store:
    """The published store of a run over these files."""
    for name, samples in files.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, samples, RATE_HZ)
    config = tiny_config(
        tiny_sources,
        folder / "store",
        dataset="folder",
        root=folder / "in",
        encoders=[f"hubert={tiny_sources / 'random-hubert'}"],
        clip_s=1.0,
        seeds=(0,),
        epochs=2,
        label_permutations=2,
    )
    run(config, command="a degenerate corpus")
    return open_store(folder / "store")


CORPORA = {
    "one clip": {"a.wav": sound(0.8, 0)},
    "two clips": {"a.wav": sound(0.8, 0), "b.wav": sound(0.9, 1)},
    "one file of several clips": {"a.wav": sound(3.6, 0)},
    "silence alone": {f"{name}/{i}.wav": np.zeros(RATE_HZ // 2) for name in "ab" for i in range(2)},
    "no labels": {f"{i}.wav": sound(0.7, i) for i in range(5)},
}


@pytest.mark.parametrize("name", CORPORA)
def test_a_run_ends_well_and_what_is_undefined_is_null(name: str, tiny_sources: Path, tmp_path: Path) -> None:
    store = run_on(CORPORA[name], tiny_sources, tmp_path)
    saes = store.query("SELECT * FROM saes")
    n_held_out = store.query("SELECT count(*) AS n FROM clips WHERE split = 'held-out'")["n"].iloc[0]
    assert len(saes) == 4  # two layers, two sparsities
    assert saes["fvu_heldout"].notna().any() == (n_held_out > 0 and name != "silence alone")
    assert saes["mse_heldout"].notna().all() == (n_held_out > 0)
    scores = store.query("SELECT * FROM factor_scores")
    has_groups = name == "no labels"  # five clips, each a group: numbers, of which nothing can be told
    assert saes["informativeness"].notna().any() == scores["r2"].notna().any() == has_groups
    assert scores.loc[scores["r2"].isna(), "reason"].notna().all() and scores["completeness"].isna().all()
    assert not scores["is_predicted"].fillna(False).astype(bool).any()
    assert scores.loc[scores["r2"].notna(), "untested"].str.startswith("cannot be tested: ").all()
    findings = store.query("SELECT * FROM diagnostics")
    assert findings["value"].notna().all() and not findings["message"].str.contains("nan").any()


def test_silent_states_have_no_dense_mass(tiny_sources: Path, tmp_path: Path) -> None:
    """Equal states for every clip: no feature can be active, so no share of the activation is anyone's."""
    store = run_on(CORPORA["silence alone"], tiny_sources, tmp_path)
    assert store.query("SELECT DISTINCT reason FROM factor_values")["reason"].tolist() == ["silent clip"]
    saes = store.query("SELECT * FROM saes")
    undefined = saes.assign(dense_mass=np.nan)
    codes = {row.code for row in diagnose({"saes": undefined.astype({"dense_mass": object})}).itertuples()}
    assert "dense mass" not in codes and "dead" in codes
