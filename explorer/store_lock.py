"""Whether a precompute is at work in a store's folder: it holds a lock on one file there for as long as it lives."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.platform != "win32":  # where a store can be browsed and not made
    import fcntl

LOCK = ".lock"


def is_locked(folder: Path) -> bool:
    """Whether a precompute is at work in the folder; False where nobody can tell. Writes nothing."""
    if sys.platform == "win32":
        return False
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
