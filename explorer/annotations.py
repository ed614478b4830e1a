"""What readers write about features: own labels, notes, bookmarks and lists.

SQLite in the user's own data folder, never in a store; a row for each owner, SAE and feature. An SAE's id says what it
was trained on and how, so that what is written stays with it through every new generation. A write changes what its
writer changed and nothing else: a page that has been open for an hour takes nothing away from what was written since.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.notes_file import AnnotationError, reading, writing
from explorer.recent import home_folder
from explorer.text import count, whole

__all__ = ["Annotation", "AnnotationError", "Annotations", "Taken", "Written"]

FILE = "annotations.sqlite"
LONGEST_LABEL, LONGEST_NOTE, LONGEST_LIST, MOST_LISTS = 80, 4000, 60, 20
LONGEST_ABOUT, LONGEST_ID, HIGHEST_FEATURE = 200, 64, 2**31 - 1
MOST_FEATURES = 100_000  # of one reader
COLUMNS = ("sae_id", "feature", "label", "note", "is_bookmarked", "lists", "about", "changed_at")
_TABLE = """CREATE TABLE IF NOT EXISTS annotations (
    owner TEXT, sae_id TEXT, feature INTEGER, label TEXT, note TEXT, is_bookmarked INTEGER, lists TEXT, about TEXT,
    changed_at TEXT, PRIMARY KEY (owner, sae_id, feature))"""
_KEY = "owner = ? AND sae_id = ? AND feature = ?"
_HALVES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SAE_ID = re.compile(rf"[0-9A-Za-z_.-]{{1,{LONGEST_ID}}}")


@dataclass(frozen=True)
class Annotation:
    """What one reader wrote about one feature; everything empty where nothing is."""

    label: str = ""
    note: str = ""
    is_bookmarked: bool = False
    lists: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written."""
        return self == Annotation()

    def checked(self) -> Annotation:
        """The same as it is kept: composed letters, no control characters, no blanks around words, each list once.

        Raises AnnotationError for what is too long or no text.
        """
        clean = replace(
            self,
            label=one_line(self.label, "A label"),
            note=_letters(self.note, "A note").strip(),
            lists=tuple(dict.fromkeys(name for name in (one_line(n, "A list's name") for n in self.lists) if name)),
        )
        for what, text, longest in (
            ("A label", clean.label, LONGEST_LABEL),
            ("A note", clean.note, LONGEST_NOTE),
            *(("A list's name", name, LONGEST_LIST) for name in clean.lists),
        ):
            if len(text) > longest:
                raise AnnotationError(
                    f"{what} has at most {count(longest, 'character')}; {text[:30]!r}… has {whole(len(text))}."
                )
        if len(clean.lists) > MOST_LISTS:
            raise AnnotationError(
                f"A feature is on at most {count(MOST_LISTS, 'list')}, not {whole(len(clean.lists))}."
            )
        return clean


@dataclass(frozen=True)
class Written:
    """What stands there after a write, and the words of others (an older tab, another machine) that it replaced.

    `replaced` holds (field, earlier text) for each field that had changed since its writer read it.
    """

    now: Annotation
    replaced: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Taken:
    """What an import did, in numbers of features; `n_replaced` of the changed ones had another label or note before."""

    n_new: int = 0
    n_changed: int = 0
    n_same: int = 0
    n_replaced: int = 0

    def sentence(self) -> str:
        """For people: '3 features read: 1 new, 2 changed (1 had another label or note before).'"""
        parts = [f"{whole(self.n_new)} new", f"{whole(self.n_changed)} changed", f"{whole(self.n_same)} unchanged"]
        before = f" {whole(self.n_replaced)} of them had another label or note before." if self.n_replaced else ""
        return f"{count(self.n_new + self.n_changed + self.n_same, 'feature')} read: {', '.join(parts)}.{before}"


@dataclass(frozen=True)
class Entry:
    """One feature of a file: only the fields of `words` that `names` holds are written there."""

    sae_id: str
    feature: int
    words: Annotation
    names: frozenset[str]
    about: str = ""


class Annotations:
    """All annotations of one data folder. Each call opens the file, so threads, processes and servers can share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or home_folder()) / FILE

    def get(self, owner: str, sae_id: str, feature: int) -> Annotation:
        """What `owner` wrote about a feature."""
        rows = self._rows(_KEY, [owner, sae_id, _feature(feature)])
        return _annotation(rows.iloc[0].to_dict()) if len(rows) else Annotation()

    def put(self, owner: str, sae_id: str, feature: int, written: Annotation, *, about: str = "") -> None:
        """Keep what was written in place of all that was there; an empty one leaves nothing. `about` is the SAE."""
        key, clean, about = _key(owner, sae_id, feature), written.checked(), _short(about)
        writing(self.path, _TABLE, lambda connection: _keep(connection, key, clean, about))

    def change(
        self, owner: str, sae_id: str, feature: int, seen: Annotation, wanted: Annotation, *, about: str = ""
    ) -> Written:
        """Write the fields in which `wanted` differs from what the writer had `seen`; all others stay as they are.

        Lists are joined and left one by one. For a field that somebody else changed meanwhile the last one to write
        wins, and the answer says what stood there.
        """
        key, seen, wanted, about = _key(owner, sae_id, feature), seen.checked(), wanted.checked(), _short(about)

        def write(connection: sqlite3.Connection) -> Written:
            there = _there(connection, key)
            now = _merged(there, seen, wanted).checked()
            if now != there:
                _keep(connection, key, now, about)
            lost = tuple(
                (name, getattr(there, name))
                for name in ("label", "note")
                if getattr(wanted, name) != getattr(seen, name)
                and getattr(there, name) not in ("", getattr(seen, name), getattr(now, name))
            )
            return Written(now, lost)

        return writing(self.path, _TABLE, write)

    def take(self, owner: str, entries: Sequence[Entry]) -> Taken:
        """Write all of these entries, or none. What is empty in an entry takes nothing away: its label and its note
        replace others, lists and bookmarks are added. Raises AnnotationError over MOST_FEATURES.
        """
        keyed = [(_key(owner, entry.sae_id, entry.feature), entry) for entry in entries]

        def write(connection: sqlite3.Connection) -> Taken:
            numbers = {"n_new": 0, "n_changed": 0, "n_same": 0, "n_replaced": 0}
            for key, entry in keyed:
                there = _there(connection, key)
                now = _joined(key, there, entry)
                kind = "n_same" if now == there else "n_new" if there.is_empty else "n_changed"
                numbers[kind] += 1
                numbers["n_replaced"] += any(
                    getattr(there, name) not in ("", getattr(now, name)) for name in ("label", "note")
                )
                if kind != "n_same":
                    _keep(connection, key, now, entry.about)
            n_all = connection.execute("SELECT count(*) FROM annotations WHERE owner = ?", [owner]).fetchone()[0]
            if n_all > MOST_FEATURES:
                raise AnnotationError(
                    f"With this file you would have notes on {count(n_all, 'feature')}; {whole(MOST_FEATURES)} "
                    "are the most."
                )
            return Taken(**numbers)

        return writing(self.path, _TABLE, write)

    def of_sae(self, owner: str, sae_id: str) -> pd.DataFrame:
        """COLUMNS of every annotated feature of an SAE, by number; `lists` holds tuples."""
        return self._rows("owner = ? AND sae_id = ?", [owner, sae_id])

    def of_owner(self, owner: str) -> pd.DataFrame:
        """COLUMNS of everything that `owner` wrote, newest first."""
        return self._rows("owner = ?", [owner]).sort_values("changed_at", ascending=False, kind="stable")

    def _rows(self, where: str, values: list[object]) -> pd.DataFrame:
        if not self.path.is_file():
            return pd.DataFrame(columns=list(COLUMNS))
        sql = f"SELECT {', '.join(COLUMNS)} FROM annotations WHERE {where} ORDER BY sae_id, feature"  # noqa: S608 - fixed
        found = reading(self.path, lambda connection: _found(connection, sql, values))
        words = [_words(row[2:6]) for row in found]
        rows = pd.DataFrame(found, columns=list(COLUMNS))
        return rows.assign(
            label=[each.label for each in words],
            note=[each.note for each in words],
            lists=[each.lists for each in words],
            is_bookmarked=[each.is_bookmarked for each in words],
        )


def _found(connection: sqlite3.Connection, sql: str, values: list[object]) -> list[Any]:
    made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'annotations'").fetchone()
    return connection.execute(sql, values).fetchall() if made else []  # somebody is just making the file


def one_line(text: str, what: str) -> str:
    """`text` on one line with single blanks; `what` names it in the AnnotationError for one that is no text."""
    return " ".join(_letters(text, what).split())


def _letters(text: str, what: str) -> str:
    """Composed, with line ends as they are here, without control characters."""
    if _HALVES.search(text):
        raise AnnotationError(f"{what} holds half a character (a lone surrogate), which is no text. Write it again.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _CONTROLS.sub("", lines))


def checked_id(sae_id: str) -> str:
    """An SAE's id as it is. Raises AnnotationError for what is none."""
    if not _SAE_ID.fullmatch(sae_id):
        raise AnnotationError(f"{sae_id[:30]!r} is no id of an SAE: up to {LONGEST_ID} letters, digits, '_', '.', '-'.")
    return sae_id


def _feature(feature: int) -> int:
    if not 0 <= int(feature) <= HIGHEST_FEATURE:
        raise AnnotationError(f"There is no feature {str(feature)[:30]}: features are 0 to {whole(HIGHEST_FEATURE)}.")
    return int(feature)


def _key(owner: str, sae_id: str, feature: int) -> tuple[str, str, int]:
    return owner, checked_id(sae_id), _feature(feature)


def _short(about: str) -> str:
    return one_line(about, "about")[:LONGEST_ABOUT]


def _annotation(row: Mapping[Any, Any]) -> Annotation:
    return Annotation(str(row["label"]), str(row["note"]), bool(row["is_bookmarked"]), tuple(row["lists"]))


def _words(row: Sequence[Any]) -> Annotation:
    """What (label, note, is_bookmarked, lists) of the file say. Raises AnnotationError for what others wrote there."""
    label, note, is_bookmarked, lists = row
    try:
        names = json.loads(lists) if isinstance(lists, str) else None
    except (ValueError, RecursionError):
        names = None
    are_texts = isinstance(names, list) and all(isinstance(each, str) for each in (label, note, *names))
    if names is None or not are_texts or is_bookmarked not in (0, 1):
        raise AnnotationError(
            "Your file of notes holds an entry that Sonoscope did not write. Put back a copy of the file, or set "
            "SONOSCOPE_HOME to another folder."
        )
    return Annotation(label, note, bool(is_bookmarked), tuple(names))


def _there(connection: sqlite3.Connection, key: tuple[str, str, int]) -> Annotation:
    sql = f"SELECT label, note, is_bookmarked, lists FROM annotations WHERE {_KEY}"  # noqa: S608 - fixed
    row = connection.execute(sql, key).fetchone()
    return _words(row) if row else Annotation()


def _merged(there: Annotation, seen: Annotation, wanted: Annotation) -> Annotation:
    """`there` with what its writer changed between `seen` and `wanted`; lists joined and left one by one."""
    changed: dict[str, Any] = {
        field.name: getattr(wanted, field.name)
        for field in fields(wanted)
        if getattr(wanted, field.name) != getattr(seen, field.name)
    }
    if "lists" in changed:
        left = set(seen.lists) - set(wanted.lists)
        joined = [name for name in wanted.lists if name not in seen.lists]
        changed["lists"] = tuple(dict.fromkeys([*(name for name in there.lists if name not in left), *joined]))
    return replace(there, **changed)


def _keep(connection: sqlite3.Connection, key: tuple[str, str, int], words: Annotation, about: str) -> None:
    if words.is_empty:
        connection.execute(f"DELETE FROM annotations WHERE {_KEY}", key)  # noqa: S608 - fixed
        return
    lists = json.dumps(words.lists, ensure_ascii=False)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    connection.execute(
        "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET label = excluded.label, "
        "note = excluded.note, is_bookmarked = excluded.is_bookmarked, lists = excluded.lists, "
        "about = CASE WHEN excluded.about = '' THEN about ELSE excluded.about END, changed_at = excluded.changed_at",
        (*key, words.label, words.note, int(words.is_bookmarked), lists, about, now),
    )


def _joined(key: tuple[str, str, int], there: Annotation, entry: Entry) -> Annotation:
    words = entry.words
    joined = Annotation(
        words.label if "label" in entry.names and words.label else there.label,
        words.note if "note" in entry.names and words.note else there.note,
        there.is_bookmarked or ("is_bookmarked" in entry.names and words.is_bookmarked),
        tuple(dict.fromkeys((*there.lists, *(words.lists if "lists" in entry.names else ())))),
    )
    if len(joined.lists) > MOST_LISTS:
        raise AnnotationError(
            f"Feature {key[2]} of SAE {key[1]} would be on {count(len(joined.lists), 'list')}; "
            f"{whole(MOST_LISTS)} are the most."
        )
    return joined
