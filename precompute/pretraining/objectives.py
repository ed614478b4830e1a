"""What each family is trained to do, as a module with its network, its head and the loss of a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from explorer.encoders import AST_FAMILY, untrained_network
from precompute.checkpoint_folder import geometry
from precompute.pretraining import teachers
from precompute.pretraining.masking import mixed, patch_mask, span_mask
from precompute.pretraining.sound import Voices

CROP_S, BATCH = 2.0, 12
_TEMPERATURE, _D_PROJECTED = 0.1, 64
_CQT_WEIGHT = 1.0
_GAIN_DB = 10.0  # to each side, at random in training: loudness is not what is learnt


class MaskedPrediction(nn.Module):
    """HuBERT, WavLM and MERT: say at hidden frames which cluster the teacher heard there (and its constant-Q spectrum).

    Hsu et al. (2021): cosine of a projection with an embedding a cluster, over a temperature, cross-entropy at hidden
    frames only. targets: int16 (c, t) a teacher. cqt: also regress the spectrum there (MERT).
    """

    def __init__(
        self,
        family: str,
        voices: Voices,
        targets: tuple[np.ndarray, ...],
        *,
        seed: int,
        is_normalized: bool,
        is_mixed: bool = False,
        cqt: bool = False,
    ) -> None:
        super().__init__()
        self._voices, self._targets = voices, targets
        self._is_normalized, self._is_mixed = is_normalized, is_mixed
        config = geometry(family, "demo")
        d_model = int(config["hidden_size"])
        self.network = untrained_network(config, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleList(nn.Linear(d_model, _D_PROJECTED) for _ in targets)
            self.clusters = nn.ParameterList(
                nn.Parameter(torch.randn(int(target.max()) + 1, _D_PROJECTED)) for target in targets
            )
            n_bands = teachers.N_CHROMA * teachers.CQT_OCTAVES
            self.cqt = nn.Linear(d_model, n_bands) if cqt else None

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Of BATCH random crops."""
        rate = self._voices.sample_rate_hz
        n = round(CROP_S * rate)
        n_frames = teachers.n_frames(n)
        clips = rng.integers(0, len(self._voices.samples), BATCH)
        latest = (self._voices.samples.shape[1] - n) // teachers.HOP
        first = rng.integers(0, latest + 1, BATCH)
        clean = self._voices.crops(clips, first * teachers.HOP, n)
        clean *= (10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB, (BATCH, 1)) / 20)).astype(np.float32)
        heard = mixed(clean, rng) if self._is_mixed else clean
        mask = span_mask(BATCH, n_frames, rng)
        device = next(self.parameters()).device
        hidden = torch.from_numpy(mask).to(device)
        sound = torch.from_numpy(normalized(heard) if self._is_normalized else heard).to(device)
        states = self.network(sound, mask_time_indices=hidden).last_hidden_state[hidden]
        total = states.new_zeros(())
        for target, projection, clusters in zip(self._targets, self.projections, self.clusters, strict=True):
            said = np.stack([target[clip, at : at + n_frames] for clip, at in zip(clips, first, strict=True)])
            right = torch.from_numpy(said.astype(np.int64)).to(device)[hidden]
            cosines = nn.functional.normalize(projection(states), dim=-1) @ nn.functional.normalize(clusters, dim=-1).T
            total = total + nn.functional.cross_entropy(cosines / _TEMPERATURE, right) / len(self._targets)
        if self.cqt is not None:
            bands = teachers.constant_q(torch.from_numpy(clean), rate).to(device)[hidden]
            total = total + _CQT_WEIGHT * nn.functional.mse_loss(self.cqt(states), bands) / bands.var()
        return total


class MaskedPatches(nn.Module):
    """AST: paint the hidden patches of a spectrogram (He et al. 2022, Gong et al. 2022), each in its own deviations."""

    def __init__(self, voices: Voices, *, seed: int, level: tuple[float, float]) -> None:
        super().__init__()
        self._voices, self._level = voices, level
        config = geometry(AST_FAMILY, "demo")
        self._size, self._n_frames = int(config["patch_size"]), int(config["max_length"])
        d_model = int(config["hidden_size"])
        self.network = untrained_network(config, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden_patch = nn.Parameter(0.02 * torch.randn(d_model))
            self.painter = nn.Linear(d_model, self._size**2)
        self._mask: torch.Tensor | None = None
        self.network.embeddings.patch_embeddings.register_forward_hook(self._hide)

    def _hide(self, _module: nn.Module, _args: tuple[Any, ...], patches: torch.Tensor) -> torch.Tensor:
        if self._mask is None:
            return patches
        return torch.where(self._mask[..., None], self.hidden_patch.to(patches.dtype), patches)

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Of BATCH random clips."""
        clips = np.sort(rng.integers(0, len(self._voices.samples), BATCH))
        sound = self._voices.whole(clips)
        sound *= (10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB, (BATCH, 1)) / 20)).astype(np.float32)
        device = next(self.parameters()).device
        banks = filter_banks(sound, self._voices.sample_rate_hz, self._n_frames, self._level).to(device)
        patches = self._patches(banks)
        self._mask = torch.from_numpy(patch_mask(BATCH, patches.shape[1], rng)).to(device)
        try:
            states = self.network(banks).last_hidden_state[:, 2:]
        finally:
            mask, self._mask = self._mask, None
        painted, right = self.painter(states[mask]), patches[mask]
        right = (right - right.mean(dim=1, keepdim=True)) / (right.std(dim=1, keepdim=True) + 0.05)
        return nn.functional.mse_loss(painted, right)

    def _patches(self, banks: torch.Tensor) -> torch.Tensor:
        """(b, p, size * size), frequency-major as AST orders its tokens, from (b, time, mels)."""
        cut = banks.transpose(1, 2).unfold(1, self._size, self._size).unfold(2, self._size, self._size)
        return cut.flatten(1, 2).flatten(2)


def normalized(samples: np.ndarray) -> np.ndarray:
    """Every crop with mean 0 and variance 1, as the checkpoint's preprocessor does it."""
    centred = samples - samples.mean(axis=1, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-7)).astype(np.float32)


def filter_banks(samples: np.ndarray, sample_rate_hz: int, n_frames: int, level: tuple[float, float]) -> torch.Tensor:
    """(b, n_frames, 128) of Kaldi filter banks as AST takes them: less the mean, over twice the deviation."""
    from torchaudio.compliance.kaldi import fbank

    mean, deviation = level
    out = torch.zeros(len(samples), n_frames, 128)
    for clip, values in enumerate(torch.from_numpy(samples)):
        banks = fbank(values[None], sample_frequency=sample_rate_hz, window_type="hanning", num_mel_bins=128)
        out[clip, : min(len(banks), n_frames)] = banks[:n_frames]
    return (out - mean) / (2 * deviation)


@torch.inference_mode()
def layer_states(
    network: Any, voices: Voices, layer: int, *, is_normalized: bool, batch: int = 16
) -> Iterator[np.ndarray]:
    """float32 (b, t, d), batch by batch over all clips: the states of one layer."""
    device = next(network.parameters()).device
    for sound in voices.batches(batch):
        heard = normalized(sound) if is_normalized else sound
        output = network(torch.from_numpy(heard).to(device), output_hidden_states=True)
        yield output.hidden_states[layer].float().cpu().numpy()
