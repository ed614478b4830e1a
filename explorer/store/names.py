"""What a name that comes out of a store may be, and where it leads.

A store may be anybody's. Its tables, JSON files and pointer name files; such a name is the plain name of a content file
(or of a bundle's folder) or is refused. Nothing is followed: no link, no '..', no absolute path, no pipe or device.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from explorer.errors import NotInStoreError, StoreError
from explorer.store.layout import FILES, how_to_make_again

CONTENT_KINDS = ("preview", "sae", "codes", "traces", "states")
_CONTENT = re.compile(rf"({'|'.join(CONTENT_KINDS)})-[A-Za-z0-9][A-Za-z0-9._-]{{0,179}}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_MAX_SHOWN = 60


def is_content_name(text: object) -> bool:
    """Whether a text is the plain name of a content file: `<kind>-...` of ASCII letters, digits, '.', '_' and '-'."""
    return isinstance(text, str) and _CONTENT.fullmatch(text) is not None


def kind_of(name: str) -> str:
    """The kind of a content name: its first word."""
    return name.partition("-")[0]


def is_key(text: object) -> bool:
    """Whether a text is the plain name of a stage, a bundle or a run: ASCII letters, digits, '_' and '-'."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def content_name(relative: object) -> str:
    """The plain name of a content file that a store names as `files/NAME`. Raises StoreError for anything else."""
    start, slash, name = relative.partition("/") if isinstance(relative, str) else ("", "", "")
    if start != FILES or not slash or not is_content_name(name):
        raise StoreError(
            f"The store names the file {shown(relative)}, which is no name of a store's file ({FILES}/KIND-NAME, with "
            f"{', '.join(CONTENT_KINDS)} as KIND). It was changed, or not made by Sonoscope: use another copy."
        )
    return name


def content_path(folder: Path, relative: object) -> Path:
    """Where a file lies that a store names as `files/NAME`.

    Raises StoreError for a name that is none, and NotInStoreError where no regular file of this name is.
    """
    path = folder / FILES / content_name(relative)
    if is_link(folder / FILES) or is_link(path):
        raise StoreError(f"{path} leads out of the store by a link, which is not followed. Use a copy with real files.")
    if not is_file(path):
        raise NotInStoreError(f"The store in {folder} has no file {relative!r}. {how_to_make_again(folder)}")
    return path


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a link to one is none."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a link to one is none."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_link(path: Path) -> bool:
    """Whether a symbolic link is there."""
    mode = _mode(path)
    return mode is not None and stat.S_ISLNK(mode)


def check_folder(path: Path) -> None:
    """Raise StoreError where something is at `path` that is no folder, such as a link to one."""
    mode = _mode(path)
    if mode is not None and not stat.S_ISDIR(mode):
        what = "a link, which is not followed" if stat.S_ISLNK(mode) else "no folder"
        raise StoreError(f"{path} is {what}. Put a real folder there, or use another copy of the store.")


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except (OSError, ValueError):
        return None


def shown(text: object) -> str:
    """A store's own text inside a sentence: short, printable, and never something to paste."""
    plain = ascii(text if isinstance(text, str | int | float) else type(text).__name__).replace("`", "'")
    return plain if len(plain) <= _MAX_SHOWN else f"{plain[:_MAX_SHOWN]}...'"


def printable(text: str, max_chars: int = 300) -> str:
    """A store's own text on a line of its own: without signs that a terminal would obey."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= max_chars else f"{plain[:max_chars]}..."
