"""A part of a sound that a network sees at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """Samples start..stop of a clip, of which `n_frames` output frames are valid, the first `n_skipped` left out: a
    chunk may begin before its frames do, to hear what is before them."""

    start: int
    stop: int
    n_frames: int
    n_skipped: int = 0
