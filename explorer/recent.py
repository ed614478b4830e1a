"""What this machine knows outside of stores: the stores and checkpoints used last, kept in the user's own data folder,
and what its environment lists."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from os.path import isfile  # False where a remembered path can be none, for which Path's raises
from pathlib import Path

from explorer.errors import StoreError

_FILE = "recent_stores.json"
_PLACES_FILE = "checkpoints.json"
_MAX_REMEMBERED, _MAX_BYTES = 20, 2**20


def home_folder() -> Path:
    """The user's data folder: SONOSCOPE_HOME, else the platform's place for application data. It may not exist yet."""
    named = os.environ.get("SONOSCOPE_HOME")
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError as error:
            raise StoreError(
                f"SONOSCOPE_HOME is {named!r}, whose user has no home here. Name another folder."
            ) from error
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Sonoscope"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "Sonoscope"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "sonoscope"


def recent_stores() -> list[Path]:
    """The remembered store folders, newest first; those that are gone are included. Empty when none is remembered."""
    return [Path(row) for row in _remembered(_FILE) if isinstance(row, str)]


def _remembered(name: str) -> list[object]:
    path = home_folder() / name
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return []
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # it says only what was used last: the next run writes it anew
        return []
    return rows if isinstance(rows, list) else []


def last_store() -> Path | None:
    """The newest remembered store that still has a published generation, or None."""
    return next((folder for folder in recent_stores() if isfile(folder / "CURRENT")), None)


def remember_store(folder: Path | str) -> None:
    """Put `folder` first among the remembered stores. Raises StoreError when the data folder cannot be written."""
    path = Path(folder).expanduser().resolve()
    _remember(_FILE, [str(path)] + [str(other) for other in recent_stores() if other != path])


def _remember(name: str, rows: Sequence[str]) -> None:
    home = home_folder()
    partial = home / f".{name}.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(rows[:_MAX_REMEMBERED], indent=1) + "\n", encoding="utf-8")
        os.replace(partial, home / name)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"{home / name} cannot be written: {error.strerror or error}. Set SONOSCOPE_HOME to a folder that can be, "
            "or name the store each time with --store."
        ) from error


def listed_in(variable: str) -> list[str]:
    """What an environment variable lists, separated as in PATH."""
    return [text for text in os.environ.get(variable, "").split(os.pathsep) if text]


def remembered_places() -> list[str]:
    """Where runs on this machine found their encoders ('hubert=DIR'), the newest first. Empty when none is known."""
    return [str(row) for row in _remembered(_PLACES_FILE) if isinstance(row, str)]


def remember_places(places: Sequence[str]) -> None:
    """Put checkpoint folders ('NAME=DIR') first among the remembered ones. Raises StoreError as `remember_store`."""
    new = [
        f"{name}={Path(folder).expanduser().resolve()}" for name, _, folder in (text.partition("=") for text in places)
    ]
    if new:
        _remember(_PLACES_FILE, list(dict.fromkeys([*new, *remembered_places()])))
