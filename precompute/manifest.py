"""What a finished bundle holds: every file with its size and SHA-256, written when the bundle is sealed.

A bundle is whole when it holds these files, no others, and each is as it was. That is found out before its numbers are
used, so a flipped bit, a lost file and a bundle that two writers filled are told from finished work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from explorer.store.disk import read_small, replace_text, sync
from explorer.store.names import is_file, is_folder, shown

MANIFEST = "manifest.json"
OLD_HASHES = "hashes.json"  # of content files alone, as bundles had them before
UNSEALED = "it was made before artefacts were sealed"
_FORMAT = 1
_MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Entry:
    """One file of a bundle as it was when the bundle was sealed."""

    n_bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Bring every file of a bundle to the disk, and write down what they are. Raises OSError when the disk refuses."""
    files = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = {"n_bytes": path.stat().st_size, "sha256": sha256_of(path)}
        sync(path)
    replace_text(folder / MANIFEST, json.dumps({"format": _FORMAT, "files": files}, indent=1) + "\n")


def entries_of(folder: Path) -> Mapping[str, Entry] | None:
    """The files of a sealed bundle by name; None where its manifest is missing or damaged."""
    try:
        content = json.loads(read_small(folder / MANIFEST, _MAX_BYTES).decode("utf-8"))
        if content["format"] != _FORMAT or not isinstance(content["files"], dict):
            return None
        files = content["files"].items()
        return {str(name): Entry(int(facts["n_bytes"]), str(facts["sha256"])) for name, facts in files}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def content_hashes(folder: Path) -> dict[str, str]:
    """The recorded SHA-256 of each file by name, of an older bundle that of its content files; empty where unknown."""
    entries = entries_of(folder)
    if entries is not None:
        return {name: entry.sha256 for name, entry in entries.items()}
    try:
        hashes = json.loads(read_small(folder / OLD_HASHES, _MAX_BYTES).decode("utf-8"))
        return {str(name): str(sha256) for name, sha256 in hashes.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def fault_of(folder: Path) -> str | None:
    """What is wrong with a bundle, as words that follow a colon; None where it is whole. Reads all of it."""
    if not is_folder(folder):
        return "it is no folder"
    if not is_file(folder / MANIFEST):
        return _fault_of_unsealed(folder)
    entries = entries_of(folder)
    if entries is None:
        return f"its {MANIFEST} is damaged"
    there = set(os.listdir(folder)) - {MANIFEST}
    if missing := sorted(set(entries) - there):
        return f"{shown(missing[0])} is missing"
    if extra := sorted(there - set(entries)):
        return f"{shown(extra[0])} does not belong to it"
    return next(
        (fault for name, entry in entries.items() if (fault := _fault_of_file(folder / name, entry.sha256))), None
    )


def _fault_of_unsealed(folder: Path) -> str:
    """UNSEALED, or what is wrong with the content files that an older bundle has hashes of."""
    hashes = content_hashes(folder)
    there = set(os.listdir(folder))
    if missing := sorted(set(hashes) - there):
        return f"{shown(missing[0])} is missing"
    faults = (_fault_of_file(folder / name, sha256) for name, sha256 in hashes.items())
    return next((fault for fault in faults if fault), UNSEALED)


def _fault_of_file(path: Path, sha256: str) -> str | None:
    if not is_file(path):
        return f"{shown(path.name)} is no regular file"
    try:
        return None if sha256_of(path) == sha256 else f"{shown(path.name)} is not what was computed"
    except OSError as error:
        return f"{shown(path.name)} cannot be read ({error.strerror})"
