"""One sound's states through an SAE: its code and traces, the same way precompute makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.sae import SAE, Codes, feature_trace


@dataclass(frozen=True, eq=False)
class Reading:
    """One sound as one SAE sees it."""

    states_td: np.ndarray  # float32, valid frames
    times_s: np.ndarray  # frame centres
    preactivations_f: np.ndarray  # of the pooled state
    codes: Codes  # of the pooled state, one row
    sae: SAE

    @property
    def hop_s(self) -> float:
        """Between two frames; a lone frame stands for twice the time up to its centre."""
        return float(self.times_s[1] - self.times_s[0]) if len(self.times_s) > 1 else 2 * float(self.times_s[0])

    @property
    def heard_s(self) -> float:
        """How far into the sound its frames reach: not to the end where only the first window was read."""
        return float(self.times_s[-1]) + self.hop_s / 2

    def activation(self, feature: int) -> float:
        """The feature's activation over the whole sound; 0 when it is not among the top k."""
        return float(self.codes.dense()[0, feature])

    def trace(self, feature: int) -> np.ndarray:
        """(t,) the feature's pre-activation at `times_s`; its mean and `unseen` add up to that of the sound."""
        return feature_trace(self.states_td, self.sae, feature)

    def unseen(self, feature: int) -> float:
        """The part of the sound's pre-activation that no frame shows: 0 but for rounding, unless special and padded
        tokens were pooled too."""
        return float(self.preactivations_f[feature] - self.trace(feature).mean(dtype=np.float64))

    def between(self, start_s: float, end_s: float) -> Reading:
        """The frames whose centres lie in a stretch, pooled on their own: the encoder heard the rest too.

        The frame nearest to its middle where the stretch holds none.
        """
        inside = (self.times_s >= start_s) & (self.times_s <= end_s)
        if not inside.any():
            inside[np.argmin(np.abs(self.times_s - (start_s + end_s) / 2))] = True
        return read_states(self.states_td[inside], self.times_s[inside], self.sae)


def read_states(states_td: np.ndarray, times_s: np.ndarray, sae: SAE, pooled_d: np.ndarray | None = None) -> Reading:
    """Frames (t, d) at `times_s` as one SAE sees their mean (or `pooled_d`)."""
    pooled = states_td.mean(axis=0, dtype=np.float64).astype(np.float32) if pooled_d is None else pooled_d
    return Reading(states_td, times_s, sae.preactivations(pooled[None])[0], sae.encode(pooled[None]), sae)
