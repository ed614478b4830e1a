"""What each family is trained to do, as a module with its network, its head and the loss of a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from explorer.encoders import AST_FAMILY, FrontEnd, front_end_of, untrained_network
from precompute.checkpoint_folder import geometry, preprocessor_of
from precompute.pretraining import teachers
from precompute.pretraining.masking import mixed, patch_mask, span_mask
from precompute.pretraining.sound import Voices

CROP_S, BATCH = 2.0, 12
_TEMPERATURE, _D_PROJECTED = 0.1, 64
_CQT_WEIGHT = 1.0
_HIDDEN_SHARE = 0.5  # of the loss; the rest is asked at the frames that the network hears
_LEVEL_CLIPS = 200
_GAIN_DB = 10.0  # to each side, at random in training: loudness is not what is learnt


class MaskedPrediction(nn.Module):
    """HuBERT, WavLM and MERT: say at each frame which cluster the teacher heard there (and its constant-Q spectrum).

    Hsu et al. (2021): cosine of a projection with an embedding a cluster, over a temperature; the loss is their
    alpha L_m + (1 - alpha) L_u, cross-entropies over hidden and over heard frames, with alpha = _HIDDEN_SHARE.
    targets: int16 (teachers, c, t). cqt: also regress the spectrum at hidden frames (MERT).
    """

    def __init__(
        self,
        family: str,
        voices: Voices,
        targets: np.ndarray,
        *,
        seed: int,
        is_mixed: bool = False,
        cqt: bool = False,
    ) -> None:
        super().__init__()
        self._voices, self._targets, self._is_mixed = voices, targets, is_mixed
        config = geometry(family, "demo")
        d_model = int(config["hidden_size"])
        self.network = untrained_network(config, seed=seed)
        self.front_end = front_end_of(family, self.network.config, preprocessor_of(family, config))
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
        sound = network_inputs(self.front_end, heard).to(device)
        states = self.network(sound, mask_time_indices=hidden).last_hidden_state
        total = states.new_zeros(())
        for target, projection, clusters in zip(self._targets, self.projections, self.clusters, strict=True):
            said = np.stack([target[clip, at : at + n_frames] for clip, at in zip(clips, first, strict=True)])
            right = torch.from_numpy(said.astype(np.int64)).to(device)
            cosines = nn.functional.normalize(projection(states), dim=-1) @ nn.functional.normalize(clusters, dim=-1).T
            at_hidden, at_heard = (
                nn.functional.cross_entropy(cosines[where] / _TEMPERATURE, right[where]) for where in (hidden, ~hidden)
            )
            total = total + (_HIDDEN_SHARE * at_hidden + (1 - _HIDDEN_SHARE) * at_heard) / len(self._targets)
        if self.cqt is not None:
            bands = teachers.constant_q(torch.from_numpy(clean), rate).to(device)[hidden]
            total = total + _CQT_WEIGHT * nn.functional.mse_loss(self.cqt(states[hidden]), bands) / bands.var()
        return total


class MaskedPatches(nn.Module):
    """AST: paint the hidden patches of a spectrogram, scored by `patch_loss`.

    `level` is the mean and deviation of the voices' filter banks, which the checkpoint's preprocessor takes away.
    """

    def __init__(self, voices: Voices, *, seed: int) -> None:
        super().__init__()
        self._voices = voices
        config = geometry(AST_FAMILY, "demo")
        self._size = int(config["patch_size"])
        d_model = int(config["hidden_size"])
        self.network = untrained_network(config, seed=seed)
        preprocessor = preprocessor_of(AST_FAMILY, config)
        plain = front_end_of(AST_FAMILY, self.network.config, {**preprocessor, "do_normalize": False})
        step = max(len(voices.samples) // _LEVEL_CLIPS, 1)
        banks = network_inputs(plain, voices.whole(np.arange(0, len(voices.samples), step)))
        self.level = {"mean": round(float(banks.mean()), 3), "std": round(float(banks.std()), 3)}
        self.front_end = front_end_of(AST_FAMILY, self.network.config, {**preprocessor, **self.level})
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
        banks = network_inputs(self.front_end, sound).to(device)
        patches = self._patches(banks)
        self._mask = torch.from_numpy(patch_mask(BATCH, patches.shape[1], rng)).to(device)
        try:
            states = self.network(banks).last_hidden_state[:, 2:]
        finally:
            mask, self._mask = self._mask, None
        return patch_loss(self.painter(states[mask]), patches[mask])

    def _patches(self, banks: torch.Tensor) -> torch.Tensor:
        """(b, p, size * size), frequency-major as AST orders its tokens, from (b, time, mels)."""
        cut = banks.transpose(1, 2).unfold(1, self._size, self._size).unfold(2, self._size, self._size)
        return cut.flatten(1, 2).flatten(2)


def patch_loss(painted_pd: torch.Tensor, right_pd: torch.Tensor) -> torch.Tensor:
    """Mean squared error of painted patches (p, d), each right one less its own mean and over its own deviation.

    So a patch counts by what moves in it, not by how loud it is (He et al. 2022; Huang et al. 2022 for spectrograms).
    """
    centred = right_pd - right_pd.mean(dim=1, keepdim=True)
    return nn.functional.mse_loss(painted_pd, centred / (right_pd.std(dim=1, keepdim=True) + 0.05))


def network_inputs(front_end: FrontEnd, samples_bn: np.ndarray) -> torch.Tensor:
    """What a network takes for sounds of equal length that it sees at once, by its checkpoint's own front end."""
    (whole,) = front_end.chunks(samples_bn.shape[1])
    return torch.stack([front_end.network_input(samples, whole, front_end.level(samples)) for samples in samples_bn])


@torch.inference_mode()
def layer_states(module: MaskedPrediction, voices: Voices, layer: int, *, batch: int = 16) -> Iterator[np.ndarray]:
    """float32 (b, t, d), batch by batch over all clips: the states of one layer, nothing hidden."""
    device = next(module.parameters()).device
    for sound in voices.batches(batch):
        inputs = network_inputs(module.front_end, sound).to(device)
        output = module.network(inputs, output_hidden_states=True)
        yield output.hidden_states[layer].float().cpu().numpy()
