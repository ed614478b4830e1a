"""VocalSet (Wilkins, Seetharaman, Wahl, Pardo, ISMIR 2018) as it is unpacked.

FULL/<singer>/<exercise>/<technique>/<file>.wav with train_singers_technique.txt and test_singers_technique.txt beside
FULL, or FULL/train/<singer>/... and FULL/test/<singer>/... Version 1.2 has data_by_singer in the place of FULL, and
beside it data_by_technique and data_by_vowel, which hold the same recordings again and are not read.

Label: technique, of the ten that the published classifiers tell apart. The other folders (messa, pp, forte,
slow_piano, ...) are dynamics and tempi: their files have no label and keep the folder's name as the attribute
`other_technique`. Group: singer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from explorer.errors import DatasetError
from explorer.text import count
from precompute.datasets.base import REJECTED, Entry, Listing, Skipped, audio_beside, walk_audio

TECHNIQUES = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry"
)  # fmt: skip
OTHER_TECHNIQUES = (
    "messa", "pp", "forte", "fast_forte", "fast_piano", "slow_forte", "slow_piano", "vibrado"
)  # fmt: skip
EXERCISES = ("arpeggios", "excerpts", "long_tones", "scales")
VOWELS = ("a", "e", "i", "o", "u")
PAPER_VOWELS = frozenset((*VOWELS, "c", "f", "spoken"))  # the last word of a file name that the published loader keeps
TEST_SINGERS = frozenset(("female2", "female8", "male3", "male5", "male10"))
SINGER_LISTS = {split: f"{split}_singers_technique.txt" for split in ("train", "test")}  # beside FULL, or in it
HOLDERS = ("full", "data_by_singer")  # folders that hold each recording once, the first preferred
RESORTED = ("data_by_technique", "data_by_vowel")  # the same recordings again; read only when named as the root
MAX_DEPTH = 3
_SINGER = re.compile(r"(f|m|female|male)(\d{1,2})", re.IGNORECASE)


def read(root: Path, *, drop_vibrado: bool = False) -> Listing:
    """List a VocalSet folder: one that holds FULL or data_by_singer, or one of these itself.

    Folders named vibrado (a spelling of the corpus) are read as vibrato; `drop_vibrado` repeats the fault of the
    published loader, which loses them: no label, no part in the paper's split. Raises DatasetError when it is no
    VocalSet, or its singer lists contradict each other.
    """
    full = find_full(root)
    below, skipped = walk_audio(full)
    name = full.name if full.name.lower() in (*HOLDERS[1:], *RESORTED) else "FULL"
    found = [(f"{name}/{relative}", path) for relative, path in below]
    skipped = [dataclasses.replace(item, path=f"{name}/{item.path}") for item in skipped]
    skipped += audio_beside(root, full, f"not in {name}, where each of VocalSet's recordings is once")
    official, notes = _singer_lists(full)
    entries: list[Entry] = []
    for relative, path in found:
        entry = _entry(relative, path, official, drop_vibrado)
        if entry is None:
            reason = "no singer (f1 to m11, female1 to male11) in its path or name"
            skipped.append(Skipped(relative, reason, REJECTED))
        else:
            entries.append(entry)
    if found and not entries:
        raise _not_vocalset(root)
    n_vibrado = sum("/vibrado/" in entry.relative for entry in entries)
    if n_vibrado:
        what = "lost, as in the published code" if drop_vibrado else "read as vibrato"
        notes.append(f"{count(n_vibrado, 'file')} in folders named vibrado, {what}")
    unlisted = sorted({entry.group or "" for entry in entries if entry.official_split is None})
    if unlisted and len(unlisted) < len({entry.group for entry in entries}):
        notes.append(f"in neither singer list, so they train: {', '.join(unlisted)}")
    return Listing(tuple(entries), tuple(skipped), "technique", "singer", tuple(notes))


def find_full(root: Path) -> Path:
    """The folder of recordings, each of which it holds once: FULL or data_by_singer at most MAX_DEPTH levels below the
    root, or the root itself. Raises DatasetError where there is none, or more than one at the same depth."""
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}. Give VocalSet's folder with --root.")
    if root.name.lower() in (*HOLDERS, *RESORTED) or _has_singers(root):
        return root
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for folder in level for child in _folders(folder)]
        for names in (HOLDERS[:1], HOLDERS[1:]):
            found = [folder for folder in level if folder.name.lower() in names]
            if len(found) > 1:
                listed = ", ".join(repr(folder.relative_to(root).as_posix()) for folder in found[:3])
                raise DatasetError(f"{str(root)!r} holds more than one VocalSet ({listed}). Give one with --root.")
            if found:
                return found[0]
        found = [folder for folder in level if _has_singers(folder) and folder.name.lower() not in RESORTED]
        if len(found) == 1:
            return found[0]
    raise _not_vocalset(root)


def _folders(folder: Path) -> list[Path]:
    """The folders in one, without hidden ones and what a Mac's archive adds."""
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return []
    return [child for child in children if child.is_dir() and child.name[0] != "." and child.name != "__MACOSX"]


def _has_singers(folder: Path) -> bool:
    """Whether singers' folders are in it, or in its train and test."""
    names = {child.name.lower() for child in _folders(folder)}
    return any(_singer(name) for name in names) or {"train", "test"} <= names


def _not_vocalset(root: Path) -> DatasetError:
    is_resorted = any(child.name.lower() in RESORTED for child in _folders(root)) or root.name.lower() in RESORTED
    other = "" if is_resorted else ", or use --dataset folder"
    return DatasetError(
        f"{str(root)!r} is no VocalSet: neither FULL/<singer>/<exercise>/<technique>/ nor data_by_singer/ is there. "
        f"Give the folder that holds one of them{other}."
    )


def _entry(relative: str, path: Path, official: Mapping[str, str], drop_vibrado: bool) -> Entry | None:
    *folders, name = Path(relative).parts
    words = Path(name).stem.split("_")
    at = next((place for place, part in enumerate(folders) if _singer(part)), None)
    singer = _singer(words[0]) if at is None else _singer(folders[at])
    if singer is None:
        return None
    known = (*TECHNIQUES, *OTHER_TECHNIQUES)
    below = [part for part in folders if part in known] if at is None else folders[at + 1 :]
    above = [] if at is None else [part.lower() for part in folders[:at]]
    exercise = next((part for part in below if part in EXERCISES), None) or _exercise(words)
    technique = next((part for part in reversed(below) if part not in EXERCISES), None) or _technique(words)
    raw_technique = technique
    if technique == "vibrado" and not drop_vibrado:
        technique = "vibrato"
    vowel = next((word for word in reversed(words) if word in VOWELS), None)
    piece = _piece(words, singer, exercise, raw_technique, vowel)
    labels = {"technique": technique} if technique in TECHNIQUES else {}
    attributes = {"exercise": exercise, "vowel": vowel, "piece": piece, "sex": singer.rstrip("0123456789")}
    if technique not in TECHNIQUES:
        attributes["other_technique"] = technique
    split = next((part for part in reversed(above) if part in ("train", "test")), None) or official.get(singer)
    return Entry(
        path,
        relative,
        title=" · ".join(text for text in (short_singer(singer), exercise, technique, vowel, piece) if text),
        labels=labels,
        group=singer,
        attributes={key: value for key, value in attributes.items() if value},
        official_split=split,
        is_paper_file=bool(labels) and name.split(".")[0].split("_")[-1] in PAPER_VOWELS,
    )


def short_singer(singer: str) -> str:
    """'female1' -> 'f1', as VocalSet's file names say it."""
    return singer.replace("female", "f").replace("male", "m")


def _singer(text: str) -> str | None:
    match = _SINGER.fullmatch(text)
    if match is None:
        return None
    return ("female" if match[1].lower().startswith("f") else "male") + str(int(match[2]))


def _exercise(words: list[str]) -> str | None:
    joined = "_".join(words)
    return next((exercise for exercise in EXERCISES if exercise.split("_")[0] in words or exercise in joined), None)


def _technique(words: list[str]) -> str | None:
    joined = f"_{'_'.join(words)}_"
    matches = [name for name in (*TECHNIQUES, *OTHER_TECHNIQUES) if f"_{name}_" in joined]
    return max(matches, key=len, default=None)


def _piece(words: list[str], singer: str, exercise: str | None, technique: str | None, vowel: str | None) -> str | None:
    """What is left of a file's name: the song of an excerpt, the key (c or f) of a scale, a take."""
    spelt = ("vibrado", "vibrato") if technique in ("vibrado", "vibrato") else (technique or "").split("_")
    known = {vowel, *(exercise or "").split("_"), *spelt}
    left = [word for word in words if word not in known and _singer(word) != singer]
    return " ".join(left) or None


def _singer_lists(full: Path) -> tuple[dict[str, str], list[str]]:
    """('train' or 'test' by singer, notes): from the two lists, or the published test singers if both are missing."""
    official: dict[str, str] = {}
    for split, name in SINGER_LISTS.items():
        path = next((folder / name for folder in (full.parent, full) if (folder / name).is_file()), None)
        if path is None:
            continue
        for word in path.read_text(encoding="utf-8-sig", errors="replace").split():
            singer = _singer(word.strip(",;"))
            if singer is None:
                raise DatasetError(f"{path.name} names {word!r}, which is no singer (female1 ... male11).")
            if official.setdefault(singer, split) != split:
                raise DatasetError(f"{singer} is in VocalSet's training list and its test list. Correct {path.name}.")
    if official or (full / "test").is_dir():
        return official, []
    singers = [f"{sex}{n}" for sex in ("female", "male") for n in range(1, 12)]
    published = {singer: "test" if singer in TEST_SINGERS else "train" for singer in singers}
    return published, ["the singer lists are missing: the published test singers are held out"]
