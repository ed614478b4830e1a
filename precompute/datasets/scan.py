"""From a reader's listing to a corpus: decode and hash each file once, split, cut."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from explorer.audio import scan_audio
from explorer.errors import AudioError, ConfigError, DatasetError
from explorer.sound_checks import MIN_CLIP_S
from explorer.text import count, whole
from precompute.datasets.base import (
    REJECTED,
    Clip,
    Corpus,
    Entry,
    Listing,
    Skipped,
    SourceFile,
    corpus_name,
    short_hash,
)
from precompute.datasets.copies import Scanned, near_copy_notes, settle_copies
from precompute.datasets.identity import Listener
from precompute.splits import SplitItem, Splits, split_files

Progress = Callable[[int, int], None]


def build_corpus(
    listing: Listing,
    *,
    kind: str,
    root: Path,
    clip_s: float,
    seed: int,
    n_workers: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Decode, hash, split and cut what a reader listed.

    `progress(n_done, n_files)` is called after each file, from the calling thread. Raises DatasetError when no file
    could be read, ConfigError for an impossible `clip_s`.
    """
    if not clip_s >= MIN_CLIP_S:
        raise ConfigError(f"clip_s is {clip_s}; at least {MIN_CLIP_S} s are needed for a clip.")
    entries = sorted(listing.entries, key=lambda entry: entry.relative)
    scanned, rejected = _scan_all(entries, clip_s, n_workers or min(8, os.cpu_count() or 1), progress)
    scanned, copies, copy_notes = settle_copies(scanned)
    skipped = tuple(sorted((*listing.skipped, *rejected, *copies), key=lambda item: item.path))
    if not scanned or (rejected and not root.is_dir()):
        raise _nothing_read(root, skipped)
    items = [
        SplitItem(
            item.file.relative,
            item.file.group,
            item.file.content or item.file.sha256,
            _primary(item.file, listing.label_name),
            len(item.cuts),
            item.file.official_split,
            item.entry.is_paper_file,
            item.entry.official_fold,
        )
        for item in scanned
    ]
    splits = split_files(items, seed=seed)
    clips = _clips(scanned, splits, listing.label_name)
    notes = [*listing.notes, *copy_notes, *near_copy_notes(scanned, splits.split), *splits.notes]
    return Corpus(
        name=corpus_name(root),
        kind=kind,
        root=root,
        corpus_id=_fingerprint(kind, listing, clips),
        label_name=listing.label_name,
        group_name=listing.group_name,
        clips=clips,
        files=tuple(item.file for item in scanned),
        skipped=skipped,
        note="; ".join(notes),
        is_synthetic=listing.is_synthetic,
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _scan_all(
    entries: Sequence[Entry], clip_s: float, n_workers: int, progress: Progress | None
) -> tuple[list[Scanned], list[Skipped]]:
    # Threads: libsndfile, hashing and NumPy's loops leave Python's lock, and nothing is pickled or imported twice.
    scanned: list[Scanned] = []
    rejected: list[Skipped] = []
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="scan")
    try:
        for n_done, result in enumerate(pool.map(lambda entry: _scan(entry, clip_s), entries), start=1):
            if isinstance(result, Skipped):
                rejected.append(result)
            else:
                scanned.append(result)
            if progress is not None:
                progress(n_done, len(entries))
    finally:
        pool.shutdown(cancel_futures=True)
    return scanned, rejected


def _scan(entry: Entry, clip_s: float) -> Scanned | Skipped:
    heard = Listener()
    try:
        info, cuts = scan_audio(entry.path, clip_s=clip_s, each=heard.add)
        sha256 = file_sha256(entry.path)
    except AudioError as error:
        return Skipped(entry.relative, str(error), REJECTED, isinstance(error.__cause__, OSError | ImportError))
    except OSError as error:
        return Skipped(entry.relative, f"cannot be read: {error.strerror}", REJECTED, may_pass=True)
    file = SourceFile(
        path=entry.path,
        relative=entry.relative,
        labels=entry.labels,
        group=entry.relative if entry.group is None else entry.group,
        attributes=entry.attributes,
        official_split=entry.official_split,
        sha256=sha256,
        content=heard.content,
        info=info,
    )
    return Scanned(file, cuts, entry, heard.fingerprint())


def _clips(scanned: Sequence[Scanned], splits: Splits, label_name: str | None) -> tuple[Clip, ...]:
    clips: list[Clip] = []
    for item in scanned:
        file, cuts, entry = item.file, item.cuts, item.entry
        for cut in cuts:
            place = f"{file.sha256}|{file.relative}|{cut.start_s:.6f}|{cut.duration_s:.6f}"
            clips.append(
                Clip(
                    clip_id=short_hash(place, 10),
                    clip_index=len(clips),
                    file=file,
                    start_s=cut.start_s,
                    duration_s=cut.duration_s,
                    title=entry.title if len(cuts) == 1 else f"{entry.title} · {_clock(cut.start_s)}",
                    label=_primary(file, label_name),
                    group=file.group,
                    split=splits.split[file.relative],
                    paper_split=splits.paper_split[file.relative],
                    fold_all=splits.fold_all[file.relative],
                    fold_group=splits.fold_group[file.relative],
                    fold_random=splits.fold_random[file.relative],
                    peak=cut.peak,
                    rms=cut.rms,
                    is_silent=cut.is_silent,
                )
            )
    return tuple(clips)


def _primary(file: SourceFile, label_name: str | None) -> str | None:
    return None if label_name is None else file.labels.get(label_name)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" + (f"{seconds % 1:.1f}"[1:] if seconds % 1 else "")


def _fingerprint(kind: str, listing: Listing, clips: Sequence[Clip]) -> str:
    """16 hex digits over everything that a run's results depend on: contents, places, columns, cuts, splits."""
    rows: list[dict[str, object]] = [
        {
            "clip": clip.clip_id,
            "sha256": clip.file.sha256,
            "labels": dict(clip.file.labels),
            "attributes": dict(clip.file.attributes),
            "group": clip.group,
            "splits": [clip.split, clip.paper_split, clip.fold_all, clip.fold_group, clip.fold_random],
        }
        for clip in clips
    ]
    content = {"kind": kind, "label": listing.label_name, "group": listing.group_name, "clips": rows}
    return short_hash(json.dumps(content, sort_keys=True), 16)


def _nothing_read(root: Path, skipped: Sequence[Skipped]) -> DatasetError:
    if not root.is_dir():
        return DatasetError(f"The folder {str(root)!r} vanished while it was read. Connect it again and run again.")
    rejected = [item for item in skipped if item.kind == REJECTED]
    if not rejected:
        return DatasetError(
            f"{str(root)!r} holds no audio files ({count(len(skipped), 'other')}). Give the folder of "
            "recordings with --root."
        )
    first = "; ".join(f"{item.path}: {item.reason}" for item in rejected[:3])
    return DatasetError(f"No audio file in {str(root)!r} could be read (of {whole(len(rejected))}). {first}")
