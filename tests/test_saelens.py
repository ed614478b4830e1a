"""SAEs to and from SAELens, against sae-lens itself; and what is said about files that are none of ours."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from explorer.errors import StoreError
from explorer.queries.sae_facts import fetch_sae_facts
from explorer.sae import SAE, export_for_saelens, load_sae
from explorer.sae_card import model_card
from explorer.store import Store
from precompute.commands import export_sae

yaml: Any = pytest.importorskip("yaml", reason="comes with huggingface_hub")
D, F = 6, 16
STATES = np.random.default_rng(1).normal(size=(40, D)).astype(np.float32)


def theirs() -> Any:
    return pytest.importorskip("sae_lens", reason="sae-lens is a tool of development")


def exported(store: Store, folder: Path) -> tuple[SAE, dict[str, Any]]:
    sae_id = str(store.query("SELECT sae_id FROM saes ORDER BY sae_id LIMIT 1")["sae_id"].iloc[0])
    export_sae(store.folder, sae_id, folder)
    weights_file, facts = fetch_sae_facts(store, sae_id)
    return load_sae(store.file(weights_file)), facts


def test_an_export_opens_in_saelens_with_its_metadata_and_gives_the_same_numbers(store: Store, tmp_path: Path) -> None:
    sae, facts = exported(store, tmp_path / "out")
    opened = theirs().SAE.load_from_disk(str(tmp_path / "out"))
    states = np.random.default_rng(0).normal(size=(30, sae.d_model)).astype(np.float32)
    with torch.no_grad():
        codes = opened.encode(torch.from_numpy(states))
        decoded = opened.decode(codes).numpy()
    np.testing.assert_allclose(codes.numpy(), sae.encode(states).dense(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(decoded, sae.decode(sae.encode(states)), rtol=1e-5, atol=1e-5)
    kept = opened.cfg.metadata
    assert kept.sae_lens_version == "6.0.0" and kept.model_name == facts["encoder_source"]
    for name, value in facts.items():
        assert name in kept and kept[name] == value, name
    for name in ("sae_id", "encoder_name", "layer", "pooling", "encoder_licence", "n_training_clips", "k", "method",
                 "sample_rate_hz", "encoder_weights_sha256"):  # fmt: skip
        assert facts[name] is not None, name
    opened.save_model(str(tmp_path / "again"))  # as somebody does who changed it
    again = load_sae(tmp_path / "again")
    assert (again.k, again.metadata["sae_id"]) == (sae.k, facts["sae_id"])


def test_an_export_is_read_back(store: Store, tmp_path: Path) -> None:
    sae, _ = exported(store, tmp_path / "out")
    for place in (tmp_path / "out", tmp_path / "out" / "sae_weights.safetensors"):
        back = load_sae(place)
        assert back.k == sae.k and back.metadata["sae_id"] == sae.metadata["sae_id"]
        np.testing.assert_array_equal(back.w_enc_df, sae.w_enc_df)


def saved(folder: Path, kind: str, **options: Any) -> Any:
    """An SAE of that architecture with random weights, saved by sae-lens."""
    lens = theirs()
    sae_class, config_class = lens.registry.get_sae_class(kind)
    sae = sae_class(config_class(d_in=D, d_sae=F, **options))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    sae.save_model(str(folder))
    return sae


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("standard", {}),
        ("standard", {"apply_b_dec_to_input": False}),
        ("topk", {"k": 4}),
        ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": 16, "apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": 4, "dtype": "float16"}),
        ("topk", {"k": 4, "dtype": "bfloat16"}),
    ],
)
def test_what_our_form_can_hold_is_read_with_the_same_codes(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    saved(tmp_path, kind, **options)
    opened = theirs().SAE.load_from_disk(str(tmp_path), dtype="float32")
    mine = load_sae(tmp_path)
    assert mine.k == options.get("k", F) and mine.metadata["read_from"] == f"SAELens {kind}"
    with torch.no_grad():
        codes = opened.encode(torch.from_numpy(STATES))
        np.testing.assert_allclose(mine.encode(STATES).dense(), codes.numpy(), rtol=1e-5, atol=1e-5)
        decoded = opened.decode(codes).numpy()
    np.testing.assert_allclose(mine.decode(mine.encode(STATES)), decoded, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("jumprelu", {}, "is a SAELens jumprelu SAE, which Sonoscope cannot load yet"),
        ("gated", {}, "is a SAELens gated SAE, which Sonoscope cannot load yet"),
        ("topk", {"k": 4, "normalize_activations": "layer_norm"}, "normalize_activations=layer_norm, which Sonoscope"),
        ("standard", {"reshape_activations": "hook_z"}, "reshape_activations=hook_z, which Sonoscope"),
    ],
)
def test_what_it_cannot_hold_is_named(kind: str, options: dict[str, Any], says: str, tmp_path: Path) -> None:
    saved(tmp_path, kind, **options)
    for place in (tmp_path, tmp_path / "sae_weights.safetensors"):
        with pytest.raises(StoreError, match=re.escape(says)) as caught:
            load_sae(place)
        assert "precompute verify" not in str(caught.value)


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka_batchtopk"])
def test_batch_topk_is_saved_as_jumprelu_and_named_so(kind: str, tmp_path: Path) -> None:
    lens = theirs()
    training_class, config_class = lens.registry.get_sae_training_class(kind)
    widths = {"matryoshka_widths": [4, F]} if kind.startswith("matryoshka") else {}
    training_class(config_class(d_in=D, d_sae=F, k=3, **widths)).save_inference_model(str(tmp_path))
    with pytest.raises(StoreError, match="is a SAELens jumprelu SAE"):
        load_sae(tmp_path)


def _weights(**changed: np.ndarray) -> dict[str, np.ndarray]:
    shapes = {"W_enc": (D, F), "b_enc": (F,), "W_dec": (F, D), "b_dec": (D,)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()} | changed


@pytest.mark.parametrize(
    ("config", "weights", "says"),
    [
        ("{", _weights(), "cannot be read"),
        ("[]", _weights(), "is not a JSON object"),
        ('{"architecture": "topk"}', _weights(), "gives no whole number for k"),
        ('{"architecture": "topk", "k": "4"}', _weights(), "gives no whole number for k"),
        ('{"architecture": "topk", "k": 99}', _weights(), "k = 99 is not between 1 and the SAE's 16"),
        ('{"architecture": ["topk"]}', _weights(), "is a SAELens ['topk'] SAE"),
        ('{"activation_fn_str": "tanh-relu"}', _weights(), "standard (tanh-relu)"),
        ('{"activation_fn_str": "topk", "activation_fn_kwargs": null}', _weights(), "gives no whole number for k"),
        ("{}", _weights(threshold=np.ones(F, np.float32)), "it holds threshold as well"),
        ("{}", {"W_enc": np.ones((D, F), np.float32)}, "it lacks b_enc, W_dec, b_dec"),
        ("{}", _weights(W_enc=np.ones(5, np.float32)), "shapes that no SAE has"),
        ("{}", _weights(b_enc=np.ones(5, np.float32)), "do not fit together"),
        ("{}", _weights(W_enc=np.ones((D, F), np.int8)), "holds W_enc as I8"),
        ("{}", None, "holds cfg.json, but not sae_weights.safetensors"),
        ("{}", b"damaged", "cannot be read"),
    ],
)
def test_a_folder_that_is_no_whole_sae_gives_one_sentence(
    config: str, weights: dict[str, np.ndarray] | bytes | None, says: str, tmp_path: Path
) -> None:
    (tmp_path / "cfg.json").write_text(config)
    if isinstance(weights, bytes):
        (tmp_path / "sae_weights.safetensors").write_bytes(weights)
    elif weights is not None:
        save_file(weights, tmp_path / "sae_weights.safetensors")
    with pytest.raises(StoreError, match=re.escape(says)) as caught:
        load_sae(tmp_path)
    assert "precompute verify" not in str(caught.value) and "\n" not in str(caught.value)


def test_verify_is_advised_for_files_of_a_store_only(tmp_path: Path) -> None:
    save_file({"weight": np.ones(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(StoreError, match="is no SAE that Sonoscope wrote") as caught:
        load_sae(tmp_path / "other.safetensors")
    assert "precompute verify" not in str(caught.value)
    (tmp_path / "damaged.safetensors").write_bytes(b"no tensors here")
    for place, says in (("damaged", "it is no safetensors file, or a damaged one"), ("gone", "is not there")):
        with pytest.raises(StoreError, match=says) as caught:
            load_sae(tmp_path / f"{place}.safetensors")
        assert "precompute verify" not in str(caught.value)
    with pytest.raises(StoreError, match=r"holds no cfg\.json and sae_weights\.safetensors, which are a SAELens SAE"):
        load_sae(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "CURRENT").write_text("1\n")
    (tmp_path / "files" / "sae.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(StoreError, match=re.escape(f"verify --store {tmp_path}`")):
        load_sae(tmp_path / "files" / "sae.safetensors")


HOSTILE = 'x"\n---\nlicense: mit # <img src=x onerror=alert(1)> | `a` [b](http://c.example) **d** \u202e'


def test_the_card_says_where_the_sae_comes_from_and_keeps_hostile_text_as_text(store: Store, tmp_path: Path) -> None:
    _, facts = exported(store, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for text in (
        facts["sae_id"],
        str(facts["n_training_clips"]),
        "16000 Hz",
        "random weights",
        "library_name: saelens",
    ):
        assert str(text) in card
    hostile = {name: HOSTILE if isinstance(value, str) else value for name, value in facts.items()} | {
        "hub_id": HOSTILE,
        "encoder_revision": HOSTILE,
    }
    card = model_card(hostile)
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license_name"] == HOSTILE and yaml.safe_load(front)["license"] == "other"
    assert set(yaml.safe_load(front)) == {"library_name", "license", "license_name", "base_model", "tags"}
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    outside = re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[b|(?<!\\)\*\*d", outside)
    assert len(code) == 1 and "img" not in code[0] and "FOLDER_OF_THE_CHECKPOINT" in code[0]
    ast.parse(code[0])


def test_a_non_commercial_licence_is_said_and_a_hub_id_is_used(store: Store, tmp_path: Path) -> None:
    sae, facts = exported(store, tmp_path / "first")
    facts |= {
        "encoder_name": "mert", "hub_id": "m-a-p/MERT-v1-95M", "encoder_source": "m-a-p/MERT-v1-95M",
        "encoder_revision": "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", "encoder_licence": "CC-BY-NC-4.0",
        "is_trained": True,
    }  # fmt: skip
    export_for_saelens(sae, tmp_path / "out", facts)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert (front["license"], front["base_model"]) == ("cc-by-nc-4.0", "m-a-p/MERT-v1-95M")
    assert "non-commercial use only" in card and "random weights" not in card
    assert 'load_encoder("mert=m-a-p/MERT-v1-95M@12af15fef9d0ac838c3f475bfbbf26d2060dd4f5")' in card
    metadata = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]
    assert (metadata["model_name"], metadata["encoder_licence"]) == ("m-a-p/MERT-v1-95M", "CC-BY-NC-4.0")
    assert "non-commercial" not in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")


SPARSIFY = {"encoder.weight": np.ones((F, D), np.float32), "W_dec": np.ones((F, D), np.float32)}
OTHERS: dict[str, tuple[dict[str, bytes | dict[str, np.ndarray]], str, str]] = {
    "nothing": ({}, "", "is an empty folder"),
    "a model": ({"config.json": b'{"model_type": "hubert"}'}, "", "is a model (hubert), not an SAE"),
    "dictionary_learning": ({"ae.pt": b"PK", "config.json": b"{}"}, "", "is an SAE of dictionary_learning"),
    "its file": ({"ae.pt": b"PK"}, "ae.pt", "is a pickle, which is never opened"),
    "sparsify": ({"cfg.json": b"{}", "sae.safetensors": SPARSIFY}, "", "is an SAE of sparsify"),
    "sparsify's file": ({"sae.safetensors": SPARSIFY}, "sae.safetensors", "is an SAE of sparsify"),
    "no weights": ({"cfg.json": b"{}"}, "", "holds cfg.json, but not sae_weights.safetensors"),
    "folders of SAEs": ({"blocks.8/sae/cfg.json": b"{}"}, "", "give one of them, such as blocks.8/sae."),
    "a store": ({"CURRENT": b"1"}, "", "is a store of Sonoscope"),
    "an archive": ({"sae.zip": b"PK\3\4"}, "sae.zip", "is an archive: unpack it"),
    "an empty file": ({"a.safetensors": b""}, "a.safetensors", "is an empty file (0 bytes)"),
    "a pointer": ({"a.safetensors": b"version https://git-lfs.g/v1"}, "a.safetensors", "run `git lfs pull` there"),
    "its description": ({"cfg.json": b"{}"}, "cfg.json", "is a description without weights: give the folder"),
    "other weights": ({"a.safetensors": {"lin": np.ones(2, np.float32)}}, "a.safetensors", "names no k, and has lin"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_sae_is_said_to_be_what_it_is(tmp_path: Path, kind: str) -> None:
    files, given, says = OTHERS[kind]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            save_file(content, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=re.escape(f"{tmp_path / given} ")) as caught:
        load_sae(tmp_path / given)
    assert says in str(caught.value) and "\n" not in str(caught.value)
