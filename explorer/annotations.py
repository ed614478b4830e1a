"""What readers write about features: own labels, notes, bookmarks and lists.

SQLite in the user's own data folder, never in a store; a row for each owner, SAE and feature. An SAE's id says what it
was trained on and how, so that what is written stays with it through every new generation.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.errors import ExplorerError
from explorer.recent import home_folder

FILE = "annotations.sqlite"
FORMAT = "sonoscope-annotations-1"
LONGEST_LABEL, LONGEST_NOTE, LONGEST_LIST, MOST_LISTS = 80, 4000, 60, 20
COLUMNS = ("sae_id", "feature", "label", "note", "is_bookmarked", "lists", "about", "changed_at")
_TABLE = """CREATE TABLE IF NOT EXISTS annotations (
    owner TEXT, sae_id TEXT, feature INTEGER, label TEXT, note TEXT, is_bookmarked INTEGER, lists TEXT, about TEXT,
    changed_at TEXT, PRIMARY KEY (owner, sae_id, feature))"""


class AnnotationError(ExplorerError):
    """Something written cannot be kept, or a file of annotations cannot be read."""


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
        """The same without blanks around words and with each list once. Raises AnnotationError for what is too long."""
        clean = replace(
            self,
            label=" ".join(self.label.split()),
            note=self.note.strip(),
            lists=tuple(dict.fromkeys(" ".join(name.split()) for name in self.lists if name.strip())),
        )
        for what, text, longest in (
            ("A label", clean.label, LONGEST_LABEL),
            ("A note", clean.note, LONGEST_NOTE),
            *(("A list's name", name, LONGEST_LIST) for name in clean.lists),
        ):
            if len(text) > longest:
                raise AnnotationError(f"{what} has at most {longest} characters; {text[:30]!r}… has {len(text)}.")
        if len(clean.lists) > MOST_LISTS:
            raise AnnotationError(f"A feature is on at most {MOST_LISTS} lists, not {len(clean.lists)}.")
        return clean


class Annotations:
    """All annotations of one data folder. Each call opens the file anew, so threads and servers can share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or home_folder()) / FILE

    def get(self, owner: str, sae_id: str, feature: int) -> Annotation:
        """What `owner` wrote about a feature."""
        rows = self._rows("owner = ? AND sae_id = ? AND feature = ?", [owner, sae_id, int(feature)])
        return _annotation(rows.iloc[0].to_dict()) if len(rows) else Annotation()

    def put(self, owner: str, sae_id: str, feature: int, written: Annotation, *, about: str = "") -> None:
        """Keep what was written in place of what was there; an empty one leaves nothing. about: the SAE, for people."""
        self._put(owner, [(sae_id, int(feature), written.checked(), about)])

    def of_sae(self, owner: str, sae_id: str) -> pd.DataFrame:
        """COLUMNS of every annotated feature of an SAE, by number; `lists` holds tuples."""
        return self._rows("owner = ? AND sae_id = ?", [owner, sae_id])

    def of_owner(self, owner: str) -> pd.DataFrame:
        """COLUMNS of everything that `owner` wrote, newest first."""
        return self._rows("owner = ?", [owner]).sort_values("changed_at", ascending=False, kind="stable")

    def export(self, owner: str) -> str:
        """Everything that `owner` wrote as JSON, to be read by `restore`, here or elsewhere."""
        rows = [
            {**row, "lists": list(row["lists"]), "is_bookmarked": bool(row["is_bookmarked"])}
            for row in self._rows("owner = ?", [owner]).to_dict("records")
        ]
        return json.dumps({"format": FORMAT, "annotations": rows}, indent=1, ensure_ascii=False) + "\n"

    def restore(self, owner: str, text: str) -> int:
        """Take over an exported file; for a feature in it, the file's words replace the reader's. Returns how many.

        Raises AnnotationError, and changes nothing, for a file that is not one or has an entry that cannot be kept.
        """
        rows = _parsed(text)
        self._put(owner, rows)
        return len(rows)

    def _put(self, owner: str, rows: list[tuple[str, int, Annotation, str]]) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._connected(is_writing=True) as connection:
            for sae_id, feature, written, about in rows:
                key = (owner, sae_id, feature)
                connection.execute("DELETE FROM annotations WHERE owner = ? AND sae_id = ? AND feature = ?", key)
                if not written.is_empty:
                    lists = json.dumps(written.lists, ensure_ascii=False)
                    connection.execute(
                        "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (*key, written.label, written.note, int(written.is_bookmarked), lists, about, now),
                    )

    def _rows(self, where: str, values: list[object]) -> pd.DataFrame:
        if not self.path.is_file():
            return pd.DataFrame(columns=list(COLUMNS))
        sql = f"SELECT {', '.join(COLUMNS)} FROM annotations WHERE {where} ORDER BY sae_id, feature"  # noqa: S608 - fixed
        with self._connected() as connection:
            found = connection.execute(sql, values).fetchall()
        rows = pd.DataFrame(found, columns=list(COLUMNS))
        return rows.assign(
            lists=[tuple(json.loads(text)) for text in rows["lists"]],
            is_bookmarked=rows["is_bookmarked"].astype(bool),
        )

    @contextmanager
    def _connected(self, *, is_writing: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if is_writing:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=10.0)
            try:
                with connection:
                    connection.execute(_TABLE)
                    yield connection
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise AnnotationError(
                f"Your notes in {self.path} cannot be {'written' if is_writing else 'read'}: {error}. "
                "Set SONOSCOPE_HOME to a folder that can be written."
            ) from error


def _annotation(row: Mapping[Any, Any]) -> Annotation:
    return Annotation(str(row["label"]), str(row["note"]), bool(row["is_bookmarked"]), tuple(row["lists"]))


def _parsed(text: str) -> list[tuple[str, int, Annotation, str]]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise AnnotationError(f"This is not a file of annotations: it is not JSON ({error}).") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("annotations"), list):
        raise AnnotationError(f'This is not a file of annotations: it should say "format": "{FORMAT}".')
    return [_entry(number, row) for number, row in enumerate(data["annotations"], start=1)]


def _entry(number: int, row: object) -> tuple[str, int, Annotation, str]:
    given: dict[str, object] = {**dict.fromkeys(("label", "note", "about"), ""), "is_bookmarked": False, "lists": []}
    given |= row if isinstance(row, dict) else {}
    lists = given["lists"]
    kinds = {"sae_id": str, "feature": int, "label": str, "note": str, "about": str, "is_bookmarked": bool}
    wrong = [name for name, kind in kinds.items() if not isinstance(given.get(name), kind)]
    feature = given.get("feature")
    if isinstance(feature, bool) or (isinstance(feature, int) and feature < 0):
        wrong.append("feature")
    if wrong or not isinstance(lists, list) or not all(isinstance(name, str) for name in lists):
        raise AnnotationError(
            f"Entry {number} of the file cannot be read: wrong or missing {', '.join(wrong) or 'lists'}."
        )
    written = Annotation(str(given["label"]), str(given["note"]), bool(given["is_bookmarked"]), tuple(lists))
    try:
        return str(given["sae_id"]), int(str(given["feature"])), written.checked(), str(given["about"])
    except AnnotationError as error:
        raise AnnotationError(f"Entry {number} of the file cannot be kept. {error}") from error
