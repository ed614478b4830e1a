"""One precompute at a time in a store's folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from explorer.errors import StoreBusyError, StoreError
from explorer.store.disk import file_system_of, open_plain, partial_name
from explorer.store.lock import HELD, LOCK, NO_LOCKS, Holder
from precompute.artefacts import explained
from precompute.reporting import log

_TRIES, _WAIT_S = 3, 0.1  # whoever only looks holds the lock for a moment: that is no run


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store's lock; makes the folder. Raises StoreBusyError when another process holds it.

    Where the file system has no locks, a file that names this process stands for one.
    """
    with explained(store):
        try:
            store.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{store} is not a folder. Give a folder with --store.") from error
        fd = _open_lock(store / LOCK)
    try:
        try:
            is_mine = _take(fd)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            with _held_without_locks(store):
                yield
            return
        if not is_mine:
            process = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            raise StoreBusyError(_busy(f"process {process if process.isdigit() else 'unknown'}", store))
        with explained(store):
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _open_lock(path: Path) -> int:
    """The lock's file. It is cut and written to, so it must be no other file under this name, by no kind of link."""
    try:
        fd = open_plain(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise StoreError(f"{path} is a link or no regular file: the store is not as precompute left it.") from error
        raise
    if os.fstat(fd).st_nlink != 1:
        os.close(fd)
        raise StoreError(f"{path} is another file too (a hard link): the store is not as precompute left it.")
    return fd


def _take(fd: int) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_WAIT_S)
        else:
            return True
    return False


def _busy(who: str, store: Path) -> str:
    return (
        f"Another precompute ({who}) is running in {store}. Wait for it, or stop it; its finished work is kept and a "
        "later run takes it over."
    )


@contextmanager
def _held_without_locks(store: Path) -> Iterator[None]:
    path, kind = store / HELD, file_system_of(store) or "of an unknown type"
    log.info("The file system of %s (%s) has no locks: %s says who works there.", store, kind, path.name)
    myself = Holder.myself()
    with explained(store):
        if not _create(path, myself):
            other = Holder.of(store)
            if other is None or not other.is_gone():
                who = "an unknown process" if other is None else f"process {other.process} on {other.machine}"
                raise StoreBusyError(
                    f"{_busy(who, store)} The file system ({kind}) has no locks to show whether it is still "
                    "running: if it "
                    f"is not, delete {path}."
                )
            _remove(path, other)
            if not _create(path, myself):
                raise StoreBusyError(_busy("just started", store))
    try:
        yield
    finally:
        if Holder.of(store) == myself:
            path.unlink(missing_ok=True)


def _create(path: Path, holder: Holder) -> bool:
    """Make the file with its content in one step, so that nobody finds it empty; False where there is one already."""
    mine = path.with_name(partial_name(path.name))
    fd = open_plain(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(fd, holder.line().encode())
        os.link(mine, path)
    except FileExistsError:
        return False
    finally:
        os.close(fd)
        mine.unlink(missing_ok=True)
    return True


def _remove(path: Path, holder: Holder) -> None:
    """Take away what a process left that has ended; not what another one made in its place meanwhile."""
    aside = path.with_name(partial_name(path.name))
    os.rename(path, aside)
    if aside.read_text(encoding="utf-8") != holder.line():
        os.replace(aside, path)
        return
    aside.unlink()
