"""What lies in the user's own folder and was damaged, or written by others: said, and nothing else is lost."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from explorer import notes_file
from explorer.annotations import Annotation, AnnotationError, Annotations
from explorer.errors import StoreError
from explorer.recent import last_store, recent_stores, remember_store


@pytest.mark.parametrize(
    "values", ["'x','',0,'{bad'", "NULL,NULL,NULL,NULL", "'x','',0,'5'", "x'ff',x'ff',0,x'ff'", "'x','',0,'[1]'"]
)
def test_entries_that_another_program_wrote_are_said(tmp_path: Path, values: str) -> None:
    notes = Annotations(tmp_path)
    notes.put("o", "s", 2, Annotation(label="kept"))
    with closing(sqlite3.connect(notes.path)) as connection:
        connection.execute(f"INSERT INTO annotations VALUES ('o','s',1,{values},'','')")
        connection.commit()
    words = "an entry that Sonoscope did not write"
    for ask in (lambda: notes.get("o", "s", 1), lambda: notes.of_sae("o", "s"), lambda: notes.of_owner("o")):
        with pytest.raises(AnnotationError, match=words):
            ask()
    assert notes.get("o", "s", 2).label == "kept"


@pytest.mark.parametrize("what", ["folder", "pipe", "nested", "bytes", "long", "many"])
def test_whatever_lies_where_stores_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("SONOSCOPE_HOME", str(tmp_path))
    path = tmp_path / "recent_stores.json"
    contents = {
        "nested": "[" * 100_000,
        "bytes": "\udcff",
        "long": json.dumps(["x" * 5000, 5, "a\0b"]),
        "many": " " * 2**21,
    }
    if what in contents:
        path.write_text(contents[what], encoding="utf-8", errors="surrogateescape")
    else:
        (Path.mkdir if what == "folder" else os.mkfifo)(path)
    assert last_store() is None
    if what == "folder":
        with pytest.raises(
            StoreError, match=r"recent_stores\.json cannot be written: Is a directory\. Set SONOSCOPE_HOME"
        ):
            remember_store(tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        return
    remember_store(tmp_path)
    assert recent_stores()[0] == tmp_path


def test_a_home_of_nobody_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOSCOPE_HOME", "~nobody-of-this-name/x")
    with pytest.raises(StoreError, match="whose user has no home here"):
        last_store()


def test_a_full_disk_is_said_where_sqlite_says_only_that_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log needs room before anything is written; on a full disk SQLite calls that an error of the disk."""
    notes = Annotations(tmp_path)
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR | (19 << 8)

    def write(*_: object) -> None:
        raise failed

    monkeypatch.setattr(notes_file, "_write", write)
    with pytest.raises(AnnotationError, match="the file system refuses what SQLite needs"):
        notes.put("o", "s", 1, Annotation(label="x"))
    monkeypatch.setattr(notes_file, "ROOM_BYTES", 2**62)
    with pytest.raises(AnnotationError, match=r"the disk is full\. Free some space, then try again"):
        notes.put("o", "s", 1, Annotation(label="x"))
