"""Foundation models: which there are, how they are loaded, and the only extraction of hidden states.

This package is the only importer of transformers. Nothing is fetched or loaded at import.
"""

from explorer.encoders.checkpoint import MARKER, Checkpoint, Loader, find_checkpoint
from explorer.encoders.devices import DEVICES, find_device
from explorer.encoders.encoder import Encoder, load_encoder
from explorer.encoders.front_ends import FrontEnd, front_end_of
from explorer.encoders.network import untrained_network
from explorer.encoders.registry import (
    AST_FAMILY,
    ENCODERS,
    FAMILIES,
    HUBERT_FAMILY,
    MERT_FAMILY,
    WAVLM_FAMILY,
    EncoderChoice,
    EncoderSpec,
    parse_encoder,
)
from explorer.encoders.states import FrameStates

__all__ = [
    "AST_FAMILY",
    "DEVICES",
    "ENCODERS",
    "FAMILIES",
    "HUBERT_FAMILY",
    "MARKER",
    "MERT_FAMILY",
    "WAVLM_FAMILY",
    "Checkpoint",
    "Encoder",
    "EncoderChoice",
    "EncoderSpec",
    "FrameStates",
    "FrontEnd",
    "Loader",
    "find_checkpoint",
    "find_device",
    "front_end_of",
    "load_encoder",
    "parse_encoder",
    "untrained_network",
]
