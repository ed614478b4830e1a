"""Shards: the consecutive clips that one job works on. Light to import: worker processes get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from precompute.artefacts import key_of


@dataclass(frozen=True)
class ClipSource:
    """Where a clip's sound lies."""

    clip_index: int
    clip_id: str
    path: Path
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class Shard:
    """Consecutive clips that one job works on."""

    clips: tuple[ClipSource, ...]

    @property
    def name(self) -> str:
        return key_of(clips=[clip.clip_id for clip in self.clips])

    @property
    def duration_s(self) -> float:
        """Seconds of sound in all clips together."""
        return sum(clip.duration_s for clip in self.clips)


def make_shards(clips: Sequence[ClipSource], n_clips: int) -> list[Shard]:
    """Cut the clips, in order, into shards of at most `n_clips`."""
    return [Shard(tuple(clips[start : start + n_clips])) for start in range(0, len(clips), n_clips)]
