"""Whether a precompute is running in a store's folder: it holds a lock on one file there for as long as it lives.

On a file system without locks it leaves a second file there instead, which names its machine and process.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from explorer.store.disk import open_plain, read_small

if sys.platform != "win32":  # where a store can be browsed and not made
    import fcntl

LOCK, HELD = ".lock", ".lock-held"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True)
class Holder:
    """Who holds a folder on a file system without locks. `started`: when it began, where the system says it."""

    machine: str
    process: int
    started: str

    @classmethod
    def myself(cls) -> Holder:
        """This process."""
        return cls(_machine(), os.getpid(), _started(os.getpid()))

    @classmethod
    def of(cls, folder: Path) -> Holder | None:
        """Whoever the folder's file names; None where there is no such file, or it names nobody."""
        try:
            machine, process, *started = read_small(folder / HELD, 1000).decode("utf-8").split()
            return cls(machine, int(process), "".join(started))
        except (OSError, ValueError):
            return None

    def line(self) -> str:
        """The content of the folder's file."""
        return f"{self.machine} {self.process} {self.started}\n"

    def is_gone(self) -> bool:
        """Whether it has surely ended; of a process on another machine nobody here can say so."""
        return self.machine == _machine() and _started(self.process) != self.started


def is_locked(folder: Path) -> bool:
    """Whether a precompute is running in the folder; False where nobody can tell. Writes nothing."""
    if sys.platform == "win32":
        return False
    try:
        fd = open_plain(folder / LOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        holder = Holder.of(folder)
        return holder is not None and not holder.is_gone()
    finally:
        os.close(fd)
    return False


def _machine() -> str:
    return platform.node().replace(" ", "") or "unknown"


def _started(process: int) -> str:
    """When a process began, in the system's own count; 'running' where only that is known, '' where it has ended."""
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError):
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except (PermissionError, OverflowError):
        pass
    return "running"
