"""Encode the corpus with one encoder: pass 1 over all layers, pass 2 only for frames that pass 1 did not keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from explorer.encoders import AST_FAMILY, Checkpoint, Encoder, Loader, load_encoder, loader_for
from explorer.pooling import Pooling
from precompute.artefacts import Bundle, key_of
from precompute.config import RunConfig
from precompute.hidden_states import (
    CROPS_STAGE,
    FRAMES_STAGE,
    POOLED_STAGE,
    ShardTask,
    crops_key,
    encode_crops,
    encode_shards,
    estimated_frame_bytes,
    frames_key,
    load_frames,
    load_pooled,
    pooled_key,
)
from precompute.job import Job
from precompute.reporting import Stage
from precompute.shards import Shard

ENCODER_STAGE, FRAME_RATE_STAGE, STATES_STAGE = "encoders", "frame_rates", "states"


@dataclass(eq=False)
class EncoderAtWork:
    """One encoder of the run. The network is loaded only when something is left to encode."""

    job: Job
    name: str
    checkpoint: Checkpoint
    _encoder: Encoder | None = field(default=None, repr=False)

    @property
    def encoder_id(self) -> str:
        return self.checkpoint.encoder_id

    @property
    def fingerprint(self) -> str:
        return self.checkpoint.fingerprint

    @property
    def pools_all_tokens(self) -> bool:
        return self.job.config.faults.pool_padding

    @property
    def sees_first_window(self) -> bool:
        """Whether whole files are cut to what the network sees in one pass: AST under the published protocol."""
        return self.job.config.is_paper and self.checkpoint.family == AST_FAMILY

    @property
    def pooling(self) -> str:
        """Over what a clip's states are averaged, in words."""
        return Pooling(self.pools_all_tokens, self.sees_first_window).name

    @property
    def states_name(self) -> str:
        """What names the states in artefacts: the fingerprint, and how much of a clip is shown."""
        return f"{self.fingerprint} first window" if self.sees_first_window else self.fingerprint

    def network(self) -> Encoder:
        """The loaded encoder."""
        if self._encoder is None:
            with self.job.reporter.stage(f"load {self.checkpoint.spec.name}", 0, "encoder") as stage:
                self._encoder = load_encoder(
                    self.name,
                    device=self.job.config.device,
                    loader=loader_of(self.job.config),
                    offline=self.job.config.offline,
                )
                stage.made()
        return self._encoder

    def worked_s(self, duration_s: float) -> float:
        """Seconds that the network works on for a clip of `duration_s`; loads the network."""
        encoder = self.network()
        if self.sees_first_window and encoder.window_samples is not None:
            duration_s = min(duration_s, encoder.window_samples / encoder.sample_rate_hz)
        return encoder.worked_s(duration_s)

    def prepare(self) -> None:
        """Load the network now if anything is left to encode with it."""
        if not all(self.is_encoded(shard) for shard in self.job.shards):
            self.network()

    def is_encoded(self, shard: Shard) -> bool:
        """Whether the shard's pooled states of all layers are there."""
        key = pooled_key(self.states_name, shard, all_tokens=self.pools_all_tokens)
        return self.job.artefacts.find(POOLED_STAGE, key) is not None

    def release(self) -> None:
        """Forget the network, to make room for the next one."""
        self._encoder = None

    def layers(self) -> list[int]:
        """All layers: 0 is the embedding output, n_layers the last block's."""
        return list(range(self.checkpoint.n_layers + 1))


@dataclass(frozen=True, eq=False)
class States:
    """The pooled states of all layers. The first seconds and the training crops are preset paper's; None elsewhere."""

    pooled_cld: np.ndarray
    first_cld: np.ndarray | None = None
    crops_cnld: np.ndarray | None = None

    def crops(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """(clips, d) and (clips, crops, d) of one layer."""
        if self.first_cld is None or self.crops_cnld is None:
            raise ValueError("there are no crops outside preset paper")
        return self.first_cld[:, layer], self.crops_cnld[:, :, layer]


def loader_of(config: RunConfig) -> Loader:
    """How the run loads its encoders, as far as each has a part for it."""
    return loader_for(is_paper=config.faults.wavlm_as_wav2vec2, last_layer=config.last_layer)


def encode_corpus(work: EncoderAtWork) -> np.ndarray:
    """Pass 1: (clips, layers, d) pooled states. Keeps the frames of all layers too when they fit the frame cache."""
    job, layers = work.job, work.layers()
    total_s = sum(clip.duration_s for clip in job.corpus.clips)
    with job.reporter.stage(f"encode with {work.checkpoint.spec.name}", total_s, "s of audio") as stage:
        todo = []
        for shard in job.shards:
            if work.is_encoded(shard):
                stage.found(len(shard.clips), amount=shard.duration_s)
            else:
                todo.append(shard)
        if todo:
            encoder = work.network()
            size = estimated_frame_bytes(total_s, encoder.frame_rate_hz, encoder.d_model, len(layers))
            frame_layers = tuple(layers) if size <= job.config.frame_cache_gb * 1e9 else ()
            tasks = [ShardTask(shard, tuple(layers), frame_layers) for shard in todo]
            _encode(work, tasks, stage, all_tokens=work.pools_all_tokens)
        _keep_description(work, stage)
    return load_pooled(job.artefacts, work.states_name, job.shards, all_tokens=work.pools_all_tokens)


def encode_frames(work: EncoderAtWork, layers: Sequence[int]) -> None:
    """Pass 2: the frames of the chosen layers where pass 1 did not keep them, no deeper than the deepest of them."""
    job = work.job
    tasks = []
    for shard in job.shards:
        missing = tuple(
            layer
            for layer in layers
            if job.artefacts.find(FRAMES_STAGE, frames_key(work.states_name, shard, layer)) is None
        )
        if missing:
            tasks.append(ShardTask(shard, missing, missing, keeps_pooled=False))
    if not tasks:
        return
    total_s = sum(task.shard.duration_s for task in tasks)
    with job.reporter.stage(f"frames of {work.checkpoint.spec.name}", total_s, "s of audio") as stage:
        _encode(work, tasks, stage, all_tokens=False)


def _encode(work: EncoderAtWork, tasks: Sequence[ShardTask], stage: Stage, *, all_tokens: bool) -> None:
    stage.expect(sum(work.worked_s(clip.duration_s) for task in tasks for clip in task.shard.clips))
    encode_shards(
        work.job.artefacts,
        work.network(),
        tasks,
        all_tokens=all_tokens,
        states_name=work.states_name,
        first_window=work.sees_first_window,
        n_workers=work.job.config.workers(),
        n_clips=len(work.job.corpus.clips),
        on_clip=lambda seconds: stage.advance(seconds, work=work.worked_s(seconds)),
        on_kept=lambda shard: stage.made(len(shard.clips)),
    )


def drop_other_frames(work: EncoderAtWork, layers: Sequence[int]) -> None:
    """Free the space of frames that pass 1 kept and no SAE stands on."""
    for layer in set(work.layers()) - set(layers):
        for shard in work.job.shards:
            work.job.artefacts.remove(FRAMES_STAGE, frames_key(work.states_name, shard, layer))


def encode_training_crops(work: EncoderAtWork) -> tuple[np.ndarray, np.ndarray]:
    """Preset paper: (clips, layers, d) states of the first seconds, (clips, crops, layers, d) of seeded crops."""
    job, config, layers = work.job, work.job.config, work.layers()
    arguments: dict[str, Any] = {
        "layers": layers,
        "crop_s": config.crop_s,
        "n_crops": config.n_crops,
        "seed": config.seeds[0],
        "all_tokens": work.pools_all_tokens,
    }
    total_s = len(job.corpus.clips) * config.crop_s * (1 + config.n_crops)
    training_mode = config.faults.encoders_in_training_mode
    fingerprint = f"{work.fingerprint}{' training mode' if training_mode else ''}"
    firsts, crops = [], []
    with job.reporter.stage(f"training crops of {work.checkpoint.spec.name}", total_s, "s of audio") as stage:
        in_training: Encoder | None = None
        for shard in job.shards:
            key = crops_key(fingerprint, shard, **arguments)
            if job.artefacts.find(CROPS_STAGE, key) is None:
                in_training = in_training or load_encoder(
                    work.name,
                    device=config.device,
                    loader=loader_of(config),
                    offline=config.offline,
                    training_mode=training_mode,
                    seed=config.seeds[0],
                )
                encode_crops(
                    job.artefacts, work.network(), in_training, shard, key=key, on_clip=stage.advance, **arguments
                )
                stage.made(len(shard.clips))
            else:
                stage.found(len(shard.clips), amount=len(shard.clips) * config.crop_s * (1 + config.n_crops))
            arrays = job.artefacts.get(CROPS_STAGE, key).arrays("crops")
            firsts.append(arrays["first_cld"])
            crops.append(arrays["crops_cnld"])
    return np.concatenate(firsts), np.concatenate(crops)


def playable_key(work: EncoderAtWork, layer: int, playable: set[int]) -> str:
    """The name of the frames of the playable clips at one layer."""
    return key_of(encoder=work.states_name, layer=layer, clips=sorted(playable), corpus=work.job.corpus.corpus_id)


def keep_playable_states(work: EncoderAtWork, layers: Sequence[int], playable: set[int]) -> None:
    """Keep the frames of the playable clips at some layers as files of the store, in half precision."""
    job = work.job
    with job.reporter.stage(f"playable states of {work.checkpoint.spec.name}", len(layers), "layers") as stage:
        for layer in layers:
            key = playable_key(work, layer, playable)
            make = partial(_add_playable, work, layer, playable, f"states-{work.encoder_id}-L{layer:02d}-{key[:8]}")
            job.keep(stage, STATES_STAGE, key, make)


def _add_playable(work: EncoderAtWork, layer: int, playable: set[int], name: str, bundle: Bundle) -> None:
    arrays: dict[str, np.ndarray] = {}
    for shard in work.job.shards:
        wanted = [row for row, clip in enumerate(shard.clips) if clip.clip_index in playable]
        if not wanted:
            continue
        frames = load_frames(work.job.artefacts, work.states_name, shard, layer)
        for row in wanted:
            clip_id = shard.clips[row].clip_id
            mean_d = frames[row].values_td.mean(axis=0, dtype=np.float64).astype(np.float32)
            arrays[f"{clip_id}.mean_d"] = mean_d
            arrays[f"{clip_id}.delta_td"] = (frames[row].values_td - mean_d).astype(np.float16)
            arrays[f"{clip_id}.times_s"] = frames[row].times_s
    bundle.add_arrays(name, arrays)


def _keep_description(work: EncoderAtWork, stage: Stage) -> None:
    """The encoder's row. It says what the checkpoint says of itself now: whatever is in it is in the bundle's name."""
    checkpoint = work.checkpoint
    row = {
        "encoder_id": checkpoint.encoder_id,
        "name": checkpoint.spec.name,
        "display_name": checkpoint.spec.display_name,
        "family": checkpoint.family,
        "source": checkpoint.source,
        "revision": checkpoint.revision,
        "loader": checkpoint.loader,
        "fingerprint": checkpoint.fingerprint,
        "weights_sha256": checkpoint.weights_sha256,
        "preprocessor_sha256": checkpoint.preprocessor_sha256,
        "sample_rate_hz": checkpoint.sample_rate_hz,
        "frame_rate_hz": _frame_rate_hz(work, stage),
        "n_layers": checkpoint.n_layers,
        "d_model": checkpoint.d_model,
        "is_trained": checkpoint.is_trained,
        "is_published": checkpoint.is_published,
        "licence": checkpoint.spec.licence,
        "note": checkpoint.note,
    }
    rows = pd.DataFrame([row]).astype(dict.fromkeys(("is_trained", "is_published"), "boolean"))
    work.job.keep_rows(stage, ENCODER_STAGE, checkpoint.encoder_id, "encoders", rows)


def _frame_rate_hz(work: EncoderAtWork, stage: Stage) -> float:
    """Frames a second; the network tells, and is loaded for it once."""

    def ask(bundle: Bundle) -> None:
        bundle.add_facts({"frame_rate_hz": work.network().frame_rate_hz})

    key = key_of(fingerprint=work.fingerprint)
    return float(work.job.keep(stage, FRAME_RATE_STAGE, key, ask, n=0, amount=0).facts()["frame_rate_hz"])
