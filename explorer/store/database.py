"""DuckDB, opened for a store: where locks are refused without them, confined to the store's files, with sentences for
what goes wrong."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import duckdb

from explorer.errors import StoreError
from explorer.store.disk import file_system_of
from explorer.store.layout import FILES, how_to_make_again
from explorer.store.lockless import address, files_of, is_odd

STORAGE_VERSION = "v1.2.0"  # which DuckDB 1.2 and later open; nothing that a store holds needs a later one
_NO_EXTENSIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_NO_LOCKS = tuple(os.strerror(number) for number in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL))
_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.{0,200}?) \(PID (?P<pid>\d+)\)")
_DAMAGED = ("checksum", "Could not read", "Corrupt", "corrupt", "deserialize", "Serialization", "INTERNAL", "FATAL")


def is_without_locks(error: duckdb.Error) -> bool:
    """Whether a file could not be opened because its file system has no locks."""
    text = str(error)
    return "Could not set lock" in text and any(reason in text for reason in _NO_LOCKS)


def open_for_reading(path: Path) -> tuple[duckdb.DuckDBPyConnection, bool]:
    """A read-only connection to a generation, and whether it goes through Python's files (see `lockless`); then each
    cursor has to `USE generation`. Raises duckdb.Error.

    All connections of a process to one file must ask for the same configuration.
    """
    if not is_odd(path):
        try:
            return duckdb.connect(str(path), read_only=True, config=_NO_EXTENSIONS), False
        except duckdb.Error as error:
            if not is_without_locks(error):
                raise
    connection = duckdb.connect(config=_NO_EXTENSIONS)
    try:
        connection.register_filesystem(files_of(path.parent))
        connection.execute(f"ATTACH {quoted(address(path.name))} AS generation (READ_ONLY)")
        connection.execute("USE generation")
    except BaseException:
        connection.close()
        raise
    return connection, True


def confine(connection: duckdb.DuckDBPyConnection, folder: Path, *, through_python: bool, memory_limit: str) -> None:
    """Shut the database in its folder. A process has one instance of a file: a second opening finds it shut already."""
    locked = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
    if locked is not None and locked[0]:
        return
    files = address(f"{FILES}/") if through_python else f"{folder.resolve() / FILES}/"
    connection.execute(f"SET allowed_directories = [{quoted(files)}]")
    connection.execute(f"SET memory_limit = {quoted(memory_limit)}")
    connection.execute("SET temp_directory = ''")  # nothing is written into a store that is only read
    for setting in ("threads = 2", "enable_external_access = false", "lock_configuration = true"):
        connection.execute(f"SET {setting}")


def open_for_writing(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection whose tables are written to a new database at `path`. Raises duckdb.Error."""
    try:
        return _attached(path, through_python=is_odd(path))
    except duckdb.Error as error:
        if not is_without_locks(error):
            raise
        path.unlink(missing_ok=True)  # empty: made before the lock was refused
        return _attached(path, through_python=True)


def _attached(path: Path, *, through_python: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config=_NO_EXTENSIONS)
    try:
        if through_python:
            connection.register_filesystem(files_of(path.parent))
        target = address(path.name) if through_python else str(path)
        connection.execute(f"ATTACH {quoted(target)} AS generation (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE generation")
    except BaseException:
        connection.close()
        raise
    return connection


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, select: str, path: Path, options: str) -> None:
    """COPY what `select` gives to a new parquet file. Raises duckdb.Error."""
    if not is_odd(path):
        try:
            connection.execute(f"COPY ({select}) TO {quoted(str(path))} ({options})")
            return
        except duckdb.Error as error:
            if not is_without_locks(error):
                raise
    connection.register_filesystem(files_of(path.parent))
    connection.execute(f"COPY ({select}) TO {quoted(address(path.name))} ({options})")


def is_damage(error: duckdb.Error) -> bool:
    """Whether a database is not as it was written."""
    return any(word in str(error) for word in _DAMAGED)


def quoted(text: str) -> str:
    """A text as SQL's literal, where no parameter can be bound."""
    return "'" + text.replace("'", "''") + "'"


def explained(error: duckdb.Error, path: Path) -> StoreError:
    """Why a generation could not be opened or read, and what helps."""
    text = " ".join(str(error).split())
    folder = path.parent
    if holder := _HOLDER.search(text):
        program = Path(holder["program"]).name
        return StoreError(
            f"{path} is open for writing in another program ({program}, process {holder['pid']}). Close the store "
            "there, then try again; it is never changed by hand."
        )
    if "Could not set lock" in text or "Conflicting lock" in text:
        return StoreError(
            f"{path} is locked by another program, or its file system ({file_system_of(path) or 'unknown'}) refuses "
            f"the lock: {_reason(text)} Close that program, or copy the store to a local disk."
        )
    if any(os.strerror(number) in text for number in (errno.EACCES, errno.EPERM)):
        return StoreError(f"{path} may not be read by this user. Give it read access.")
    if os.strerror(errno.EIO) in text:
        return StoreError(
            f"{path} cannot be read: the disk reports an error. Check the disk. {how_to_make_again(folder)}"
        )
    if "not a valid DuckDB database" in text:
        return StoreError(f"{path} is no database of DuckDB. {how_to_make_again(folder)}")
    if "version number" in text or "newer" in text:
        return StoreError(
            f"{path} was written by a version of DuckDB that this one ({duckdb.__version__}) cannot read. Update "
            f"Sonoscope with its requirements. {how_to_make_again(folder)}"
        )
    if "encrypt" in text.lower():
        return StoreError(f"{path} is encrypted, which no store is. {how_to_make_again(folder)}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoreError(f"{path} asks for more memory than a store may. {how_to_make_again(folder)}")
    what = "is damaged" if is_damage(error) else "cannot be read"
    return StoreError(f"{path} {what}: {_reason(text)} {how_to_make_again(folder)}")


def _reason(text: str) -> str:
    """DuckDB's own words, short, without what it advises: they may hold a store's text."""
    short = text.split(" See also ")[0].split(" LINE ")[0].replace("`", "'")[:200].rstrip(". ")
    return f"{short}."
