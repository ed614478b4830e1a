"""What every data set gives: files with their columns, cut into clips with their splits, and what was left out."""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from explorer.audio import AudioInfo
from explorer.errors import DatasetError
from explorer.store import ARTEFACTS, POINTER

# fmt: off
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc",
    ".au", ".snd", ".caf", ".m4a", ".aac",
))
# fmt: on
NOT_AUDIO, REJECTED, COPY = "not audio", "rejected", "copy"


@dataclass(frozen=True)
class Skipped:
    """A file that was left out. `path` is relative to the data set's folder.

    kind 'not audio': not taken, no failure. 'copy': the same recording as another file, which is taken, no failure.
    'rejected': meant to be read and refused; `--strict` makes it an error.
    may_pass: the reason is not the file's content but a permission, a disk or a missing decoder, which may be mended.
    """

    path: str
    reason: str
    kind: str
    may_pass: bool = False


@dataclass(frozen=True)
class Entry:
    """A file that a reader found, before it is decoded. `path` opens it; `relative` is NFC, for people and as a key."""

    path: Path
    relative: str
    title: str
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None  # None: nothing better than the file itself
    attributes: Mapping[str, str] = field(default_factory=dict)
    official_split: str | None = None  # 'train' or 'test', the data set's own
    is_paper_file: bool = True  # belongs to what preset paper trains and tests on
    official_fold: str | None = None  # the data set's own


@dataclass(frozen=True)
class Listing:
    """What a reader makes of a folder, in any order."""

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    label_name: str | None
    group_name: str
    notes: tuple[str, ...] = ()
    is_synthetic: bool = False


@dataclass(frozen=True)
class SourceFile:
    """One decoded file. `relative` uses '/' on every system; `sha256` is of its bytes, `content` of its samples (see
    `identity`)."""

    path: Path
    relative: str
    labels: Mapping[str, str]
    group: str
    attributes: Mapping[str, str]
    official_split: str | None
    sha256: str
    content: str
    info: AudioInfo

    @property
    def file_id(self) -> str:
        """10 hex digits of the content and the place."""
        return short_hash(f"{self.sha256}|{self.relative}", 10)


@dataclass(frozen=True)
class Clip:
    """One cut of a file, with everything that says where it belongs. Full scale is 1.0 in `peak` and `rms`."""

    clip_id: str
    clip_index: int
    file: SourceFile
    start_s: float
    duration_s: float
    title: str
    label: str | None
    group: str
    split: str  # 'train' or 'held-out'
    paper_split: str | None  # 'train', 'valid' or 'test'; None where the published protocol does not take it
    fold_all: int | None  # over all groups; None where there is nothing to fold
    fold_group: int | None  # None when held out, or where there is nothing to fold
    fold_random: int | None
    peak: float
    rms: float
    is_silent: bool


@dataclass(frozen=True)
class Corpus:
    """A data set that was read: clips sorted by path and start, in which clip_index is the position."""

    name: str
    kind: str
    root: Path
    corpus_id: str
    label_name: str | None
    group_name: str
    clips: tuple[Clip, ...]
    files: tuple[SourceFile, ...]
    skipped: tuple[Skipped, ...]
    note: str
    is_synthetic: bool

    def clip_columns(self) -> Iterator[tuple[int, str, str, str]]:
        """(clip_index, role, name, value) of every label, group and attribute; empty values are left out."""
        for clip in self.clips:
            for name, value in clip.file.labels.items():
                yield clip.clip_index, "label", name, value
            yield clip.clip_index, "group", self.group_name, clip.group
            for name, value in clip.file.attributes.items():
                yield clip.clip_index, "attribute", name, value

    @property
    def rejected(self) -> tuple[Skipped, ...]:
        """The skipped files that were meant to be read."""
        return tuple(item for item in self.skipped if item.kind == REJECTED)


def corpus_name(root: Path) -> str:
    """What a corpus is called: its folder's own name, NFC."""
    return unicodedata.normalize("NFC", root.resolve().name)


def short_hash(text: str, n_digits: int) -> str:
    """The first hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:n_digits]


def walk_audio(root: Path, *, ignore: frozenset[Path] = frozenset()) -> tuple[list[tuple[str, Path]], list[Skipped]]:
    """All audio files under a folder as (relative, path), sorted, and the rest with the reason each was not taken.

    By extension only: content is judged when a file is decoded. Hidden files and folders, stores of Sonoscope and what
    is in `ignore` (files and folders below `root`, not listed) are not entered. Linked folders are followed, each once.
    `relative` is NFC and unique: the second of two names that differ only in their Unicode form has ' (2)' behind it.
    Raises DatasetError when the folder is not there or cannot be listed.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}. Give the folder of recordings with --root.")
    found: list[tuple[str, Path]] = []
    skipped: list[Skipped] = []
    seen = {_identity(place) for place in ignore if place.is_dir()}
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            identity = _identity(folder)
            children = sorted(folder.iterdir(), key=lambda child: child.name)
        except OSError as error:
            if folder == root:
                raise DatasetError(f"The folder {str(root)!r} cannot be listed: {error.strerror}.") from error
            reason = f"the folder cannot be listed: {error.strerror}"
            skipped.append(Skipped(relative_name(root, folder), reason, REJECTED, may_pass=True))
            continue
        if identity in seen:
            skipped.append(Skipped(relative_name(root, folder), "a link to a folder that is already read", NOT_AUDIO))
            continue
        seen.add(identity)
        for child in children:
            relative = relative_name(root, child)
            if child in ignore:
                continue
            try:
                why = _why_not(child)
            except OSError as error:
                skipped.append(Skipped(relative, f"it cannot be looked at: {error.strerror}", REJECTED, may_pass=True))
                continue
            if why is not None:
                skipped.append(Skipped(relative, *why))
            elif child.is_dir():
                todo.append(child)
            else:
                found.append((relative, child))
    return sorted(_told_apart(found)), sorted(skipped, key=lambda item: item.path)


def _told_apart(found: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """The same files, each under a name of its own; who is NFC on the disk keeps the name."""
    times: Counter[str] = Counter()
    for relative, path in sorted(found, key=lambda item: (item[0], not str(item[1]).endswith(item[0]), str(item[1]))):
        times[relative] += 1
        if times[relative] > 1:
            name = PurePosixPath(relative)
            yield str(name.with_name(f"{name.stem} ({times[relative]}){name.suffix}")), path
        else:
            yield relative, path


def audio_beside(root: Path, inside: Path, reason: str) -> list[Skipped]:
    """Audio files below `root` that a reader of only the folder `inside` leaves out, and what could not be looked at.

    Paths are relative to the folder that holds `inside`, or to `root` where they lie outside of it.
    """
    if inside == root:
        return []
    found, skipped = walk_audio(root, ignore=frozenset((inside,)))
    left_out = [Skipped(relative, reason, NOT_AUDIO) for relative, _ in found]
    left_out += [item for item in skipped if item.kind == REJECTED]
    base = "" if inside.parent == root else f"{relative_name(root, inside.parent)}/"
    return [dataclasses.replace(item, path=item.path.removeprefix(base)) for item in left_out]


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def relative_name(root: Path, path: Path) -> str:
    """A path below the root as NFC text with '/', in which bytes that are no UTF-8 are written as \\xNN."""
    text = path.relative_to(root).as_posix() if path != root else "."
    text = unicodedata.normalize("NFC", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_store(folder: Path) -> bool:
    """Whether a folder is a store, published or begun: its previews are no recordings of the data set."""
    has_artefacts = (folder / ARTEFACTS).is_dir() and not any(
        child.suffix.lower() in AUDIO_EXTENSIONS for child in folder.iterdir()
    )
    return has_artefacts or ((folder / POINTER).is_file() and any(folder.glob("store-*.duckdb")))


def _why_not(path: Path) -> tuple[str, str] | None:
    """(reason, kind) when a path is not to be read, else None."""
    name = path.name
    if path.is_dir():
        if name.startswith(".") or name == "__MACOSX":
            return "a hidden folder", NOT_AUDIO
        if is_store(path):
            return "a store of Sonoscope, not recordings", NOT_AUDIO
        return None
    if name.startswith("."):
        return "a hidden file", NOT_AUDIO
    suffix = path.suffix.lower()
    if suffix not in AUDIO_EXTENSIONS:
        return (f"{suffix} is not an extension of audio" if suffix else "no extension of audio"), NOT_AUDIO
    if not path.exists():
        return "a link to nothing", REJECTED
    if not path.is_file():
        return "neither a file nor a folder", NOT_AUDIO
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it", REJECTED
    return None
