"""What of a config.json makes the network: those values alone, checked; and the values of preprocessor_config.json.

A value that the network's class does not read (of heads, of tokenisers, or about how to compute: attention kernels,
quantisation, dtype) is left out. The tests hold the list against what transformers' classes read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explorer.encoders import whisper
from explorer.encoders.checks import (
    ACTIVATION,
    BOOL,
    MAX_LAYERS,
    MAX_LENGTH,
    MAX_RATE_HZ,
    MAX_WIDTH,
    MIN_RATE_HZ,
    SHARE,
    Check,
    checked,
    number_from,
    one_of,
    or_null,
    refusal,
    several,
    whole,
)
from explorer.encoders.registry import AST_FAMILY, WAVLM_FAMILY, WHISPER_FAMILY
from explorer.errors import EncoderError

_TRANSFORMER: dict[str, Check] = {
    "hidden_size": whole(1, MAX_WIDTH),
    "num_hidden_layers": whole(1, MAX_LAYERS),
    "num_attention_heads": whole(1, MAX_WIDTH),
    "intermediate_size": whole(1, MAX_WIDTH),
    "hidden_act": ACTIVATION,
    "layer_norm_eps": number_from(0.0, 1.0, above=True),
    "initializer_range": SHARE,
}
_AST: dict[str, Check] = {
    **_TRANSFORMER,
    "hidden_dropout_prob": SHARE,
    "attention_probs_dropout_prob": SHARE,
    "patch_size": whole(1, MAX_WIDTH),
    "qkv_bias": BOOL,
    "frequency_stride": whole(1, MAX_WIDTH),
    "time_stride": whole(1, MAX_WIDTH),
    "max_length": whole(1, MAX_LENGTH),
    "num_mel_bins": whole(1, MAX_WIDTH),
}
_WAVEFORM: dict[str, Check] = {
    **_TRANSFORMER,
    **dict.fromkeys(
        ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
         "mask_time_prob", "mask_feature_prob"),
        SHARE,
    ),
    **dict.fromkeys(("mask_time_length", "mask_feature_length"), whole(1, MAX_LENGTH)),
    **dict.fromkeys(("mask_time_min_masks", "mask_feature_min_masks"), whole(0, MAX_LENGTH)),
    **dict.fromkeys(("apply_spec_augment", "conv_bias", "do_stable_layer_norm"), BOOL),
    "feat_extract_norm": one_of("group", "layer"),
    "feat_extract_activation": ACTIVATION,
    **dict.fromkeys(("conv_dim", "conv_stride", "conv_kernel"), several(1, MAX_WIDTH)),
    "num_conv_pos_embeddings": whole(1, MAX_WIDTH),
    "num_conv_pos_embedding_groups": whole(1, MAX_WIDTH),
    "adapter_attn_dim": or_null(whole(1, MAX_WIDTH)),
}  # fmt: skip
_HUBERT = {**_WAVEFORM, "feat_proj_layer_norm": BOOL, "conv_pos_batch_norm": BOOL}
_WAVLM: dict[str, Check] = {
    **_WAVEFORM,
    "num_buckets": whole(1, MAX_LENGTH),
    "max_bucket_distance": whole(1, MAX_LENGTH),
    "add_adapter": BOOL,
    **dict.fromkeys(("adapter_kernel_size", "adapter_stride", "num_adapter_layers"), whole(1, MAX_WIDTH)),
    "output_hidden_size": or_null(whole(1, MAX_WIDTH)),
}
_LEVEL = number_from(-1e6, 1e6)
_PREPROCESSOR: dict[str, Check] = {
    "sampling_rate": (f"a whole number of Hz from {MIN_RATE_HZ} to {MAX_RATE_HZ}", whole(MIN_RATE_HZ, MAX_RATE_HZ)[1]),
    "do_normalize": BOOL,
    "mean": _LEVEL,
    "std": number_from(0.0, 1e6, above=True),
    "max_length": whole(1, MAX_LENGTH),
    "num_mel_bins": whole(1, MAX_WIDTH),
}


# The names of the numbers of layers, of the width and of the heads, and how many heads there are where none are named.
_NAMES = {WHISPER_FAMILY: ("encoder_layers", "d_model", "encoder_attention_heads", 6)}
_USUAL_NAMES = ("num_hidden_layers", "hidden_size", "num_attention_heads", 12)


def _checks_of(family: str) -> Mapping[str, Check]:
    return {AST_FAMILY: _AST, WAVLM_FAMILY: _WAVLM, WHISPER_FAMILY: whisper.NETWORK}.get(family, _HUBERT)


def layers_and_width(family: str, config: Mapping[str, Any]) -> tuple[int, int]:
    """(n_layers, d_model) of a config.json that `network_values` allows."""
    layers, width, _, _ = _NAMES.get(family, _USUAL_NAMES)
    return int(config[layers]), int(config[width])


def network_values(family: str, config: Mapping[str, Any], where: object = "config.json") -> dict[str, Any]:
    """The values of a config.json that make the network of that family, checked; all others are left out.

    where: the file, for the error. Raises EncoderError that names the value and what is allowed.
    """
    found = checked(_checks_of(family), config, where)
    layers, width, heads, usual_heads = _NAMES.get(family, _USUAL_NAMES)
    for key in (layers, width):
        if key not in found:
            raise EncoderError(f"{where} gives no {key}: it is not a whole config.json. Fetch the checkpoint again.")
    divides = f"a divisor of {width}, {found[width]}"
    n_heads = found.get(heads, usual_heads)
    if found[width] % n_heads:
        raise refusal(where, heads, n_heads, divides)
    if family not in (AST_FAMILY, WHISPER_FAMILY):
        _check_convolutions(found, divides, where)
    return found


def _check_convolutions(found: Mapping[str, Any], divides: str, where: object) -> None:
    """What the networks of waveforms have beside the others: convolutions and, in WavLM, distances in buckets."""
    groups = found.get("num_conv_pos_embedding_groups", 16)
    if found["hidden_size"] % groups:
        raise refusal(where, "num_conv_pos_embedding_groups", groups, divides)
    if found.get("max_bucket_distance", 800) <= found.get("num_buckets", 320) // 4:
        raise refusal(where, "max_bucket_distance", found.get("max_bucket_distance", 800), "more than num_buckets / 4")
    lists = [found[key] for key in ("conv_dim", "conv_stride", "conv_kernel") if key in found]
    if len({len(values) for values in lists}) > 1:
        raise EncoderError(f"{where} gives conv_dim, conv_stride and conv_kernel of unlike lengths: fetch it again.")
    for stride, kernel in zip(found.get("conv_stride", ()), found.get("conv_kernel", ()), strict=False):
        if stride > kernel:
            raise refusal(where, "conv_stride", found["conv_stride"], "strides no longer than their kernels")


def preprocessor_values(family: str, found: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The values of a preprocessor_config.json that are used, checked. Raises EncoderError as `network_values`."""
    return checked(whisper.PREPROCESSOR if family == WHISPER_FAMILY else _PREPROCESSOR, found, where)


def is_below_zero(value: Any) -> bool:
    """Whether a value of a config.json is a number below 0."""
    return not isinstance(value, bool) and isinstance(value, int | float) and -1e300 < value < 0
