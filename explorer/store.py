"""The store on disk: immutable DuckDB generations, a pointer to the current one, and content-named files beside it.

    STORE/CURRENT                   the name of the current generation, replaced atomically
    STORE/store-000007.duckdb       one generation: never written again once published
    STORE/files/<kind>-<hash>.<ext> immutable: codes, traces, weights, previews, playable states
    STORE/artefacts/                what precompute resumes from; browsing never reads it

This is the only module that imports duckdb.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pandas as pd

from explorer.errors import NotInStoreError, StoreError
from explorer.store_lock import is_locked

SCHEMA_VERSION = 5
POINTER = "CURRENT"
FILES = "files"
ARTEFACTS = "artefacts"
_GENERATION = re.compile(r"store-(\d{6})\.duckdb")
# A click asks for one SAE, feature or factor of the large tables. Rows that lie together are found without reading the
# others, since the database keeps the smallest and largest value of each block.
_SORTED_BY: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "features",
            "feature_histograms",
            "feature_attribute_shares",
            "feature_label_counts",
            "feature_neighbours",
            "feature_matches",
            "listed_clips",
        ),
        "sae_id, feature",
    ),
    **dict.fromkeys(("factor_scores", "factor_predictions"), "representation_id, protocol, factor_index"),
    "lasso_weights": "representation_id, protocol, dim",
}
_SCHEMA_SQL = Path(__file__).with_name("schema.sql")


@dataclass(frozen=True)
class Store:
    """A generation opened for reading. Safe to share between threads: each query takes a cursor of its own.

    `edition` tells it from another generation of the same folder and number: a store that was deleted and made again.
    """

    folder: Path
    generation: int
    _connection: duckdb.DuckDBPyConnection = field(repr=False, compare=False)
    edition: str = ""

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> pd.DataFrame:
        """Run one bound query and return its rows. Raises StoreError when the generation cannot answer it."""
        try:
            with self._connection.cursor() as cursor:
                return cursor.execute(sql, parameters or None).df()
        except duckdb.Error as error:
            raise StoreError(
                f"The store in {self.folder} (generation {self.generation}) could not answer a query: {error}. "
                f"Check it with `python -m precompute verify --store {self.folder}`."
            ) from error

    def file(self, relative: str) -> Path:
        """The absolute path of a file that this generation lists. Raises NotInStoreError when it is gone."""
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise NotInStoreError(
                f"The store in {self.folder} has no file {relative!r}. "
                f"Make it again with `python -m precompute publish --store {self.folder}`."
            )
        return path

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
        name = pointer.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_locked(folder):
            raise StoreError(
                f"A precompute is at work in {folder} and has published nothing yet. The first results can be browsed "
                f"when its first encoder is done: reload then. `python -m precompute status --store {folder}` "
                "says how far it is."
            ) from error
        raise StoreError(
            f"There is no store in {folder}: it has no file {POINTER}. Make one with `python -m precompute run "
            f"--dataset folder --root DIR --store {folder} --encoder hubert` or with `python -m precompute demo`."
        ) from error
    except OSError as error:
        raise StoreError(f"The store in {folder} cannot be read: {error}. Check the folder's permissions.") from error
    match = _GENERATION.fullmatch(name)
    if match is None or not (folder / name).is_file():
        raise StoreError(
            f"The store in {folder} points to {name!r}, which is not there. "
            f"Mend it with `python -m precompute publish --store {folder}`."
        )
    return int(match.group(1))


def _last_generation(folder: Path) -> int:
    """The published generation, or the newest file where no pointer leads to one; 0 where there is none.

    A file newer than the pointer was never published: the next publication replaces it, and the one that readers hold
    stays the previous one.
    """
    try:
        return current_generation(folder)
    except StoreError:
        return max(_generations(folder), default=0)


def _generations(folder: Path) -> list[int]:
    return sorted(int(m.group(1)) for path in folder.iterdir() if (m := _GENERATION.fullmatch(path.name)))


def generation_path(folder: Path | str, generation: int) -> Path:
    """Where generation number `generation` lies."""
    return Path(folder) / f"store-{generation:06d}.duckdb"


def current_edition(folder: Path | str, generation: int) -> str:
    """Which file generation number `generation` is now; the name of a generation says less. Raises StoreError."""
    path = generation_path(folder, generation)
    try:
        facts = path.stat()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}. Reload, or make the store again.") from error
    return f"{facts.st_ino}-{facts.st_mtime_ns}"


def open_store(folder: Path | str, *, generation: int | None = None, memory_limit: str = "1GB") -> Store:
    """Open the current generation (or the one named) read-only, with no access to anything outside the folder.

    Raises StoreError when there is none, when it is damaged, or when its schema is older or newer than this code's.
    """
    folder = Path(folder)
    if generation is None:
        generation = current_generation(folder)
    path = generation_path(folder, generation)
    edition = current_edition(folder, generation)  # before it is opened: if it changes in between, the next look sees
    try:
        connection = _connect(path)
        _confine(connection, folder, memory_limit)
    except duckdb.Error as error:
        raise StoreError(
            f"{path} cannot be opened: {error}. Make it again with `python -m precompute publish --store {folder}`."
        ) from error
    store = Store(folder, generation, connection, edition)
    _check_schema(store)
    return store


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection. All connections of a process to one file must ask for the same configuration."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    return duckdb.connect(str(path), read_only=True, config=config)


def _confine(connection: duckdb.DuckDBPyConnection, folder: Path, memory_limit: str) -> None:
    """Shut the database in its folder. A process has one instance of a file: a second opening finds it shut already."""
    locked = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
    if locked is not None and locked[0]:
        return
    files = str(folder.resolve() / FILES).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{files}/']")
    connection.execute(f"SET memory_limit = '{memory_limit}'")
    for setting in ("threads = 2", "enable_external_access = false", "lock_configuration = true"):
        connection.execute(f"SET {setting}")


def _check_schema(store: Store) -> None:
    version = int(store.meta().get("schema_version", "0"))
    if version < SCHEMA_VERSION:
        raise StoreError(
            f"The store in {store.folder} has schema {version}, this Sonoscope reads {SCHEMA_VERSION}. "
            f"Rebuild it from its artefacts with `python -m precompute publish --store {store.folder}`."
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"The store in {store.folder} has schema {version}, newer than this Sonoscope's {SCHEMA_VERSION}. "
            "Update Sonoscope: `git pull && make install`."
        )


class GenerationWriter:
    """A generation being written: tables first, then files, then `publish` makes it the current one."""

    def __init__(self, folder: Path, generation: int, partial: Path) -> None:
        self.folder, self.generation, self._partial = folder, generation, partial
        try:
            with _explained(folder):
                self._connection = duckdb.connect(str(partial))
                self._connection.execute(_SCHEMA_SQL.read_text(encoding="utf-8"))
        except StoreError:
            _remove_database(partial)
            raise

    def insert(self, table: str, rows: pd.DataFrame) -> None:
        """Append `rows` to `table`; the frame's columns must be columns of the table (others stay NULL).

        Large tables are sorted as pages ask for them, so give all their rows at once. Raises StoreError when the disk
        does not take them.
        """
        if rows.empty:
            return
        names = ", ".join(f'"{name}"' for name in rows.columns)
        order = f" ORDER BY {_SORTED_BY[table]}" if table in _SORTED_BY else ""
        with _explained(self.folder):
            self._connection.register("incoming", rows)
            self._connection.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming{order}')  # noqa: S608 - names are code
            self._connection.unregister("incoming")

    def finish(self) -> None:
        """Bring everything to the disk. Raises StoreError when the disk does not take it."""
        with _explained(self.folder):
            self._connection.execute("CHECKPOINT")
            self._connection.close()

    def discard(self) -> None:
        """Give the generation up; nothing of it stays."""
        with suppress(duckdb.Error):  # after a failed write the database may refuse to close in order
            self._connection.close()
        _remove_database(self._partial)


def _remove_database(path: Path) -> None:
    """Delete a database and its log: a new one of the same name would replay what the old one left there."""
    for part in (path, path.with_name(f"{path.name}.wal")):
        part.unlink(missing_ok=True)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Turn a write that the disk refused into a StoreError that says what to do."""
    try:
        yield
    except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:  # in the log, at its end
        raise StoreError(
            f"{target} cannot be written: {error}. Free some space or give write access, then run the same command "
            "again: finished work is kept."
        ) from error


def write_parquet(rows: pd.DataFrame, path: Path, *, order_by: Sequence[str], row_group_size: int = 8192) -> None:
    """Write `rows` sorted by `order_by` (zstd), atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    connection = duckdb.connect()
    try:
        with _explained(path):
            connection.register("incoming", rows)
            order = ", ".join(f'"{name}"' for name in order_by)
            target = str(partial).replace("'", "''")
            connection.execute(
                f"COPY (SELECT * FROM incoming ORDER BY {order}) TO '{target}' "  # noqa: S608 - column names and our own path
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {int(row_group_size)})"
            )
    finally:
        connection.close()
    os.replace(partial, path)


@contextmanager
def new_generation(folder: Path | str) -> Iterator[GenerationWriter]:
    """Write the next generation; on leaving without an error it becomes current, atomically.

    Readers that hold the old one keep it. Nothing changes for anybody when the block raises.
    """
    folder = Path(folder)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    number = 1 + _last_generation(folder)
    final = generation_path(folder, number)
    partial = folder / f".{final.name}.partial"
    _remove_database(partial)
    writer = GenerationWriter(folder, number, partial)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    os.replace(partial, final)
    pointer = folder / f".{POINTER}.{os.getpid()}"
    pointer.write_text(final.name + "\n", encoding="utf-8")
    os.replace(pointer, folder / POINTER)


def remove_unlisted(folder: Path | str) -> list[str]:
    """Delete generations older than the previous one, and files that neither it nor the current one lists.

    Returns the names of what was deleted.
    """
    folder = Path(folder)
    current = current_generation(folder)
    numbers = _generations(folder)
    kept = [n for n in numbers if n <= current][-2:]
    listed: set[str] = set()
    for number in kept:
        connection = _connect(generation_path(folder, number))
        try:
            listed.update(row[0] for row in connection.execute("SELECT path FROM generation_files").fetchall())
        finally:
            connection.close()
    removed = []
    for number in numbers:
        if number not in kept:
            generation_path(folder, number).unlink()
            removed.append(generation_path(folder, number).name)
    for path in sorted((folder / FILES).iterdir()):
        if f"{FILES}/{path.name}" not in listed:
            path.unlink()
            removed.append(path.name)
    return removed
