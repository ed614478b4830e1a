"""Decoders: what turns a file, or sound that lies in memory, into blocks of samples. Used by `audio` alone.

libsndfile reads nearly everything; what it cannot read is left to FFmpeg, by the optional package `av`.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile as sf

from explorer.damaged_starts import Overlay, first_mpeg_frame, wav_without_size
from explorer.errors import AudioError
from explorer.sound_checks import Header, check_header, count_mpeg_samples, header_says_cut
from explorer.text import number

_BLOCK = 65_536  # samples a channel in one decoded block
# Seconds decoded and dropped before a seek target. MP3 frames lean on those before them; in the last page of an Ogg
# stream libsndfile seeks to a wrong sample (its issue 885), which a seek to an earlier page avoids.
_LEAD_S = {"MP3": 0.5, "OGG": 10.0}
_UNKNOWN_LENGTH = 2**35  # a FLAC that was written to a pipe claims 0 or 2**36 - 1 samples
# Formats in which libsndfile seeks to the right sample, where the encoding allows a seek at all (GSM 6.10, G.721 and
# others do not). In the rest (VOC, WVE, XI, ...) it lands elsewhere: those are read through.
_SEEKABLE = frozenset(("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"))
_LIBSNDFILE_SAYS = {  # in words for a person
    "Format not recognised": "this is no kind of sound file that is known here",
    "SF_INFO struct incomplete": "its header contradicts itself or names no sample rate",
    "unsupported encoding": "its encoding is not one that can be decoded here",
    "unimplemented format": "its encoding is not one that can be decoded here",
    "Malformed 'fmt ' chunk": "its header is cut short or damaged",
    "No 'data' chunk marker": "no samples follow its header",
    "File does not exist or is not a regular file": "this is no kind of sound file that is known here",
}


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

    def blocks(self, start: int, n_samples: int | None, *, until_s: float = math.inf) -> Iterator[np.ndarray]:
        """Float32 blocks (samples, channels) from `start` on, `n_samples` in all or to the end.

        Raises AudioError where the sound is damaged, and when time.monotonic() passes `until_s`.
        """


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
        file: _SoundFile | None = None
        try:
            file = _SoundFile(handle)
        except sf.SoundFileError as error:
            start = first_mpeg_frame(handle)
            if start is None:
                decoder = _without_libsndfile(source, handle, error)
            else:
                file = _open_from(source, handle, start, error)
        if file is None:
            yield decoder
            return
        if file.format == "WAV" and not file.frames and (whole := wav_without_size(handle)):
            file.close()
            file = _SoundFile(whole)
        with file:
            decoder = _libsndfile_decoder(source, handle, file)
            check_header(source, decoder.header)
            yield decoder


class _SoundFile(sf.SoundFile):
    """A SoundFile that reads straight on. The class it is made of seeks to the place it is at after each read, which
    decoders that cannot seek refuse, after which an MP3's next frames come out wrong, and which is slow."""

    def __init__(self, handle: BinaryIO | Overlay, start: int = 0) -> None:
        self.opened, self.start = handle, start  # to open it again
        if isinstance(handle, io.BytesIO):
            super().__init__(io.BytesIO(handle.getbuffer()[start:]) if start else handle)
        elif isinstance(handle, Overlay):
            handle.seek(0)
            super().__init__(handle)
        else:
            os.lseek(handle.fileno(), start, os.SEEK_SET)
            super().__init__(handle.fileno(), closefd=False)

    def seekable(self) -> bool:
        return False


def _open_from(source: Source, handle: BinaryIO, start: int, error: Exception) -> _SoundFile:
    try:
        return _SoundFile(handle, start)
    except sf.SoundFileError:
        raise AudioError(f"{source.name!r} cannot be read as sound: its MP3 is damaged. Get a whole copy.") from error


def _without_libsndfile(source: Source, handle: BinaryIO, error: Exception) -> Decoder:
    handle.seek(0)
    head = handle.read(64)
    if head[4:8] == b"ftyp":
        return _AvDecoder(source, "mp4", "m4a")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _AvDecoder(source, "aac", "aac")
    if head[:4] == b"OggS" and b"\x7fFLAC" in head:
        return _AvDecoder(source, "ogg", "FLAC inside Ogg")
    said = str(getattr(error, "error_string", "")).strip().rstrip(".")
    known = next((words for theirs, words in _LIBSNDFILE_SAYS.items() if theirs in said), None)
    reason = known or said or "it is damaged or cut short"
    advice = "Get a whole copy, or convert it to WAV or FLAC."
    if head.startswith(b"version https://git-lfs"):
        reason, advice = "it is the pointer that Git LFS left in its place", "Run `git lfs pull` there."
    if not head:
        reason, advice = "it is empty (0 bytes)", "Get a whole copy."
    raise AudioError(f"{source.name!r} cannot be read as sound: {reason}. {advice}") from error


def _libsndfile_decoder(source: Source, handle: BinaryIO, file: _SoundFile) -> Decoder:
    """The header's length is only believed where it can be: some MP3 and FLAC files are longer than they say."""
    n_claimed: int | None = file.frames
    n_estimated: int | None = None
    note = "cut short: its header announces more" if header_says_cut(file.extra_info) else ""
    if isinstance(file.opened, Overlay):
        note = "its header says that no sound follows: read to its end"
    elif file.start:
        note = f"its start is damaged or cut off: read from its first whole frame, {file.start:,} bytes in"
    if file.frames >= _UNKNOWN_LENGTH:
        return _AvDecoder(source, "flac", "FLAC that does not say how long it is")
    if file.format == "MP3":
        count = count_mpeg_samples(handle)
        if count and count.n_samples > 1.01 * file.frames + 4 * 1152:
            return _AvDecoder(source, "mp3", "MP3 with more sound than its first frame states")
        if count and not count.has_length:
            n_claimed, n_estimated = None, count.n_samples  # not libsndfile's guess
    encoding = f"{file.format}/{file.subtype}"
    header = Header(file.samplerate, file.channels, n_claimed, encoding, note, n_estimated)
    return _SndfileDecoder(source, file, header)


def _check_time(source: Source, until_s: float) -> None:
    if time.monotonic() > until_s:
        raise AudioError(f"{source.name!r} takes too long to decode. Cut it, or convert it to WAV or FLAC.")


class _SndfileDecoder:
    def __init__(self, source: Source, file: _SoundFile, header: Header) -> None:
        self.header = header
        self._source, self._file = source, file
        self._is_fresh = True

    def blocks(self, start: int, n_samples: int | None, *, until_s: float = math.inf) -> Iterator[np.ndarray]:
        if start >= self._file.frames:
            return
        lead_s = _LEAD_S.get("MP3" if "MPEG" in self._file.subtype else self._file.format, 0.0)
        lead = min(start, round(lead_s * self.header.sample_rate_hz))
        end = math.inf if n_samples is None else start + n_samples
        try:
            position = self._move_to(start - lead)
            while position < end:
                _check_time(self._source, until_s)
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
                f"{self._source.name!r} is damaged: its decoder stops inside the {number(whole_s)} s that it "
                "announces. "
                "Get a whole copy."
            ) from error

    def _move_to(self, position: int) -> int:
        """Go to this sample, or to the first where the encoding knows no other way; the sample where it is then."""
        is_there, self._is_fresh = self._is_fresh and position == 0, False
        if is_there:
            return 0
        if self._file.format in _SEEKABLE:
            try:
                return int(self._file.seek(position))
            except sf.SoundFileError:
                pass  # read through from the start
        self._file.close()
        self._file = _SoundFile(self._file.opened, self._file.start)
        return 0


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
            note = "raw AAC: its encoder's delay, about 0.02 s, is left at the start" if container == "aac" else ""
            self.header = Header(first.sample_rate, len(first.layout.channels), n_claimed, encoding, note)
        check_header(source, self.header)

    def blocks(self, start: int, n_samples: int | None, *, until_s: float = math.inf) -> Iterator[np.ndarray]:
        end = math.inf if n_samples is None else start + n_samples
        if self.header.n_claimed is not None:
            end = min(end, self.header.n_claimed)  # the encoder's padding lies behind it
        position = 0
        with self._frames() as (_, frames):
            for frame in frames:
                _check_time(self._source, until_s)
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
