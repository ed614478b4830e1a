"""Files whose start is not as it should be, though all of their sound is there: WAV whose writer never came back to say
how much follows, and MP3 whose first part was cut off."""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

from explorer.sound_checks import mpeg_frame

_SEARCHED = 65_536  # bytes in which an MP3's first whole frame is looked for
_N_FRAMES = 4  # in a row, of one rate: what is no MP3 has them once in about 10^12 places
_MAX_CHUNKS = 1000


class Overlay(io.RawIOBase):
    """A file, read only, in which four bytes are others."""

    def __init__(self, handle: BinaryIO, at: int, four: bytes) -> None:
        self._handle, self._at, self._four = handle, at, four

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()

    def readinto(self, buffer: Any) -> int:
        start = self._handle.tell()
        data = bytearray(self._handle.read(len(buffer)))
        for place, byte in enumerate(self._four, self._at - start):
            if 0 <= place < len(data):
                data[place] = byte
        buffer[: len(data)] = data
        return len(data)


def wav_without_size(handle: BinaryIO) -> Overlay | None:
    """A WAV that says 0 bytes of sound before the end of the file, as one that says an unknown size.

    None for other files, and where nothing but further chunks follows: then there is no sound.
    """
    end = handle.seek(0, io.SEEK_END)
    handle.seek(0)
    head = handle.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    at = 12
    for _ in range(_MAX_CHUNKS):
        handle.seek(at)
        name, size = _chunk(handle)
        if name == b"data":
            is_sound = size == 0 and at + 8 < end and not _are_chunks(handle, at + 8, end)
            return Overlay(handle, at + 4, b"\xff\xff\xff\xff") if is_sound else None
        if name is None:
            return None
        at += 8 + size + size % 2
    return None


def _chunk(handle: BinaryIO) -> tuple[bytes | None, int]:
    head = handle.read(8)
    return (head[:4], int(struct.unpack("<I", head[4:])[0])) if len(head) == 8 else (None, 0)


def _are_chunks(handle: BinaryIO, at: int, end: int) -> bool:
    """Whether named chunks fill the file from here to its end."""
    for _ in range(_MAX_CHUNKS):
        if at >= end:
            return True
        handle.seek(at)
        name, size = _chunk(handle)
        if name is None or not name.isascii() or not name.decode("ascii").isprintable():
            return False
        at += 8 + size + size % 2
    return False


def first_mpeg_frame(handle: BinaryIO) -> int | None:
    """Where in a file the first MPEG audio frame begins that others follow; None where there is none near its start."""
    handle.seek(0)
    data = handle.read(2 * _SEARCHED)
    at = data.find(b"\xff")
    while 0 <= at < _SEARCHED:
        if _are_frames(data, at):
            return at
        at = data.find(b"\xff", at + 1)
    return None


def _are_frames(data: bytes, at: int) -> bool:
    kind = data[at + 1 : at + 2]
    for _ in range(_N_FRAMES):
        frame = mpeg_frame(data[at : at + 4]) if at + 4 <= len(data) else None
        if frame is None or data[at + 1 : at + 2] != kind or frame[0] < 4:
            return False
        at += frame[0]
    return True
