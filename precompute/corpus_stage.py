"""Read the corpus once, keep it as an artefact, and make its tables and previews."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explorer.audio import AudioInfo, load_waveform, write_preview
from explorer.errors import DatasetError
from explorer.factors import FACTORS, factor_row
from precompute.artefacts import Artefacts, Bundle, explained, key_of
from precompute.config import RunConfig
from precompute.datasets import Clip, Corpus, Skipped, SourceFile, read_corpus
from precompute.hidden_states import Shard
from precompute.job import Job
from precompute.reporting import Reporter

CORPUS_STAGE, FACTOR_STAGE = "corpus", "factors"
VERSION = 1
FACTOR_VERSION = 2


def find_corpus(config: RunConfig, artefacts: Artefacts, reporter: Reporter) -> tuple[Corpus, Bundle]:
    """The corpus of a run: from the artefact if no file has changed since, else read, decoded and hashed."""
    if not config.root.is_dir():
        raise DatasetError(f"The data set {config.root} is not there. Give the folder of recordings with --root.")
    key = key_of(
        version=VERSION,
        kind=config.dataset,
        listing=list(_listing(config.root, config.store)),
        options=[
            config.clip_s,
            config.split_seed,
            config.label,
            config.group,
            config.faults.drop_vibrado,
            config.n_playable_clips,
        ],
    )
    with reporter.stage("read the recordings", 0, "files") as stage:
        bundle = artefacts.find(CORPUS_STAGE, key)
        if bundle is not None:
            stage.reuse()
            return _from_facts(bundle.facts(), config.root), bundle

        def on_file(n_done: int, n_total: int) -> None:
            stage.total = n_total
            stage.advance(n_done - stage.done)

        corpus = read_corpus(
            config.dataset,
            config.root,
            clip_s=config.clip_s,
            seed=config.split_seed,
            paper=config.faults.drop_vibrado,
            label=config.label,
            group=config.group,
            n_workers=config.workers(),
            progress=on_file,
        )
        with artefacts.writing(CORPUS_STAGE, key) as bundle:
            bundle.add_facts({**_to_facts(corpus), "subject": "corpus"})
            for name, rows in _tables(corpus, config).items():
                bundle.add_table(name, rows)
    return corpus, artefacts.get(CORPUS_STAGE, key)


def _listing(root: Path, store: Path) -> Iterator[tuple[str, int, int]]:
    """Every file's place, size and time of change, sorted; the store itself is left out when it lies inside."""
    inside = store.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if (Path(folder) / name).resolve() != inside)
        for name in sorted(names):
            path = Path(folder) / name
            try:
                status = path.stat()
            except OSError:
                continue  # the reader names it among the skipped
            yield path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns


def _to_facts(corpus: Corpus) -> dict[str, Any]:
    facts = {
        field.name: getattr(corpus, field.name)
        for field in dataclasses.fields(corpus)
        if field.name not in ("clips", "files", "skipped", "root")
    }
    facts["skipped"] = [dataclasses.asdict(item) for item in corpus.skipped]
    facts["files"] = [
        {**dataclasses.asdict(file), "path": file.path.relative_to(corpus.root).as_posix(), "labels": dict(file.labels)}
        for file in corpus.files
    ]
    at = {file.file_id: row for row, file in enumerate(corpus.files)}
    facts["clips"] = [
        {
            field.name: at[clip.file.file_id] if field.name == "file" else getattr(clip, field.name)
            for field in dataclasses.fields(clip)
        }
        for clip in corpus.clips
    ]
    return facts


def _from_facts(facts: dict[str, Any], root: Path) -> Corpus:
    files = tuple(
        SourceFile(**{**item, "path": root / item["path"], "info": AudioInfo(**item["info"])})
        for item in facts.pop("files")
    )
    clips = tuple(Clip(**{**item, "file": files[item["file"]]}) for item in facts.pop("clips"))
    skipped = tuple(Skipped(**item) for item in facts.pop("skipped"))
    facts.pop("subject", None)
    return Corpus(**facts, root=root, clips=clips, files=files, skipped=skipped)


def _tables(corpus: Corpus, config: RunConfig) -> dict[str, pd.DataFrame]:
    files = [
        {
            "file_id": file.file_id,
            "path": file.relative,
            "sha256": file.sha256,
            "sample_rate_hz": file.info.sample_rate_hz,
            "n_channels": file.info.n_channels,
            "duration_s": file.info.duration_s,
            "encoding": file.info.encoding,
            "note": file.info.note,
        }
        for file in corpus.files
    ]
    playable = playable_clips(corpus, config.n_playable_clips)
    clips = [
        {
            "clip_index": clip.clip_index,
            "clip_id": clip.clip_id,
            "file_id": clip.file.file_id,
            "start_s": clip.start_s,
            "duration_s": clip.duration_s,
            "title": clip.title,
            "label": clip.label,
            "group_id": clip.group,
            "split": clip.split,
            "paper_split": clip.paper_split,
            "fold_group": clip.fold_group,
            "fold_random": clip.fold_random,
            "peak": clip.peak,
            "rms": clip.rms,
            "is_silent": clip.is_silent,
            "is_playable": clip.clip_index in playable,
            "preview": f"files/{preview_name(clip.clip_id)}",
        }
        for clip in corpus.clips
    ]
    columns = ["clip_index", "role", "name", "value"]
    return {
        "files": pd.DataFrame(files),
        "clips": pd.DataFrame(clips).astype({"fold_group": "Int32", "fold_random": "Int32"}),
        "clip_columns": pd.DataFrame(list(corpus.clip_columns()), columns=columns),
        "skipped_files": pd.DataFrame([dataclasses.asdict(item) for item in corpus.skipped]),
        "factors": pd.DataFrame([{"factor_index": i, **dataclasses.asdict(f)} for i, f in enumerate(FACTORS)]),
    }


def playable_clips(corpus: Corpus, n_clips: int) -> set[int]:
    """A fixed choice of at most n_clips clips, taken from the groups in turn; the same for every run on the corpus."""
    rng = np.random.default_rng(0)
    by_group: dict[str, list[int]] = {}
    for index in rng.permutation(len(corpus.clips)):
        by_group.setdefault(corpus.clips[index].group, []).append(int(index))
    turns = sorted((place, group, clip) for group, members in by_group.items() for place, clip in enumerate(members))
    return {clip for _, _, clip in turns[:n_clips]}


def preview_name(clip_id: str) -> str:
    """The file name of a clip's preview."""
    return f"preview-{clip_id}.flac"


def make_factors(job: Job) -> np.ndarray:
    """Factors and previews of every clip, in parallel processes. Returns (clips, factors), NaN where undefined."""
    total_s = sum(clip.duration_s for clip in job.corpus.clips)
    with job.reporter.stage("openSMILE factors and previews", total_s, "s of audio") as stage:
        todo: list[tuple[Shard, str]] = []
        for shard in job.shards:
            key = key_of(version=FACTOR_VERSION, shard=shard.name)
            bundle = job.artefacts.find(FACTOR_STAGE, key)
            if bundle is None:
                todo.append((shard, key))
            else:
                stage.reuse(sum(clip.duration_s for clip in shard.clips))
        _compute_factors(job, todo, stage.advance)
        values_cg = np.full((len(job.corpus.clips), len(FACTORS)), np.nan)
        for shard in job.shards:
            bundle = job.record.use(job.artefacts.get(FACTOR_STAGE, key_of(version=FACTOR_VERSION, shard=shard.name)))
            rows = bundle.table("factor_values")
            position = {clip.clip_id: clip.clip_index for clip in shard.clips}
            at = rows["clip_id"].map(position).to_numpy(dtype=int)
            values_cg[at, rows["factor_index"].to_numpy(dtype=int)] = rows["value"].to_numpy(dtype=float)
    return values_cg


def _compute_factors(job: Job, todo: list[tuple[Shard, str]], on_seconds: Any) -> None:
    if not todo:
        return
    n_workers = min(job.config.workers(), len(todo))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        futures = {pool.submit(_factor_shard, job.artefacts, shard, key): shard for shard, key in todo}
        for future in as_completed(futures):
            future.result()
            on_seconds(sum(clip.duration_s for clip in futures[future].clips))


def _factor_shard(artefacts: Artefacts, shard: Shard, key: str) -> None:
    """Runs in a worker process: one shard's factor values and previews."""
    rows: list[tuple[str, int, float | None, str | None]] = []
    with artefacts.writing(FACTOR_STAGE, key) as bundle, explained(artefacts.store):
        for clip in shard.clips:
            wave = load_waveform(clip.path, start_s=clip.start_s, duration_s=clip.duration_s)
            row = factor_row(wave)
            rows.extend(
                (clip.clip_id, index, float(value) if reason is None else None, reason)
                for index, (value, reason) in enumerate(zip(row.values, row.reasons, strict=True))
            )
            write_preview(wave, bundle.path(preview_name(clip.clip_id)))
        columns = ["clip_id", "factor_index", "value", "reason"]
        bundle.add_table("factor_values", pd.DataFrame(rows, columns=columns))
