"""One sound's states through an SAE: its code and traces, the same way precompute makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.giants import Span, UsualFrames, mean_without, spans_of
from explorer.sae import SAE, Codes, feature_trace


@dataclass(frozen=True, eq=False)
class Reading:
    """One sound as one SAE sees it."""

    states_td: np.ndarray  # float32, valid frames
    times_s: np.ndarray  # frame centres
    preactivations_f: np.ndarray  # of the pooled state
    codes: Codes  # of the pooled state, one row
    sae: SAE
    usual: UsualFrames | None = None  # of the layer; without them no frame is known to be giant
    is_without_giants: bool = False  # whether the pooled state leaves them out

    @property
    def hop_s(self) -> float:
        """Between two frames; a lone frame stands for twice the time up to its centre."""
        return float(self.times_s[1] - self.times_s[0]) if len(self.times_s) > 1 else 2 * float(self.times_s[0])

    @property
    def heard_s(self) -> float:
        """How far into the sound its frames reach: not to the end where only the first window was read."""
        return float(self.times_s[-1]) + self.hop_s / 2

    @property
    def is_giant_t(self) -> np.ndarray:
        """(t,) which frames are giant."""
        return _giant(self.states_td, self.usual)

    @property
    def giants(self) -> list[Span]:
        """(start, end) in s of each run of them."""
        return spans_of(self.is_giant_t, self.times_s)

    def activation(self, feature: int) -> float:
        """The feature's activation over the whole sound; 0 when it is not among the top k."""
        return float(self.codes.dense()[0, feature])

    def trace(self, feature: int) -> np.ndarray:
        """(t,) the feature's pre-activation at `times_s`; its mean over the pooled frames and `unseen` add up to that
        of the sound."""
        return feature_trace(self.states_td, self.sae, feature)

    def unseen(self, feature: int) -> float:
        """The part of the sound's pre-activation that no frame shows: 0 but for rounding, unless special and padded
        tokens were pooled too."""
        trace_t, out_t = self.trace(feature), self.is_giant_t
        pooled = trace_t[~out_t] if self.is_without_giants and not out_t.all() else trace_t
        return float(self.preactivations_f[feature] - pooled.mean(dtype=np.float64))

    def between(self, start_s: float, end_s: float) -> Reading:
        """The frames whose centres lie in a stretch, pooled on their own: the encoder heard the rest too.

        The frame nearest to its middle where the stretch holds none.
        """
        inside = (self.times_s >= start_s) & (self.times_s <= end_s)
        if not inside.any():
            inside[np.argmin(np.abs(self.times_s - (start_s + end_s) / 2))] = True
        return read_states(
            self.states_td[inside],
            self.times_s[inside],
            self.sae,
            usual=self.usual,
            is_without_giants=self.is_without_giants,
        )


def read_states(
    states_td: np.ndarray,
    times_s: np.ndarray,
    sae: SAE,
    pooled_d: np.ndarray | None = None,
    *,
    usual: UsualFrames | None = None,
    is_without_giants: bool = False,
) -> Reading:
    """Frames (t, d) at `times_s` as one SAE sees `pooled_d`; without it, their mean, without giant frames (those far
    from the `usual` ones) where the SAE stands on such means."""
    if pooled_d is None:
        out_t = _giant(states_td, usual)
        pooled_d = mean_without(states_td, out_t if is_without_giants else np.zeros_like(out_t))
    pre_f = sae.preactivations(pooled_d[None])[0]
    return Reading(states_td, times_s, pre_f, sae.encode(pooled_d[None]), sae, usual, is_without_giants)


def _giant(states_td: np.ndarray, usual: UsualFrames | None) -> np.ndarray:
    return np.zeros(len(states_td), bool) if usual is None else usual.is_giant(states_td)
