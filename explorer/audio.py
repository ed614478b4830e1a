"""Sound in and out: the only decoder and the only resampler.

What a file is, is read from its content, never from its name. libsndfile decodes; m4a and aac need the optional extra
`av`. Everything is decoded in blocks, so that a header that promises the world takes no memory.

Decisions, each said in `AudioInfo.note` of the file it touches:
- a file that ends early is read up to its end; one whose decoder fails inside is refused (its samples are not known);
- channels are mixed to their mean; where they cancel (opposite phase: the mean is under a tenth of the loudest channel)
  the loudest channel is taken. This is decided for the stretch that is read, so a clip is the same wherever it is read;
- samples over full scale are kept; a NaN or Inf refuses the file.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile as sf

from explorer.decoding import Decoder, SoundBytes, Source, as_source, n_bytes, open_decoder
from explorer.errors import AudioError
from explorer.sound_checks import (
    MAX_FILE_S,
    MAX_LOAD_SAMPLES,
    MAX_RATE_HZ,
    MIN_CLIP_S,
    MIN_RATE_HZ,
    Levels,
    describe,
    too_long,
    too_short,
)
from explorer.text import number, quantity

# fmt: off
__all__ = [
    "MAX_FILE_S", "MAX_LOAD_SAMPLES", "MAX_RATE_HZ", "MIN_CLIP_S", "MIN_RATE_HZ", "PREVIEW_RATE_HZ", "RESAMPLER",
    "AudioInfo", "Cut", "Excerpt", "SoundBytes", "Waveform", "audio_info", "flac_bytes", "load_excerpt",
    "load_waveform", "resample", "scan_audio", "write_preview",
]
# fmt: on

# scipy and not torchaudio: several times quicker on a CPU, and reading a sound then needs no torch.
RESAMPLER = "scipy.signal.resample_poly, Kaiser window, beta 7, 32 zero crossings, roll-off 0.95"
PREVIEW_RATE_HZ = 24_000
SILENT_RMS = 1e-5
DECODE_LIMIT_S = 20.0  # for a sound that somebody waits for; a minute of 8 channels at 192 kHz takes about 2 s


@dataclass(frozen=True)
class Waveform:
    """A mono sound: finite float32 samples of shape (n,), n >= 1, full scale at 1.0, and their rate."""

    samples: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def between(self, start_s: float, end_s: float) -> Waveform:
        """A part of it; up to its end where `end_s` lies behind that."""
        first, last = (round(time_s * self.sample_rate_hz) for time_s in (start_s, end_s))
        return Waveform(self.samples[first:last], self.sample_rate_hz)

    @property
    def rms(self) -> float:
        """Root mean square, full scale at 1.0."""
        return float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64))))


@dataclass(frozen=True)
class AudioInfo:
    """What a whole file decodes to. `n_samples` was counted, not claimed; `note` is empty or sentences for people."""

    sample_rate_hz: int
    n_channels: int
    n_samples: int
    duration_s: float
    encoding: str
    note: str


@dataclass(frozen=True)
class Cut:
    """One stretch of a file and the level of its mono signal (full scale is 1.0)."""

    start_s: float
    duration_s: float
    peak: float
    rms: float

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear: rms under 1e-5 (-100 dB)."""
        return self.rms < SILENT_RMS


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a sound. `whole_s` is the length of the whole in s: counted where the stretch reaches its end, else
    as the file announces it, None where it does not. `note` is as in `AudioInfo`, about the stretch."""

    wave: Waveform
    whole_s: float | None
    note: str


def audio_info(sound: str | os.PathLike[str] | SoundBytes) -> AudioInfo:
    """Decode a whole file and say what it is. Memory is bounded by one block.

    Raises AudioError, with a reason that names the file: not readable, no sound, damaged inside, NaN or Inf, shorter
    than MIN_CLIP_S, or outside 1 to 8 channels, 8 to 192 kHz, two hours.
    """
    return _scan(as_source(sound), math.inf)[0]


Each = Callable[[np.ndarray, np.ndarray, int], None]
"""Gets every block of a file as it is decoded: samples by channel, the mean of the channels, the rate in Hz."""


def scan_audio(
    sound: str | os.PathLike[str] | SoundBytes, *, clip_s: float = math.inf, each: Each | None = None
) -> tuple[AudioInfo, tuple[Cut, ...]]:
    """`audio_info`, and the file's consecutive cuts of at most `clip_s` seconds with their levels, in one decoding.

    `each` is given every block. A remainder shorter than MIN_CLIP_S is left out and noted. Cut edges lie on samples:
    `load_waveform` with a cut's start_s and duration_s reads exactly it. Raises as `audio_info` does, and where a cut
    is over MAX_LOAD_SAMPLES.
    """
    source = as_source(sound)
    info, cuts = _scan(source, clip_s, each)
    longest_s = max(cut.duration_s for cut in cuts)
    if round(longest_s * info.sample_rate_hz) > MAX_LOAD_SAMPLES:
        raise AudioError(f"{source.name!r} would give a clip of {number(longest_s, 0)} s. Cut into shorter clips.")
    return info, cuts


def _scan(source: Source, clip_s: float, each: Each | None = None) -> tuple[AudioInfo, tuple[Cut, ...]]:
    with open_decoder(source) as decoder:
        rate_hz, n_channels = decoder.header.sample_rate_hz, decoder.header.n_channels
        cuts: list[tuple[int, Levels]] = []
        position = edge = 0
        for block_tc in decoder.blocks(0, None):
            if position + len(block_tc) > MAX_FILE_S * rate_hz:
                raise too_long(source, MAX_FILE_S)
            while len(block_tc):
                if position == edge:
                    cuts.append((position, Levels(n_channels)))
                    edge = _edge(len(cuts), clip_s, rate_hz)
                part, block_tc = block_tc[: edge - position], block_tc[edge - position :]
                mono_t = _mean(part)
                _measure(source, cuts[-1][1], part, mono_t, position, rate_hz)
                if each is not None:
                    each(part, mono_t, rate_hz)
                position += len(part)
    if position < round(MIN_CLIP_S * rate_hz):
        raise too_short(source, n_bytes(source), position, rate_hz, decoder.header)
    kept = [(start, levels) for start, levels in cuts if levels.n_samples >= round(MIN_CLIP_S * rate_hz)]
    note = describe(decoder.header, position, [levels for _, levels in cuts], len(cuts) - len(kept))
    info = AudioInfo(rate_hz, n_channels, position, position / rate_hz, decoder.header.encoding, note)
    return info, tuple(
        Cut(start / rate_hz, levels.n_samples / rate_hz, levels.peak, levels.rms) for start, levels in kept
    )


def load_waveform(
    sound: str | os.PathLike[str] | SoundBytes,
    *,
    sample_rate_hz: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Waveform:
    """Read a stretch of a file as mono, at its own rate (None) or resampled.

    Only the stretch is decoded (m4a and aac: everything up to its end). It ends with the file where `duration_s`
    reaches further. Raises AudioError as `audio_info` does, except for a short length, and where the stretch begins
    behind the end of the file or is over MAX_LOAD_SAMPLES.
    """
    source = as_source(sound)
    with open_decoder(source) as decoder:
        wave = _stretch(source, decoder, start_s, duration_s, math.inf)[0]
    return wave if sample_rate_hz is None else resample(wave, sample_rate_hz)


def load_excerpt(
    sound: str | os.PathLike[str] | SoundBytes,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limit_s: float = DECODE_LIMIT_S,
) -> Excerpt:
    """`load_waveform` at the file's own rate, for somebody who waits: nothing behind the stretch is decoded, and no
    longer than `limit_s` seconds. Raises AudioError as `load_waveform` does, and when that time is over.
    """
    source = as_source(sound)
    with open_decoder(source) as decoder:
        wave, levels, wanted = _stretch(source, decoder, start_s, duration_s, limit_s)
        header, whole_s = decoder.header, _announced_s(decoder)
    start = round(start_s * wave.sample_rate_hz)
    has_ended = wanted is None or len(wave.samples) < wanted
    if has_ended:
        whole_s = (start + len(wave.samples)) / wave.sample_rate_hz
    else:
        header = dataclasses.replace(header, n_claimed=None)
    return Excerpt(wave, whole_s, describe(header, start + len(wave.samples), [levels], 0))


def _announced_s(decoder: Decoder) -> float | None:
    header = decoder.header
    n_samples = header.n_claimed if header.n_claimed is not None else header.n_estimated
    return None if n_samples is None else n_samples / header.sample_rate_hz


def _stretch(
    source: Source, decoder: Decoder, start_s: float, duration_s: float | None, limit_s: float
) -> tuple[Waveform, Levels, int | None]:
    """The stretch, its levels, and how many samples were asked for."""
    if not (math.isfinite(start_s) and start_s >= 0) or (duration_s is not None and not duration_s > 0):
        raise AudioError(f"A stretch of {duration_s} s from {start_s} s cannot be read: start >= 0 and length > 0.")
    rate_hz = decoder.header.sample_rate_hz
    start, until_s = round(start_s * rate_hz), time.monotonic() + limit_s
    wanted = None if duration_s is None or math.isinf(duration_s) else max(1, round(duration_s * rate_hz))
    levels = Levels(decoder.header.n_channels)
    parts: list[np.ndarray] = []
    for block_tc in decoder.blocks(start, wanted, until_s=until_s):
        if levels.n_samples + len(block_tc) > MAX_LOAD_SAMPLES:
            raise AudioError(
                f"{source.name!r}: over {number(MAX_LOAD_SAMPLES / rate_hz, 0)} s would be read at once. Read "
                "it in parts."
            )
        parts.append(_mean(block_tc))
        _measure(source, levels, block_tc, parts[-1], start + levels.n_samples, rate_hz)
    if not levels.n_samples:
        raise AudioError(f"{source.name!r} holds no sound from {quantity(start_s)} s on.")
    if levels.is_cancelled:
        blocks = decoder.blocks(start, wanted, until_s=until_s)
        parts = [block_tc[:, levels.loudest].copy() for block_tc in blocks]
    return Waveform(np.concatenate(parts), rate_hz), levels, wanted


def resample(wave: Waveform, sample_rate_hz: int) -> Waveform:
    """The same sound at another rate, by RESAMPLER. ceil(n x new / old) samples; sample 0 keeps its time.

    Raises AudioError for a rate outside 8 to 192 kHz.
    """
    if sample_rate_hz == wave.sample_rate_hz:
        return wave
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"Cannot resample to {sample_rate_hz} Hz: {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are possible.")
    from scipy.signal import firwin, resample_poly  # half a second that a page which only lists sounds need not wait

    ratio = Fraction(sample_rate_hz, wave.sample_rate_hz)
    widest = max(ratio.numerator, ratio.denominator)
    taps = firwin(2 * 32 * widest + 1, 0.95 / widest, window=("kaiser", 7.0)).astype(np.float32)
    samples = resample_poly(wave.samples, ratio.numerator, ratio.denominator, window=taps)
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), sample_rate_hz)


def flac_bytes(wave: Waveform) -> bytes:
    """A sound for a browser, as a FLAC file in memory: mono, 16 bit, at the lower of its own rate and PREVIEW_RATE_HZ.

    FLAC adds no delay: sample 0 is the clip's first. A sound over full scale is scaled down as a whole, never wrapped
    or clipped.
    """
    lowered = resample(wave, min(wave.sample_rate_hz, PREVIEW_RATE_HZ))
    top = 32767 / 32768
    peak = float(np.abs(lowered.samples).max(initial=0.0))
    gain = top / peak if peak > 1.0 else 1.0
    pcm = np.clip(np.rint(lowered.samples * (gain * 32768)), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    sf.write(buffer, pcm, lowered.sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def write_preview(wave: Waveform, path: str | os.PathLike[str]) -> None:
    """Write `flac_bytes` to a file, which appears whole or not at all. Raises AudioError when it cannot be written."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(flac_bytes(wave))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AudioError(
            f"The preview {path.name!r} cannot be written: {str(error).rstrip('.')}. Free some space or give "
            "write access, then run the same command again: finished work is kept."
        ) from error


def _edge(n_cuts: int, clip_s: float, rate_hz: int) -> int:
    return round(n_cuts * clip_s * rate_hz) if math.isfinite(clip_s) else 2**62


def _mean(block_tc: np.ndarray) -> np.ndarray:
    return block_tc[:, 0].copy() if block_tc.shape[1] == 1 else block_tc.mean(axis=1, dtype=np.float32)


def _measure(
    source: Source, levels: Levels, block_tc: np.ndarray, mono_t: np.ndarray, start: int, rate_hz: int
) -> None:
    offset = levels.n_samples
    try:
        levels.add(block_tc, mono_t)
    except ValueError as bad:
        at, value = bad.args
        raise AudioError(
            f"{source.name!r} holds a sample of {'NaN' if math.isnan(value) else quantity(value)} at "
            f"{number((start + at - offset) / rate_hz, 3)} s. Repair it."
        ) from bad
