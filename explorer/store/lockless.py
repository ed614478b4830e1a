"""Files of one folder for DuckDB where its own way to them does not go: a file system without locks (some NFS, SMB and
FUSE mounts), and a path with signs that DuckDB reads as its own (a backslash, '?', '*', '[') or that is no UTF-8.

A published generation is never written again and a partial one belongs to its writer, so neither needs a lock.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from explorer.errors import StoreError
from explorer.store.disk import file_system_of, open_plain

SCHEME = "sonoscope"
_DUCKDBS_OWN = frozenset("\\?*[")


def is_odd(path: Path) -> bool:
    """Whether DuckDB would not find this very path: it has signs of DuckDB's own, or bytes that are no UTF-8."""
    return any(sign in _DUCKDBS_OWN or "\ud800" <= sign <= "\udfff" for sign in str(path))


def address(relative: str) -> str:
    """How DuckDB names a file of the folder that `files_of` opened."""
    return f"{SCHEME}://{relative}"


def files_of(root: Path) -> Any:
    """A file system for `DuckDBPyConnection.register_filesystem` with the regular files below `root`, and no others.

    Raises StoreError where fsspec is not installed.
    """
    try:
        from fsspec import AbstractFileSystem
    except ImportError as error:
        raise StoreError(
            f"{root} is on a file system without locks ({file_system_of(root) or 'of an unknown type'}) or has a "
            "backslash, '?', '*' or '[' in its path. Install fsspec (`pip install fsspec`), or move the store."
        ) from error

    class FolderFiles(AbstractFileSystem):
        protocol = SCHEME
        cachable = False

        def _path(self, name: str) -> Path:
            relative = Path(name.removeprefix(f"{SCHEME}://"))
            if relative.is_absolute() or ".." in relative.parts:
                raise FileNotFoundError(name)
            return root / relative

        def open(self, path: str, mode: str = "rb", **_: object) -> _File:
            return _File(self._path(path), mode)

        def exists(self, path: str, **_: object) -> bool:
            return self._path(path).is_file()

        isfile = exists

        def isdir(self, path: str) -> bool:
            return self._path(path).is_dir()

        def info(self, path: str, **_: object) -> dict[str, Any]:
            status = self._path(path).stat()
            return {"name": path, "size": status.st_size, "type": "file", "mtime": status.st_mtime}

        def modified(self, path: str) -> datetime:
            return datetime.fromtimestamp(self._path(path).stat().st_mtime, UTC)

        def glob(self, path: str, **_: object) -> list[str]:
            return [path] if self.exists(path) else []

        def rm(self, path: str, **_: object) -> None:
            self._path(path).unlink(missing_ok=True)

    return FolderFiles()


class _File:
    """A file as DuckDB's Python bridge asks for it. Threads share it: each has a place of its own."""

    def __init__(self, path: Path, mode: str) -> None:
        flags = os.O_RDONLY
        if "w" in mode or "+" in mode or "a" in mode:
            flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if "w" in mode else 0)
        self._fd, self._at, self.closed = open_plain(path, flags), threading.local(), False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        self._at.position = start + offset
        return start + offset

    def tell(self) -> int:
        return getattr(self._at, "position", 0)

    def read(self, n_bytes: int = -1) -> bytes:
        wanted = n_bytes if n_bytes >= 0 else os.fstat(self._fd).st_size - self.tell()
        parts = []
        while wanted > 0 and (part := os.pread(self._fd, wanted, self.tell())):
            parts.append(part)
            wanted -= len(part)
            self.seek(len(part), os.SEEK_CUR)
        return b"".join(parts)

    def write(self, content: bytes) -> int:
        left = memoryview(content)
        while left:
            n_written = os.pwrite(self._fd, left, self.tell())
            left = left[n_written:]
            self.seek(n_written, os.SEEK_CUR)
        return len(content)

    def truncate(self, n_bytes: int) -> None:
        os.ftruncate(self._fd, n_bytes)

    def flush(self) -> None:
        if not self.closed:
            os.fsync(self._fd)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)
