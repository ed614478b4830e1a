"""What a run would compute, how long it would take and how large it would get: the dry run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explorer.audio import Waveform
from explorer.text import size, whole
from precompute.config import RunConfig, n_features_for
from precompute.encode_stage import EncoderAtWork
from precompute.fold_codes import folds_of
from precompute.hidden_states import estimated_frame_bytes
from precompute.job import Job
from precompute.reporting import clock
from precompute.sae_stage import CODES_STAGE, TRAIN_STAGE
from precompute.trace_stage import TRACE_STAGE
from precompute.train_length import LOOK_COST

SECONDS_OF_FACTORS_PER_S = 0.03  # openSMILE and the preview, one core
SECONDS_PER_GIGAFLOP = 0.02  # training, one ordinary core, as are the next four
PROBE_S_PER_CLIP = 0.008  # of one layer
SAE_S, SAE_S_PER_CLIP = 4.0, 0.02  # tables, codes, traces and Lasso of one SAE
LISTED_PER_FEATURE = 25
BYTES_PER_CODE = 12
NOISE_S = 5


@dataclass(frozen=True)
class Estimate:
    """A forecast. `seconds` are None where nothing was timed (the encoder was not loaded)."""

    n_clips: int
    audio_s: float
    n_saes: int
    n_layers_probed: int
    disk_bytes: float
    encode_s: float | None
    other_s: float

    def lines(self) -> list[str]:
        """The forecast for people."""
        encode = "not timed" if self.encode_s is None else f"about {clock(self.encode_s)}"
        total = "" if self.encode_s is None else f"; in all about {clock(self.encode_s + self.other_s)}"
        return [
            f"clips: {whole(self.n_clips)}, {clock(self.audio_s)} of audio",
            f"layers probed: {whole(self.n_layers_probed)}; SAEs trained: {whole(self.n_saes)}",
            f"time: encoding {encode}, the rest about {clock(self.other_s)}{total}",
            f"disk: about {size(self.disk_bytes)} more at most while it runs",
        ]


def estimate(job: Job, works: Sequence[EncoderAtWork], *, timed: bool = False) -> Estimate:
    """Forecast a run. `timed` encodes some seconds of noise with each encoder that has work left."""
    config = job.config
    audio_s = sum(clip.duration_s for clip in job.corpus.clips)
    n_clips = len(job.corpus.clips)
    disk, other_s, n_saes, n_layers, encode_s = 0.0, audio_s * SECONDS_OF_FACTORS_PER_S / config.workers(), 0, 0, 0.0
    for work in works:
        n_all, d_model = work.checkpoint.n_layers + 1, work.checkpoint.d_model
        n_chosen = _n_layers(config, n_all)
        saes = n_chosen * sum(len(config.seeds_at(sparsity)) for sparsity in config.sparsities)
        n_features = n_features_for(d_model, config.n_features)
        frames = estimated_frame_bytes(audio_s, 75.0, d_model, 1)
        all_frames = frames * n_all if frames * n_all <= config.frame_cache_gb * 1e9 else 0.0
        share_left = 1.0 - sum(shard.duration_s for shard in job.shards if work.is_encoded(shard)) / audio_s
        disk += share_left * (max(all_frames, frames * n_chosen) + n_clips * n_all * d_model * 4.0)
        listed = n_features * LISTED_PER_FEATURE
        mean_k = np.mean([(1 - sparsity) * n_features for sparsity in config.sparsities])
        per_sae = (
            listed * audio_s / max(1, n_clips) * 60 + 2 * n_clips * mean_k * BYTES_PER_CODE + n_features * d_model * 8
        )
        disk += saes * float(per_sae)
        trainings = LOOK_COST if n_clips < n_features and not config.is_paper else 1.0
        gigaflops = saes * trainings * config.epochs * n_clips * d_model * n_features * 18 / 1e9
        if config.sae_per_fold:
            refits = n_chosen * len(config.sparsities) * len(folds_of(job))
            gigaflops += refits * config.epochs * n_clips * d_model * n_features * 18 / 1e9
            disk += refits * n_features * d_model * 8
        sae_s = saes * (SAE_S + SAE_S_PER_CLIP * n_clips)
        core_s = gigaflops * SECONDS_PER_GIGAFLOP + n_all * n_clips * PROBE_S_PER_CLIP + sae_s
        other_s += core_s / config.workers()
        n_saes, n_layers = n_saes + saes, n_layers + n_all
        if timed:
            encode_s += _encode_seconds(work, job)
    disk = max(0.0, disk - _n_bytes_found(job))
    return Estimate(n_clips, audio_s, n_saes, n_layers, disk, encode_s if timed else None, other_s)


def _n_bytes_found(job: Job) -> int:
    """What finished SAEs of this store take already: a run that goes on does not need their space again."""
    folders = [job.artefacts.folder / stage for stage in (TRAIN_STAGE, CODES_STAGE, TRACE_STAGE)]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def _n_layers(config: RunConfig, n_all: int) -> int:
    if config.layers == "all":
        return n_all
    return 2 if config.layers == "best2" or "=" in config.layers else len(config.layers.split(","))


def _encode_seconds(work: EncoderAtWork, job: Job) -> float:
    """By a few seconds of noise, and by how much the network works on: AST and Whisper see whole windows."""
    left = [clip for shard in job.shards if not work.is_encoded(shard) for clip in shard.clips]
    if not left:
        return 0.0
    encoder = work.network()
    noise = np.random.default_rng(0).normal(0, 0.1, NOISE_S * encoder.sample_rate_hz).astype(np.float32)
    wave = Waveform(noise, encoder.sample_rate_hz)
    encoder.hidden_states([wave], [work.layers()[-1]])  # the first call is slower
    started = time.monotonic()
    encoder.hidden_states([wave], [work.layers()[-1]])
    spent_s = time.monotonic() - started
    return spent_s / encoder.worked_s(NOISE_S) * sum(work.worked_s(clip.duration_s) for clip in left)
