"""Foundation models: which there are, how they are loaded, and the only extraction of hidden states.

This package is the only importer of transformers. Nothing is fetched or loaded at import, and PyTorch is imported with
the first name that needs it: an installation for browsing has none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from explorer.encoders.checkpoint import MARKER, Checkpoint, check_training_mode, find_checkpoint
from explorer.encoders.devices import DEVICES, find_device
from explorer.encoders.library import hide_broken_torchaudio, require
from explorer.encoders.loaders import LAST_LAYERS, Loader, has_final_norm, loader_for
from explorer.encoders.registry import (
    AST_FAMILY,
    ENCODERS,
    FAMILIES,
    HUBERT_FAMILY,
    MERT_FAMILY,
    WAVLM_FAMILY,
    WHISPER_FAMILY,
    EncoderChoice,
    EncoderSpec,
    parse_encoder,
)
from explorer.encoders.states import FrameStates

if TYPE_CHECKING:
    from explorer.encoders.encoder import Encoder, load_encoder
    from explorer.encoders.front_ends import FrontEnd, front_end_of
    from explorer.encoders.network import untrained_network

__all__ = [
    "AST_FAMILY",
    "DEVICES",
    "ENCODERS",
    "FAMILIES",
    "HUBERT_FAMILY",
    "LAST_LAYERS",
    "MARKER",
    "MERT_FAMILY",
    "WAVLM_FAMILY",
    "WHISPER_FAMILY",
    "Checkpoint",
    "Encoder",
    "EncoderChoice",
    "EncoderSpec",
    "FrameStates",
    "FrontEnd",
    "Loader",
    "check_training_mode",
    "find_checkpoint",
    "find_device",
    "front_end_of",
    "has_final_norm",
    "hide_broken_torchaudio",
    "load_encoder",
    "loader_for",
    "parse_encoder",
    "untrained_network",
]

_NEED_TORCH = {
    "Encoder": "encoder",
    "load_encoder": "encoder",
    "FrontEnd": "front_ends",
    "front_end_of": "front_ends",
    "untrained_network": "network",
}


def __getattr__(name: str) -> object:
    """The names that need PyTorch, when they are asked for. Raises MissingPackageError where there is none."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("torch", "encoders")
    return getattr(importlib.import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
