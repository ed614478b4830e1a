"""Frame states of the playable clips, as a store keeps them: for the trace of any feature in any of these clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from explorer.errors import StoreError
from explorer.tensors import NO_SUCH_NUMBERS


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """One layer of one clip: frame states (t, d) as float32, and the frames' centres in seconds."""

    values_td: np.ndarray
    times_s: np.ndarray


def restored(delta_td: np.ndarray, mean_d: np.ndarray) -> np.ndarray:
    """(t, d) float32 frames from their half-precision deviations and the exact mean, which rounding must not move."""
    values_td = delta_td.astype(np.float32)
    values_td -= values_td.mean(axis=0, dtype=np.float64).astype(np.float32)
    values_td += mean_d
    return values_td


def read_playable(path: Path, clip_id: str) -> ClipFrames | None:
    """The frames of one clip from a file of playable states; None where it does not hold that clip.

    Raises StoreError when the file is damaged.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            if f"{clip_id}.delta_td" not in file.keys():  # noqa: SIM118 - not a mapping
                return None
            names = ("delta_td", "mean_d", "times_s")
            delta_td, mean_d, times_s = (file.get_tensor(f"{clip_id}.{name}") for name in names)
    except (SafetensorError, OSError, *NO_SUCH_NUMBERS) as error:
        raise StoreError(f"{path} holds no frame states: {error}. Run `python -m precompute verify`.") from error
    is_whole = delta_td.ndim == 2 and mean_d.shape == delta_td.shape[1:] and times_s.shape == delta_td.shape[:1]
    if not (is_whole and delta_td.size and delta_td.dtype.kind == mean_d.dtype.kind == times_s.dtype.kind == "f"):
        raise StoreError(f"{path} holds frame states of no clip. Run `python -m precompute verify`.")
    return ClipFrames(restored(delta_td, mean_d), times_s)
