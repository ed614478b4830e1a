"""The sound of a corpus clip: cut from the original where it is at hand, else its preview."""

from __future__ import annotations

import contextlib
import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from explorer.audio import Waveform, load_waveform
from explorer.errors import NotInStoreError
from explorer.queries.live import fetch_original
from explorer.recent import listed_in
from explorer.store import Store

VARIABLE = "SONOSCOPE_DATA"
APPROXIMATE = "from the preview, approximate"


@dataclass(frozen=True, eq=False)
class ClipSound:
    """The sound at its file's own rate, or at the preview's. `note` says which, and why."""

    wave: Waveform
    is_original: bool
    note: str


def clip_sound(store: Store, clip_index: int, roots: Sequence[str] = ()) -> ClipSound:
    """The sound of a clip. The original is looked for in `roots`, in SONOSCOPE_DATA and where the store's runs read it,
    and taken when its SHA-256 is the store's. Raises NotInStoreError where the preview is gone too."""
    facts = fetch_original(store, clip_index)
    named = [*roots, *listed_in(VARIABLE)]
    differs = False
    for root in dict.fromkeys([*named, *facts["roots"]] if facts["path"] else []):
        path = _on_disk(Path(root).expanduser(), facts["path"])
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # pathlib raises below a closed folder
            continue
        if _sha256(path, path.stat().st_mtime_ns, path.stat().st_size) == facts["sha256"]:
            wave = load_waveform(path, start_s=facts["start_s"], duration_s=facts["duration_s"])
            return ClipSound(wave, True, "from the original recording")
        differs = True
    if not facts["preview"]:
        raise NotInStoreError("Neither the original recording of this clip nor a preview of it is available.")
    why = "the original has changed" if differs else "the original is not available"
    return ClipSound(load_waveform(store.file(facts["preview"])), False, f"{APPROXIMATE}: {why}")


def _on_disk(root: Path, relative: str) -> Path:
    """The file of a stored name, which is NFC whatever the form on the disk is."""
    path = root
    for part in Path(relative).parts:
        here = path / part
        if not part.isascii() and not os.path.lexists(here):
            with contextlib.suppress(OSError):
                alike = [name for name in os.listdir(path) if unicodedata.normalize("NFC", name) == part]
                here = path / alike[0] if alike else here
        path = here
    return path


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
