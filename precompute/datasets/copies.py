"""Recordings that are there more than once: which are kept, and what a person is told.

Known by their decoded samples, so in any container. A copy never stands on the other side of a split:
- under the same label, or without one, it is left out;
- under another label it is kept, in the group of the first where it has none of its own, and named in a note;
- in another group than the first it is refused, since its group contradicts itself.
Near copies (another gain, codec or rate, or a trim) are kept and named in a note.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from explorer.audio import Cut
from explorer.text import count
from precompute.datasets.base import COPY, REJECTED, Entry, Skipped, SourceFile
from precompute.datasets.identity import Fingerprint
from precompute.datasets.names import quoted, some
from precompute.datasets.near_copies import near_copies


@dataclass(frozen=True, eq=False)
class Scanned:
    """A file that was decoded once: what it is, its cuts, what the reader said of it, and its fingerprint."""

    file: SourceFile
    cuts: tuple[Cut, ...]
    entry: Entry
    fingerprint: Fingerprint


def settle_copies(scanned: Sequence[Scanned]) -> tuple[list[Scanned], list[Skipped], list[str]]:
    """(what is kept in its order, copies that are left out, notes)."""
    alike: dict[str, list[Scanned]] = defaultdict(list)
    for item in scanned:
        if item.file.content:
            alike[item.file.content].append(item)
    instead: dict[str, Scanned | Skipped] = {}
    contradictions = []
    for same in alike.values():
        same.sort(key=lambda item: not item.file.labels)  # of a pair the one with a label stays
        first = same[0].file
        labels = {first.relative: first.labels}
        for item in same[1:]:
            file, other_labels = item.file, [known for known in labels.values() if known != item.file.labels]
            if other_labels and file.labels:
                contradictions.append(f"{_told(first)} = {_told(file)}")
            if item.entry.group is not None and file.group != first.group:
                reason = f"the same recording as {quoted(first.relative)}, which is in the group {quoted(first.group)}"
                instead[file.relative] = Skipped(file.relative, reason, REJECTED)
            elif not file.labels or file.labels in labels.values():
                reason = f"the same recording as {quoted(first.relative, 200)}"
                instead[file.relative] = Skipped(file.relative, reason, COPY)
            else:
                labels[file.relative] = file.labels
                group = file.group if item.entry.group is not None else first.group
                instead[file.relative] = dataclasses.replace(item, file=dataclasses.replace(file, group=group))
    settled = [instead.get(item.file.relative, item) for item in scanned]
    kept = [item for item in settled if isinstance(item, Scanned)]
    skipped = [item for item in settled if isinstance(item, Skipped)]
    return kept, skipped, _notes(skipped, contradictions)


def _notes(skipped: Sequence[Skipped], contradictions: Sequence[str]) -> list[str]:
    notes = []
    for kind, what in (
        (COPY, "with the same samples as another left out"),
        (REJECTED, "refused as a copy of a file of another group"),
    ):
        names = [quoted(item.path) for item in skipped if item.kind == kind]
        if names:
            notes.append(f"{count(len(names), 'file')} {what}: {some(names)}")
    if contradictions:
        recordings = count(len(contradictions), "recording")
        notes.append(f"{recordings} under more than one label: {some(contradictions)}")
    return notes


def near_copy_notes(scanned: Sequence[Scanned], split: Mapping[str, str]) -> list[str]:
    """A note on files that are nearly the same recording; those on both sides of `split` (by relative name) first."""
    first_of = list(range(len(scanned)))  # of the set of near copies that a file belongs to
    pairs = near_copies([item.fingerprint for item in scanned])
    for a, b in pairs:
        low, high = sorted((first_of[a], first_of[b]))
        if low != high:
            first_of = [low if first == high else first for first in first_of]
    files = [item.file for item in scanned]
    near = [
        (files[first], file)
        for first, file in zip(first_of, files, strict=True)
        if file is not files[first] and not (file.content and file.content == files[first].content)
    ]
    if not near:
        return []
    near.sort(key=lambda pair: split[pair[0].relative] == split[pair[1].relative])
    n_crossing = sum(split[a.relative] != split[b.relative] for a, b in near)
    listed = some(f"{quoted(b.relative)} like {quoted(a.relative)}" for a, b in near)
    what = count(len(near), "file")
    note = f"{what} nearly the same as another (another gain, codec or rate, or a trim), kept: {listed}"
    if n_crossing:
        note += f"; {n_crossing} of them on the other side of the split: give both files one group"
    return [note]


def _told(file: SourceFile) -> str:
    return f"{quoted(file.relative)} ({', '.join(file.labels.values())[:40]})"
