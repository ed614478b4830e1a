"""--last-layer normed: the state behind the final LayerNorm, where there is one, is an encoder of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, ASTModel, HubertModel, Wav2Vec2FeatureExtractor, Wav2Vec2Model, WavLMModel

from explorer.audio import Waveform
from explorer.encoders import Loader, find_checkpoint, load_encoder
from explorer.encoders.loaders import LOADERS
from explorer.errors import ConfigError, EncoderError
from explorer.inference.checkpoints import Place, find_place
from precompute.checkpoint_folder import write_json
from precompute.config import make_config
from precompute.encode_stage import loader_of
from precompute.random_checkpoints import write_random_checkpoint

OWN: Loader = "own class"
NORMED: Loader = "own class, last layer normed"
CLASSES: dict[str, Any] = {"ast": ASTModel, "hubert": HubertModel, "wavlm": WavLMModel}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """AST, and HuBERT and WavLM as their large checkpoints are, with norms before the blocks and one behind them."""
    root = tmp_path_factory.mktemp("normed")
    found = {name: write_random_checkpoint(name, root / name, size="small", seed=2) for name in CLASSES}
    for name in ("hubert", "wavlm"):
        path = found[name] / "config.json"
        write_json(path, json.loads(path.read_text()) | {"do_stable_layer_norm": True})
    return found


def sound() -> Waveform:
    return Waveform((0.1 * np.random.default_rng(0).normal(size=16_000)).astype(np.float32), 16_000)


def library_last(name: str, folder: Path, model_class: Any) -> np.ndarray:
    extractor = (ASTFeatureExtractor if name == "ast" else Wav2Vec2FeatureExtractor).from_pretrained(folder)
    inputs = extractor(sound().samples, sampling_rate=16_000, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        tokens = model_class.from_pretrained(folder).eval()(inputs).last_hidden_state[0].numpy()
    return tokens[2:].reshape(12, 101, 48).mean(axis=0)[:9] if name == "ast" else tokens


@pytest.mark.parametrize(
    ("name", "loader", "model_class"),
    [*((name, NORMED, model_class) for name, model_class in CLASSES.items()),
     ("wavlm", "paper, last layer normed", Wav2Vec2Model)],
)  # fmt: skip
def test_the_last_state_is_transformers_last_hidden_state(
    folders: dict[str, Path], name: str, loader: Any, model_class: Any
) -> None:
    normed = load_encoder(f"{name}={folders[name]}", device="cpu", loader=loader)
    block = load_encoder(f"{name}={folders[name]}", device="cpu", loader=loader.partition(",")[0])
    both = [one.hidden_states([sound()], (3, 4)) for one in (normed, block)]
    expected = library_last(name, folders[name], model_class)
    np.testing.assert_allclose(both[0][4].values_td[0], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(both[1][4].values_td[0] - expected).max() > 1e-2
    np.testing.assert_array_equal(both[0][3].values_td[0], both[1][3].values_td[0])
    short = load_encoder(f"{name}={folders[name]}", device="cpu", loader=loader, max_layer=3)
    np.testing.assert_array_equal(short.hidden_states([sound()], (3,))[3].values_td[0], both[0][3].values_td[0])


def test_it_is_another_encoder_that_says_so_wherever_it_is_named(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        block, normed = (find_checkpoint(f"{name}={folder}", loader=one) for one in (OWN, NORMED))
        assert block.encoder_id != normed.encoder_id and block.weights_sha256 == normed.weights_sha256
        assert normed.spec.display_name == f"{block.spec.display_name} (last layer normed)"
        assert "behind the network's final LayerNorm" in normed.note and "LayerNorm" not in block.note


def test_where_there_is_no_such_norm_nothing_changes(tmp_path: Path) -> None:
    for name in ("hubert", "wavlm", "mert"):
        folder = write_random_checkpoint(name, tmp_path / name, size="small")
        block, normed = (find_checkpoint(f"{name}={folder}", loader=one) for one in (OWN, NORMED))
        assert block == normed and normed.loader == "own class"
    paper = find_checkpoint(f"wavlm={tmp_path / 'wavlm'}", loader="paper, last layer normed")
    assert paper.loader == "paper"


def test_live_finds_the_encoder_that_the_store_was_made_with(folders: dict[str, Path]) -> None:
    """By the words that the store's row carries."""
    for loader in LOADERS:
        found = find_checkpoint(f"wavlm={folders['wavlm']}", loader=loader)
        row = {
            "encoder_id": found.encoder_id, "name": "wavlm", "family": found.family, "fingerprint": found.fingerprint,
            "loader": found.loader, "revision": None, "source": found.source, "display_name": "WavLM",
            "weights_sha256": found.weights_sha256,
        }  # fmt: skip
        place = find_place(row, [f"wavlm={folders['wavlm']}"])
        assert isinstance(place, Place) and place.loader == loader


def test_a_run_asks_for_it_by_an_option(tmp_path: Path) -> None:
    options = {"dataset": "folder", "root": tmp_path, "store": tmp_path / "store", "encoders": ["ast"]}
    assert loader_of(make_config(options)) == "own class"
    assert loader_of(make_config({**options, "last_layer": "normed"})) == NORMED
    assert loader_of(make_config({**options, "preset": "paper", "last_layer": "normed"})) == "paper, last layer normed"
    with pytest.raises(ConfigError, match="last-layer: 'final' is not allowed; give block or normed"):
        make_config({**options, "last_layer": "final"})


def test_words_that_are_no_loader_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(EncoderError, match="There is no loader 'final': allowed are"):
        find_checkpoint(f"ast={folders['ast']}", loader="final")  # type: ignore[arg-type]
