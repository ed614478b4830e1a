"""Which row of a table means which file: exactly, then in another Unicode form or with other slashes, then in another
case, with another ending, or as an address writes it (%20)."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from explorer.errors import DatasetError
from explorer.text import count
from precompute.datasets.base import AUDIO_EXTENSIONS
from precompute.datasets.names import look, quoted, some
from precompute.datasets.table import Row

_N_SEARCHED = 5  # rows without a file for which the nearest name is looked for among all


@dataclass(frozen=True)
class Matches:
    """`files`: relative name and path by the row's key. `nearest`: by key of a row without a file, the file whose name
    is nearest. `notes`: which rows were matched though their names differ."""

    files: Mapping[str, tuple[str, Path]]
    nearest: Mapping[str, str]
    notes: tuple[str, ...]


def match_rows(rows: Sequence[Row], found: Sequence[tuple[str, Path]], root: Path, table: str) -> Matches:
    """Match rows to the audio files (relative, path) below `root`. Each file is matched once, each row at most once.

    A name in another case, without its ending or with another is matched where only one file and one row can be meant.
    Raises DatasetError where two rows name one file.
    """
    files = dict(found)
    by_name = {path.relative_to(root).as_posix(): relative for relative, path in found}
    exact: dict[str, str] = {}
    for row in rows:
        ways = (row.key, unicodedata.normalize("NFC", row.key), _forward(row.key))
        relative = next((by_name[name] for name in ways if name in by_name), None)
        if relative is None:
            relative = next((name for name in ways if name in files), None)
        if relative is not None:
            exact[row.key] = relative
    lines = {row.key: row.line for row in rows}
    owners: dict[str, str] = {}
    for key, relative in exact.items():
        if owners.setdefault(relative, key) != key:
            first, second = sorted((lines[owners[relative]], lines[key]))
            raise DatasetError(f"{table} names {relative!r} in line {first} and in line {second}. Keep one.")
    matched = dict(exact)
    notes: list[str] = []
    for fold in (look, _without_ending, lambda name: _without_ending(unquote(name))):
        loose = _only_ones(fold, [key for key in lines if key not in matched], files.keys() - set(matched.values()))
        matched.update(loose)
        if loose:
            listed = some(f"{quoted(key)} for {quoted(relative)}" for key, relative in loose.items())
            names = count(len(loose), "name")
            notes.append(f"{names} in {table} matched to a file though case, ending or %20 differ: {listed}")
    free = sorted(files.keys() - set(matched.values()))
    nearest = _nearest([key for key in lines if key not in matched], free)
    return Matches({key: (name, files[name]) for key, name in matched.items()}, nearest, tuple(notes))


def _forward(key: str) -> str:
    return str(PurePosixPath(unicodedata.normalize("NFC", key).replace("\\", "/")))


def _without_ending(name: str) -> str:
    path = PurePosixPath(look(_forward(name)))
    return str(path.with_suffix("")) if path.suffix in AUDIO_EXTENSIONS else str(path)


def _only_ones(fold: Callable[[str], str], keys: Sequence[str], names: set[str]) -> dict[str, str]:
    """Name by key where both are alone under that fold."""
    sides: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, texts in enumerate((keys, sorted(names))):
        for text in texts:
            sides[fold(_forward(text))][side].append(text)
    return {here[0]: there[0] for here, there in sides.values() if len(here) == len(there) == 1}


def _nearest(keys: Sequence[str], free: Sequence[str]) -> dict[str, str]:
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in free:
        by_stem[PurePosixPath(_without_ending(name)).name].append(name)
    nearest: dict[str, str] = {}
    for key in keys:
        same = by_stem.get(PurePosixPath(_without_ending(key)).name, [])
        if not same and len(nearest) < _N_SEARCHED:
            same = get_close_matches(key, free[:5000], n=1, cutoff=0.8)
        if same:
            nearest[key] = same[0]
    return nearest
