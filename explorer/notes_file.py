"""The SQLite file of what readers write: opened for many processes at once, and its refusals as sentences.

Write-ahead logging lets readers go on while somebody writes; it needs shared memory, which network file systems do not
have between machines, so there (and where SQLite refuses it) the older journal is used. Who finds the file locked waits
and tries again, each time at another moment; a write is one transaction that begins with the lock.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from explorer.errors import ExplorerError
from explorer.text import number

PATIENCE_S = 45.0  # a write waits so long for its turn
WAIT_S = 5.0  # of one attempt
LONGEST_PAUSE_S = 0.25
ROOM_BYTES = 2**17  # what SQLite needs beside the file
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "lustre", "glusterfs", "beegfs")
_WAITS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
T = TypeVar("T")


class AnnotationError(ExplorerError):
    """Something written cannot be kept, or a file of annotations cannot be read."""


def reading(path: Path, ask: Callable[[sqlite3.Connection], T]) -> T:
    """What `ask` finds in the file, which exists. Raises AnnotationError when it cannot be read."""
    with _sentences(path, "read"):
        return _patiently(lambda: _read(path, ask))


def writing(path: Path, table: str, change: Callable[[sqlite3.Connection], T]) -> T:
    """The result of `change` as one transaction; the file, its folder and its `table` are made where they are missing.

    `change` may run more than once, each time from the start. Raises AnnotationError when nothing could be written.
    """
    with _sentences(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return _patiently(lambda: _write(path, table, change))


def _read(path: Path, ask: Callable[[sqlite3.Connection], T]) -> T:
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        return _asked(address, ask)
    except sqlite3.OperationalError as error:
        if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
    return _asked(f"{address}&immutable=1", ask)  # files of its own beside it, which SQLite needs, cannot be made here


def _asked(address: str, ask: Callable[[sqlite3.Connection], T]) -> T:
    with closing(sqlite3.connect(address, uri=True, timeout=WAIT_S)) as connection:
        return ask(connection)


def _write(path: Path, table: str, change: Callable[[sqlite3.Connection], T]) -> T:
    with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as connection:
        _prefer_log(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(table)
            result = change(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result


def _prefer_log(connection: sqlite3.Connection, path: Path) -> None:
    if is_network(path):
        return
    try:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if _code(error) not in (*_WAITS, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL):
            raise  # otherwise somebody else is changing it, or it is refused here: the older journal does as well


def _patiently(attempt: Callable[[], T]) -> T:
    end, pause = time.monotonic() + PATIENCE_S, 0.01
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if _code(error) not in _WAITS or time.monotonic() > end:
                raise
        time.sleep(random.uniform(0, pause))  # noqa: S311 - not a secret
        pause = min(2 * pause, LONGEST_PAUSE_S)


@contextmanager
def _sentences(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise AnnotationError(f"Your notes in {path} cannot be {what}: {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    elsewhere = "set SONOSCOPE_HOME to a folder that can be written"
    if isinstance(error, OSError):
        return f"{error.strerror or error}. Make that folder writable, or {elsewhere}."
    code = _code(error)
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL  # its log and the index of that need room before anything is written
    if code in _WAITS:
        return f"{holder(path)} has kept the file locked for {number(PATIENCE_S, 0)} s. Close it, then try again."
    return {
        sqlite3.SQLITE_READONLY: f"the file or its folder is read-only. Make it writable, or {elsewhere}.",
        sqlite3.SQLITE_PERM: f"you have no permission for the file. Make it yours, or {elsewhere}.",
        sqlite3.SQLITE_CANTOPEN: f"the file cannot be opened. Make it and its folder writable, or {elsewhere}.",
        sqlite3.SQLITE_FULL: "the disk is full. Free some space, then try again.",
        sqlite3.SQLITE_NOTADB: "this is not a file of notes. Move it away, or set SONOSCOPE_HOME to another folder.",
        sqlite3.SQLITE_CORRUPT: "the file is damaged. Restore a copy, or move it away to start again.",
        sqlite3.SQLITE_IOERR: f"the file system refuses what SQLite needs ({error}). To keep them on another disk, "
        f"{elsewhere}.",
        sqlite3.SQLITE_PROTOCOL: f"the file system has no locks. To keep them on another one, {elsewhere}.",
    }.get(code, f"{error}. If the file is of another program, set SONOSCOPE_HOME to another folder.")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < ROOM_BYTES
    except OSError:
        return False


def _code(error: Exception) -> int:
    """SQLite's result code without its extension; 0 when there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_network(path: Path) -> bool:
    """Whether the folder of `path` is on a network file system, as far as the machine says so."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    folder = f"{path.parent.resolve()}/"
    mounts = [line.split(" ")[1:3] for line in lines]
    fits = [(len(place), kind) for place, kind in mounts if folder.startswith(f"{place.rstrip('/')}/")]
    return bool(fits) and max(fits)[1] in NETWORK


def holder(path: Path) -> str:
    """The program that holds a lock on the file or its log, 'Another program' where the machine does not tell."""
    try:
        inodes = {str(each.stat().st_ino) for each in path.parent.glob(f"{path.name}*")}
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
        pids = [row[4] for row in rows if len(row) > 5 and row[3] == "WRITE" and row[5].split(":")[-1] in inodes]
        names = [(Path("/proc") / pid / "comm").read_text(encoding="utf-8").strip() for pid in pids[:1] if pid != "-1"]
    except OSError:
        return "Another program"
    return f"{names[0]} (process {pids[0]})" if names else "Another program"
