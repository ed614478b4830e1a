"""What of a config.json makes the network: those values alone, checked; and the values of preprocessor_config.json.

A value that the network's class does not read (of heads, of tokenisers, or about how to compute: attention kernels,
quantisation, dtype) is left out. The tests hold the list against what transformers' classes read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from explorer.encoders.registry import AST_FAMILY, WAVLM_FAMILY
from explorer.errors import EncoderError

MAX_LAYERS, MAX_WIDTH, MAX_LENGTH = 512, 65_536, 1_000_000
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000

Check = tuple[str, Callable[[Any], Any]]
"""What is allowed, in words, and a function from a value to the value in use; it raises ValueError for another."""


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValueError
        if not low <= value <= high:
            raise ValueError
        return int(value)

    return f"a whole number from {low} to {high}", check


def _number(low: float, high: float, *, above: bool = False) -> Check:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError
        if above and value == low:
            raise ValueError
        return float(value)

    return f"a number {'above' if above else 'from'} {low:g} {'and up ' if above else ''}to {high:g}", check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _one_of(*allowed: str) -> Check:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return " or ".join(map(repr, allowed)), check


def _several(low: int, high: int) -> Check:
    _, one = _whole(low, high)

    def check(value: Any) -> list[int]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_LAYERS:
            raise ValueError
        return [one(item) for item in value]

    return f"a list of whole numbers from {low} to {high}", check


def _or_null(inner: Check) -> Check:
    return f"{inner[0]}, or null", lambda value: None if value is None else inner[1](value)


_BOOL: Check = ("true or false", _flag)
_ACTIVATION: Check = ("the name of an activation, such as 'gelu'", _word)
_SHARE = _number(0.0, 1.0)
_TRANSFORMER: dict[str, Check] = {
    "hidden_size": _whole(1, MAX_WIDTH),
    "num_hidden_layers": _whole(1, MAX_LAYERS),
    "num_attention_heads": _whole(1, MAX_WIDTH),
    "intermediate_size": _whole(1, MAX_WIDTH),
    "hidden_act": _ACTIVATION,
    "layer_norm_eps": _number(0.0, 1.0, above=True),
    "initializer_range": _SHARE,
}
_AST: dict[str, Check] = {
    **_TRANSFORMER,
    "hidden_dropout_prob": _SHARE,
    "attention_probs_dropout_prob": _SHARE,
    "patch_size": _whole(1, MAX_WIDTH),
    "qkv_bias": _BOOL,
    "frequency_stride": _whole(1, MAX_WIDTH),
    "time_stride": _whole(1, MAX_WIDTH),
    "max_length": _whole(1, MAX_LENGTH),
    "num_mel_bins": _whole(1, MAX_WIDTH),
}
_WAVEFORM: dict[str, Check] = {
    **_TRANSFORMER,
    **dict.fromkeys(
        ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
         "mask_time_prob", "mask_feature_prob"),
        _SHARE,
    ),
    **dict.fromkeys(("mask_time_length", "mask_feature_length"), _whole(1, MAX_LENGTH)),
    **dict.fromkeys(("mask_time_min_masks", "mask_feature_min_masks"), _whole(0, MAX_LENGTH)),
    **dict.fromkeys(("apply_spec_augment", "conv_bias", "do_stable_layer_norm"), _BOOL),
    "feat_extract_norm": _one_of("group", "layer"),
    "feat_extract_activation": _ACTIVATION,
    **dict.fromkeys(("conv_dim", "conv_stride", "conv_kernel"), _several(1, MAX_WIDTH)),
    "num_conv_pos_embeddings": _whole(1, MAX_WIDTH),
    "num_conv_pos_embedding_groups": _whole(1, MAX_WIDTH),
    "adapter_attn_dim": _or_null(_whole(1, MAX_WIDTH)),
}  # fmt: skip
_HUBERT = {**_WAVEFORM, "feat_proj_layer_norm": _BOOL, "conv_pos_batch_norm": _BOOL}
_WAVLM: dict[str, Check] = {
    **_WAVEFORM,
    "num_buckets": _whole(1, MAX_LENGTH),
    "max_bucket_distance": _whole(1, MAX_LENGTH),
    "add_adapter": _BOOL,
    **dict.fromkeys(("adapter_kernel_size", "adapter_stride", "num_adapter_layers"), _whole(1, MAX_WIDTH)),
    "output_hidden_size": _or_null(_whole(1, MAX_WIDTH)),
}
_LEVEL = _number(-1e6, 1e6)
_PREPROCESSOR: dict[str, Check] = {
    "sampling_rate": (f"a whole number of Hz from {MIN_RATE_HZ} to {MAX_RATE_HZ}", _whole(MIN_RATE_HZ, MAX_RATE_HZ)[1]),
    "do_normalize": _BOOL,
    "mean": _LEVEL,
    "std": _number(0.0, 1e6, above=True),
    "max_length": _whole(1, MAX_LENGTH),
    "num_mel_bins": _whole(1, MAX_WIDTH),
}


def _checks_of(family: str) -> Mapping[str, Check]:
    return {AST_FAMILY: _AST, WAVLM_FAMILY: _WAVLM}.get(family, _HUBERT)


def network_values(family: str, config: Mapping[str, Any], where: object = "config.json") -> dict[str, Any]:
    """The values of a config.json that make the network of that family, checked; all others are left out.

    where: the file, for the error. Raises EncoderError that names the value and what is allowed.
    """
    found = _checked(_checks_of(family), config, where)
    for key in ("num_hidden_layers", "hidden_size"):
        if key not in found:
            raise EncoderError(f"{where} gives no {key}: it is not a whole config.json. Fetch the checkpoint again.")
    divides = f"a divisor of hidden_size, {found['hidden_size']}"
    heads = found.get("num_attention_heads", 12)
    if found["hidden_size"] % heads:
        raise _error(where, "num_attention_heads", heads, divides)
    if family == AST_FAMILY:
        return found
    groups = found.get("num_conv_pos_embedding_groups", 16)
    if found["hidden_size"] % groups:
        raise _error(where, "num_conv_pos_embedding_groups", groups, divides)
    if found.get("max_bucket_distance", 800) <= found.get("num_buckets", 320) // 4:
        raise _error(where, "max_bucket_distance", found.get("max_bucket_distance", 800), "more than num_buckets / 4")
    lists = [found[key] for key in ("conv_dim", "conv_stride", "conv_kernel") if key in found]
    if len({len(values) for values in lists}) > 1:
        raise EncoderError(f"{where} gives conv_dim, conv_stride and conv_kernel of unlike lengths: fetch it again.")
    for stride, kernel in zip(found.get("conv_stride", ()), found.get("conv_kernel", ()), strict=False):
        if stride > kernel:
            raise _error(where, "conv_stride", found["conv_stride"], "strides no longer than their kernels")
    return found


def preprocessor_values(found: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The values of a preprocessor_config.json that are used, checked. Raises EncoderError as `network_values`."""
    return _checked(_PREPROCESSOR, found, where)


def _checked(checks: Mapping[str, Check], values: Mapping[str, Any], where: object) -> dict[str, Any]:
    found = {}
    for key, (allowed, check) in checks.items():
        if key in values:
            try:
                found[key] = check(values[key])
            except (ValueError, TypeError, OverflowError) as error:
                raise _error(where, key, values[key], allowed) from error
    return found


def _error(where: object, key: str, value: Any, allowed: str) -> EncoderError:
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return EncoderError(
        f"{where} says {key}: {shown}, but allowed is {allowed}. Correct the file or fetch the checkpoint again."
    )


def is_below_zero(value: Any) -> bool:
    """Whether a value of a config.json is a number below 0."""
    return not isinstance(value, bool) and isinstance(value, int | float) and -1e300 < value < 0
