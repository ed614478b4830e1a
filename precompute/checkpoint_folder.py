"""A checkpoint folder as the hub lays it out: geometry, config.json, preprocessor_config.json, weights, marker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch

from explorer.encoders import (
    AST_FAMILY,
    FAMILIES,
    HUBERT_FAMILY,
    MARKER,
    MERT_FAMILY,
    WAVLM_FAMILY,
    WHISPER_FAMILY,
)
from explorer.tensors import save_tensors

Size = Literal["base", "demo", "small"]
CONFIG = "config.json"

_CONVOLUTIONS = {
    "conv_bias": False,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "num_feat_extract_layers": 7,
}
_TRANSFORMER = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "initializer_range": 0.02,
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "hidden_dropout": 0.1,
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.1,
    "layerdrop": 0.05,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "apply_spec_augment": True,
    "mask_time_prob": 0.05,
    "mask_time_length": 10,
    "mask_feature_prob": 0.0,
    "mask_feature_length": 10,
}
# The published geometries; MERT's as at revision 12af15fef9d0ac838c3f475bfbbf26d2060dd4f5.
_BASE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        AST_FAMILY: {
            "model_type": AST_FAMILY,
            "architectures": ["ASTForAudioClassification"],
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "patch_size": 16,
            "qkv_bias": True,
            "frequency_stride": 10,
            "time_stride": 10,
            "max_length": 1024,
            "num_mel_bins": 128,
        },
        WAVLM_FAMILY: {
            "model_type": WAVLM_FAMILY,
            "architectures": ["WavLMModel"],
            **_CONVOLUTIONS,
            **_TRANSFORMER,
            "num_buckets": 320,
            "max_bucket_distance": 800,
        },
        HUBERT_FAMILY: {
            "model_type": HUBERT_FAMILY,
            "architectures": ["HubertModel"],
            **_CONVOLUTIONS,
            **_TRANSFORMER,
            "feat_proj_layer_norm": True,
        },
        MERT_FAMILY: {
            "model_type": MERT_FAMILY,
            "architectures": ["MERTModel"],
            "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
            **_CONVOLUTIONS,
            **_TRANSFORMER,
            "feat_proj_layer_norm": True,
            "feature_extractor_cqt": False,
            "feature_extractor_cqt_bins": 336,
            "deepnorm": False,
            "attention_relax": -1.0,
            "sample_rate": 24_000,
        },
        WHISPER_FAMILY: {
            "model_type": WHISPER_FAMILY,
            "architectures": ["WhisperForConditionalGeneration"],
            "is_encoder_decoder": True,
            "d_model": 512,
            "encoder_layers": 6,
            "num_hidden_layers": 6,
            "encoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "encoder_layerdrop": 0.0,
            "decoder_layers": 6,
            "decoder_attention_heads": 8,
            "decoder_ffn_dim": 2048,
            "decoder_layerdrop": 0.0,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "activation_function": "gelu",
            "scale_embedding": False,
            "init_std": 0.02,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
            "max_target_positions": 448,
            "vocab_size": 51865,
            "pad_token_id": 50257,
            "bos_token_id": 50257,
            "eos_token_id": 50257,
            "decoder_start_token_id": 50258,
        },
    }
)
# Real strides, so that frame rates are true; everything else as little as quick tests need.
_SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "initializer_range": 0.08,  # 0.02 * sqrt(768 / 48): blocks change their input as much as at base width
    }
)
_SMALL_CONVOLUTIONS: Mapping[str, Any] = MappingProxyType(
    {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
)
# What the demo's encoders are made of: a sixth of the width; for AST a window of 3.2 s and patches that do not overlap.
_DEMO: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "initializer_range": 0.05,  # 0.02 * sqrt(768 / 128)
    }
)
_DEMO_CONVOLUTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "conv_dim": [32, 32, 64, 64, 64, 64, 64],
        "num_conv_pos_embeddings": 64,
        "num_conv_pos_embedding_groups": 8,
        "layerdrop": 0.0,
    }
    | dict.fromkeys(
        ("activation_dropout", "attention_dropout", "hidden_dropout", "feat_proj_dropout", "final_dropout"), 0.0
    )
)
_DEMO_PATCHES: Mapping[str, Any] = MappingProxyType({"max_length": 320, "time_stride": 16, "frequency_stride": 16})
# Whisper's whole window, behind a decoder of one small block.
_LITTLE_DECODER: Mapping[str, Any] = MappingProxyType(
    {"decoder_layers": 1, "decoder_ffn_dim": 32, "decoder_attention_heads": 4, "max_target_positions": 8,
     "vocab_size": 32}
    | dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
)  # fmt: skip
_WHISPERS_NAMES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "encoder_layers",
    "num_attention_heads": "encoder_attention_heads",
    "intermediate_size": "encoder_ffn_dim",
    "initializer_range": "init_std",
}


def geometry(family: str, size: Size) -> dict[str, Any]:
    """The config.json of a family: "base" as published, "demo" and "small" with the same parts, smaller."""
    if family == WHISPER_FAMILY:
        return _whisper_geometry(size)
    shared, waveform, patches = {
        "base": ({}, {}, {}),
        "demo": (_DEMO, _DEMO_CONVOLUTIONS, _DEMO_PATCHES),
        "small": (_SMALL, _SMALL_CONVOLUTIONS, {}),
    }[size]
    return {**_BASE[family], **shared, **(patches if family == AST_FAMILY else waveform)}


def _whisper_geometry(size: Size) -> dict[str, Any]:
    shared = {"base": {}, "demo": _DEMO, "small": _SMALL}[size]
    own = {_WHISPERS_NAMES[key]: value for key, value in shared.items()}
    smaller = {**own, **_LITTLE_DECODER, "num_hidden_layers": own["encoder_layers"]} if own else {}
    return {**_BASE[WHISPER_FAMILY], **smaller}


def save_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    network: Any,
    marker: Mapping[str, Any],
    *,
    preprocessor: Mapping[str, Any] | None = None,
    as_bin: bool = False,
) -> None:
    """Write a checkpoint; config.json comes last: a folder that has one is complete.

    marker: what the weights cannot say themselves (is_trained, note, licence, ...). preprocessor: values that replace
    the family's own. as_bin: a pickle of tensors instead of safetensors, as MERT lies on the hub.
    """
    family = str(config["model_type"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    weights = _hub_layout(network.state_dict())
    if as_bin:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        arrays = {key: tensor.cpu().numpy() for key, tensor in weights.items()}
        save_tensors(folder / "model.safetensors", arrays, {"format": "pt"})
    write_json(folder / "preprocessor_config.json", {**preprocessor_of(family, config), **(preprocessor or {})})
    write_json(folder / MARKER, marker)
    write_json(folder / CONFIG, config)


def _hub_layout(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names that published files have: the weight norm's old ones, no weight twice."""
    state = {key: value for key, value in state.items() if key != "proj_out.weight"}  # Whisper's embedding again
    names = {
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv_embed.conv.weight_g",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv_embed.conv.weight_v",
    }
    return {names.get(key, key): value.detach().contiguous().clone() for key, value in state.items()}


def preprocessor_of(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessor_config.json of a family's published checkpoint, for that configuration."""
    defaults = FAMILIES[family]
    if family == AST_FAMILY:
        return {
            "feature_extractor_type": "ASTFeatureExtractor",
            "sampling_rate": defaults.sample_rate_hz,
            "do_normalize": True,
            "mean": -4.2677393,
            "std": 4.5689974,
            "max_length": config["max_length"],
            "num_mel_bins": config["num_mel_bins"],
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
        }
    if family == WHISPER_FAMILY:
        return {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "sampling_rate": defaults.sample_rate_hz,
            "feature_size": config["num_mel_bins"],
            "n_fft": 400,
            "hop_length": 160,
            "chunk_length": config["max_source_positions"] // 50,
            "dither": 0.0,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
        }
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": defaults.sample_rate_hz,
        "do_normalize": defaults.do_normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0,
        "return_attention_mask": family != HUBERT_FAMILY,
    }


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
