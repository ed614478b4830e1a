"""Sounds that readers brought: in memory, under names nobody can guess, gone soon after their reader is.

This is the only place that keeps them; sessions and routes know their names. Nothing is written to disk. Streamlit
holds a session for a while after its browser has left, and its uploads with it: both are let go here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from threading import Lock, Thread

import numpy as np
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer.audio import Waveform, flac_bytes
from explorer.contours import Contours, clip_contours
from explorer.text import number, percent, seconds, sentence
from explorer.ui.spectrogram import mel_picture, picture_png

GRACE_S, EVERY_S = 150.0, 10.0
N_KEPT = 6
PEAK_CLIPPED, SHARE_CLIPPED = 0.999, 1e-4
SILENT_PEAK, SHARE_SILENT, QUIET_DB, BLOCK_S = 1e-5, 0.05, -50.0, 0.02


@dataclass(frozen=True, eq=False)
class LiveSound:
    """A sound to be read. `sound_id`: what players ask for it by. clip_index: of the corpus clip that it is, or is a
    part of, if any. notes: what is worth knowing of its source. start_s: where in its source it begins; None for a
    whole one.

    session_id: of the reader's session, which alone keeps it; the N_KEPT that a session used last are kept.
    """

    wave: Waveform
    name: str
    notes: tuple[str, ...] = ()
    clip_index: int | None = None
    start_s: float | None = None
    sound_id: str = field(default_factory=lambda: secrets.token_hex(16))
    session_id: str = field(default_factory=lambda: current_session())

    def __post_init__(self) -> None:
        with _LOCK:
            _SOUNDS[self.sound_id] = self
            mine = [name for name, sound in _SOUNDS.items() if sound.session_id == self.session_id]
            for name in mine[:-N_KEPT]:
                del _SOUNDS[name]
        _janitor()

    @property
    def title(self) -> str:
        """Its name, and which part of it this is."""
        if self.start_s is None:
            return self.name
        return f"{self.name} · {number(self.start_s)} to {seconds(self.start_s + self.wave.duration_s)}"

    @property
    def remarks(self) -> str:
        """Sentences: the notes, and what its samples show."""
        return " ".join(sentence(note) for note in (*self.notes, clipping(self.wave), silence(self.wave)) if note)

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
        return LiveSound(
            self.wave.between(start_s, end_s),
            self.name,
            self.notes,
            self.clip_index,
            (self.start_s or 0.0) + start_s,
            session_id=self.session_id,
        )


_SOUNDS: dict[str, LiveSound] = {}
_LEFT_AT_S: dict[str, float] = {}
_LOCK = Lock()


def live_sound(sound_id: str | None) -> LiveSound | None:
    """The sound of this name while its reader is here."""
    with _LOCK:
        sound = _SOUNDS.pop(sound_id or "", None)
        if sound is not None:
            _SOUNDS[sound.sound_id] = sound  # used last
    return sound


def current_session() -> str:
    """The id of the session whose script is running; empty outside of one."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context is not None else ""


def forget_left(is_here: Callable[[str], bool], now_s: float) -> list[str]:
    """Drop the sounds of sessions that have been away for GRACE_S, a little longer than a browser may come back in.

    Returns the sessions whose sounds are gone.
    """
    with _LOCK:
        sessions = {sound.session_id for sound in _SOUNDS.values()}
        for session in [*_LEFT_AT_S]:
            if session not in sessions or is_here(session):
                del _LEFT_AT_S[session]
        away = [session for session in sessions if not is_here(session)]
        gone = [session for session in away if now_s - _LEFT_AT_S.setdefault(session, now_s) >= GRACE_S]
        for name in [name for name, sound in _SOUNDS.items() if sound.session_id in gone]:
            del _SOUNDS[name]
    return gone


@cache
def _janitor() -> None:
    """One thread that looks every few seconds who has left."""

    def look() -> None:
        while True:
            time.sleep(EVERY_S)
            if runtime.exists():
                server = runtime.get_instance()
                for session in forget_left(server.is_active_session, time.monotonic()):
                    server.uploaded_file_mgr.remove_session_files(session)

    Thread(target=look, name="sonoscope-live-sounds", daemon=True).start()


def clipping(wave: Waveform) -> str:
    """A sentence about a sound that was recorded too loud, else nothing."""
    share = float(np.mean(np.abs(wave.samples) >= PEAK_CLIPPED))
    if share <= SHARE_CLIPPED:
        return ""
    return f"{percent(share, 1)} of the samples are at full scale: it was recorded too loud, which adds harshness."


def silence(wave: Waveform) -> str:
    """A sentence about a sound that is silent for a while, or very quiet, else nothing: encoders raise their input to
    one level, so that features answer to silence and to hiss."""
    n = max(1, round(BLOCK_S * wave.sample_rate_hz))
    blocks = np.abs(wave.samples[: len(wave.samples) // n * n]).reshape(-1, n).max(axis=1)
    share, level_db = float(np.mean(blocks < SILENT_PEAK)), 20 * np.log10(max(wave.rms, 1e-9))
    if share > SHARE_SILENT:
        return f"{percent(share)} of it is digital silence, to which features may respond."
    if level_db < QUIET_DB:
        return f"It is very quiet ({number(level_db, 0)} dB of full scale): features may respond to the noise."
    return ""


def forget(sound_id: str) -> None:
    """Drop a sound now."""
    with _LOCK:
        _SOUNDS.pop(sound_id, None)
