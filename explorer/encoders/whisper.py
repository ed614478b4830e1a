"""Whisper: which values of its files make the encoder, what they may be, and how the two files must fit each other.

The encoder sees windows of 30 s: `chunk_length` seconds are `2 * max_source_positions` steps of a log-mel spectrogram,
and two of these one frame. There is no mask: the silence after a shorter sound is attended to, as in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from explorer.encoders.checks import (
    ACTIVATION,
    BOOL,
    MAX_LAYERS,
    MAX_LENGTH,
    MAX_RATE_HZ,
    MAX_WIDTH,
    SHARE,
    Check,
    number_from,
    one_of,
    whole,
)
from explorer.errors import EncoderError
from explorer.text import count, quantity

TOP_HZ = 8_000.0
"""The upper end of the mel bands, whatever the rate."""
STEPS_A_FRAME = 2
"""The second convolution's stride."""

NETWORK: Mapping[str, Check] = MappingProxyType(
    {
        "d_model": whole(1, MAX_WIDTH),
        "encoder_layers": whole(1, MAX_LAYERS),
        "encoder_attention_heads": whole(1, MAX_WIDTH),
        "encoder_ffn_dim": whole(1, MAX_WIDTH),
        "num_mel_bins": whole(1, MAX_WIDTH),
        "max_source_positions": whole(1, MAX_LENGTH),
        "activation_function": ACTIVATION,
        "scale_embedding": BOOL,
        "init_std": SHARE,
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop"), SHARE),
    }
)


def _even(value: Any) -> int:
    number: int = whole(16, 8_192)[1](value)
    if number % 2:
        raise ValueError
    return number


_NOTHING: Check = ("0: noise or a level in place of silence would change every state", number_from(0.0, 0.0)[1])
PREPROCESSOR: Mapping[str, Check] = MappingProxyType(
    {
        "sampling_rate": (
            f"a whole number of Hz from {2 * TOP_HZ:g} to {MAX_RATE_HZ}",
            whole(round(2 * TOP_HZ), MAX_RATE_HZ)[1],
        ),
        "feature_size": whole(1, MAX_WIDTH),
        "n_fft": ("an even whole number from 16 to 8192", _even),
        "hop_length": whole(1, 8_192),
        "chunk_length": whole(1, 3_600),
        "dither": _NOTHING,
        "padding_value": _NOTHING,
        "padding_side": one_of("right"),
    }
)
_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"sampling_rate": 16_000, "feature_size": 80, "n_fft": 400, "hop_length": 160, "chunk_length": 30, "dither": 0.0,
     "padding_value": 0.0, "padding_side": "right"}
)  # fmt: skip


def preprocessor_defaults(network: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint without a preprocessor_config.json is taken to want. network: its checked config.json."""
    return {**_DEFAULTS, "feature_size": network.get("num_mel_bins", _DEFAULTS["feature_size"])}


def check_fit(network: Mapping[str, Any], preprocessor: Mapping[str, Any], folder: Path) -> None:
    """Raise EncoderError where the spectrogram that the preprocessor makes is not the one that the network takes."""
    bands, wanted = preprocessor["feature_size"], network.get("num_mel_bins", 80)
    if bands != wanted:
        raise EncoderError(
            f"{folder}: the preprocessor's feature_size is {bands}, the network's num_mel_bins is {wanted}. "
            "Their files are from different checkpoints: fetch the checkpoint again."
        )
    n_steps = preprocessor["chunk_length"] * preprocessor["sampling_rate"] / preprocessor["hop_length"]
    n_taken = STEPS_A_FRAME * network.get("max_source_positions", 1_500)
    if n_steps != n_taken:
        raise EncoderError(
            f"{folder}: a window of the preprocessor (chunk_length {preprocessor['chunk_length']} s, hop_length "
            f"{preprocessor['hop_length']}) makes {quantity(n_steps, 6)} of the {count(n_taken, 'step')} that the "
            "network takes (twice max_source_positions). Their files are from different checkpoints: fetch the "
            "checkpoint again."
        )
