"""Sounds that readers brought: in memory, under names nobody can guess, gone when their reader's session is.

The session holds the sound; the routes find it here by its name, by weak references only. Nothing is written to disk.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np

from explorer.audio import Waveform, flac_bytes
from explorer.contours import Contours, clip_contours
from explorer.ui.spectrogram import mel_picture, picture_png

PEAK_CLIPPED, SHARE_CLIPPED = 0.999, 1e-4


@dataclass(frozen=True, eq=False)
class LiveSound:
    """A sound to be read. `sound_id`: what players ask for it by. clip_index: of the corpus clip that it is, if any."""

    wave: Waveform
    name: str
    notes: tuple[str, ...] = ()
    clip_index: int | None = None
    sound_id: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        _SOUNDS[self.sound_id] = self

    @cached_property
    def flac(self) -> bytes:
        """As a browser plays it."""
        return flac_bytes(self.wave)

    @cached_property
    def picture(self) -> bytes:
        """Its mel spectrogram, PNG."""
        return picture_png(mel_picture(self.wave))

    def contours(self) -> Contours:
        """Its f0, formants and outline."""
        return clip_contours(self.wave)

    def between(self, start_s: float, end_s: float) -> LiveSound:
        """A part of it, as a sound of its own."""
        rate_hz = self.wave.sample_rate_hz
        part = self.wave.samples[round(start_s * rate_hz) : round(end_s * rate_hz)]
        return LiveSound(Waveform(part, rate_hz), f"{self.name} · {start_s:.2f} to {end_s:.2f} s", self.notes)


_SOUNDS: WeakValueDictionary[str, LiveSound] = WeakValueDictionary()


def live_sound(sound_id: str) -> LiveSound | None:
    """The sound of this name while its reader is here."""
    return _SOUNDS.get(sound_id)


def clipping(wave: Waveform) -> str:
    """A sentence about a sound that was recorded too loud, else nothing."""
    share = float(np.mean(np.abs(wave.samples) >= PEAK_CLIPPED))
    if share <= SHARE_CLIPPED:
        return ""
    return f"{100 * share:.2f} % of the samples are at full scale: it was recorded too loud, which adds harshness."
