"""What the trained encoders are worth: a probe of technique beside the same networks untrained and plain log-mel.

Layer and penalty are chosen on training singers of one generated corpus, by folds of singers; everything is scored on
another corpus, of another seed, whose singers nothing has seen.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from explorer.audio import Waveform, load_waveform
from explorer.encoders import find_checkpoint, load_encoder
from explorer.intervals import t_interval
from precompute.checkpoint_folder import write_json
from precompute.datasets.singing.corpus import CORPUS_VERSION, write_corpus
from precompute.datasets.singing.parts import crossed
from precompute.datasets.singing.truth import read_truth
from precompute.pretraining.kept import kept
from precompute.pretraining.mel import mel_bank
from precompute.pretraining.recipes import NAMES
from precompute.probes import run_probe
from precompute.random_checkpoints import write_random_checkpoint

RESULT = "evaluation.json"
C_GRID = (0.01, 0.1, 1.0, 10.0)
LOG_MEL_RATE_HZ, N_MELS = 16_000, 64
MARGIN = 0.10
# A seed no choice has looked at: 1 was seen while the objectives were chosen. After any new training, take the next.
UNSEEN_SEED = 2
_N_FOLDS = 5
log = logging.getLogger("precompute")


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of both corpora: the demo's training singers, then every singer of the other one."""

    paths: tuple[Path, ...]
    labels_c: np.ndarray
    groups_c: np.ndarray
    train_c: np.ndarray
    folds_c: np.ndarray


@dataclass(frozen=True)
class Score:
    """One representation: its out-of-fold accuracy on training singers, and its accuracy on each unseen singer."""

    folds: float
    accuracy: float
    by_singer: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """Mean of the unseen singers' accuracy differences, with a paired 95 % t interval over singers."""

    mean: float
    low: float
    high: float


def evaluate(work: Path, out: Path, *, n_workers: int = 2) -> dict[str, Any]:
    """Probe everything and write `evaluation.json` into `out`; what `work` holds already is not done again."""
    work = work / f"evaluation-{CORPUS_VERSION}-{UNSEEN_SEED}"
    clips = corpora(work, n_workers=n_workers)
    (log_mel_score,) = _scored(work, "log-mel", partial(log_mel_pooled, clips.paths), clips)
    encoders = {}
    for name in NAMES:
        untrained = write_random_checkpoint(name, work / "untrained" / name, size="demo", seed=0)
        layers = {
            kind: _scored(work, find_checkpoint(encoder).encoder_id, partial(pooled, encoder, clips.paths), clips)
            for kind, encoder in (("trained", f"{name}={out / name}"), ("untrained", f"{name}={untrained}"))
        }
        best = {kind: max(range(len(found)), key=lambda at: found[at].folds) for kind, found in layers.items()}
        chosen, rival = layers["trained"][best["trained"]], layers["untrained"][best["untrained"]]
        encoders[name] = {
            "layers": {kind: [asdict(item) for item in found] for kind, found in layers.items()},
            "best_layer": best,
            "against_untrained": asdict(paired(chosen, rival)),
            "against_log_mel": asdict(paired(chosen, log_mel_score)),
        }
        log.info(
            "%s: %.3f trained, %.3f untrained, %.3f log-mel",
            name,
            chosen.accuracy,
            rival.accuracy,
            log_mel_score.accuracy,
        )
    result = {
        "n_train_clips": int(clips.train_c.sum()),
        "n_test_clips": int((~clips.train_c).sum()),
        "n_train_singers": len(set(clips.groups_c[clips.train_c])),
        "n_test_singers": len(set(clips.groups_c[~clips.train_c])),
        "n_classes": len(set(clips.labels_c)),
        "log_mel": asdict(log_mel_score),
        "encoders": encoders,
    }
    write_json(out / RESULT, result)
    return result


def corpora(work: Path, *, n_workers: int) -> Clips:
    """The training singers of the demo's corpus, and all singers of one of UNSEEN_SEED."""
    part = crossed()
    paths, labels, groups, trains = [], [], [], []
    for seed in (0, UNSEEN_SEED):
        root = work / f"corpus-{seed}"
        write_corpus(root, part, seed=seed, n_workers=n_workers)
        for file, row in read_truth(root).iterrows():
            if seed == 0 and row["singer"] in part.test_singers:
                continue
            paths.append(root / str(file))
            labels.append(row["technique"])
            groups.append(f"{row['singer']} of seed {seed}")
            trains.append(seed == 0)
    train_c = np.array(trains)
    numbers = {
        name: place % _N_FOLDS
        for place, name in enumerate(sorted({g for g, t in zip(groups, trains, strict=True) if t}))
    }
    folds_c = np.array([numbers.get(group, -1) for group in groups])
    return Clips(tuple(paths), np.array(labels, dtype=object), np.array(groups, dtype=object), train_c, folds_c)


def score(x_cd: np.ndarray, clips: Clips) -> Score:
    """Probe one representation: its folds choose the layer, its accuracies by singer are compared."""
    folds, heldout = (
        run_probe(
            x_cd, clips.labels_c, clips.groups_c, protocol=protocol, train_mask_c=clips.train_c,
            heldout_mask_c=~clips.train_c, folds_c=clips.folds_c, c_grid=C_GRID, seed=0,
        )
        for protocol in ("group-folds", "held-out")
    )  # fmt: skip
    by_singer = {group.name: group.accuracy for group in heldout.groups}
    return Score(float(folds.accuracy or 0.0), float(heldout.accuracy or 0.0), by_singer)


def paired(one: Score, other: Score) -> Difference:
    """How much better `one` is, singer by singer."""
    apart = [one.by_singer[singer] - other.by_singer[singer] for singer in sorted(one.by_singer)]
    low, high = t_interval(np.array(apart))
    return Difference(float(np.mean(apart)), float(low), float(high))


def pooled(encoder: str, paths: tuple[Path, ...]) -> np.ndarray:
    """(c, layers, d) pooled states of a checkpoint."""
    loaded = load_encoder(encoder, device="auto")
    layers = range(loaded.n_layers + 1)
    found = []
    for start in range(0, len(paths), 32):
        waves = [load_waveform(path, sample_rate_hz=loaded.sample_rate_hz) for path in paths[start : start + 32]]
        by_layer = loaded.pooled_states(waves, tuple(layers))
        found.append(np.stack([by_layer[layer] for layer in layers], axis=1))
    return np.concatenate(found)


def log_mel_pooled(paths: tuple[Path, ...]) -> np.ndarray:
    """(c, 1, 2 x 64) mean and standard deviation over time of log-mel energies in dB: what needs no network."""
    return np.stack([_log_mel(load_waveform(path, sample_rate_hz=LOG_MEL_RATE_HZ)) for path in paths])[:, None]


def _log_mel(wave: Waveform) -> np.ndarray:
    import torch

    window = torch.hann_window(400)
    spectrum = torch.stft(torch.from_numpy(wave.samples), 512, 160, 400, window, return_complex=True).abs() ** 2
    bank = mel_bank(257, 0.0, N_MELS, LOG_MEL_RATE_HZ, equal_areas=False)
    levels_db = 10 * torch.log10(bank.T @ spectrum + 1e-8)
    return torch.cat([levels_db.mean(dim=1), levels_db.std(dim=1)]).numpy()


def _scored(work: Path, name: str, make: Callable[[], np.ndarray], clips: Clips) -> list[Score]:
    """One Score a layer of what `make` gives, (c, layers, d); what was made and scored before is read from `work`."""
    x_cld = kept(work / f"pooled-{name}.npy", make)
    scores = []
    for layer in range(x_cld.shape[1]):
        path = work / f"score-{name}-{layer}.json"
        if not path.is_file():
            with threadpool_limits(1, user_api="blas"):  # matrices too small to share: more threads are slower
                write_json(path, asdict(score(x_cld[:, layer], clips)))
        scores.append(Score(**json.loads(path.read_text(encoding="utf-8"))))
    return scores


def read_result(out: Path) -> dict[str, Any]:
    """What `evaluate` wrote."""
    return json.loads((out / RESULT).read_text(encoding="utf-8"))
