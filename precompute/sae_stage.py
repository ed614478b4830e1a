"""Train the SAEs of one encoder, and turn each into tables: its codes, features, clips, probes and traces."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from explorer.errors import ConfigError
from explorer.sae import SAE, load_sae, make_sae_id
from explorer.store import write_parquet
from explorer.text import count, quantity
from precompute.artefacts import Bundle, key_of
from precompute.config import RunConfig, k_for, n_features_for
from precompute.encode_stage import EncoderAtWork, States
from precompute.feature_tables import AnalysedSAE, sae_tables
from precompute.fold_codes import FoldCodes, fold_errors
from precompute.job import Job
from precompute.probe_stage import add_probe_tables, add_representation, paper_probe, probe_codes
from precompute.reporting import Stage
from precompute.trace_stage import traces_name
from precompute.train_length import VERSION as LENGTH_VERSION
from precompute.train_length import Length, apart, looks, train_to_length
from precompute.train_sae import CurvePoint, TrainSettings, train_paper

TRAIN_STAGE, CODES_STAGE = "saes", "codes"
TRAIN_VERSION = 2  # a new one gives every SAE another id, and what readers wrote stays with the old
ANALYSIS_VERSION = 12
LAST_STATE = -1  # among the layers of a joint training: the third SAE, on the last hidden state


@dataclass(frozen=True, eq=False)
class TrainedSAE:
    """One dictionary of the run, and which training bundle holds it."""

    sae_id: str
    n_features: int
    layer: int
    k: int
    sparsity: float
    seed: int
    is_reference: bool
    bundle: Bundle

    def load(self) -> SAE:
        """Its weights, read anew: a run can have more SAEs than fit in memory."""
        return load_sae(self.bundle.path(self.weights_name))

    @property
    def weights_name(self) -> str:
        return weights_name(self.sae_id)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A trained SAE with its curve and length; preset paper has a rule of its own for which epoch it keeps."""

    sae: SAE
    curve: list[CurvePoint]
    length: Length | None = None


def weights_name(sae_id: str) -> str:
    """The file name of an SAE's weights."""
    return f"sae-{sae_id}.safetensors"


def codes_name(by: str, sae_id: str, analysis_key: str) -> str:
    """The file name of an SAE's codes, sorted by 'feature' or 'clip'."""
    return f"codes-by-{by}-{sae_id}-{analysis_key[:8]}.parquet"


def planned(config: RunConfig, d_model: int) -> list[tuple[float, int]]:
    """(sparsity, seed) of every SAE that a layer gets. Raises ConfigError for a sparsity that the width cannot hold,
    and for two that mean the same k: they would be one SAE."""
    n_features = n_features_for(d_model, config.n_features)
    by_k: dict[int, float] = {}
    for sparsity in config.sparsities:
        k = k_for(sparsity, n_features, d_model, paper=config.is_paper)
        other = by_k.setdefault(k, sparsity)
        if other != sparsity:
            raise ConfigError(
                f"sparsities: {quantity(other, 6)} and {quantity(sparsity, 6)} both mean k = {k} of "
                f"{count(n_features, 'feature')}. Give one of them."
            )
    return [(sparsity, seed) for sparsity in config.sparsities for seed in config.seeds_at(sparsity)]


def train_saes(work: EncoderAtWork, states: States, layers: Sequence[int]) -> list[TrainedSAE]:
    """Train (or find) every SAE of the encoder's chosen layers; on a CPU as many at a time as there are workers."""
    job = work.job
    plan = planned(job.config, work.checkpoint.d_model)
    groups = [tuple(layers)] if job.config.is_paper else [(layer,) for layer in layers]
    tasks = [(members, sparsity, seed) for members in groups for sparsity, seed in plan]
    trained: list[TrainedSAE] = []
    with (
        job.reporter.stage(f"train SAEs on {work.checkpoint.spec.name}", len(plan) * len(layers), "SAEs") as stage,
        ThreadPoolExecutor(1 if _has_cuda(job.config.device) else job.config.workers()) as pool,
    ):
        for members in pool.map(lambda task: _train(work, states, stage, *task), tasks):
            trained.extend(members)
    return trained


def _train(
    work: EncoderAtWork, states: States, stage: Stage, layers: tuple[int, ...], sparsity: float, seed: int
) -> list[TrainedSAE]:
    """The SAEs of one sparsity and seed."""
    job, config = work.job, work.job.config
    settings = train_settings(work, sparsity, seed)
    ids = sae_ids(work, layers, settings)

    def make(bundle: Bundle) -> None:
        torch.set_num_threads(1)  # of this thread: one SAE a core is quicker than one SAE on all, and always the same
        started = time.monotonic()
        fitted = _fit(work, states, layers, settings)
        seconds = (time.monotonic() - started) / len(layers)
        for layer, one in fitted.items():
            metadata = {
                "sae_id": ids[layer],
                "encoder": work.encoder_id,
                "layer": str(layer),
                "pooling": work.pooling,
            }
            replace(one.sae, metadata=metadata).save(bundle.path(weights_name(ids[layer])))
        _keep_training(bundle, {ids[layer]: one for layer, one in fitted.items()}, seconds)

    n = len(layers)
    whole = job.keep(stage, TRAIN_STAGE, key_of(ids=list(ids.values())), make, n=n, amount=n)
    is_reference = sparsity == config.reference and seed == config.seeds[0]
    return [
        TrainedSAE(ids[layer], settings.n_features, layer, settings.k, sparsity, seed, is_reference, whole)
        for layer in layers
    ]


def _keep_training(bundle: Bundle, fitted: Mapping[str, _Fitted], seconds: float) -> None:
    """How the SAEs of a bundle were trained, by their id: curves, lengths and time."""
    curves = [{"sae_id": sae_id, **asdict(point)} for sae_id, one in fitted.items() for point in one.curve]
    bundle.add_table("sae_curves", pd.DataFrame(curves))
    lengths = {sae_id: one.length for sae_id, one in fitted.items() if one.length is not None}
    tried = [{"sae_id": sae_id, **asdict(one)} for sae_id, length in lengths.items() for one in length.tried]
    if tried:
        bundle.add_table("sae_lengths", pd.DataFrame(tried))
    said = {sae_id: {"n_epochs": length.n_epochs, "reason": length.reason} for sae_id, length in lengths.items()}
    bundle.add_facts({"train_seconds": seconds, "lengths": said})


def train_settings(work: EncoderAtWork, sparsity: float, seed: int) -> TrainSettings:
    """How an SAE of this sparsity and seed is trained. Raises ConfigError for a k that the width cannot hold."""
    config, d_model = work.job.config, work.checkpoint.d_model
    n_features = n_features_for(d_model, config.n_features)
    k = k_for(sparsity, n_features, d_model, paper=config.is_paper)
    return TrainSettings(k, n_features, config.epochs, config.batch_size, config.learning_rate, seed)


def sae_ids(work: EncoderAtWork, layers: Sequence[int], settings: TrainSettings) -> dict[int, str]:
    """The sae_id of each layer of one training: a hash of all that has a part in its weights, and of nothing else."""
    job = work.job
    identity = {
        "version": TRAIN_VERSION,
        "encoder": work.fingerprint,
        "level": "clip",
        "pooling": work.pooled_as,
        "method": job.config.method,
        "settings": asdict(settings),
        "clips": [clip.clip_id for clip, fit in zip(job.corpus.clips, job.fit_c, strict=True) if fit],
        "paper": _paper_identity(work, layers) if job.config.is_paper else None,
    }
    folds_c = None if job.config.is_paper else _folds(job)
    if folds_c is not None and looks(len(folds_c), settings):  # elsewhere the folds have no part in the weights
        identity["length"] = {"version": LENGTH_VERSION, "folds": folds_c.tolist()}
    return {layer: make_sae_id(**identity, layer=layer) for layer in layers}


def _paper_identity(work: EncoderAtWork, layers: Sequence[int]) -> dict[str, object]:
    """What else makes an SAE of preset paper what it is: its company, its crops, and the faults of its training."""
    config = work.job.config
    return {
        "joint": [*layers, work.layers()[-1]],
        "crops": [config.crop_s, config.n_crops, config.seeds[0]],
        "training_mode": config.faults.encoders_in_training_mode,
        "last_batch_checkpoint": config.faults.last_batch_checkpoint,
    }


def _folds(job: Job) -> np.ndarray | None:
    """The fold by group of every training clip; None where no groups can be kept apart."""
    return apart(job.arrays.groups_c[job.fit_c], job.arrays.fold_group_c[job.fit_c])


def _fit(work: EncoderAtWork, states: States, layers: Sequence[int], settings: TrainSettings) -> dict[int, _Fitted]:
    job = work.job
    if not job.config.is_paper:
        device = device_of(job.config)
        folds_c = _folds(job)
        return {
            la: _Fitted(*train_to_length(states.pooled_cld[job.fit_c, la], folds_c, settings, device)) for la in layers
        }
    valid = job.arrays.paper_split_c == "valid"
    last = work.layers()[-1]
    # The published loop trains one more SAE on the last hidden state, beside the one of that layer where it is chosen.
    together = {**{layer: states.crops(layer) for layer in layers}, LAST_STATE: states.crops(last)}
    fitted = train_paper(
        {layer: crops_cnd[job.fit_c] for layer, (_, crops_cnd) in together.items()},
        {layer: first_cd[valid] for layer, (first_cd, _) in together.items()},
        settings,
        last_batch_checkpoint=job.config.faults.last_batch_checkpoint,
    )
    return {layer: _Fitted(*fitted[layer]) for layer in layers}


def device_of(config: RunConfig) -> str:
    """Where SAEs are trained."""
    return "cuda" if _has_cuda(config.device) else "cpu"


def n_epochs_of(trained: TrainedSAE, config: RunConfig) -> int:
    """For how many epochs an SAE was trained."""
    lengths = trained.bundle.facts().get("lengths", {})
    return int(lengths.get(trained.sae_id, {}).get("n_epochs") or config.epochs)


def _has_cuda(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def analysis_key(job: Job, trained: TrainedSAE) -> str:
    """The name of an SAE's analysis: everything that its tables, codes and listed clips depend on."""
    config = job.config
    return key_of(
        version=ANALYSIS_VERSION,
        sae=trained.sae_id,
        sparsity=trained.sparsity,
        corpus=job.corpus.corpus_id,
        run=[
            config.n_top_clips,
            config.label_permutations,
            config.probe_c_grid,
            config.feature_map,
            makes_map(job, trained),
            config.sae_per_fold and trained.seed == config.seeds[0],
        ],
        labels=list(job.arrays.labels),
        is_reference=trained.is_reference,
    )


def makes_map(job: Job, trained: TrainedSAE) -> bool:
    """Whether the SAE's live features get places on a map."""
    return trained.is_reference or job.config.maps_everywhere


def analyse(work: EncoderAtWork, trained: TrainedSAE, states: States, stage: Stage, refits: FoldCodes | None) -> Bundle:
    """Everything about one SAE that needs its codes but no frames: the bundle of its tables and code files."""
    key = analysis_key(work.job, trained)
    return work.job.keep(stage, CODES_STAGE, key, partial(_add_analysis, work, trained, states, key, refits))


def _add_analysis(
    work: EncoderAtWork, trained: TrainedSAE, states: States, key: str, refits: FoldCodes | None, bundle: Bundle
) -> None:
    job, config = work.job, work.job.config
    sae = trained.load()
    analysed = AnalysedSAE.of(sae, states.pooled_cld[:, trained.layer])
    facts = trained.bundle.facts()
    length = facts.get("lengths", {}).get(trained.sae_id, {})
    head = {
        "sae_id": trained.sae_id,
        "encoder_id": work.encoder_id,
        "layer": trained.layer,
        "level": "clip",
        "pooling": work.pooling,
        "n_features": sae.n_features,
        "d_model": sae.d_model,
        "k": trained.k,
        "sparsity": trained.sparsity,
        "method": config.method,
        "protocol": job.protocol,
        "seed": trained.seed,
        "is_reference": trained.is_reference,
        "run_id": job.run_id,
        "n_train_clips": int(job.fit_c.sum()) * (config.n_crops if config.is_paper else 1),
        "n_epochs": config.epochs,
        "n_epochs_trained": length.get("n_epochs"),
        "epochs_reason": length.get("reason"),
        "train_seconds": facts["train_seconds"] or None,
        "weights_file": f"files/{trained.weights_name}",
        "codes_by_feature_file": f"files/{codes_name('feature', trained.sae_id, key)}",
        "codes_by_clip_file": f"files/{codes_name('clip', trained.sae_id, key)}",
        "traces_file": f"files/{traces_name(trained.sae_id, key)}",
    }
    if config.is_paper:
        first_cd, crops_cnd = states.crops(trained.layer)
        codes_n = sae.encode(crops_cnd.reshape(-1, crops_cnd.shape[2])).dense()
        crops_codes = codes_n.reshape(*crops_cnd.shape[:2], -1)
        results = paper_probe(job, sae.encode(first_cd).dense(), crops_codes, seed=trained.seed)
    else:
        results = probe_codes(job, analysed.codes_cf, seed=trained.seed, refits=refits)
    bundle.add_facts({"subject": trained.sae_id})
    tables = sae_tables(job, sae, analysed, head, makes_map=makes_map(job, trained))
    if refits is not None:
        tables["sae_group_errors"] = fold_errors(job, refits, sae.k).assign(sae_id=trained.sae_id)
    for name, rows in tables.items():
        if len(rows):
            bundle.add_table(name, rows)
    add_probe_tables(bundle, trained.sae_id, results, is_codes=True, is_refitted=refits is not None)
    add_representation(bundle, trained.sae_id, "codes", work.encoder_id, trained.layer, sae.n_features)
    codes = analysed.sparse_rows()
    for by in ("feature", "clip"):
        first, second = ("feature", "clip_index") if by == "feature" else ("clip_index", "feature")
        path = bundle.path(codes_name(by, trained.sae_id, key))
        write_parquet(codes, path, order_by=[first, second])
