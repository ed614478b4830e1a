"""A run from end to end: the stages in order, each resumable, and a publication after each encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from explorer.errors import ConfigError, DatasetError, StoreError
from explorer.recent import remember_places, remember_store
from explorer.store import POINTER
from explorer.text import count, whole
from precompute.artefacts import Artefacts, key_of
from precompute.config import RunConfig
from precompute.corpus_stage import find_corpus
from precompute.datasets import Corpus
from precompute.encoder_choice import choose_encoders
from precompute.encoder_run import process_encoder
from precompute.factor_stage import make_factors
from precompute.job import Job, Record, corpus_arrays
from precompute.lock import locked
from precompute.match_stage import Dictionary, match_references
from precompute.places import check_places, check_space
from precompute.plan import estimate
from precompute.planted_stage import keep_planted, read_planted
from precompute.probe_stage import probe_attributes
from precompute.provenance import Sittings, hardware, versions
from precompute.publish import publish
from precompute.references import dictionaries_of_other_runs
from precompute.reporting import Reporter, log
from precompute.run_records import load_runs, save_run
from precompute.targets import keep_target_names, make_targets

NOT_IDENTITY = ("store", "root", "device", "n_workers", "strict", "offline", "frame_cache_gb", "shard_clips")


@dataclass(frozen=True)
class RunSummary:
    """What a finished run says."""

    run_id: str
    generation: int
    corpus: Corpus
    where_the_time_went: str


def run(config: RunConfig, *, command: str, on_published: Callable[[int], object] = lambda _: None) -> RunSummary:
    """Compute everything that `config` asks for and publish it. Finished work of earlier runs is taken over.

    `on_published` gets each new generation's number.

    Raises an ExplorerError for anything a person can mend; what was finished by then is kept.
    """
    check_places(config.root, config.store)
    artefacts = Artefacts(config.store)
    encoders = choose_encoders(config, artefacts)
    with (
        locked(config.store),
        _swept(artefacts),
        threadpool_limits(1, user_api="blas"),  # small matrices: threads cost more than they give
    ):
        reporter = Reporter()
        job = open_job(config, artefacts, reporter)
        plans = [choice.at(job) for choice in encoders]
        check_space(config.store, estimate(job, plans))
        sittings = Sittings.of(artefacts, job.run_id, reporter)
        keep_target_names(job)
        factors_cg = make_factors(job, meanwhile=plans[0].prepare)
        probe_attributes(job)
        truth = read_planted(job)
        if truth is not None:
            keep_planted(job, truth, factors_cg)
        targets = make_targets(job, factors_cg, None if truth is None else truth.numbers)
        dictionaries: list[Dictionary] = []
        earlier = dictionaries_of_other_runs(
            artefacts, load_runs(artefacts), run_id=job.run_id, protocol=job.protocol, n_clips=len(job.corpus.clips)
        )
        choices: list[dict[str, Any]] = []
        known = _recorded_bundles(artefacts, job.run_id)

        def publish_now(choices: list[dict[str, Any]], what: str, *, is_finished: bool) -> int:
            with reporter.stage("publish", 1, "generation") as stage:
                _record_run(job, config, command, sittings, choices, is_finished=is_finished)
                generation = publish(config.store, artefacts=artefacts)
                stage.made()
            log.info("%s in the store: generation %d can be browsed", what, generation)
            on_published(generation)
            return generation

        def publish_probes(chosen: pd.DataFrame) -> None:
            """Something to look at soon: where a store is new, its first encoder's layers do not wait for its SAEs."""
            if not (config.store / POINTER).is_file():
                publish_now(chosen.to_dict("records"), f"The layers of {plans[0].encoder_id} are", is_finished=False)

        for number, work in enumerate(plans, start=1):
            found, chosen = process_encoder(work, targets, truth, publish_probes)
            dictionaries += found
            choices += chosen.to_dict("records")
            work.release()
            match_references(job, dictionaries, earlier)
            is_last = number == len(plans)
            if not is_last and known.issuperset(job.record.bundles):
                continue  # people browse it already
            generation = publish_now(choices, f"{work.encoder_id} is", is_finished=is_last)
        _remember(config.store, config.encoders)
        return RunSummary(job.run_id, generation, job.corpus, reporter.where_the_time_went())


@contextmanager
def _swept(artefacts: Artefacts) -> Iterator[None]:
    """Nothing half-written lies there before or afterwards, whatever ended the work."""
    artefacts.sweep()
    try:
        yield
    finally:
        artefacts.sweep()


def open_job(config: RunConfig, artefacts: Artefacts, reporter: Reporter) -> Job:
    """Read the corpus and check it against the store. Raises StoreError when the store holds another corpus."""
    corpus, bundle = find_corpus(config, artefacts, reporter)
    if config.strict and corpus.rejected:
        first = corpus.rejected[0]
        raise DatasetError(
            f"--strict: {count(len(corpus.rejected), 'file')} of {config.root} cannot be read, such as {first.path!r}: "
            f"{first.reason} Fix or remove them, or run without --strict."
        )
    for record in load_runs(artefacts):
        if record["meta"]["corpus_id"] != corpus.corpus_id:
            raise StoreError(
                f"{config.store} holds the corpus {record['meta']['corpus_name']} ({record['meta']['corpus_id'][:8]}), "
                f"and this run has {corpus.name} ({corpus.corpus_id[:8]}): other files, cuts, labels or splits. "
                "Give another --store, or the options of the first run."
            )
    parts = {clip.paper_split for clip in corpus.clips}
    if config.is_paper and not parts >= {"train", "valid", "test"}:
        raise ConfigError(
            "preset paper needs files to train, to choose the epoch and to test on, of a corpus with its own test "
            f"singers; {corpus.name} has none for {' and '.join(sorted({'train', 'valid', 'test'} - parts))}. "
            "Use --dataset vocalset, or another preset."
        )
    identity = {name: value for name, value in config.as_dict().items() if name not in NOT_IDENTITY}
    run_id = key_of(corpus=corpus.corpus_id, config=identity)
    job = Job(config, run_id, artefacts, corpus, corpus_arrays(corpus), reporter, Record())
    job.record.use(bundle)
    return job


def _record_run(
    job: Job, config: RunConfig, command: str, sittings: Sittings, choices: list[dict[str, Any]], *, is_finished: bool
) -> None:
    """Write down what the run stands on. Until it is finished, what it had for later encoders before stays."""
    bundles, layer_choices = sorted(job.record.bundles), list(choices)  # threads finish in any order
    if not is_finished:
        done = {row["encoder_id"] for row in choices}
        for record in load_runs(job.artefacts):
            if record["run_id"] == job.run_id:  # first, so that what is about the same now replaces it
                bundles = [item for stage, key in record["bundles"] if (item := (stage, key)) not in bundles] + bundles
                layer_choices += [row for row in record["layer_choices"] if row["encoder_id"] not in done]
    corpus = job.corpus
    n_rejected = len(corpus.rejected)
    save_run(
        job.artefacts,
        {
            "run_id": job.run_id,
            "started_at": sittings.started_at,
            "recorded_at": datetime.now(UTC).isoformat(),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds") if is_finished else None,
            "preset": config.preset,
            "command": command,
            "config": config.as_dict(),
            "versions": versions(),
            "hardware": hardware(config),
            "n_clips": len(corpus.clips),
            "summary": f"{count(len(corpus.clips), 'clip')} of {count(len(corpus.files), 'file')}, "
            f"{whole(len(corpus.skipped))} not taken "
            f"({n_rejected} of them could not be read)",
            "timings": [dataclasses.asdict(item) for item in sittings.timings()],
            "bundles": bundles,
            "layer_choices": layer_choices,
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


def _recorded_bundles(artefacts: Artefacts, run_id: str) -> set[tuple[str, str]]:
    """What an earlier sitting of this run has published."""
    records = [record for record in load_runs(artefacts) if record["run_id"] == run_id]
    return {(stage, key) for record in records for stage, key in record["bundles"]}


def _remember(store: Path, encoders: Sequence[str]) -> None:
    try:
        remember_store(store)
        remember_places([text for text in encoders if Path(text.partition("=")[2] or "?").expanduser().is_dir()])
    except StoreError as error:  # the store is there all the same
        log.warning("The store is finished, but not remembered as the last one: %s", error)
