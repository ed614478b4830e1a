"""A run from end to end: the stages in order, each resumable, and a publication after each encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from explorer.errors import ConfigError, DatasetError, StoreError
from explorer.recent import remember_store
from precompute.artefacts import Artefacts, Bundle, key_of
from precompute.config import RunConfig
from precompute.corpus_stage import find_corpus, playable_clips
from precompute.datasets import Corpus
from precompute.encode_stage import (
    EncoderAtWork,
    States,
    drop_other_frames,
    encode_corpus,
    encode_frames,
    encode_training_crops,
    keep_playable_states,
)
from precompute.encoder_choice import open_encoders
from precompute.factor_stage import make_factors
from precompute.job import HELD_OUT, Job, Record, corpus_arrays
from precompute.lasso_stage import lasso
from precompute.layer_choice import choose_layers
from precompute.lock import locked
from precompute.match_stage import Dictionary, match_references, match_seeds
from precompute.places import check_places, check_space
from precompute.plan import estimate
from precompute.probe_stage import dense_id, probe_attributes, probe_layers
from precompute.provenance import Sittings, hardware, versions
from precompute.publish import load_runs, publish, save_run
from precompute.reporting import Reporter, log
from precompute.sae_stage import TrainedSAE, analyse, train_saes
from precompute.trace_stage import keep_traces

MAX_CODES_BYTES = 2e9  # dense codes of SAEs that are in memory together
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
    check_places(config.root, config.store)
    with (
        locked(config.store),
        threadpool_limits(1, user_api="blas"),
    ):  # small matrices: threads cost more than they give
        reporter = Reporter()
        artefacts = Artefacts(config.store)
        artefacts.sweep()
        job = open_job(config, artefacts, reporter)
        plans = open_encoders(job)
        check_space(config.store, estimate(job, plans))
        sittings = Sittings.of(artefacts, job.run_id, reporter)
        factors_cg = make_factors(job, meanwhile=plans[0].prepare)
        probe_attributes(job)
        dictionaries: list[Dictionary] = []
        choices: list[dict[str, Any]] = []
        generation = 0
        for number, work in enumerate(plans, start=1):
            found, chosen = process_encoder(work, factors_cg)
            dictionaries += found
            choices += chosen.to_dict("records")
            work.release()
            match_references(job, dictionaries)
            with reporter.stage("publish", 1, "generation") as stage:
                _record_run(job, config, command, sittings, choices, is_finished=number == len(plans))
                generation = publish(config.store)
                stage.advance()
            log.info("%s is in the store: generation %d can be browsed", work.encoder_id, generation)
        _remember(config.store)
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
    if config.is_paper and not any(clip.paper_split == "test" for clip in corpus.clips):
        raise ConfigError(
            f"preset paper needs a corpus with its own test singers, and {corpus.name} has none. "
            "Use --dataset vocalset, or another preset."
        )
    identity = {name: value for name, value in config.as_dict().items() if name not in NOT_IDENTITY}
    run_id = key_of(corpus=corpus.corpus_id, config=identity)
    job = Job(config, run_id, artefacts, corpus, corpus_arrays(corpus), reporter, Record())
    job.record.use(bundle)
    return job


def process_encoder(work: EncoderAtWork, factors_cg: np.ndarray) -> tuple[list[Dictionary], pd.DataFrame]:
    """Everything about one encoder. Returns its reference dictionaries and the rows of `layer_choices`.

    SAEs are analysed for as many layers at a time as MAX_CODES_BYTES of codes allow.
    """
    job, config = work.job, work.job.config
    pooled_cld = encode_corpus(work)
    states = States(pooled_cld, *encode_training_crops(work)) if config.is_paper else States(pooled_cld)
    layers, choices = choose_layers(work, probe_layers(work, states))
    log.info("%s: layers %s get SAEs (%s)", work.encoder_id, ", ".join(map(str, layers)), choices["reason"].iloc[0])
    encode_frames(work, layers)
    trained = train_saes(work, states, layers)
    references = []
    for group in _groups_of_layers(trained, len(job.corpus.clips)):
        dictionaries = analyse_saes(work, states, group)
        _predict_factors(work, states, group, dictionaries, factors_cg)
        match_seeds(job, dictionaries)
        references += [item for item in dictionaries if item.is_reference]
    if config.dense_lasso_all_layers:
        _predict_from_dense(work, states, [layer for layer in work.layers() if layer not in layers], factors_cg)
    playable = playable_clips(job.corpus, config.n_playable_clips)
    for layer in layers:
        keep_playable_states(work, layer, playable)
    drop_other_frames(work, layers)
    return references, choices


def _groups_of_layers(trained: Sequence[TrainedSAE], n_clips: int) -> list[list[TrainedSAE]]:
    """The SAEs, all of a layer together, in groups whose dense codes fit in MAX_CODES_BYTES (at least one layer)."""
    groups: list[list[TrainedSAE]] = []
    n_bytes = 0
    for layer in sorted({item.layer for item in trained}):
        of_layer = [item for item in trained if item.layer == layer]
        n_new = 4 * n_clips * sum(item.n_features for item in of_layer)
        if not groups or n_bytes + n_new > MAX_CODES_BYTES:
            groups.append([])
            n_bytes = 0
        groups[-1] += of_layer
        n_bytes += n_new
    return groups


def analyse_saes(work: EncoderAtWork, states: States, trained: Sequence[TrainedSAE]) -> list[Dictionary]:
    """Tables, codes and traces of every SAE; their codes over the corpus, in the order of `trained`."""

    def analyse_one(item: TrainedSAE) -> tuple[Bundle, Dictionary]:
        codes_cf = item.load().encode(states.pooled_cld[:, item.layer]).dense()
        dictionary = Dictionary(
            item.sae_id, work.encoder_id, item.layer, item.sparsity, item.seed, item.is_reference, codes_cf
        )
        return analyse(work, item, states), dictionary

    reporter, n_workers = work.job.reporter, work.job.config.workers()
    bundles, dictionaries = [], []
    with (
        reporter.stage(f"analyse SAEs of {work.checkpoint.spec.name}", len(trained), "SAEs") as stage,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        for bundle, dictionary in pool.map(analyse_one, trained):
            bundles.append(bundle)
            dictionaries.append(dictionary)
            stage.advance()
    layers = sorted({item.layer for item in trained})
    with reporter.stage(f"traces of {work.checkpoint.spec.name}", len(layers), "layers") as stage:
        for layer in layers:
            of_layer = [(item, bundle) for item, bundle in zip(trained, bundles, strict=True) if item.layer == layer]
            keep_traces(work, layer, [(item.sae_id, item.load(), bundle) for item, bundle in of_layer])
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
    codes_of = {item.sae_id: item.codes_cf for item in dictionaries}
    _predict_from_dense(work, states, layers, factors_cg)
    with job.reporter.stage(f"Lasso on {work.checkpoint.spec.name}", len(trained), "representations") as stage:
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
                    given=given,
                    protocol=job.protocol,
                )
                reference = bundle if item.is_reference else reference
                stage.advance()


def _predict_from_dense(work: EncoderAtWork, states: States, layers: Sequence[int], factors_cg: np.ndarray) -> None:
    """Lasso from the dense states of some layers."""
    job = work.job
    with job.reporter.stage(f"Lasso on {work.checkpoint.spec.name}", len(layers), "representations") as stage:
        for layer in layers:
            x_cd = states.pooled_cld[:, layer]
            lasso(job, x_cd, factors_cg, dense_id(work.encoder_id, layer), seed=0, protocol=job.protocol)
            stage.advance()


def _record_run(
    job: Job, config: RunConfig, command: str, sittings: Sittings, choices: list[dict[str, Any]], *, is_finished: bool
) -> None:
    corpus = job.corpus
    n_rejected = len(corpus.rejected)
    save_run(
        job.artefacts,
        {
            "run_id": job.run_id,
            "started_at": sittings.started_at,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds") if is_finished else None,
            "preset": config.preset,
            "command": command,
            "config": config.as_dict(),
            "versions": versions(),
            "hardware": hardware(config),
            "n_clips": len(corpus.clips),
            "summary": f"{len(corpus.clips)} clips of {len(corpus.files)} files, {len(corpus.skipped)} not taken "
            f"({n_rejected} of them could not be read)",
            "timings": [dataclasses.asdict(item) for item in sittings.timings()],
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


def _remember(store: Path) -> None:
    try:
        remember_store(store)
    except StoreError as error:  # the store is there all the same
        log.warning("The store is finished, but not remembered as the last one: %s", error)
