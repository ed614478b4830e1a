"""Train TopK sparse autoencoders on pooled states: the sound recipe, and the published one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from explorer.sae import SAE

AUX_SHARE = 1 / 32  # weight of the auxiliary loss (Gao et al., arXiv 2406.04093, section 2.2)
SILENT_AFTER_EPOCHS = 1  # a feature silent for so many epochs learns from the residual and is given a clip
NEW_SHARE = 4  # of a clip's k places, at most one in so many goes to newcomers at a time
MARGIN = 0.05  # by which a newcomer beats the k-th activation, as a share of the mean k-th
GIVE_UNTIL = 0.7  # share of the epochs after which the rest settles undisturbed, unless few are silent
FEW_SILENT = 0.15
STEPS_BETWEEN = 8  # two rounds of newcomers, so that one settles before the next comes
MIN_STEPS = 4  # in an epoch, however few the clips are
LOOKED_AT = 512  # clips among which a silent feature looks for the one where it comes nearest to the top k
MAX_GRADIENT = 0.01  # longest gradient of a step, on states of unit variance
WARMUP_SHARE = 0.05
DECAY_SHARE = 0.3  # the last share of the steps over which the learning rate falls to zero


@dataclass(frozen=True)
class TrainSettings:
    """How one SAE is trained. `k` is the most features a code may have."""

    k: int
    n_features: int
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """One epoch: the mean loss (share of the input's variance that is left) and the share of features silent in it."""

    epoch: int
    loss: float
    dead_fraction: float


Progress = Callable[[int, int], None]


def train_sound(
    train_cd: np.ndarray, settings: TrainSettings, device: str = "cpu", progress: Progress | None = None
) -> tuple[SAE, list[CurvePoint]]:
    """Fit a TopK SAE on (n, d) states.

    The input is centred and scaled to unit mean variance by one number (so the map stays affine), the encoder starts as
    the decoder's transpose times a number, decoder rows keep unit length, and features that fall silent learn from the
    residual (AuxK) while their bias rises to win a place in one clip's top k. Returns the SAE in raw units, and the
    curve.
    """
    generator = torch.Generator(device="cpu").manual_seed(settings.seed)
    space = _Space.of(train_cd)
    states = torch.from_numpy(space.inside(train_cd)).to(device)
    n_clips, d_model = states.shape
    w_dec = torch.randn(settings.n_features, d_model, generator=generator)
    w_dec = torch.nn.functional.normalize(w_dec, dim=1).to(device).requires_grad_()
    w_enc = (w_dec.detach().T * _gain(states, w_dec.detach(), settings.k)).contiguous().requires_grad_()
    b_enc = torch.zeros(settings.n_features, device=device, requires_grad=True)
    b_dec = torch.zeros(d_model, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([w_enc, b_enc, w_dec, b_dec], lr=settings.learning_rate, fused=True)
    batch_size = min(settings.batch_size, max(1, n_clips // MIN_STEPS))
    n_batches = -(-n_clips // batch_size)
    n_steps = settings.epochs * n_batches
    rest = -(-STEPS_BETWEEN // n_batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, n_steps))
    silent_for = torch.zeros(settings.n_features, device=device)
    curve: list[CurvePoint] = []
    for epoch in range(settings.epochs):
        fired = torch.zeros(settings.n_features, dtype=torch.bool, device=device)
        losses = []
        for rows in torch.randperm(n_clips, generator=generator).to(device).split(batch_size):
            batch = states[rows]
            pre = (batch - b_dec) @ w_enc + b_enc
            values, indices = torch.topk(torch.relu(pre), settings.k, dim=1)
            recon = _decode(values, indices, w_dec) + b_dec
            fired[indices[values > 0]] = True
            error = batch - recon
            loss = error.square().mean()
            silent = silent_for >= SILENT_AFTER_EPOCHS
            if bool(silent.any()):
                loss = loss + AUX_SHARE * _aux_loss(error.detach(), pre, silent, w_dec, settings)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([w_enc, b_enc, w_dec, b_dec], MAX_GRADIENT)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                w_dec.copy_(torch.nn.functional.normalize(w_dec, dim=1))
            losses.append(float(error.detach().square().mean()))
        silent_for = torch.where(fired, torch.zeros_like(silent_for), silent_for + 1)
        curve.append(CurvePoint(epoch, float(np.mean(losses)), float((~fired).float().mean())))
        silent = torch.nonzero(silent_for >= SILENT_AFTER_EPOCHS).flatten()
        is_late = epoch >= GIVE_UNTIL * settings.epochs and len(silent) > FEW_SILENT * settings.n_features
        if len(silent) and not is_late and epoch % rest == 0:
            looked_at = states[torch.randperm(n_clips, generator=generator)[:LOOKED_AT].to(device)]
            _give_clips(silent, looked_at - b_dec, w_enc, b_enc, settings.k)
        if progress is not None:
            progress(epoch + 1, settings.epochs)
    arrays = [tensor.detach().cpu().numpy().astype(np.float64) for tensor in (w_enc, b_enc, w_dec, b_dec)]
    return space.sae(*arrays, k=settings.k), curve


@torch.no_grad()
def _gain(states: torch.Tensor, w_dec: torch.Tensor, k: int) -> float:
    """What the tied encoder is multiplied by so that the first reconstructions have the right size."""
    some = states[:LOOKED_AT]
    values, indices = torch.topk(torch.relu(some @ w_dec.T), k, dim=1)
    recon = _decode(values, indices, w_dec)
    return float((some * recon).sum() / recon.square().sum().clamp_min(1e-12)) or 1.0


def _rate(step: int, n_steps: int) -> float:
    warm = max(1.0, WARMUP_SHARE * n_steps)
    left = (n_steps - step) / max(1.0, DECAY_SHARE * n_steps)
    return max(0.0, min(1.0, (step + 1) / warm, left))


def _decode(values: torch.Tensor, indices: torch.Tensor, w_dec: torch.Tensor) -> torch.Tensor:
    codes = torch.zeros(len(values), len(w_dec), device=values.device)
    return codes.scatter(1, indices, values) @ w_dec


@torch.no_grad()
def _give_clips(silent: torch.Tensor, centred: torch.Tensor, w_enc: torch.Tensor, b_enc: torch.Tensor, k: int) -> None:
    """Raise silent features' biases by just what they lack on the clip where they come nearest to the top k.

    Nearest first, and few on one clip at a time: more would push out the features that do the work.
    """
    pre = centred @ w_enc + b_enc
    kth = torch.topk(torch.relu(pre), k, dim=1).values[:, -1:]
    gap, clip = (kth - pre[:, silent]).min(dim=0)
    order = torch.argsort(gap)
    taken = [0] * len(centred)
    rows = []
    for row, at in zip(order.tolist(), clip[order].tolist(), strict=True):
        if taken[at] < k // NEW_SHARE:
            taken[at] += 1
            rows.append(row)
    b_enc[silent[rows]] += gap[rows].clamp_min(0) + MARGIN * kth.mean()


def _aux_loss(
    error: torch.Tensor, pre: torch.Tensor, silent: torch.Tensor, w_dec: torch.Tensor, settings: TrainSettings
) -> torch.Tensor:
    """How badly the strongest silent features reconstruct what the others left over."""
    masked = pre.masked_fill(~silent, float("-inf"))
    values, indices = torch.topk(masked, min(max(settings.k, error.shape[1] // 2), int(silent.sum())), dim=1)
    return (error - _decode(torch.relu(values), indices, w_dec)).square().mean()


@dataclass(frozen=True)
class _Space:
    """The affine map from raw states to what training sees: x' = (x - center) @ basis.T / scale.

    With fewer clips than dimensions the states lie in a subspace, outside which no weight ever gets a gradient:
    training inside it is exact for them and cheaper by the ratio of dimensions. Otherwise the basis is the identity.
    """

    center_d: np.ndarray
    basis_rd: np.ndarray | None  # orthonormal rows; None: the identity
    scale: float

    @classmethod
    def of(cls, train_cd: np.ndarray) -> _Space:
        center_d = train_cd.mean(axis=0, dtype=np.float64)
        centred = train_cd - center_d
        basis_rd = None
        if len(train_cd) < train_cd.shape[1]:
            _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
            n_kept = max(1, int((lengths > 1e-6 * max(lengths[0], 1e-30)).sum()))
            basis_rd = rows[:n_kept]
            centred = centred @ basis_rd.T
        return cls(center_d, basis_rd, float(np.sqrt((centred**2).mean())) or 1.0)

    def inside(self, states_cd: np.ndarray) -> np.ndarray:
        """(n, r) float32 of raw states."""
        centred = states_cd - self.center_d
        return ((centred if self.basis_rd is None else centred @ self.basis_rd.T) / self.scale).astype(np.float32)

    def sae(self, w_enc: np.ndarray, b_enc: np.ndarray, w_dec: np.ndarray, b_dec: np.ndarray, *, k: int) -> SAE:
        """The SAE in raw units, with this map folded into its weights; activations stay in the scaled units."""
        if self.basis_rd is not None:
            w_enc, w_dec, b_dec = self.basis_rd.T @ w_enc, w_dec @ self.basis_rd, b_dec @ self.basis_rd
        return SAE(
            (w_enc / self.scale).astype(np.float32),
            b_enc.astype(np.float32),
            (w_dec * self.scale).astype(np.float32),
            (self.center_d + self.scale * b_dec).astype(np.float32),
            k,
            {},
        )


def train_paper(
    crops_by_layer: Mapping[int, np.ndarray],
    valid_by_layer: Mapping[int, np.ndarray],
    settings: TrainSettings,
    *,
    last_batch_checkpoint: bool,
    progress: Progress | None = None,
) -> dict[int, tuple[SAE, list[CurvePoint]]]:
    """Fit one SAE a layer together, as published (arXiv 2509.24793 and its code).

    The keys only tell the SAEs apart; each starts from weights of its own, drawn in the order of the keys from `seed`.
    crops_by_layer: (n clips, crops, d), one crop drawn per clip and epoch. Linear, ReLU, top-k, linear without bias;
    MSE; Adam with StepLR(200, 0.5); the epoch kept is the one with the lowest mean MSE over the layers, on the last
    validation batch only when `last_batch_checkpoint`.
    """
    generator = torch.Generator().manual_seed(settings.seed)  # its own: several trainings share the process
    models = {layer: _PaperSAE(array.shape[2], settings, generator) for layer, array in crops_by_layer.items()}
    optimisers = {
        layer: torch.optim.Adam(model.parameters(), settings.learning_rate) for layer, model in models.items()
    }
    schedules = [torch.optim.lr_scheduler.StepLR(optimiser, 200, 0.5) for optimiser in optimisers.values()]
    crops = {layer: torch.from_numpy(array.astype(np.float32)) for layer, array in crops_by_layer.items()}
    valid = {layer: torch.from_numpy(array.astype(np.float32)) for layer, array in valid_by_layer.items()}
    n_clips, n_crops = next(iter(crops.values())).shape[:2]
    best_score, best = float("inf"), {layer: model.weights() for layer, model in models.items()}
    curves: dict[int, list[CurvePoint]] = {layer: [] for layer in models}
    for epoch in range(settings.epochs):
        chosen = torch.randint(n_crops, (n_clips,), generator=generator)
        batches = torch.randperm(n_clips, generator=generator).split(settings.batch_size)
        for layer, model in models.items():
            fired = torch.zeros(settings.n_features, dtype=torch.bool)
            losses = []
            for rows in batches:
                batch = crops[layer][rows, chosen[rows]]
                recon, codes = model(batch)
                loss = (batch - recon).square().mean()
                optimisers[layer].zero_grad()
                loss.backward()
                optimisers[layer].step()
                fired |= (codes > 0).any(dim=0)
                losses.append(float(loss.detach()))
            curves[layer].append(CurvePoint(epoch, float(np.mean(losses)), float((~fired).float().mean())))
        for schedule in schedules:
            schedule.step()
        score = _valid_mse(models, valid, settings.batch_size, last_batch_only=last_batch_checkpoint)
        if score < best_score:
            best_score, best = score, {layer: model.weights() for layer, model in models.items()}
        if progress is not None:
            progress(epoch + 1, settings.epochs)
    return {layer: (best[layer], curves[layer]) for layer in models}


class _PaperSAE(torch.nn.Module):
    """Starts as torch.nn.Linear does (uniform within 1 / sqrt(inputs)), but from the given generator."""

    def __init__(self, d_model: int, settings: TrainSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.k = settings.k
        self.encoder = torch.nn.utils.skip_init(torch.nn.Linear, d_model, settings.n_features)
        self.decoder = torch.nn.utils.skip_init(torch.nn.Linear, settings.n_features, d_model, bias=False)
        with torch.no_grad():
            for linear in (self.encoder, self.decoder):
                bound = linear.in_features**-0.5
                for parameter in linear.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = torch.topk(torch.relu(self.encoder(states)), self.k, dim=1)
        codes = torch.zeros(len(states), self.decoder.in_features).scatter(1, indices, values)
        return self.decoder(codes), codes

    def weights(self) -> SAE:
        w_enc, b_enc, w_dec = (
            tensor.detach().numpy().copy()
            for tensor in (self.encoder.weight.T, self.encoder.bias, self.decoder.weight.T)
        )
        return SAE(w_enc, b_enc, w_dec, np.zeros(w_enc.shape[0], dtype=np.float32), self.k, {})


@torch.no_grad()
def _valid_mse(
    models: Mapping[int, _PaperSAE], valid: Mapping[int, torch.Tensor], batch_size: int, *, last_batch_only: bool
) -> float:
    scores: list[float] = []
    for layer, model in models.items():
        batches: Sequence[torch.Tensor] = valid[layer].split(batch_size)
        errors = [(batch - model(batch)[0]).square() for batch in (batches[-1:] if last_batch_only else batches)]
        scores.append(float(torch.cat(errors).mean()))
    return float(np.mean(scores))
