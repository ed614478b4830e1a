"""What the app asks of the process that holds the models, and what it replies: plain data, pickled between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.audio import SoundBytes, Waveform
from explorer.pooling import Pooling


@dataclass(frozen=True, eq=False)
class EncodeRequest:
    """States of some layers. encoder: its row of `encoders`; places: where to look for its checkpoint."""

    encoder: Mapping[str, Any]
    places: tuple[str, ...]
    wave: Waveform
    layers: tuple[int, ...]
    pooling: Pooling
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class LayerStates:
    """One layer's states of one sound: (t, d) valid frames, (t,) their centres in s, (d,) pooled as was asked."""

    values_td: np.ndarray
    times_s: np.ndarray
    pooled_d: np.ndarray


@dataclass(frozen=True, eq=False)
class Encoded:
    """states: by layer. load_s: 0.0 where it was warm. note: empty or a sentence."""

    states: Mapping[int, LayerStates]
    device: str
    load_s: float
    encode_s: float
    note: str


@dataclass(frozen=True, eq=False)
class FactorRequest:
    """openSMILE's 88 factors of a sound."""

    wave: Waveform


@dataclass(frozen=True)
class DecodeRequest:
    """A stretch of a file that a reader brought, as explorer.audio.Excerpt."""

    sound: SoundBytes
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class FindRequest:
    """Which of these encoders (rows of `encoders`) have their checkpoint on this machine."""

    encoders: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A reply: a fault of ours. What a person can mend is replied as the ExplorerError itself."""

    message: str


@dataclass(frozen=True)
class WarmRequest:
    """Have these encoders (rows of `encoders`) and openSMILE ready for the sound that will follow."""

    encoders: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]
    device: str = "auto"


Request = DecodeRequest | EncodeRequest | FactorRequest | FindRequest | WarmRequest
