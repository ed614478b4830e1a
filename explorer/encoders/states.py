"""Hidden states of a ragged batch: one layer's frames a clip, with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrameStates:
    """One layer's states for a list of clips, in the order of the clips.

    layer: 0 is the embedding output, l the output of block l; the last is before the final LayerNorm where a
    network has one, or behind it, as the encoder's loader says.
    values_td: for each clip (t, d) float32, valid frames only; AST: the mean over a valid column's frequency tokens.
    times_s: for each clip (t,) float64, centres of the frames, seconds from the clip's start.
    all_tokens_mean_cd: (c, d) float32, mean over all output tokens (AST: 1214, special and padded ones included);
    None unless it was asked for.
    """

    layer: int
    values_td: tuple[np.ndarray, ...]
    times_s: tuple[np.ndarray, ...]
    all_tokens_mean_cd: np.ndarray | None = None

    def pooled(self, *, all_tokens: bool = False) -> np.ndarray:
        """(c, d) float32: each clip's mean over its valid frames, summed in float64; or over all tokens."""
        if all_tokens:
            if self.all_tokens_mean_cd is None:
                raise ValueError("the states were made without all_tokens")
            return self.all_tokens_mean_cd
        return np.stack([values.mean(axis=0, dtype=np.float64) for values in self.values_td]).astype(np.float32)


@dataclass
class TokenMean:
    """A running mean over tokens that come in several chunks."""

    total_d: np.ndarray
    n_tokens: int

    def value(self) -> np.ndarray:
        """(d,) float32."""
        return (self.total_d / self.n_tokens).astype(np.float32)


def joined(parts: dict[int, np.ndarray]) -> np.ndarray:
    """The chunks of one clip in order, as one (t, d) array."""
    return parts[0] if len(parts) == 1 else np.concatenate([parts[position] for position in sorted(parts)])


def add_tokens(means: dict[int, TokenMean], parts: dict[int, TokenMean]) -> None:
    """Add the means of one chunk, by layer, to those of its clip."""
    for layer, part in parts.items():
        if layer in means:
            means[layer].total_d = means[layer].total_d + part.total_d
            means[layer].n_tokens += part.n_tokens
        else:
            means[layer] = TokenMean(part.total_d, part.n_tokens)
