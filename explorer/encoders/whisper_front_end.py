"""Whisper's log-mel windows, and where their frames lie in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from explorer.encoders.chunks import Chunk
from explorer.encoders.whisper import STEPS_A_FRAME, TOP_HZ
from explorer.sound_checks import MIN_CLIP_S

_FLOOR, _RANGE = 1e-10, 8.0  # least energy; powers of ten below a window's loudest value that are kept
_LINEAR_HZ, _PER_MEL_HZ = 1_000.0, 200.0 / 3.0  # Slaney's scale: linear to 1 kHz, then 27 mels to a factor of 6.4
_LOG_STEP = float(np.log(6.4)) / 27.0


@dataclass(frozen=True)
class WhisperFrontEnd:
    """Whisper: a log-mel spectrogram (25 ms windows, 10 ms hop) of 30 s, zeros after a shorter sound included.

    Two convolutions of 3 steps, the second with stride 2, make a frame of 5 steps centred on an even one: frame i is
    centred at 20 ms x i and sees 32.5 ms to both sides. Frames whose centre lies in the sound are valid.
    """

    sample_rate_hz: int
    n_mels: int
    n_fft: int
    hop: int
    window_samples: int

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return STEPS_A_FRAME * self.hop

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.stride

    def n_frames(self, n_samples: int) -> int:
        """Frames whose centre lies in a sound of at least one sample."""
        return -(-n_samples // self.stride)

    def chunks(self, n_samples: int) -> tuple[Chunk, ...]:
        """Windows one after the other. The frames of a tail under the shortest clip are heard in a window that ends
        with the sound instead of one that is silent but for its beginning."""
        total, size = self.n_frames(n_samples), self.window_samples // self.stride
        chunks = [
            Chunk(start, min(start + self.window_samples, n_samples), min(size, total - start // self.stride))
            for start in range(0, n_samples, self.window_samples)
        ]
        tail = chunks[-1]
        if len(chunks) > 1 and n_samples - tail.start < MIN_CLIP_S * self.sample_rate_hz:
            start = self.n_frames(n_samples - self.window_samples) * self.stride
            chunks[-1] = Chunk(start, n_samples, tail.n_frames, (tail.start - start) // self.stride)
        return tuple(chunks)

    def times_s(self, n_frames: int) -> np.ndarray:
        return np.arange(n_frames) * self.stride / self.sample_rate_hz

    def level(self, samples: np.ndarray) -> tuple[float, float]:
        """Nothing: each window has a level of its own, by its loudest value."""
        return 0.0, 1.0

    def seen_samples(self, chunk: Chunk) -> int:
        return self.window_samples

    def network_input(self, samples: np.ndarray, chunk: Chunk, level: tuple[float, float]) -> torch.Tensor:
        """(n_mels, steps) of one window."""
        part = torch.from_numpy(np.array(samples[chunk.start : chunk.stop], dtype=np.float32))
        return log_mel(part, self)

    def frames(self, tokens_btd: torch.Tensor) -> torch.Tensor:
        return tokens_btd

    def tokens(self, tokens_td: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Those of the silence after a shorter sound too."""
        return tokens_td


def whisper_front_end(preprocessor: Mapping[str, Any]) -> WhisperFrontEnd:
    """The front end of a Whisper checkpoint, by its preprocessor's values."""
    rate_hz = int(preprocessor["sampling_rate"])
    return WhisperFrontEnd(
        sample_rate_hz=rate_hz,
        n_mels=int(preprocessor["feature_size"]),
        n_fft=int(preprocessor["n_fft"]),
        hop=int(preprocessor["hop_length"]),
        window_samples=int(preprocessor["chunk_length"]) * rate_hz,
    )


def log_mel(samples: torch.Tensor, of: WhisperFrontEnd) -> torch.Tensor:
    """(n_mels, window / hop) of one window's samples, as transformers' WhisperFeatureExtractor makes it: logarithms of
    mel energies, nothing more than 8 powers of ten below the loudest, scaled by (x + 4) / 4.

    Steps that see zeros alone are not computed: their energy is the floor.
    """
    n_steps = of.window_samples // of.hop
    n_heard = min(of.window_samples, len(samples) + 2 * of.n_fft)
    padded = torch.nn.functional.pad(samples, (0, n_heard - len(samples)))
    spectrum = torch.stft(padded, of.n_fft, of.hop, window=torch.hann_window(of.n_fft), return_complex=True)
    powers = spectrum[:, :n_steps].abs().pow(2.0).contiguous()
    energies = _mel_weights(of.sample_rate_hz, of.n_fft, of.n_mels) @ powers
    levels = torch.full((of.n_mels, n_steps), _FLOOR).log10()
    levels[:, : energies.shape[1]] = torch.clamp(energies, min=_FLOOR).log10()
    return (torch.maximum(levels, levels.max() - _RANGE) + 4.0) / 4.0


@lru_cache(maxsize=8)
def _mel_weights(sample_rate_hz: int, n_fft: int, n_mels: int) -> torch.Tensor:
    """(n_mels, n_fft / 2 + 1): Slaney's triangles of equal area, evenly spaced in mel from 0 to TOP_HZ."""
    edges_hz = _hz(np.linspace(0.0, _mel(TOP_HZ), n_mels + 2))[:, None]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    hz = np.linspace(0.0, sample_rate_hz // 2, n_fft // 2 + 1)[None]
    triangles = np.maximum(0.0, np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)))
    return torch.from_numpy(triangles * 2.0 / (high - low)).float()


def _mel(hz: float) -> float:
    linear = min(hz, _LINEAR_HZ) / _PER_MEL_HZ
    return linear + float(np.log(max(hz, _LINEAR_HZ) / _LINEAR_HZ)) / _LOG_STEP


def _hz(mels: np.ndarray) -> np.ndarray:
    knee = _LINEAR_HZ / _PER_MEL_HZ
    return np.minimum(mels, knee) * _PER_MEL_HZ * np.exp(_LOG_STEP * np.maximum(mels - knee, 0.0))
