"""The limits of a readable sound, and what can be told from its samples and headers. No decoder is imported here."""

from __future__ import annotations

import io
import math
import mmap
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np

from explorer.errors import AudioError
from explorer.text import count, number, quantity, size

MIN_CLIP_S = 0.1  # under this openSMILE defines none of the 88 factors
MAX_FILE_S = 7200.0
MAX_CHANNELS = 8
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_LOAD_SAMPLES = 100_000_000  # one stretch as float32: 400 MB, 37 minutes at 44.1 kHz
MAX_PEAK = 1e6  # 120 dB over full scale: above it a square of a sum no longer fits float32
CANCELLED_RATIO = 0.1  # the mean of up to 8 channels of which one sounds is above 1/8 of it; under this they cancel

_SIZE_LINE = re.compile(r"^\s*(data|SSND|riff|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_DS64_LINE = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
_UNKNOWN_SIZE = 0x7FFF0000  # streaming writers leave 0x7FFFFFFF or 0xFFFFFFFF, less a header
_MPEG_KBPS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_MAX_RATE_HZ, _MAX_LOST = (
    48_000,
    100_000,
)  # bounds of the walk through an MP3: longest file, places without a frame
_MPEG_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class Named(Protocol):
    """What a message about a sound calls it: a path, or sound in memory."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Header:
    """What a file says of itself before anything is decoded. `n_claimed`: None where it does not say; then
    `n_estimated` may be about right."""

    sample_rate_hz: int
    n_channels: int
    n_claimed: int | None
    encoding: str
    note: str = ""
    n_estimated: int | None = None


def check_header(source: Named, header: Header) -> None:
    """Raise AudioError when a header is outside the limits of channels, rate or length."""
    if not 1 <= header.n_channels <= MAX_CHANNELS:
        raise AudioError(
            f"{source.name!r} has {count(header.n_channels, 'channel')}; 1 to {MAX_CHANNELS} can be read. Mix it down."
        )
    if not MIN_RATE_HZ <= header.sample_rate_hz <= MAX_RATE_HZ:
        raise AudioError(
            f"{source.name!r} says that its sample rate is {header.sample_rate_hz} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} "
            "Hz can be read. Resample it, or correct the rate in its header."
        )
    if header.n_claimed is not None and header.n_claimed > MAX_FILE_S * header.sample_rate_hz:
        raise too_long(source, header.n_claimed / header.sample_rate_hz)


def too_long(source: Named, seconds: float) -> AudioError:
    """The error for a file over the longest length."""
    return AudioError(
        f"{source.name!r} is over {number(seconds / 3600, 1)} hours long; {quantity(MAX_FILE_S / 3600)} are "
        "read. Cut it."
    )


def header_says_cut(extra_info: str) -> bool:
    """Whether libsndfile's log of a header shows that sample data is missing. An unknown size is no cut."""
    for _, claimed, found in _SIZE_LINE.findall(extra_info):
        if int(found) < int(claimed) < _UNKNOWN_SIZE:
            return True
    counts = _DS64_LINE.search(extra_info)
    if counts and int(counts[1]) < int(counts[2]):
        return True
    return "Last page lacks an end-of-stream bit" in extra_info


@dataclass
class Levels:
    """Peaks and energies of a stretch, block by block: column 0 the mean of the channels, then each channel."""

    n_channels: int
    n_samples: int = 0
    _peaks: np.ndarray = field(init=False, repr=False)
    _energies: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._peaks = np.zeros(self.n_channels + 1)
        self._energies = np.zeros(self.n_channels + 1)

    def add(self, block_tc: np.ndarray, mono_t: np.ndarray) -> None:
        """Count one block (samples, channels) and the mean of its channels. Raises ValueError for a NaN, Inf or
        huge sample; its argument is the sample's place from the start of the stretch and its value."""
        peaks = np.abs(block_tc).max(axis=0, initial=0.0)
        if not (peaks <= MAX_PEAK).all():
            at = int(np.flatnonzero(~(np.abs(block_tc) <= MAX_PEAK).all(axis=1))[0])
            worst = next(float(value) for value in block_tc[at] if not abs(value) <= MAX_PEAK)
            raise ValueError(self.n_samples + at, worst)
        self._peaks[1:] = np.maximum(self._peaks[1:], peaks)
        self._peaks[0] = max(self._peaks[0], float(np.abs(mono_t).max(initial=0.0)))
        self._energies[0] += float(np.square(mono_t, dtype=np.float64).sum())
        if self.n_channels == 1:
            self._energies[1] = self._energies[0]
        else:
            self._energies[1:] += np.square(block_tc, dtype=np.float64).sum(axis=0)
        self.n_samples += len(block_tc)

    @property
    def is_cancelled(self) -> bool:
        """Whether the channels cancel in their mean (opposite phase), so that one channel has to stand for all."""
        return bool(self._energies[0] < CANCELLED_RATIO**2 * self._energies[1:].max())

    @property
    def loudest(self) -> int:
        """The channel with the most energy, counted from 0; the first of equals."""
        return int(self._energies[1:].argmax())

    @property
    def silent_channels(self) -> list[int]:
        """Channels that hold nothing but zeros, counted from 0."""
        return [int(channel) for channel in np.flatnonzero(self._peaks[1:] == 0)]

    @property
    def peak(self) -> float:
        """Largest absolute sample of the mono signal that `load_waveform` gives."""
        return float(self._peaks[self.loudest + 1 if self.is_cancelled else 0])

    @property
    def rms(self) -> float:
        """Root mean square of the mono signal that `load_waveform` gives; 0 for no samples."""
        energy = self._energies[self.loudest + 1 if self.is_cancelled else 0]
        return math.sqrt(energy / self.n_samples) if self.n_samples else 0.0


def too_short(source: Named, n_bytes: int, n_samples: int, rate_hz: int, header: Header) -> AudioError:
    """The error for a file without samples or under the shortest length."""
    if n_samples == 0:
        return AudioError(
            f"{source.name!r} holds no samples ({size(n_bytes)}, {header.encoding}): empty, or its writer "
            "stopped before it could say how much follows. Record or convert it again."
        )
    return AudioError(
        f"{source.name!r} is {number(n_samples / rate_hz, 4)} s long; the shortest clip is "
        f"{quantity(MIN_CLIP_S)} s, under which no "
        "acoustic factor is defined."
    )


def describe(header: Header, n_samples: int, levels: Sequence[Levels], n_dropped: int) -> str:
    """What a person should know of a file that was read: empty, or remarks divided by semicolons.

    `levels`: of each stretch in order, of which the last `n_dropped` were too short to keep.
    """
    notes = [header.note] if header.note else []
    claimed, rate_hz = header.n_claimed, header.sample_rate_hz
    if claimed is not None and n_samples < claimed:
        notes.append(f"cut short: {number(n_samples / rate_hz)} s of the {number(claimed / rate_hz)} s it announces")
    cancelled = sum(part.is_cancelled for part in levels)
    if cancelled:
        of = "" if cancelled == len(levels) else f" in {cancelled} of {count(len(levels), 'cut')}"
        notes.append(f"the channels cancel each other: the loudest is taken{of}")
    silent = set(range(header.n_channels)).intersection(*(part.silent_channels for part in levels))
    if 0 < len(silent) < header.n_channels:
        names = ", ".join(str(channel + 1) for channel in sorted(silent))
        notes.append(f"channel {names} of {header.n_channels} is silent and lowers the mean")
    peak = max(part.peak for part in levels)
    if peak > 1.0:
        notes.append(f"over full scale (peak {number(peak)}), kept as it is")
    if n_dropped:
        left_s = levels[-1].n_samples / rate_hz
        notes.append(f"the last {number(left_s, 3)} s, shorter than a clip of {quantity(MIN_CLIP_S)} s, are left out")
    return "; ".join(notes)


@dataclass(frozen=True)
class MpegCount:
    """Samples in all MPEG audio frames of a file, and whether its first frame states a length (Xing or Info)."""

    n_samples: int
    has_length: bool


def count_mpeg_samples(handle: BinaryIO) -> MpegCount | None:
    """Walk the frame headers of an MP3: libsndfile believes the first frame's length, or guesses one, and stops there.

    None when no frame is found. Header layout: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3 for the lower rates.
    """
    with _content(handle) as data:
        at, n_samples, n_lost, has_length = _id3_size(data), 0, 0, None
        while at + 4 <= len(data) and n_samples <= MAX_FILE_S * _MPEG_MAX_RATE_HZ:
            frame = mpeg_frame(data[at : at + 4])
            if frame is None:
                at, n_lost = data.find(b"\xff", at + 1), n_lost + 1
                if at < 0 or n_lost > _MAX_LOST:
                    break
                continue
            size, samples = frame
            if has_length is None:
                head = data[at : at + 192]
                has_length = b"Xing" in head or b"Info" in head
            n_samples += samples
            at += size
    return None if has_length is None else MpegCount(n_samples, has_length)


def _content(handle: BinaryIO) -> AbstractContextManager[bytes | mmap.mmap]:
    if isinstance(handle, io.BytesIO):
        return nullcontext(handle.getvalue())
    return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _id3_size(data: bytes | mmap.mmap) -> int:
    head = data[:10]
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def mpeg_frame(head: bytes) -> tuple[int, int] | None:
    """(bytes, samples) of the frame that begins with these four bytes, or None where none does."""
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, kbps_index = head[2] >> 2 & 3, head[2] >> 4
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer == 4 or rate_index == 3 or kbps_index in (0, 15):
        return None
    rate_hz = _MPEG_RATES_HZ[version][rate_index]
    bps = _MPEG_KBPS[(version == 3, layer)][kbps_index] * 1000
    padding = head[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bps // rate_hz + padding), 384
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bps // rate_hz + padding, samples
