"""One precompute at a time in a store's folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from explorer.errors import StoreBusyError, StoreError
from explorer.store_lock import LOCK
from precompute.artefacts import explained

_TRIES, _WAIT_S = 3, 0.1  # whoever only looks holds the lock for a moment: that is no run


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store's lock; makes the folder. Raises StoreBusyError when another process holds it."""
    with explained(store):
        try:
            store.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{store} is not a folder. Give a folder with --store.") from error
        file = (store / LOCK).open("a+")
    with file:
        if not _take(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreBusyError(
                f"Another precompute (process {holder}) is at work in {store}. Wait for it, or stop it; its finished "
                "work is kept and a later run takes it over."
            )
        with explained(store):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # unbuffered: closing must not try again on a full disk
        yield


def _take(file: IO[str]) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_WAIT_S)
        else:
            return True
    return False
