"""Options, presets and their checks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from explorer.errors import ConfigError
from precompute.config import PRESETS, PaperFaults, k_for, make_config, n_features_for, read_toml

BASE: dict[str, Any] = {"dataset": "folder", "root": "in", "store": "out", "encoders": ["hubert"]}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_config(preset: str) -> None:
    assert make_config({**BASE, "preset": preset}).preset == preset


def test_options_win_over_the_preset() -> None:
    config = make_config({**BASE, "preset": "quick", "sparsities": (0.9,), "epochs": None})
    assert config.sparsities == (0.9,) and config.epochs == PRESETS["quick"]["epochs"]


def test_faults_are_on_in_paper_only() -> None:
    assert make_config({**BASE, "preset": "paper"}).faults.wavlm_as_wav2vec2
    assert not make_config(BASE).faults.wavlm_as_wav2vec2


def test_a_fault_that_is_named_leaves_the_others_as_the_preset_has_them(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[faults]\ndrop-vibrado = false\n")
    config = make_config({**BASE, **read_toml(path), "preset": "paper"})
    assert config.faults == dataclasses.replace(PaperFaults(True, True, True, True, True, True), drop_vibrado=False)
    alone = make_config({**BASE, "faults": {"pool_padding": True}})
    assert alone.faults == PaperFaults(pool_padding=True)


@pytest.mark.parametrize(
    ("faults", "says"),
    [({"drop_vibrato": False}, "drop_vibrato.*drop_vibrado"), ({"pool_padding": 0}, "pool_padding"), (["x"], "table")],
)
def test_a_misspelt_fault_is_named(faults: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config({**BASE, "preset": "paper", "faults": faults})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("sparsities", (1.2,), "1.2"),
        ("sparsities", (), "one or more"),
        ("encoders", ("a=x", "a=y"), "each name once"),
        ("clip_s", 0.01, "0.01"),
        ("preset", "fast", "fast"),
        ("dataset", "mp3s", "mp3s"),
        ("dataset", "vocalste", "Did you mean vocalset"),
        ("colours", 1, "colours"),
        ("sparsity", (0.9,), "Did you mean sparsities"),
        ("epochs", 0, "epochs"),
        ("colour", 1, "colour"),
        ("layers", [6, 12], '"6,12"'),
        ("seeds", 3, "seeds.*list of whole numbers"),
        ("seeds", [0, 1.5], "seeds.*list of whole numbers"),
        ("seeds", [True], "seeds.*list of whole numbers"),
        ("seeds", [0, -1], "seeds: -1"),
        ("seeds", [1, 0, 1], "seeds.*once"),
        ("sparsities", "0.95", "sparsities.*list of numbers"),
        ("sparsities", (0.95, 0.9, 0.95), "sparsities.*once"),
        ("sparsities", (float("nan"),), "nan"),
        ("clip_s", "10", "clip-s.*a number"),
        ("encoders", "hubert", "encoders.*list of texts"),
        ("encoders", ["hubert", 3], "encoders.*list of texts"),
        ("preset", ["quick"], "preset.*text"),
        ("root", 3, "root.*path"),
        ("strict", "yes", "strict.*true or false"),
        ("n_workers", -2, "n-workers: -2"),
        ("n_workers", 1.5, "n-workers.*whole number"),
        ("epochs", True, "epochs.*whole number"),
        ("batch_size", 0, "batch-size"),
        ("learning_rate", 0.0, "learning-rate"),
        ("lasso_folds", 1, "lasso-folds"),
        ("lasso_eps", 1.0, "lasso-eps"),
        ("probe_c_grid", [], "probe-c-grid"),
        ("probe_c_grid", [0.0], "probe-c-grid"),
        ("n_playable_clips", -1, "n-playable-clips"),
        ("crop_s", -5, "crop-s"),
        ("n_crops", 0, "n-crops"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config({**BASE, name: value})


def test_a_whole_number_is_a_number() -> None:
    config = make_config({**BASE, "clip_s": 10, "seeds": [4], "sparsities": [0.9], "n_features": 64})
    assert (repr(config.clip_s), config.seeds, config.sparsities) == ("10.0", (4,), (0.9,))


def test_missing_options_are_named() -> None:
    with pytest.raises(ConfigError, match="--encoder"):
        make_config({**BASE, "encoders": None})


def test_k_rounds_except_where_the_paper_floors() -> None:
    assert k_for(0.8, 1000, 768) == 200
    assert k_for(0.8, 1000, 768, paper=True) == 199
    assert n_features_for(768) == 2048 and n_features_for(48) == 128 and n_features_for(768, 512) == 512


@pytest.mark.parametrize("sparsity", [0.5, 0.9999])
def test_a_k_that_the_width_cannot_hold_is_refused(sparsity: float) -> None:
    with pytest.raises(ConfigError, match="k = "):
        k_for(sparsity, 2048, 768)


def test_seeds_run_at_the_reference_sparsity_only() -> None:
    config = make_config({**BASE, "sparsities": (0.75, 0.95), "seeds": (0, 1, 2)})
    assert config.seeds_at(0.95) == (0, 1, 2) and config.seeds_at(0.75) == (0,)
    assert make_config({**BASE, "sparsities": (0.75, 0.9)}).reference == 0.9


def test_toml_takes_the_names_of_the_options(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('dataset = "esc50"\nframe-cache-gb = 2.5\n')
    assert read_toml(path) == {"dataset": "esc50", "frame_cache_gb": 2.5}
    path.write_bytes(b'label = "\xff"\n')
    with pytest.raises(ConfigError, match=r"run\.toml"):
        read_toml(path)
    path.write_text("dataset = ")
    with pytest.raises(ConfigError, match=r"run\.toml"):
        read_toml(path)
