"""A waveform through an encoder and an SAE: the codes and traces of one sound, the same way precompute makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explorer.audio import Waveform, resample
from explorer.encoders import Encoder
from explorer.sae import SAE, Codes, feature_trace


@dataclass(frozen=True, eq=False)
class Reading:
    """One sound as one SAE sees it."""

    states_td: np.ndarray  # float32, valid frames
    times_s: np.ndarray  # frame centres
    preactivations_f: np.ndarray  # of the pooled state
    codes: Codes  # of the pooled state, one row
    sae: SAE

    def activation(self, feature: int) -> float:
        """The feature's activation over the whole sound; 0 when it is not among the top k."""
        return float(self.codes.dense()[0, feature])

    def trace(self, feature: int) -> np.ndarray:
        """(t,) the feature's pre-activation at `times_s`; its mean is the sound's pre-activation."""
        return feature_trace(self.states_td, self.sae, feature)


def read_sound(wave: Waveform, encoder: Encoder, layer: int, saes: Sequence[SAE]) -> list[Reading]:
    """Encode one sound (any rate) and read it with several SAEs of the same layer.

    Raises AudioError for a sound the encoder does not take, and EncoderError for a layer it does not have.
    """
    if wave.sample_rate_hz != encoder.sample_rate_hz:
        wave = resample(wave, encoder.sample_rate_hz)
    states = encoder.hidden_states([wave], [layer])[layer]
    pooled_1d = states.pooled()
    return [
        Reading(states.values_td[0], states.times_s[0], sae.preactivations(pooled_1d)[0], sae.encode(pooled_1d), sae)
        for sae in saes
    ]
