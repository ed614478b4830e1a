"""precompute/encoder_run: layers in groups that fit in memory, and no second pass for frames that nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import precompute.encoder_run as encoder_run
from explorer.store import open_store
from precompute.artefacts import Bundle
from precompute.pipeline import run
from precompute.sae_stage import TrainedSAE
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow


def trained(layer: int, n_features: int = 100) -> TrainedSAE:
    return TrainedSAE(f"{layer}-{n_features}", n_features, layer, 5, 0.95, 0, True, Bundle(Path("nowhere")))


def test_layers_share_a_group_while_their_codes_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    saes = [trained(2), trained(0), trained(2, 200), trained(7, 5000), trained(9)]
    monkeypatch.setattr(encoder_run, "MAX_CODES_BYTES", 4 * 10 * 400)
    groups = encoder_run._groups_of_layers(saes, n_clips=10)
    assert [[item.layer for item in group] for group in groups] == [[0, 2, 2], [7], [9]]
    assert encoder_run._groups_of_layers([], n_clips=10) == []


def test_frames_are_read_again_only_for_what_is_missing(tiny_sources: Path, tiny_store: Path, tmp_path: Path) -> None:
    """Two runs on different layers, each without a frame cache; the first one again needs no frames."""
    store = measured(tiny_store, tmp_path / "store")
    options: dict[str, Any] = {
        "encoders": [f"hubert={tiny_sources / 'random-hubert'}"],
        "sparsities": (0.8,),
        "seeds": (0,),
    }
    options |= {"epochs": 2, "label_permutations": 2, "frame_cache_gb": 0.0}
    for layers in ("1", "3", "1"):
        run(tiny_config(tiny_sources, store, layers=layers, **options), command=f"layer {layers}")
    timings = open_store(store).query(
        "SELECT r.command, t.n_done FROM run_timings t JOIN runs r USING (run_id) WHERE stage LIKE 'frames of%'"
    )
    clips = open_store(store).query("SELECT count(*) AS n FROM clips")["n"].iloc[0]
    assert sorted(timings["command"]) == ["layer 1", "layer 3"]
    assert (timings["n_done"] == clips).all()
