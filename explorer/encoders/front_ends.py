"""From a waveform to what a network takes: normalisation, chunks whose frames join without a gap, times, valid frames.

A chunk is a cut of the waveform that the network sees at once. The frames of neighbouring chunks follow each other
exactly as in one pass: frame i of the clip has the same place in time whether or not the clip was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from explorer.encoders.chunks import Chunk
from explorer.encoders.filter_banks import frame_samples, kaldi_filter_banks
from explorer.encoders.registry import AST_FAMILY, WHISPER_FAMILY
from explorer.encoders.whisper_front_end import whisper_front_end
from explorer.sound_checks import MIN_CLIP_S

CHUNK_S = 20.0
"""Longest piece that a waveform network sees at once; attention memory grows with its square."""
_NORMALISER_EPS = 1e-7


class FrontEnd(Protocol):
    """What a family does before its network, and how its output tokens are read."""

    @property
    def sample_rate_hz(self) -> int:
        """The rate that waveforms must have."""
        ...

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        ...

    @property
    def window_samples(self) -> int | None:
        """The most samples that the network can look at in one pass; None where it has no such limit."""
        ...

    def chunks(self, n_samples: int) -> tuple[Chunk, ...]:
        """How a clip of `n_samples` is cut; the chunks' frames in order are the clip's frames."""
        ...

    def times_s(self, n_frames: int) -> np.ndarray:
        """(n_frames,) centres of the clip's frames in seconds from its start."""
        ...

    def level(self, samples: np.ndarray) -> tuple[float, float]:
        """(offset, scale) that the whole clip is normalised by, before it is cut."""
        ...

    def seen_samples(self, chunk: Chunk) -> int:
        """How many samples the network works on for this chunk (AST, Whisper: always a whole window)."""
        ...

    def network_input(self, samples: np.ndarray, chunk: Chunk, level: tuple[float, float]) -> torch.Tensor:
        """The network's input for one chunk, without a batch axis."""
        ...

    def frames(self, tokens_btd: torch.Tensor) -> torch.Tensor:
        """(b, t, d) one state a frame, padded frames at the end included."""
        ...

    def tokens(self, tokens_td: torch.Tensor, n_frames: int) -> torch.Tensor:
        """(n, d) every output token of one chunk, as preset `paper` pools them."""
        ...


@dataclass(frozen=True)
class WaveformFrontEnd:
    """HuBERT, MERT and WavLM: strided convolutions over the samples (stride 320, 400 samples a frame)."""

    sample_rate_hz: int
    do_normalize: bool
    stride: int
    width: int

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.stride

    @property
    def window_samples(self) -> None:
        return None

    def n_frames(self, n_samples: int) -> int:
        """Frames that lie whole inside `n_samples`."""
        return (n_samples - self.width) // self.stride + 1

    def chunks(self, n_samples: int) -> tuple[Chunk, ...]:
        """Chunks of CHUNK_S; a tail shorter than the shortest clip joins the chunk before it."""
        total = self.n_frames(n_samples)
        size = round(CHUNK_S * self.sample_rate_hz / self.stride)
        starts = list(range(0, total, size))
        if len(starts) > 1 and n_samples - starts[-1] * self.stride < MIN_CLIP_S * self.sample_rate_hz:
            starts.pop()
        ends = [*starts[1:], total]
        last = len(starts) - 1
        return tuple(
            Chunk(
                start=first * self.stride,
                stop=n_samples if position == last else (end - 1) * self.stride + self.width,
                n_frames=end - first,
            )
            for position, (first, end) in enumerate(zip(starts, ends, strict=True))
        )

    def times_s(self, n_frames: int) -> np.ndarray:
        return (np.arange(n_frames) * self.stride + self.width / 2) / self.sample_rate_hz

    def level(self, samples: np.ndarray) -> tuple[float, float]:
        """Zero mean and unit variance where the checkpoint wants it, over the clip alone and never over padding."""
        if not self.do_normalize:
            return 0.0, 1.0
        variance = float(samples.var(dtype=np.float64))
        return float(samples.mean(dtype=np.float64)), 1.0 / float(np.sqrt(variance + _NORMALISER_EPS))

    def seen_samples(self, chunk: Chunk) -> int:
        return chunk.stop - chunk.start

    def network_input(self, samples: np.ndarray, chunk: Chunk, level: tuple[float, float]) -> torch.Tensor:
        offset, scale = level
        part = samples[chunk.start : chunk.stop]
        if self.do_normalize:
            part = ((part.astype(np.float64) - offset) * scale).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))

    def frames(self, tokens_btd: torch.Tensor) -> torch.Tensor:
        return tokens_btd

    def tokens(self, tokens_td: torch.Tensor, n_frames: int) -> torch.Tensor:
        return tokens_td[:n_frames]


@dataclass(frozen=True)
class SpectrogramFrontEnd:
    """AST: 128-mel Kaldi filter banks (25 ms windows, 10 ms hop) in 16 x 16 patches, stride 10 both ways.

    Tokens are CLS, distillation, then the patches, frequency-major: 12 rows of 101 columns. A frame is a column.
    """

    sample_rate_hz: int
    do_normalize: bool
    mean: float
    std: float
    n_mels: int
    max_frames: int
    patch: int
    time_stride: int
    frequency_stride: int

    @property
    def _hop(self) -> int:
        return frame_samples(self.sample_rate_hz)[1]

    @property
    def _window(self) -> int:
        return frame_samples(self.sample_rate_hz)[0]

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / (self._hop * self.time_stride)

    @property
    def window_samples(self) -> int:
        return (self.max_frames - 1) * self._hop + self._window

    @property
    def n_columns(self) -> int:
        return (self.max_frames - self.patch) // self.time_stride + 1

    @property
    def n_rows(self) -> int:
        return (self.n_mels - self.patch) // self.frequency_stride + 1

    def valid_columns(self, n_samples: int) -> int:
        """Columns that hold no padding; at least 1 (under 0.175 s the first column reaches past the clip's end)."""
        n_fbank = 1 + (n_samples - self._window) // self._hop
        return max(1, (n_fbank - self.patch) // self.time_stride + 1)

    def chunks(self, n_samples: int) -> tuple[Chunk, ...]:
        """Chunks of all columns of the network (10.24 s seen, 10.1 s onwards the next one)."""
        total = self.valid_columns(n_samples)
        step = self.n_columns * self.time_stride * self._hop
        seen = self.window_samples
        return tuple(
            Chunk(
                start=index * step,
                stop=min(index * step + seen, n_samples),
                n_frames=min(self.n_columns, total - index * self.n_columns),
            )
            for index in range(-(-total // self.n_columns))
        )

    def times_s(self, n_frames: int) -> np.ndarray:
        width = (self.patch - 1) * self._hop + self._window
        return (np.arange(n_frames) * self.time_stride * self._hop + width / 2) / self.sample_rate_hz

    def level(self, samples: np.ndarray) -> tuple[float, float]:
        """(mean, 1 / (2 std)) of the training set's filter banks, as the checkpoint says."""
        return (self.mean, 1.0 / (2.0 * self.std)) if self.do_normalize else (0.0, 1.0)

    def seen_samples(self, chunk: Chunk) -> int:
        return self.max_frames * self._hop

    def network_input(self, samples: np.ndarray, chunk: Chunk, level: tuple[float, float]) -> torch.Tensor:
        part = torch.from_numpy(np.array(samples[chunk.start : chunk.stop], dtype=np.float32))
        banks = kaldi_filter_banks(part, self.sample_rate_hz, self.n_mels)[: self.max_frames]
        padded = torch.zeros(self.max_frames, self.n_mels)
        padded[: banks.shape[0]] = banks
        offset, scale = level
        return (padded - offset) * scale

    def frames(self, tokens_btd: torch.Tensor) -> torch.Tensor:
        n_batch, _, d_model = tokens_btd.shape
        return tokens_btd[:, 2:].reshape(n_batch, self.n_rows, self.n_columns, d_model).mean(dim=1)

    def tokens(self, tokens_td: torch.Tensor, n_frames: int) -> torch.Tensor:
        return tokens_td


def front_end_of(family: str, config: Any, preprocessor: Mapping[str, Any]) -> FrontEnd:
    """What a checkpoint of that family does before its network, by its configuration and its preprocessor's."""
    if family == WHISPER_FAMILY:
        return whisper_front_end(preprocessor)
    return (_spectrogram if family == AST_FAMILY else _waveform)(config, preprocessor)


def _waveform(config: Any, preprocessor: Mapping[str, Any]) -> WaveformFrontEnd:
    """The front end of a network with the convolutions that its transformers configuration names."""
    stride, width = 1, 1
    for step, kernel in zip(config.conv_stride, config.conv_kernel, strict=True):
        width += (kernel - 1) * stride
        stride *= step
    return WaveformFrontEnd(int(preprocessor["sampling_rate"]), bool(preprocessor["do_normalize"]), stride, width)


def _spectrogram(config: Any, preprocessor: Mapping[str, Any]) -> SpectrogramFrontEnd:
    """The front end of an AST checkpoint."""
    return SpectrogramFrontEnd(
        sample_rate_hz=int(preprocessor["sampling_rate"]),
        do_normalize=bool(preprocessor["do_normalize"]),
        mean=float(preprocessor["mean"]),
        std=float(preprocessor["std"]),
        n_mels=int(preprocessor["num_mel_bins"]),
        max_frames=int(preprocessor["max_length"]),
        patch=int(config.patch_size),
        time_stride=int(config.time_stride),
        frequency_stride=int(config.frequency_stride),
    )
