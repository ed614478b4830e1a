"""A store opened for reading: its pointer, its generations, queries with a limit of time, and its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import duckdb
import pandas as pd

from explorer.errors import StoreError
from explorer.store import database
from explorer.store.contents import check_columns
from explorer.store.disk import read_small
from explorer.store.layout import (
    FILES,
    GENERATION,
    POINTER,
    SCHEMA_SQL,
    SCHEMA_VERSION,
    command,
    generation_path,
    how_to_make_again,
)
from explorer.store.limits import QUERY_LIMIT_S, stopped_after
from explorer.store.lock import is_locked
from explorer.store.lockless import address
from explorer.store.names import content_path, is_file, is_link, shown
from explorer.text import number

_MAX_POINTER_BYTES = 200


@dataclass(frozen=True)
class Store:
    """A generation opened for reading. Safe to share between threads: each query takes a cursor of its own.

    `edition` tells it from another generation of the same folder and number: a store that was deleted and made again.
    """

    folder: Path
    generation: int
    _connection: duckdb.DuckDBPyConnection = field(repr=False, compare=False)
    edition: str = ""
    _through_python: bool = field(default=False, repr=False, compare=False)
    _checked: set[tuple[str, int]] = field(
        default_factory=set, repr=False, compare=False
    )  # parquet files with the right columns

    def query(
        self, sql: str, parameters: Sequence[object] | dict[str, object] = (), *, limit_s: float = QUERY_LIMIT_S
    ) -> pd.DataFrame:
        """Run one bound query and return its rows. Raises StoreError when the generation cannot answer it in time."""
        try:
            with self._connection.cursor() as cursor, stopped_after(limit_s, cursor.interrupt) as is_late:
                try:
                    if self._through_python:
                        cursor.execute("USE generation")
                    return cursor.execute(sql, parameters or None).df()
                except duckdb.InterruptException as error:
                    if not is_late():
                        raise
                    raise StoreError(
                        f"The store in {self.folder} (generation {self.generation}) did not answer a query in "
                        f"{number(limit_s, 0)} s, and it was stopped. Check it with {command(self.folder, 'verify')}."
                    ) from error
        except (duckdb.Error, UnicodeDecodeError) as error:
            if isinstance(error, duckdb.Error) and database.is_damage(error):
                raise database.explained(error, generation_path(self.folder, self.generation)) from error
            reason = " ".join(str(error).split()).replace("`", "'")[:300].rstrip(". ")
            raise StoreError(
                f"The store in {self.folder} (generation {self.generation}) could not answer a query: {reason}. "
                f"Check it with {command(self.folder, 'verify')}."
            ) from error

    def file(self, relative: object) -> Path:
        """The absolute path of a file that this generation names as `files/NAME`.

        Raises StoreError for what is no name of a store's file, and NotInStoreError when the file is gone.
        """
        return content_path(self.folder, relative).absolute()

    def parquet(self, relative: object) -> str:
        """What a query's `read_parquet(?)` takes for the same file.

        Raises as `file`, and StoreError for columns that a file of its kind does not have.
        """
        path = self.file(relative)
        name = address(f"{FILES}/{path.name}") if self._through_python else str(path)
        mark = (path.name, path.stat().st_mtime_ns)
        if mark not in self._checked:
            n_rows = int(self.query("SELECT count(*) AS n FROM read_parquet(?)", [name])["n"].iloc[0])
            rows = self.query("DESCRIBE SELECT * FROM read_parquet(?)", [name])
            check_columns(path, dict(zip(rows["column_name"], rows["column_type"], strict=True)), n_rows)
            self._checked.add(mark)
        return name

    def meta(self) -> dict[str, str]:
        """The generation's key-value facts: schema_version, corpus_name, label_name, group_name and others."""
        rows = self.query("SELECT key, value FROM meta")
        return dict(zip(rows["key"], rows["value"], strict=True))

    def close(self) -> None:
        """Release the database file."""
        self._connection.close()


def current_generation(folder: Path | str) -> int:
    """The number of the published generation. Raises StoreError when the folder holds no store."""
    folder = Path(folder)
    pointer = folder / POINTER
    try:
        name = read_small(pointer, _MAX_POINTER_BYTES).decode("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_locked(folder):
            raise StoreError(
                f"A precompute is running in {folder} and has published nothing yet. The first results can be browsed "
                f"when its first encoder is done: reload then. {command(folder, 'status')} says how far it is."
            ) from error
        raise StoreError(
            f"There is no store in {folder}: it has no file {POINTER}. Make one with `python -m precompute run "
            "--dataset folder --root DIR --store DIR --encoder hubert` or with `python -m precompute demo`."
        ) from error
    except PermissionError as error:
        raise StoreError(f"{pointer} may not be read by this user. Give it read access to the folder.") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{pointer} names no generation: it is no text. {how_to_make_again(folder)}") from error
    except OSError as error:
        reason = "it is a link, which is not followed" if is_link(pointer) else error.strerror or str(error)
        raise StoreError(f"{pointer} cannot be read: {reason}. {how_to_make_again(folder)}") from error
    match = GENERATION.fullmatch(name)
    if match is None or not is_file(folder / name):
        raise StoreError(
            f"The store in {folder} points to {shown(name)}, which is not there. {how_to_make_again(folder)}"
        )
    return int(match.group(1))


def generations(folder: Path) -> list[int]:
    """The numbers of all generations whose file is there, published or not."""
    return sorted(
        int(m.group(1)) for path in folder.iterdir() if (m := GENERATION.fullmatch(path.name)) and is_file(path)
    )


def current_edition(folder: Path | str, generation: int) -> str:
    """Which file generation number `generation` is now; the name of a generation says less. Raises StoreError."""
    path = generation_path(folder, generation)
    try:
        facts = path.lstat()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Reload, or make the store again.") from error
    return f"{facts.st_ino}-{facts.st_mtime_ns}"


def open_store(folder: Path | str, *, generation: int | None = None, memory_limit: str = "1GB") -> Store:
    """Open the current generation (or the one named) read-only, with no access to anything outside the folder.

    Raises StoreError when there is none, when it is damaged or not made by Sonoscope, or when its schema is older or
    newer than this code's.
    """
    folder = Path(folder)
    if generation is None:
        generation = current_generation(folder)
    store = _open(folder, generation, memory_limit)
    try:
        _check_plain(store)
        _check_schema(store)
        _check_tables(store)
    except BaseException:
        store.close()
        raise
    return store


def listed_files(folder: Path, generation: int) -> set[str] | None:
    """What a generation lists, of whatever schema; None where it cannot be read."""
    try:
        with closing(_open(folder, generation, "1GB")) as store:
            _check_plain(store)
            return {str(path) for path in store.query("SELECT path FROM generation_files")["path"]}
    except StoreError:
        return None


def _open(folder: Path, generation: int, memory_limit: str) -> Store:
    path = generation_path(folder, generation)
    edition = current_edition(folder, generation)  # before it is opened: if it changes in between, the next look sees
    if not is_file(path):
        raise StoreError(f"{path} is no regular file. {how_to_make_again(folder)}")
    log = path.with_name(f"{path.name}.wal")
    if log.exists() or is_link(log):
        raise StoreError(
            f"{log.name} is next to {path}: another program opened the database for writing, which nothing may. Close "
            f"it there; then delete {log.name}, and check the store with {command(folder, 'verify')}."
        )
    try:
        connection, through_python = database.open_for_reading(path)
    except duckdb.Error as error:
        raise database.explained(error, path) from error
    store = Store(folder, generation, connection, edition, through_python)
    try:
        database.confine(connection, folder, through_python=through_python, memory_limit=memory_limit)
    except duckdb.Error as error:
        store.close()
        raise database.explained(error, path) from error
    return store


def _check_plain(store: Store) -> None:
    """Raise StoreError for a database that holds more than tables: a view or macro would be run by whoever reads it."""
    rows = store.query(
        "SELECT 'view' AS kind, view_name AS name FROM duckdb_views() WHERE NOT internal "
        "UNION ALL SELECT 'macro', function_name FROM duckdb_functions() WHERE NOT internal "
        "UNION ALL SELECT 'type', type_name FROM duckdb_types() WHERE NOT internal LIMIT 1"
    )
    if len(rows):
        kind, name = rows["kind"][0], rows["name"][0]
        raise StoreError(
            f"The store in {store.folder} holds a {kind} named {shown(name)}; a store holds tables alone. It was "
            "changed, or not made by Sonoscope: use another copy."
        )


def _check_schema(store: Store) -> None:
    tables = store.query("SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()")
    if "meta" not in set(tables["table_name"]):
        raise StoreError(
            f"{generation_path(store.folder, store.generation)} is no store of Sonoscope: it has no table meta. "
            f"{how_to_make_again(store.folder)}"
        )
    found = store.query("SELECT CAST(value AS VARCHAR) AS value FROM meta WHERE key = 'schema_version'")["value"]
    text = str(found[0]) if len(found) else "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise StoreError(
            f"The store in {store.folder} says that its schema is {shown(text)}, which is no number. "
            f"{how_to_make_again(store.folder)}"
        )
    if int(text) < SCHEMA_VERSION:
        raise StoreError(
            f"The store in {store.folder} has schema {int(text)}, this Sonoscope reads {SCHEMA_VERSION}. "
            f"{how_to_make_again(store.folder)}"
        )
    if int(text) > SCHEMA_VERSION:
        raise StoreError(
            f"The store in {store.folder} has schema {int(text)}, newer than this Sonoscope's {SCHEMA_VERSION}. "
            "Update Sonoscope: `git pull && make install`."
        )


def _check_tables(store: Store) -> None:
    """Raise StoreError unless every table is as this code writes it: its columns, their types, nothing computed."""
    rows = store.query("SELECT table_name, sql FROM duckdb_tables() WHERE database_name = current_database()")
    found = dict(zip(rows["table_name"], rows["sql"], strict=True))
    wrong = sorted(name for name, sql in _own_tables().items() if found.get(name) != sql)
    if wrong:
        what = "misses the table" if wrong[0] not in found else "holds other columns than this Sonoscope's in the table"
        raise StoreError(f"The store in {store.folder} {what} {wrong[0]}. {how_to_make_again(store.folder)}")


@cache
def _own_tables() -> dict[str, str]:
    """How DuckDB describes each table of the schema."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA_SQL.read_text(encoding="utf-8"))
        return dict(connection.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall())
