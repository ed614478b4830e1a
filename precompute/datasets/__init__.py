"""The data sets that can be read. `read_corpus` is the only way in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from explorer.errors import ConfigError, DatasetError
from explorer.same_as_label import same_as_label
from precompute.datasets import esc50, folder, synthetic, vocalset
from precompute.datasets.base import REJECTED, Clip, Corpus, Entry, Listing, Skipped, SourceFile, corpus_name
from precompute.datasets.names import clean, look, look_alikes, one_spelling, quoted, resemblance, some, spelt
from precompute.datasets.scan import Progress, build_corpus

__all__ = ["DATASETS", "Clip", "Corpus", "DatasetKind", "Skipped", "SourceFile", "corpus_name", "read_corpus"]


_LIKE_EMPTY = frozenset(("na", "n/a", "none", "null", "nan"))  # what programs write for nothing


@dataclass(frozen=True)
class DatasetKind:
    """One layout that can be read: name, what it expects, reader, and files that it also reads beside the root."""

    name: str
    description: str
    read: Callable[[Path, bool], Listing]  # (root, drop_vibrado)
    beside: tuple[str, ...] = ()


DATASETS: Mapping[str, DatasetKind] = {
    kind.name: kind
    for kind in (
        DatasetKind(
            "vocalset",
            "VocalSet as it is unpacked: FULL/<singer>/<exercise>/<technique>/*.wav with its two singer lists, or "
            "FULL/train and FULL/test, or data_by_singer of version 1.2; label technique, group singer",
            lambda root, drop_vibrado: vocalset.read(root, drop_vibrado=drop_vibrado),
            beside=tuple(vocalset.SINGER_LISTS.values()),
        ),
        DatasetKind(
            "esc50",
            "ESC-50: audio/*.wav and meta/esc50.csv; label category, group fold (the last fold is held out)",
            lambda root, _: esc50.read(root),
        ),
        DatasetKind(
            "folder",
            "any folder of audio, with metadata.csv (file, label, group, anything else) or one folder a label",
            lambda root, _: folder.read(root),
        ),
        DatasetKind(
            "synthetic",
            "the generated singing that `python -m precompute demo` writes: VocalSet's layout, no real voice",
            lambda root, _: synthetic.read(root),
        ),
    )
}


def read_corpus(
    kind: str,
    root: Path,
    *,
    clip_s: float = 10.0,
    seed: int = 0,
    paper: bool = False,
    label: str | None = None,
    group: str | None = None,
    n_workers: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a data set: list, decode and hash every file, split by group, cut into clips of at most `clip_s` seconds.

    `clip_s` may be infinite: one clip a file. `label` and `group` name other columns of the data set; `group` may also
    be 'folder' or 'file'. `paper` repeats the published loader's fault with VocalSet (`drop_vibrado`: files in folders
    named vibrado get no label and no part). The same folder and arguments give the same corpus, clip for clip.
    Raises DatasetError for a layout that is not as expected or holds nothing readable; a single bad file is in
    `Corpus.skipped` with its reason.
    """
    if kind not in DATASETS:
        raise ConfigError(f"There is no data set {kind!r}; there are {', '.join(DATASETS)}.")
    root = Path(root)
    listing = join_look_alikes(choose_columns(DATASETS[kind].read(root, paper), label=label, group=group))
    return build_corpus(listing, kind=kind, root=root, clip_s=clip_s, seed=seed, n_workers=n_workers, progress=progress)


def choose_columns(listing: Listing, *, label: str | None, group: str | None) -> Listing:
    """The same listing with other columns as label and group; the ones they replace become attributes.

    A file without a value for the new group is rejected: a file of an unknown group could stand on both sides of a
    split. Raises DatasetError for a column that no file has.
    """
    columns = {id(entry): _columns(entry, listing.group_name) for entry in listing.entries}
    names = sorted({name for values in columns.values() for name in values})
    label, group = _in_its_case(label, names), _in_its_case(group, names)
    for option, name in (("--label", label), ("--group", group)):
        if name is not None and name not in names and not (option == "--group" and name in ("folder", "file")):
            raise DatasetError(f"{option} {name!r} is no column of this data set; it has {', '.join(names) or 'none'}.")
    label_name = label or listing.label_name
    group_name = group or listing.group_name
    notes = list(listing.notes)
    if label_name is not None and label_name == group_name:
        notes.append(f"label and group are both {label_name}: a held-out group's label was never trained")
    if group_name == "file":
        notes.append("each file is its own group: name a column or 'folder' with --group if files share a source")
    entries: list[Entry] = []
    skipped = list(listing.skipped)
    for entry in listing.entries:
        values = columns[id(entry)]
        new_group = _group_value(entry, values, group) if group is not None else entry.group
        if group is not None and group != "file" and not new_group:
            skipped.append(Skipped(entry.relative, f"no value in the group column {group!r}", REJECTED))
            continue
        labels = entry.labels if label is None else {name: values[name] for name in (label,) if name in values}
        taken = {*labels, group_name}
        rest = {name: value for name, value in values.items() if name not in taken}
        entries.append(dataclasses.replace(entry, labels=labels, group=new_group, attributes=rest))
    return dataclasses.replace(
        listing,
        entries=tuple(entries),
        skipped=tuple(skipped),
        label_name=label_name,
        group_name=group_name,
        notes=tuple(notes),
    )


def join_look_alikes(listing: Listing) -> Listing:
    """The same listing, in which groups that differ only by case, width, blanks or a final '.0' are one, with a note:
    the same singer must not stand on both sides of a split, nor count as two. Labels that look alike stay apart, and so
    do groups that resemble each other more loosely, with a note."""
    groups = [entry.group for entry in listing.entries if entry.group is not None]
    alike, spelling = look_alikes(groups), one_spelling(groups)
    notes = []
    if alike:
        notes.append(f"groups that differ only by case, blanks or a final .0 are read as one: {spelt(alike)}")
    entries = tuple(
        dataclasses.replace(entry, group=spelling.get(entry.group, entry.group)) if entry.group else entry
        for entry in listing.entries
    )
    notes += _resembling("groups", [spelling.get(group, group) for group in groups])
    notes += _like_empty("groups", groups)
    if listing.label_name is not None:
        labels = [entry.labels[listing.label_name] for entry in entries if listing.label_name in entry.labels]
        apart = look_alikes(labels)
        if apart:
            notes.append(
                f"labels that differ only by case, blanks or a final .0 are kept as different labels: {spelt(apart)}"
            )
        notes += _resembling("labels", [*one_spelling(labels).values(), *(set(labels) - one_spelling(labels).keys())])
        notes += _like_empty("labels", labels)
        notes += _same_columns(entries, listing.label_name, listing.group_name)
        notes += _other_names(entries, listing.label_name)
    return dataclasses.replace(listing, entries=entries, notes=(*listing.notes, *notes))


def _resembling(what: str, values: Sequence[str]) -> list[str]:
    """A note on values that may be spellings of one, which is for a person to say."""
    alike = look_alikes(values, resemblance)
    return [f"{what} that may be spellings of one are read as they are: {spelt(alike)}"] if alike else []


def _like_empty(what: str, values: Sequence[str]) -> list[str]:
    empty = sorted({value for value in values if value.casefold() in _LIKE_EMPTY})
    return [f"read as {what}: {some(map(quoted, empty))}; leave cells empty where there is none"] if empty else []


def _same_columns(entries: Sequence[Entry], label_name: str, group_name: str) -> list[str]:
    """A note where each label is one group and each group one label."""
    pairs = {(entry.labels[label_name], entry.group) for entry in entries if label_name in entry.labels}
    n_labels, n_groups = (len({pair[place] for pair in pairs}) for place in (0, 1))
    if label_name == group_name or None in {group for _, group in pairs} or not 1 < n_labels == n_groups == len(pairs):
        return []
    return [
        f"{label_name} and {group_name} divide the files alike, so no label of a held-out group is ever trained: "
        "name another column with --group or --label"
    ]


def _other_names(entries: Sequence[Entry], label_name: str) -> list[str]:
    """A note on attributes that are the label under another name."""
    names = sorted({name for entry in entries for name in entry.attributes})
    columns = {name: [entry.attributes.get(name) for entry in entries] for name in names}
    found = same_as_label(columns, [entry.labels.get(label_name) for entry in entries])
    return [f"{label_name} under another name, not used as an attribute: {some(found)}"] if found else []


def _in_its_case(name: str | None, names: Sequence[str]) -> str | None:
    """An option's text as a column: NFC, and in the column's case where only one can be meant."""
    if name is None or (name := clean(name)) in names:
        return name
    alike = [column for column in names if look(column) == look(name)]
    return alike[0] if len(alike) == 1 else name


def _columns(entry: Entry, group_name: str) -> dict[str, str]:
    own_group = {} if entry.group is None else {group_name: entry.group}
    return {**entry.attributes, **own_group, **entry.labels}


def _group_value(entry: Entry, values: Mapping[str, str], group: str) -> str | None:
    if group in values:
        return values[group]
    if group == "folder":
        return str(Path(entry.relative).parent)
    return None
