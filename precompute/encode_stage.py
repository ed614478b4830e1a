"""Encode the corpus with one encoder: all layers, pooled, with what frames are giant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from explorer.encoders import AST_FAMILY, Checkpoint, Encoder, Loader, load_encoder, loader_for
from explorer.pooling import Pooling
from precompute.artefacts import Bundle, key_of
from precompute.config import RunConfig
from precompute.crops import CROPS_STAGE, crops_key, encode_crops
from precompute.giant_frames import (
    GIANTS_STAGE,
    USUAL_STAGE,
    Giants,
    Usual,
    add_frame_tables,
    clips_looked_at,
    giants_key,
    load_giants,
    usual_key,
)
from precompute.giant_frames import VERSION as GIANTS_VERSION
from precompute.hidden_states import (
    POOLED_STAGE,
    ShardTask,
    encode_shards,
    estimated_frame_bytes,
    load_pooled,
    pooled_key,
    usual_frames,
)
from precompute.job import Job
from precompute.options import LEFT_OUT
from precompute.reporting import Stage
from precompute.shards import ClipSource, Shard

ENCODER_STAGE, FRAME_RATE_STAGE, FRAME_TABLES_STAGE = "encoders", "frame_rates", "layer_frames"
TABLES_VERSION = 1


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
    def leaves_giants_out(self) -> bool:
        """Whether clips are pooled without their giant frames: never as published, nor where padding is pooled too."""
        config = self.job.config
        return config.giant_frames == LEFT_OUT and not config.is_paper and not self.pools_all_tokens

    @property
    def pooling(self) -> str:
        """Over what a clip's states are averaged, in words."""
        return Pooling(self.pools_all_tokens, self.sees_first_window, self.leaves_giants_out).name

    @property
    def pooled_as(self) -> str:
        """What names pooled states in keys: how they are pooled, and by which rule frames are giant."""
        return f"{self.pooling} {GIANTS_VERSION}" if self.leaves_giants_out else self.pooling

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
        """Whether the shard's pooled states of all layers, and its giant frames, are there."""
        wanted = (
            (POOLED_STAGE, pooled_key(self.states_name, shard, all_tokens=self.pools_all_tokens)),
            (GIANTS_STAGE, giants_key(self.states_name, shard, self.usual_name)),
        )
        return all(self.job.artefacts.find(stage, key) is not None for stage, key in wanted)

    @cached_property
    def looked_at(self) -> list[ClipSource]:
        """The clips that say where this encoder's frames usually lie."""
        training = [clip for clip, fits in zip(self.job.sources, self.job.fit_c, strict=True) if fits]
        return clips_looked_at(training or self.job.sources)

    @cached_property
    def usual_name(self) -> str:
        """Under which that is kept."""
        return usual_key(self.states_name, self.looked_at)

    def release(self) -> None:
        """Forget the network, to make room for the next one."""
        self._encoder = None

    def layers(self) -> list[int]:
        """All layers: 0 is the embedding output, n_layers the last block's."""
        return list(range(self.checkpoint.n_layers + 1))


@dataclass(frozen=True, eq=False)
class States:
    """The pooled states of all layers, the same pooled the other way (with giant frames, or without), and these frames.
    The first seconds and the training crops are preset paper's; None elsewhere."""

    pooled_cld: np.ndarray
    other_cld: np.ndarray
    giants: Giants
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


def find_usual(work: EncoderAtWork) -> Usual:
    """Where the encoder's frames usually lie: found, or looked at in a part of the training clips."""
    job, clips = work.job, work.looked_at
    with job.reporter.stage(f"look at frames of {work.checkpoint.spec.name}", len(clips), "clips") as stage:

        def make(bundle: Bundle) -> None:
            layers = usual_frames(
                work.network(),
                clips,
                n_workers=job.config.workers(),
                n_clips=len(job.corpus.clips),
                first_window=work.sees_first_window,
                on_clip=lambda _: stage.advance(1),
            )
            Usual(layers, work.usual_name).keep(bundle)

        return Usual.kept(job.keep(stage, USUAL_STAGE, work.usual_name, make, n=len(clips), amount=0))


def encode_corpus(work: EncoderAtWork) -> States:
    """Pass 1: pooled states of all layers, and the giant frames. Keeps the frames of all layers too when they fit the
    frame cache."""
    job, layers, usual = work.job, work.layers(), find_usual(work)
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
            tasks = [ShardTask(shard, tuple(layers), frame_layers, usual) for shard in todo]
            encode_tasks(work, tasks, stage, all_tokens=work.pools_all_tokens)
        _keep_description(work, stage)
        giants = load_giants(job.artefacts, work.states_name, job.shards, usual)
        key = key_of(version=TABLES_VERSION, usual=usual.name, encoder=work.encoder_id, corpus=job.corpus.corpus_id)
        job.keep(
            stage,
            FRAME_TABLES_STAGE,
            key,
            lambda bundle: add_frame_tables(bundle, work.encoder_id, giants, job.fit_c),
            n=0,
            amount=0,
        )
    pooled_cld = load_pooled(job.artefacts, work.states_name, job.shards, all_tokens=work.pools_all_tokens)
    both = (giants.pooled_cld, pooled_cld) if work.leaves_giants_out else (pooled_cld, giants.pooled_cld)
    return States(*both, giants)


def encode_tasks(work: EncoderAtWork, tasks: Sequence[ShardTask], stage: Stage, *, all_tokens: bool) -> None:
    """Encode shards, with an estimate by what the network works on."""
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
