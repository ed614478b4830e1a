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

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile as sf

from explorer.errors import AudioError
from explorer.sound_checks import (
    MAX_FILE_S,
    MAX_LOAD_SAMPLES,
    MAX_RATE_HZ,
    MIN_CLIP_S,
    MIN_RATE_HZ,
    Header,
    Levels,
    check_header,
    count_mpeg_samples,
    describe,
    header_says_cut,
    too_long,
    too_short,
)

# fmt: off
__all__ = [
    "MAX_FILE_S", "MAX_LOAD_SAMPLES", "MAX_RATE_HZ", "MIN_CLIP_S", "MIN_RATE_HZ", "PREVIEW_RATE_HZ", "RESAMPLER",
    "AudioInfo", "Cut", "Waveform", "audio_info", "load_waveform", "resample", "scan_audio", "write_preview",
]
# fmt: on

# scipy and not torchaudio: several times quicker on a CPU, and reading a sound then needs no torch.
RESAMPLER = "scipy.signal.resample_poly, Kaiser window, beta 7, 32 zero crossings, roll-off 0.95"
PREVIEW_RATE_HZ = 24_000
SILENT_RMS = 1e-5
_BLOCK = 65_536  # samples a channel in one decoded block
# Seconds decoded and dropped before a seek target. MP3 frames lean on those before them; in the last page of an Ogg
# stream libsndfile seeks to a wrong sample (its issue 885), which a seek to an earlier page avoids.
_LEAD_S = {"MP3": 0.5, "OGG": 10.0}
_UNKNOWN_LENGTH = 2**35  # a FLAC that was written to a pipe claims 0 or 2**36 - 1 samples


@dataclass(frozen=True)
class Waveform:
    """A mono sound: finite float32 samples of shape (n,), n >= 1, full scale at 1.0, and their rate."""

    samples: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


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


class _Decoder(Protocol):
    header: Header

    def blocks(self, start: int, n_samples: int | None) -> Iterator[np.ndarray]:
        """Float32 blocks (samples, channels) from `start` on, `n_samples` in all or to the end."""


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Decode a whole file and say what it is. Memory is bounded by one block.

    Raises AudioError, with a reason that names the file: not readable, no sound, damaged inside, NaN or Inf, shorter
    than MIN_CLIP_S, or outside 1 to 8 channels, 8 to 192 kHz, two hours.
    """
    return scan_audio(path)[0]


def scan_audio(path: str | os.PathLike[str], *, clip_s: float = math.inf) -> tuple[AudioInfo, tuple[Cut, ...]]:
    """`audio_info`, and the file's consecutive cuts of at most `clip_s` seconds with their levels, in one decoding.

    A remainder shorter than MIN_CLIP_S is left out and noted. Cut edges lie on samples: `load_waveform` with a cut's
    start_s and duration_s reads exactly it. Raises as `audio_info` does.
    """
    path = Path(path)
    with _open(path) as decoder:
        rate_hz, n_channels = decoder.header.sample_rate_hz, decoder.header.n_channels
        cuts: list[tuple[int, Levels]] = []
        position = edge = 0
        for block_tc in decoder.blocks(0, None):
            if position + len(block_tc) > MAX_FILE_S * rate_hz:
                raise too_long(path, MAX_FILE_S)
            while len(block_tc):
                if position == edge:
                    cuts.append((position, Levels(n_channels)))
                    edge = _edge(len(cuts), clip_s, rate_hz)
                part, block_tc = block_tc[: edge - position], block_tc[edge - position :]
                _measure(path, cuts[-1][1], part, _mean(part), position, rate_hz)
                position += len(part)
    if position < round(MIN_CLIP_S * rate_hz):
        raise too_short(path, position, rate_hz, decoder.header)
    kept = [(start, levels) for start, levels in cuts if levels.n_samples >= round(MIN_CLIP_S * rate_hz)]
    longest = max(levels.n_samples for _, levels in kept)
    if longest > MAX_LOAD_SAMPLES:
        raise AudioError(f"{path.name!r} would give a clip of {longest / rate_hz:.0f} s. Cut into shorter clips.")
    note = describe(decoder.header, position, [levels for _, levels in cuts], len(cuts) - len(kept))
    info = AudioInfo(rate_hz, n_channels, position, position / rate_hz, decoder.header.encoding, note)
    return info, tuple(
        Cut(start / rate_hz, levels.n_samples / rate_hz, levels.peak, levels.rms) for start, levels in kept
    )


def load_waveform(
    path: str | os.PathLike[str],
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
    path = Path(path)
    if not (math.isfinite(start_s) and start_s >= 0) or (duration_s is not None and not duration_s > 0):
        raise AudioError(f"A stretch of {duration_s} s from {start_s} s cannot be read: start >= 0 and length > 0.")
    with _open(path) as decoder:
        rate_hz = decoder.header.sample_rate_hz
        start = round(start_s * rate_hz)
        wanted = None if duration_s is None or math.isinf(duration_s) else max(1, round(duration_s * rate_hz))
        levels = Levels(decoder.header.n_channels)
        parts: list[np.ndarray] = []
        for block_tc in decoder.blocks(start, wanted):
            if levels.n_samples + len(block_tc) > MAX_LOAD_SAMPLES:
                raise AudioError(
                    f"{path.name!r}: over {MAX_LOAD_SAMPLES / rate_hz:.0f} s would be read at once. Read it in parts."
                )
            parts.append(_mean(block_tc))
            _measure(path, levels, block_tc, parts[-1], start + levels.n_samples, rate_hz)
        if not levels.n_samples:
            raise AudioError(f"{path.name!r} holds no sound from {start_s:g} s on.")
        if levels.is_cancelled:
            parts = [block_tc[:, levels.loudest].copy() for block_tc in decoder.blocks(start, wanted)]
    wave = Waveform(np.concatenate(parts), rate_hz)
    return wave if sample_rate_hz is None else resample(wave, sample_rate_hz)


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


def write_preview(wave: Waveform, path: str | os.PathLike[str]) -> None:
    """Write a sound for a browser: FLAC, mono, 16 bit, at its own rate or PREVIEW_RATE_HZ if that is lower.

    FLAC adds no delay: sample 0 is the clip's first. A sound over full scale is scaled down as a whole, never wrapped
    or clipped. The file appears complete or not at all. Raises AudioError when it cannot be written.
    """
    path = Path(path)
    lowered = resample(wave, min(wave.sample_rate_hz, PREVIEW_RATE_HZ))
    top = 32767 / 32768
    peak = float(np.abs(lowered.samples).max(initial=0.0))
    gain = top / peak if peak > 1.0 else 1.0
    pcm = np.clip(np.rint(lowered.samples * (gain * 32768)), -32768, 32767).astype(np.int16)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        sf.write(partial, pcm, lowered.sample_rate_hz, format="FLAC", subtype="PCM_16")
        partial.replace(path)
    except (OSError, sf.SoundFileError) as error:
        partial.unlink(missing_ok=True)
        raise AudioError(
            f"The preview {path.name!r} cannot be written: {str(error).rstrip('.')}. Free some space or give "
            "write access, then run the same command again: finished work is kept."
        ) from error


def _edge(n_cuts: int, clip_s: float, rate_hz: int) -> int:
    return round(n_cuts * clip_s * rate_hz) if math.isfinite(clip_s) else 2**62


def _mean(block_tc: np.ndarray) -> np.ndarray:
    return block_tc[:, 0].copy() if block_tc.shape[1] == 1 else block_tc.mean(axis=1, dtype=np.float32)


def _measure(path: Path, levels: Levels, block_tc: np.ndarray, mono_t: np.ndarray, start: int, rate_hz: int) -> None:
    offset = levels.n_samples
    try:
        levels.add(block_tc, mono_t)
    except ValueError as bad:
        at, value = bad.args
        raise AudioError(
            f"{path.name!r} holds a sample of {value:g} at {(start + at - offset) / rate_hz:.3f} s. Repair it."
        ) from bad


@contextmanager
def _open(path: Path) -> Iterator[_Decoder]:
    """The decoder that the file's content asks for, its header checked. Raises AudioError."""
    try:
        handle = open(path, "rb")  # noqa: SIM115 - closed by the with below; only the opening may raise OSError here
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{path.name!r} cannot be opened: {reason}. Check the path and the permission.") from error
    with handle:
        file: sf.SoundFile | None = None
        try:
            file = sf.SoundFile(handle.fileno(), closefd=False)
        except sf.SoundFileError as error:
            decoder = _without_libsndfile(path, handle, error)
        if file is None:
            yield decoder
            return
        with file:
            decoder = _libsndfile_decoder(path, handle, file)
            check_header(path, decoder.header)
            yield decoder


def _without_libsndfile(path: Path, handle: BinaryIO, error: Exception) -> _Decoder:
    handle.seek(0)
    head = handle.read(12)
    if head[4:8] == b"ftyp":
        return _AvDecoder(path, "mp4", "m4a")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _AvDecoder(path, "aac", "aac")
    reason = str(getattr(error, "error_string", "")).strip().rstrip(".") or "it is damaged or cut short"
    if not head:
        reason = "it is empty (0 bytes)"
    raise AudioError(f"{path.name!r} cannot be read as sound: {reason}.") from error


def _libsndfile_decoder(path: Path, handle: BinaryIO, file: sf.SoundFile) -> _Decoder:
    """The header's length is only believed where it can be: some MP3 and FLAC files are longer than they say."""
    n_claimed: int | None = file.frames
    note = "cut short: its header announces more" if header_says_cut(file.extra_info) else ""
    if file.frames >= _UNKNOWN_LENGTH:
        return _AvDecoder(path, "flac", "FLAC that does not say how long it is")
    if file.format == "MP3":
        count = count_mpeg_samples(handle)
        if count and count.n_samples > 1.01 * file.frames + 4 * 1152:
            return _AvDecoder(path, "mp3", "MP3 with more sound than its first frame states")
        if count and not count.has_length:
            n_claimed = None  # libsndfile's guess
    return _SndfileDecoder(
        path, file, Header(file.samplerate, file.channels, n_claimed, f"{file.format}/{file.subtype}", note)
    )


class _SndfileDecoder:
    def __init__(self, path: Path, file: sf.SoundFile, header: Header) -> None:
        self.header = header
        self._path, self._file = path, file

    def blocks(self, start: int, n_samples: int | None) -> Iterator[np.ndarray]:
        if start >= self._file.frames:
            return
        lead = min(start, round(_LEAD_S.get(self._file.format, 0.0) * self.header.sample_rate_hz))
        position, end = start - lead, math.inf if n_samples is None else start + n_samples
        try:
            self._file.seek(position)
            while position < end:
                block_tc = self._file.read(int(min(_BLOCK, end - position)), dtype="float32", always_2d=True)
                if not len(block_tc):
                    return
                skipped = max(0, start - position)
                position += len(block_tc)
                if skipped < len(block_tc):
                    yield block_tc[skipped:]
        except sf.SoundFileError as error:
            whole_s = self._file.frames / self.header.sample_rate_hz
            raise AudioError(
                f"{self._path.name!r} is damaged: its decoder stops inside the {whole_s:.2f} s that it announces. "
                "Get a whole copy."
            ) from error


class _AvDecoder:
    """FFmpeg by the package `av`, for what libsndfile cannot read. Decodes from the start each time."""

    def __init__(self, path: Path, container: str, what: str) -> None:
        try:
            import av
        except ImportError as error:
            raise AudioError(
                f"{path.name!r} is {what}: reading it needs the optional package av "
                "(pip install -r requirements-extra.txt), or convert it to wav or flac."
            ) from error
        self._av: Any = av
        self._path, self._container = path, container
        with self._frames() as (stream, frames):
            first = next(frames, None)
            if first is None:
                raise AudioError(f"{path.name!r} holds no sound that can be decoded.")
            length_s = float(stream.duration * stream.time_base) if container == "mp4" and stream.duration else None
            n_claimed = None if length_s is None else round(length_s * first.sample_rate)
            encoding = f"{container.upper()}/{stream.codec_context.name.upper()}"
            note = "raw AAC: its encoder's delay, about 0.02 s, stands at the start" if container == "aac" else ""
            self.header = Header(first.sample_rate, len(first.layout.channels), n_claimed, encoding, note)
        check_header(path, self.header)

    def blocks(self, start: int, n_samples: int | None) -> Iterator[np.ndarray]:
        end = math.inf if n_samples is None else start + n_samples
        if self.header.n_claimed is not None:
            end = min(end, self.header.n_claimed)  # the encoder's padding lies behind it
        position = 0
        with self._frames() as (_, frames):
            for frame in frames:
                block_tc = frame.to_ndarray().T
                if frame.sample_rate != self.header.sample_rate_hz or block_tc.shape[1] != self.header.n_channels:
                    raise AudioError(f"{self._path.name!r} changes its rate or channels on the way. Convert it.")
                low, high = max(0, start - position), int(min(len(block_tc), end - position))
                position += len(block_tc)
                if low < high:
                    yield np.ascontiguousarray(block_tc[low:high], dtype=np.float32)
                if position >= end:
                    return

    @contextmanager
    def _frames(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        """The audio stream and its frames as planar float32."""
        try:
            with self._av.open(str(self._path), format=self._container) as container:
                if not container.streams.audio:
                    raise AudioError(f"{self._path.name!r} has no sound track.")
                stream = container.streams.audio[0]
                planar = self._av.AudioResampler(format="fltp")
                yield stream, (out for frame in container.decode(stream) for out in planar.resample(frame))
        except self._av.error.FFmpegError as error:
            raise AudioError(
                f"{self._path.name!r} cannot be read as sound: {error.strerror}. Get a whole copy."
            ) from error
