"""Read the corpus once, keep it as an artefact, and make its tables."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explorer.audio import AudioInfo
from precompute.artefacts import Artefacts, Bundle, key_of
from precompute.config import RunConfig
from precompute.datasets import DATASETS, Clip, Corpus, Skipped, SourceFile, corpus_name, read_corpus
from precompute.factor_worker import preview_name
from precompute.reporting import Reporter

CORPUS_STAGE = "corpus"
VERSION = 5


def find_corpus(config: RunConfig, artefacts: Artefacts, reporter: Reporter) -> tuple[Corpus, Bundle]:
    """The corpus of a run: from the artefact if no file has changed since, else read, decoded and hashed.

    One with files that were refused for a reason that may pass is read again each time, and stands for itself.
    """
    key = key_of(
        version=VERSION,
        kind=config.dataset,
        listing=_listing(config),
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
            corpus = _from_facts(bundle.facts(), config.root)
            stage.found(len(corpus.files), amount=0)
            return corpus, bundle

        def on_file(n_done: int, n_total: int) -> None:
            stage.total = n_total
            stage.made(amount=n_done - stage.done)

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
        passing = [[item.path, item.reason] for item in corpus.skipped if item.may_pass]
        if passing:
            key = key_of(listing=key, passing=passing, corpus=corpus.corpus_id)
            bundle = artefacts.find(CORPUS_STAGE, key)
            if bundle is not None:
                return corpus, bundle
        with artefacts.writing(CORPUS_STAGE, key) as bundle:
            bundle.add_facts({**_to_facts(corpus), "subject": "corpus"})
            for name, rows in _tables(corpus, config).items():
                bundle.add_table(name, rows)
    return corpus, artefacts.get(CORPUS_STAGE, key)


def _listing(config: RunConfig) -> list[tuple[str, int, int]]:
    """Every file that the corpus may depend on: its place, size and time of change, sorted by folder."""
    beside = [config.root.parent / name for name in DATASETS[config.dataset].beside]
    found = [("../" + path.name, path) for path in beside]
    found += [(path.relative_to(config.root).as_posix(), path) for path in _files_below(config.root, config.store)]
    listing = []
    for place, path in found:
        with contextlib.suppress(OSError):  # the reader names it among the skipped
            status = path.stat()
            listing.append((place, status.st_size, status.st_mtime_ns))
    return listing


def _files_below(root: Path, store: Path) -> Iterator[Path]:
    """All files, through links to folders too, each folder once; the store is left out when it lies inside."""
    inside = store.resolve()
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = Path(folder).resolve()
        if place == inside or place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _to_facts(corpus: Corpus) -> dict[str, Any]:
    facts = {
        field.name: getattr(corpus, field.name)
        for field in dataclasses.fields(corpus)
        if field.name not in ("clips", "files", "skipped", "root", "name")  # the last two say where it lies now
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
    for other in ("subject", "name"):
        facts.pop(other, None)
    return Corpus(**facts, name=corpus_name(root), root=root, clips=clips, files=files, skipped=skipped)


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
            "fold_all": clip.fold_all,
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
        "clips": pd.DataFrame(clips).astype(dict.fromkeys(("fold_all", "fold_group", "fold_random"), "Int32")),
        "clip_columns": pd.DataFrame(list(corpus.clip_columns()), columns=columns),
        "skipped_files": pd.DataFrame(
            [(item.path, item.reason, item.kind) for item in corpus.skipped], columns=["path", "reason", "kind"]
        ),
    }


def playable_clips(corpus: Corpus, n_clips: int) -> set[int]:
    """A fixed choice of at most n_clips clips, taken from the groups in turn; the same for every run on the corpus.

    Within a group a clip that differs from one already taken in one attribute alone comes first, so that minimal pairs
    can be drawn whole; otherwise in random order.
    """
    rng = np.random.default_rng(0)
    by_group: dict[str, list[int]] = {}
    for index in rng.permutation(len(corpus.clips)):
        by_group.setdefault(corpus.clips[index].group, []).append(int(index))
    turns = sorted(
        (place, group, clip)
        for group, members in by_group.items()
        for place, clip in enumerate(_twins_together(corpus, members, n_clips))
    )
    return {clip for _, _, clip in turns[:n_clips]}


def _twins_together(corpus: Corpus, members: list[int], n_clips: int) -> list[int]:
    """The first n_clips of `members`, those first that differ from one before them in one attribute alone."""
    files = [corpus.clips[index].file for index in members]
    columns = pd.DataFrame([{**file.labels, **file.attributes} for file in files]).fillna("")
    codes = np.stack([pd.factorize(columns[name])[0] for name in columns], axis=1) if columns.size else None
    if codes is None:
        return members[:n_clips]
    order: list[int] = []
    taken, has_twin = np.zeros(len(members), bool), np.zeros(len(members), bool)
    while len(order) < min(n_clips, len(members)):
        free = ~taken
        at = int(np.argmax(free & has_twin if (free & has_twin).any() else free))
        taken[at] = True
        order.append(members[at])
        has_twin |= (codes != codes[at]).sum(axis=1) == 1
    return order
