"""A run from end to end: the stages in order, each resumable, and a publication after each encoder."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from explorer.errors import ConfigError, DatasetError, StoreBusyError, StoreError
from explorer.recent import remember_store
from precompute.artefacts import Artefacts, Bundle, explained, key_of
from precompute.config import RunConfig
from precompute.corpus_stage import find_corpus, make_factors, playable_clips
from precompute.datasets import Corpus
from precompute.encode_stage import (
    EncoderAtWork,
    States,
    drop_other_frames,
    encode_corpus,
    encode_frames,
    encode_training_crops,
    keep_playable_states,
    open_encoder,
)
from precompute.job import HELD_OUT, Job, Record, corpus_arrays
from precompute.lasso_stage import lasso
from precompute.match_stage import Dictionary, match_dictionaries
from precompute.plan import Estimate, estimate
from precompute.probe_stage import choose_layers, dense_id, probe_attributes, probe_layers
from precompute.publish import load_runs, publish, save_run
from precompute.references import dictionaries_of_other_runs
from precompute.reporting import Reporter, log
from precompute.sae_stage import TrainedSAE, analyse, keep_traces, planned, train_saes

LOCK = ".lock"
VERSIONED = (
    "torch",
    "transformers",
    "scikit-learn",
    "opensmile",
    "umap-learn",
    "duckdb",
    "numpy",
    "scipy",
    "soundfile",
)
NOT_IDENTITY = ("store", "root", "device", "n_workers", "strict", "offline", "frame_cache_gb", "shard_clips")


@dataclass(frozen=True)
class RunSummary:
    """What a finished run says."""

    run_id: str
    generation: int
    corpus: Corpus
    where_the_time_went: str


def run(config: RunConfig, *, command: str) -> RunSummary:
    """Compute everything that `config` asks for and publish it. Finished work of earlier runs is taken over.

    Raises an ExplorerError for anything a person can mend; what was finished by then is kept.
    """
    with (
        locked(config.store),
        threadpool_limits(1, user_api="blas"),
    ):  # small matrices: threads cost more than they give
        reporter = Reporter()
        artefacts = Artefacts(config.store)
        artefacts.sweep()
        job = open_job(config, artefacts, reporter)
        plans = [open_encoder(job, name) for name in config.encoders]
        for work in plans:
            planned(job, work.checkpoint.d_model)
        check_space(config.store, estimate(job, plans))
        started_at = _started_at(artefacts, job.run_id)
        factors_cg = make_factors(job)
        probe_attributes(job)
        dictionaries: list[Dictionary] = []
        earlier = dictionaries_of_other_runs(
            artefacts, load_runs(artefacts), run_id=job.run_id, protocol=job.protocol, n_clips=len(job.corpus.clips)
        )
        choices: list[dict[str, Any]] = []
        generation = 0
        for number, work in enumerate(plans, start=1):
            found, chosen = process_encoder(work, factors_cg)
            dictionaries += found
            choices += chosen.to_dict("records")
            work.release()
            match_dictionaries(job, dictionaries, earlier)
            with reporter.stage("publish", 1, "generation") as stage:
                _record_run(job, config, command, started_at, choices, is_finished=number == len(plans))
                generation = publish(config.store)
                stage.advance()
            log.info("%s is in the store: generation %d can be browsed", work.encoder_id, generation)
        remember_store(config.store)
        return RunSummary(job.run_id, generation, job.corpus, reporter.where_the_time_went())


def open_job(config: RunConfig, artefacts: Artefacts, reporter: Reporter) -> Job:
    """Read the corpus and check it against the store. Raises StoreError when the store holds another corpus."""
    corpus, bundle = find_corpus(config, artefacts, reporter)
    if config.strict and corpus.rejected:
        first = corpus.rejected[0]
        raise DatasetError(
            f"--strict: {len(corpus.rejected)} file(s) of {config.root} cannot be read, the first is {first.path!r}: "
            f"{first.reason} Mend or remove them, or run without --strict."
        )
    for record in load_runs(artefacts):
        if record["meta"]["corpus_id"] != corpus.corpus_id:
            raise StoreError(
                f"{config.store} holds the corpus {record['meta']['corpus_name']} ({record['meta']['corpus_id'][:8]}), "
                f"and this run reads {corpus.name} ({corpus.corpus_id[:8]}): other files, cuts, labels or splits. "
                "Give another --store, or the options of the first run."
            )
    parts = {clip.paper_split for clip in corpus.clips}
    if config.is_paper and not parts >= {"train", "valid", "test"}:
        raise ConfigError(
            f"preset paper needs files to train, to choose the epoch and to test on, of a corpus with its own test "
            f"singers; {corpus.name} has none for {' and '.join(sorted({'train', 'valid', 'test'} - parts))}. "
            "Use --dataset vocalset, or another preset."
        )
    identity = {name: value for name, value in config.as_dict().items() if name not in NOT_IDENTITY}
    run_id = key_of(corpus=corpus.corpus_id, config=identity)
    job = Job(config, run_id, artefacts, corpus, corpus_arrays(corpus), reporter, Record())
    job.record.use(bundle)
    return job


def process_encoder(work: EncoderAtWork, factors_cg: np.ndarray) -> tuple[list[Dictionary], pd.DataFrame]:
    """Everything about one encoder. Returns its dictionaries and the rows of `layer_choices`."""
    job, config = work.job, work.job.config
    pooled_cld = encode_corpus(work)
    states = States(pooled_cld, *encode_training_crops(work)) if config.is_paper else States(pooled_cld)
    layers, choices = choose_layers(work, probe_layers(work, states))
    log.info("%s: layers %s get SAEs (%s)", work.encoder_id, ", ".join(map(str, layers)), choices["reason"].iloc[0])
    encode_frames(work, layers)
    trained = train_saes(work, states, layers)
    dictionaries = analyse_saes(work, states, trained)
    _predict_factors(work, states, trained, dictionaries, factors_cg)
    playable = playable_clips(job.corpus, config.n_playable_clips)
    for layer in layers:
        keep_playable_states(work, layer, playable)
    drop_other_frames(work, layers)
    return dictionaries, choices


def analyse_saes(work: EncoderAtWork, states: States, trained: Sequence[TrainedSAE]) -> list[Dictionary]:
    """Tables, codes and traces of every SAE; their codes over the corpus, in the order of `trained`."""

    def analyse_one(item: TrainedSAE) -> Dictionary:
        keep_traces(work, item, analyse(work, item, states))
        codes_cf = item.sae.encode(states.pooled_cld[:, item.layer]).dense()
        return Dictionary(
            item.sae_id, work.encoder_id, item.layer, item.sparsity, item.seed, item.is_reference, codes_cf
        )

    reporter, n_workers = work.job.reporter, work.job.config.workers()
    dictionaries = []
    with (
        reporter.stage(f"analyse SAEs of {work.checkpoint.spec.name}", len(trained), "SAEs") as stage,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        for dictionary in pool.map(analyse_one, trained):
            dictionaries.append(dictionary)
            stage.advance()
    return dictionaries


def _predict_factors(
    work: EncoderAtWork,
    states: States,
    trained: list[TrainedSAE],
    dictionaries: list[Dictionary],
    factors_cg: np.ndarray,
) -> None:
    """Lasso from dense states and from codes. Alphas are cross-validated at the reference sparsity, and taken from
    there for the other sparsities unless the run asks for them everywhere."""
    job, config = work.job, work.job.config
    layers = sorted({item.layer for item in trained})
    dense_layers = work.layers() if config.dense_lasso_all_layers else layers
    n_fits = len(dense_layers) + len(trained)
    codes_of = {item.sae_id: item.codes_cf for item in dictionaries}
    with job.reporter.stage(f"Lasso on {work.checkpoint.spec.name}", n_fits, "representations") as stage:
        for layer in dense_layers:
            x_cd = states.pooled_cld[:, layer]
            name = dense_id(work.encoder_id, layer)
            lasso(job, x_cd, factors_cg, name, seed=0, pooling=work.pooling, protocol=job.protocol)
            stage.advance()
        for layer in layers:
            at_layer = sorted((item for item in trained if item.layer == layer), key=lambda item: not item.is_reference)
            reference: Bundle | None = None
            for item in at_layer:
                is_chosen_anew = (
                    item.is_reference or item.sparsity == config.reference or config.lasso == "cv-everywhere"
                )
                given = None if is_chosen_anew or job.protocol != HELD_OUT else reference
                bundle = lasso(
                    job,
                    codes_of[item.sae_id],
                    factors_cg,
                    item.sae_id,
                    seed=item.seed,
                    pooling=work.pooling,
                    given=given,
                    protocol=job.protocol,
                )
                reference = bundle if item.is_reference else reference
                stage.advance()


def _record_run(
    job: Job, config: RunConfig, command: str, started_at: str, choices: list[dict[str, Any]], *, is_finished: bool
) -> None:
    corpus = job.corpus
    n_rejected = len(corpus.rejected)
    save_run(
        job.artefacts,
        {
            "run_id": job.run_id,
            "started_at": started_at,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds") if is_finished else None,
            "preset": config.preset,
            "command": command,
            "config": config.as_dict(),
            "versions": _versions(),
            "hardware": _hardware(config),
            "n_clips": len(corpus.clips),
            "summary": f"{len(corpus.clips)} clips of {len(corpus.files)} files, {len(corpus.skipped)} not taken "
            f"({n_rejected} of them could not be read)",
            "timings": [dataclasses.asdict(item) for item in job.reporter.times],
            "bundles": sorted(job.record.bundles),  # threads finish in any order
            "layer_choices": choices,
            "meta": {
                "corpus_id": corpus.corpus_id,
                "corpus_name": corpus.name,
                "dataset_kind": corpus.kind,
                "dataset_note": corpus.note,
                "label_name": corpus.label_name,
                "group_name": corpus.group_name,
                "is_synthetic": "true" if corpus.is_synthetic else "false",
            },
        },
    )


def _started_at(artefacts: Artefacts, run_id: str) -> str:
    for record in load_runs(artefacts):
        if record["run_id"] == run_id:
            return str(record["started_at"])
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _hardware(config: RunConfig) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() and config.device != "cpu" else None
    return {"machine": platform.machine(), "system": platform.system(), "n_cores": os.cpu_count(), "gpu": gpu}


def check_space(store: Path, expected: Estimate) -> None:
    """Raise StoreError when the run would not fit on the disk."""
    free = shutil.disk_usage(_existing(store)).free
    if expected.disk_bytes > free:
        raise StoreError(
            f"{store} would need about {expected.disk_bytes / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free. "
            "Free some space, choose another --store, or lower --frame-cache-gb, --seeds or --sparsities."
        )


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store's lock. Raises StoreBusyError when another process does."""
    with explained(store):
        try:
            store.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{store} is not a folder. Give a folder with --store.") from error
        file = (store / LOCK).open("a+")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreBusyError(
                f"Another precompute (process {holder}) is at work in {store}. Wait for it, or stop it; its finished "
                "work is kept and a later run takes it over."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        file.close()


def is_locked(store: Path) -> bool:
    """Whether a precompute is at work in the folder."""
    try:
        with (store / LOCK).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def command_line() -> str:
    """The command as it was typed, for the record."""
    return " ".join(["python -m precompute", *sys.argv[1:]])
