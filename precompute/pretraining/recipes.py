"""How each of the four is made, from voices to a checkpoint folder; what was done is recorded beside it."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer.encoders import ENCODERS
from precompute.artefacts import key_of
from precompute.checkpoint_folder import geometry, save_checkpoint, write_json
from precompute.pretraining import teachers
from precompute.pretraining.kept import kept
from precompute.pretraining.objectives import BATCH, MaskedPatches, MaskedPrediction, layer_states
from precompute.pretraining.sound import CLIP_S, Voices, voices
from precompute.pretraining.training import Schedule, train

NAMES = ("ast", "wavlm", "hubert", "mert")
RECORD = "training.json"
LICENCE = "this repository's (LICENSE): weights made by its code from generated sound"
NOTE = "Small, trained by this project on generated voices: not the published {name}, and nothing here is about that."
_MOTION = "their first and their second differences, 100 each"
_OWN = "then of 100 clusters in each third of its own layer-4 features"
OBJECTIVES = {
    "ast": "masked spectrogram patches (60 % of 16 x 16 patches hidden, mean squared error in each patch's deviations)",
    "wavlm": f"masked prediction of clusters of MFCCs, {_MOTION}, {_OWN}; a fifth of the crops mixed "
    "with another voice or with noise",
    "hubert": f"masked prediction of clusters of MFCCs, {_MOTION}, {_OWN}",
    "mert": f"masked prediction of clusters of log-mel, {_MOTION}, and of 50 of chroma at 24 kHz, and regression of a "
    "constant-Q spectrum",
}
_FEATURE_LAYER, _N_PARTS, _N_CLUSTERS, _N_CHROMA_CLUSTERS, _FIT_FRAMES = 4, 3, 100, 50, 60_000
log = logging.getLogger("precompute")


@dataclass(frozen=True)
class Plan:
    """How much of everything. `n_steps` of the last round; a first round (HuBERT, WavLM) has half as many."""

    n_clips: int = 4800
    n_steps: int = 3000
    seed: int = 0
    device: str = "cpu"


def pretrain(name: str, work: Path, out: Path, plan: Plan) -> Path:
    """Train one encoder and write its checkpoint folder below `out`; returns it. Finished rounds are found again."""
    spec = ENCODERS[name]
    folder = out / name
    sound = voices(work, n_clips=plan.n_clips, seed=plan.seed + 1, sample_rate_hz=spec.sample_rate_hz)
    started = time.monotonic()
    rounds, module, preprocessor = _ROUNDS[name](name, sound, work, plan)
    record = {
        "objective": OBJECTIVES[name],
        "plan": asdict(plan),
        "voices": {"seconds": plan.n_clips * CLIP_S, "seed": plan.seed + 1, "sample_rate_hz": spec.sample_rate_hz},
        "batch": BATCH,
        "rounds": [{"name": title, "n_steps": len(losses), "loss": _thinned(losses)} for title, losses in rounds],
        "teacher_carries": list(teachers.CARRIED.get(name, ())),
        "seconds_of_this_command": round(time.monotonic() - started),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
                     "transformers": version("transformers")},
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {plan.device}",
    }  # fmt: skip
    marker = {
        "is_trained": True,
        "is_published": False,
        "note": NOTE.format(name=spec.display_name),
        "licence": LICENCE,
        "display_name": f"{spec.display_name} (small)",
        "teacher_carries": record["teacher_carries"],
        "objective": OBJECTIVES[name],
    }
    config = geometry(spec.family, "demo")
    save_checkpoint(folder, config, module.network, marker, preprocessor=preprocessor)
    write_json(folder / RECORD, record)
    return folder


def _made_by(name: str, plan: Plan) -> str:
    """What unfinished work of this encoder carries in its name: another plan or objective does not go on with it."""
    return key_of(plan=asdict(replace(plan, device="")), objective=OBJECTIVES[name])[:8]


def _thinned(losses: list[float], every: int = 50) -> list[float]:
    """The mean loss of every so many steps."""
    return [round(float(np.mean(losses[at : at + every])), 4) for at in range(0, len(losses), every)]


_Made = tuple[list[tuple[str, list[float]]], Any, dict[str, float]]


def _two_rounds(name: str, sound: Voices, work: Path, plan: Plan) -> _Made:
    """HuBERT and WavLM: MFCC clusters, then a new network on the first one's features."""

    def trained(title: str, number: int, n_steps: int, features: Iterator[np.ndarray]) -> MaskedPrediction:
        targets = _targets(work, name, str(number), features, _N_CLUSTERS, plan, n_parts=_N_PARTS)
        seed = plan.seed + number
        module = MaskedPrediction(family, sound, targets, seed=seed, is_mixed=name == "wavlm").to(plan.device)
        state = work / f"{name}-{number}-{_made_by(name, plan)}.pt"
        rounds.append(
            (title, train(f"{name}, {title}", module, module.loss, Schedule(n_steps), seed=seed, state=state))
        )
        return module

    family = ENCODERS[name].family
    rounds: list[tuple[str, list[float]]] = []
    cepstra = _heard(sound, teachers.mfcc)
    first = trained("MFCC clusters", 1, plan.n_steps // 2, cepstra)
    own = layer_states(first, sound, _FEATURE_LAYER)
    return rounds, trained("own features", 2, plan.n_steps, own), {}


def _musical(name: str, sound: Voices, work: Path, plan: Plan) -> _Made:
    """MERT: clusters of log-mel and of chroma, and the constant-Q spectrum."""
    targets = np.concatenate([
        _targets(work, name, "mel", _heard(sound, teachers.moving_mel), _N_CLUSTERS, plan, n_parts=_N_PARTS),
        _targets(work, name, "chroma", _heard(sound, teachers.chroma), _N_CHROMA_CLUSTERS, plan),
    ])  # fmt: skip
    module = MaskedPrediction(ENCODERS[name].family, sound, targets, seed=plan.seed, cqt=True).to(plan.device)
    state = work / f"{name}-1-{_made_by(name, plan)}.pt"
    losses = train(f"{name}, musical teacher", module, module.loss, Schedule(plan.n_steps), seed=plan.seed, state=state)
    return [("musical teacher", losses)], module, {}


def _patches(name: str, sound: Voices, work: Path, plan: Plan) -> _Made:
    """AST: masked patches, in the level of its own training set."""
    module = MaskedPatches(sound, seed=plan.seed).to(plan.device)
    state = work / f"{name}-1-{_made_by(name, plan)}.pt"
    losses = train(f"{name}, patches", module, module.loss, Schedule(plan.n_steps), seed=plan.seed, state=state)
    return [("masked patches", losses)], module, module.level


_ROUNDS = {"ast": _patches, "wavlm": _two_rounds, "hubert": _two_rounds, "mert": _musical}


def _heard(sound: Voices, teacher: Callable[[torch.Tensor, int], torch.Tensor]) -> Iterator[np.ndarray]:
    """What a teacher makes of every clip, (b, t, d) a batch."""
    return (teacher(torch.from_numpy(batch), sound.sample_rate_hz).numpy() for batch in sound.batches(32))


def _targets(
    work: Path, name: str, title: str, features: Iterator[np.ndarray], n_clusters: int, plan: Plan, *, n_parts: int = 1
) -> np.ndarray:
    """The clusters of a teacher, int16 (parts, c, t), computed once.

    Its dimensions are cut into equal parts, each with clusters of its own: the product quantisation of Hsu et al.
    (2021, section II-C), by which what changes fast is not outvoted by what stands still.
    """

    def made() -> np.ndarray:
        log.info("%s, %s: features and clusters", name, title)
        every = list(features)
        flat = np.concatenate([batch.reshape(-1, batch.shape[-1]) for batch in every])
        rng = np.random.default_rng([plan.seed, 17])
        some = flat[rng.choice(len(flat), min(_FIT_FRAMES, len(flat)), replace=False)]
        parts = np.array_split(np.arange(flat.shape[1]), n_parts)
        return np.stack([
            teachers.clustered((batch[..., part] for batch in every), fit_on=some[:, part], n_clusters=n_clusters,
                               seed=plan.seed)
            for part in parts
        ])  # fmt: skip

    return kept(work / f"targets-{name}-{title}-{_made_by(name, plan)}.npy", made)
