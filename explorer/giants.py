"""Giant frames: the few frames of a layer that lie far from all others, along one dimension, and hold most of its
variance.

Large transformers have them (Sun et al. 2024, "Massive activations", arXiv 2402.17762): one or two dimensions grow by
orders of magnitude on frames that carry little of the sound, often in silence. A mean over frames then follows them, a
trace shows little else, and a reconstruction that gets them right looks good. Here a frame is giant when its distance
from the middle of the layer's frames is over GIANT_FROM times the median distance, and one dimension alone holds at
least ONE_DIMENSION of the squared distance: a loud or rare sound is far away too, but in many dimensions (measured:
docs/measures.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from explorer.tensors import save_tensors

GIANT_FROM = 3.0
ONE_DIMENSION = 0.2
BY_CHANCE = 20.0  # over d: the share that the largest of d Gaussian dimensions hardly ever reaches
MANY_VARIANCE = 0.5  # of a layer's variance in giant frames: what is measured there is measured mostly on them
Span = tuple[float, float]
Floats = np.ndarray


@dataclass(frozen=True, eq=False)
class UsualFrames:
    """Where the frames of one layer lie: center_d (d,) float32, the median of each dimension, and the median distance
    of frames from it (Euclidean, in the units of the states)."""

    center_d: NDArray[np.float32]
    median_distance: float

    @classmethod
    def of(cls, frames_td: NDArray[np.float32]) -> UsualFrames:
        """Of a sample of frames (t, d), t at least 1."""
        center_d = np.median(frames_td, axis=0).astype(np.float32)
        return cls(center_d, float(np.median(np.sqrt(squares(frames_td, center_d).sum(axis=1)))))

    def save(self, path: Path) -> None:
        """Write it as a safetensors file. Raises OSError when it cannot be written."""
        save_tensors(path, {"center_d": self.center_d, "median_distance": np.array([self.median_distance])})

    @classmethod
    def load(cls, path: Path | str) -> UsualFrames:
        """What `save` wrote. Raises OSError or SafetensorError for another file."""
        arrays = load_file(path)
        return cls(arrays["center_d"], float(arrays["median_distance"][0]))

    def is_giant(self, frames_td: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(t,) which frames are giant; none where half of the sample lies in one point."""
        return self.are_giant(squares(frames_td, self.center_d))

    def are_giant(self, square_td: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(t,) as `is_giant`, of frames whose `squares` about the centre are at hand."""
        square_t = square_td.sum(axis=1)
        is_far = square_t > (GIANT_FROM * self.median_distance) ** 2
        least = max(ONE_DIMENSION, BY_CHANCE / square_td.shape[1])
        return is_far & (square_td.max(axis=1) >= least * square_t) & (self.median_distance > 0)


def squares(frames_td: NDArray[np.float32], center_d: NDArray[np.float32]) -> NDArray[np.float64]:
    """(t, d) squared deviations of frames from a point."""
    return np.square(frames_td - center_d, dtype=np.float64)


def mean_without(frames_td: NDArray[np.float32], is_giant_t: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(d,) the mean of the frames that are not giant; of all where none is left."""
    kept = frames_td if is_giant_t.all() else frames_td[~is_giant_t]
    return np.asarray(kept.mean(axis=0, dtype=np.float64), np.float32)


def spans_of(is_giant_t: NDArray[np.bool_], times_s: NDArray[np.float64]) -> list[Span]:
    """(start, end) in s of each run of giant frames; a frame reaches half a hop to each side of its centre."""
    if not is_giant_t.any():
        return []
    hop_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 2 * float(times_s[0])
    edges = np.diff(np.concatenate([[False], is_giant_t, [False]]).astype(np.int8))
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [
        (max(0.0, float(times_s[first]) - hop_s / 2), float(times_s[last]) + hop_s / 2)
        for first, last in zip(firsts, lasts, strict=True)
    ]


def outside(times_s: Floats, spans: Sequence[Span]) -> NDArray[np.bool_]:
    """(t,) which times lie in none of the spans."""
    kept = np.ones(len(times_s), bool)
    for start_s, end_s in spans:
        kept &= (times_s < start_s) | (times_s > end_s)
    return kept


def usual_part(values_t: Floats, times_s: Floats, spans: Sequence[Span]) -> Floats:
    """The finite values of a trace outside giant frames; all finite ones where none is left."""
    finite = np.isfinite(values_t)
    kept = finite & outside(times_s, spans)
    return values_t[kept if kept.any() else finite]
