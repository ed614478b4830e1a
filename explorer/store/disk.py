"""Small reads and durable writes: nothing is followed, and what has a name is on the disk whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from pathlib import Path

from explorer.text import size

_NOTHING_FOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def open_plain(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """A descriptor of a regular file. Raises OSError; for a link, pipe or device too, without waiting for it."""
    fd = os.open(path, flags | _NOTHING_FOLLOWED, mode)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return fd


def read_small(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file. Raises OSError, also for one that is larger than `max_bytes`."""
    with os.fdopen(open_plain(path), "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {size(max_bytes)}", str(path))
    return content


def partial_name(name: str) -> str:
    """A name to write under before the rename: this process's own, and no other's by chance or on purpose."""
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}.partial"


def replace_text(path: Path, text: str) -> None:
    """Write a small file under another name, bring it to the disk and rename it. Raises OSError."""
    partial = path.with_name(partial_name(path.name))
    fd = open_plain(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk. Raises OSError when the disk refuses."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # some file systems have no fsync of folders
            raise
    finally:
        os.close(fd)


def file_system_of(path: Path) -> str:
    """The type and place of the file system under a path, for a sentence: 'nfs4 at /mnt/data'; '' where unknown."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place = path.resolve()
    found = [(point, kind) for _, point, kind, *_ in (line.split() for line in lines) if _is_below(place, point)]
    point, kind = max(found, key=lambda item: len(item[0]), default=("", ""))
    return f"{kind} at {point}" if kind else ""


def _is_below(path: Path, point: str) -> bool:
    return path.is_relative_to(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))  # a blank is \040
