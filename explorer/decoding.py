"""Decoders: what turns a file, or sound that lies in memory, into blocks of samples. Used by `audio` alone.

libsndfile reads nearly everything; what it cannot read is left to FFmpeg, by the optional package `av`.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile as sf

from explorer.errors import AudioError
from explorer.sound_checks import Header, check_header, count_mpeg_samples, header_says_cut

_BLOCK = 65_536  # samples a channel in one decoded block
# Seconds decoded and dropped before a seek target. MP3 frames lean on those before them; in the last page of an Ogg
# stream libsndfile seeks to a wrong sample (its issue 885), which a seek to an earlier page avoids.
_LEAD_S = {"MP3": 0.5, "OGG": 10.0}
_UNKNOWN_LENGTH = 2**35  # a FLAC that was written to a pipe claims 0 or 2**36 - 1 samples


@dataclass(frozen=True, eq=False)
class SoundBytes:
    """A sound file that lies in memory, under the name that messages about it use. It never touches the disk."""

    name: str
    data: bytes = field(repr=False)


Source = Path | SoundBytes


def as_source(sound: str | os.PathLike[str] | SoundBytes) -> Source:
    """A path as Path; sound in memory as it is."""
    return sound if isinstance(sound, SoundBytes) else Path(sound)


class Decoder(Protocol):
    """Reads one source; `header` is what it says of itself."""

    header: Header

    def blocks(self, start: int, n_samples: int | None) -> Iterator[np.ndarray]:
        """Float32 blocks (samples, channels) from `start` on, `n_samples` in all or to the end."""


def n_bytes(source: Source) -> int:
    """The size of a file, or of what lies in memory."""
    return len(source.data) if isinstance(source, SoundBytes) else source.stat().st_size


def _handle_of(source: Source) -> BinaryIO:
    return io.BytesIO(source.data) if isinstance(source, SoundBytes) else open(source, "rb")


@contextmanager
def open_decoder(source: Source) -> Iterator[Decoder]:
    """The decoder that the file's content asks for, its header checked. Raises AudioError."""
    try:
        handle = _handle_of(source)  # - closed by the with below; only the opening may raise OSError here
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{source.name!r} cannot be opened: {reason}. Check the path and the permission.") from error
    with handle:
        file: sf.SoundFile | None = None
        try:
            file = sf.SoundFile(handle if isinstance(source, SoundBytes) else handle.fileno(), closefd=False)
        except sf.SoundFileError as error:
            decoder = _without_libsndfile(source, handle, error)
        if file is None:
            yield decoder
            return
        with file:
            decoder = _libsndfile_decoder(source, handle, file)
            check_header(source, decoder.header)
            yield decoder


def _without_libsndfile(source: Source, handle: BinaryIO, error: Exception) -> Decoder:
    handle.seek(0)
    head = handle.read(12)
    if head[4:8] == b"ftyp":
        return _AvDecoder(source, "mp4", "m4a")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _AvDecoder(source, "aac", "aac")
    reason = str(getattr(error, "error_string", "")).strip().rstrip(".") or "it is damaged or cut short"
    if not head:
        reason = "it is empty (0 bytes)"
    raise AudioError(f"{source.name!r} cannot be read as sound: {reason}.") from error


def _libsndfile_decoder(source: Source, handle: BinaryIO, file: sf.SoundFile) -> Decoder:
    """The header's length is only believed where it can be: some MP3 and FLAC files are longer than they say."""
    n_claimed: int | None = file.frames
    note = "cut short: its header announces more" if header_says_cut(file.extra_info) else ""
    if file.frames >= _UNKNOWN_LENGTH:
        return _AvDecoder(source, "flac", "FLAC that does not say how long it is")
    if file.format == "MP3":
        count = count_mpeg_samples(handle)
        if count and count.n_samples > 1.01 * file.frames + 4 * 1152:
            return _AvDecoder(source, "mp3", "MP3 with more sound than its first frame states")
        if count and not count.has_length:
            n_claimed = None  # libsndfile's guess
    return _SndfileDecoder(
        source, file, Header(file.samplerate, file.channels, n_claimed, f"{file.format}/{file.subtype}", note)
    )


class _SndfileDecoder:
    def __init__(self, source: Source, file: sf.SoundFile, header: Header) -> None:
        self.header = header
        self._source, self._file = source, file

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
                f"{self._source.name!r} is damaged: its decoder stops inside the {whole_s:.2f} s that it announces. "
                "Get a whole copy."
            ) from error


class _AvDecoder:
    """FFmpeg by the package `av`, for what libsndfile cannot read. Decodes from the start each time."""

    def __init__(self, source: Source, container: str, what: str) -> None:
        try:
            import av
        except ImportError as error:
            raise AudioError(
                f"{source.name!r} is {what}: reading it needs the optional package av "
                "(pip install -r requirements-extra.txt), or convert it to wav or flac."
            ) from error
        self._av: Any = av
        self._source, self._container = source, container
        with self._frames() as (stream, frames):
            first = next(frames, None)
            if first is None:
                raise AudioError(f"{source.name!r} holds no sound that can be decoded.")
            length_s = float(stream.duration * stream.time_base) if container == "mp4" and stream.duration else None
            n_claimed = None if length_s is None else round(length_s * first.sample_rate)
            encoding = f"{container.upper()}/{stream.codec_context.name.upper()}"
            note = "raw AAC: its encoder's delay, about 0.02 s, stands at the start" if container == "aac" else ""
            self.header = Header(first.sample_rate, len(first.layout.channels), n_claimed, encoding, note)
        check_header(source, self.header)

    def blocks(self, start: int, n_samples: int | None) -> Iterator[np.ndarray]:
        end = math.inf if n_samples is None else start + n_samples
        if self.header.n_claimed is not None:
            end = min(end, self.header.n_claimed)  # the encoder's padding lies behind it
        position = 0
        with self._frames() as (_, frames):
            for frame in frames:
                block_tc = frame.to_ndarray().T
                if frame.sample_rate != self.header.sample_rate_hz or block_tc.shape[1] != self.header.n_channels:
                    raise AudioError(f"{self._source.name!r} changes its rate or channels on the way. Convert it.")
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
            with (
                _handle_of(self._source) as handle,
                self._av.open(handle, format=self._container) as container,
            ):
                if not container.streams.audio:
                    raise AudioError(f"{self._source.name!r} has no sound track.")
                stream = container.streams.audio[0]
                planar = self._av.AudioResampler(format="fltp")
                yield stream, (out for frame in container.decode(stream) for out in planar.resample(frame))
        except self._av.error.FFmpegError as error:
            raise AudioError(
                f"{self._source.name!r} cannot be read as sound: {error.strerror}. Get a whole copy."
            ) from error
