"""Artefacts: what a stage leaves behind, named by a hash of everything it depends on.

A bundle is a folder `artefacts/<stage>/<key>/` of tables (parquet, named after the store's tables), arrays
(safetensors), facts (JSON) and content files that the store lists as they are. It is written under another name and
renamed when complete, so a bundle that exists is finished: a run that was killed repeats at most the one that was open.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from explorer.errors import StoreError
from explorer.store import ARTEFACTS
from explorer.tensors import save_tensors

PARTIAL = ".partial-"
CONTENT_KINDS = ("preview", "sae", "codes", "traces", "states")
_HASHES = "hashes.json"


def key_of(**parts: object) -> str:
    """16 hex digits: a hash of the named values, which must be plain (numbers, strings, lists, dicts)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A finished artefact, or one being written."""

    folder: Path

    def add_table(self, name: str, rows: pd.DataFrame) -> None:
        """Keep `rows` as the part of the store's table `name` that this stage makes."""
        rows.to_parquet(self.folder / f"{name}.parquet", index=False)

    def table(self, name: str) -> pd.DataFrame:
        """The rows that `add_table` kept; an empty frame where there are none."""
        path = self.folder / f"{name}.parquet"
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame()

    def tables(self) -> list[str]:
        """The names of the tables in this bundle."""
        return sorted(path.stem for path in self.folder.glob("*.parquet"))

    def add_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep named arrays as one safetensors file."""
        save_tensors(self.folder / f"{name}.safetensors", arrays)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """All arrays that `add_arrays` kept under `name`."""
        with safe_open(str(self.folder / f"{name}.safetensors"), framework="np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Keep plain values as JSON."""
        (self.folder / "facts.json").write_text(
            json.dumps(facts, indent=1, sort_keys=True, default=str), encoding="utf-8"
        )

    def facts(self) -> dict[str, Any]:
        """The plain values that `add_facts` kept."""
        return json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))

    def subject(self) -> str | None:
        """What the bundle is about, where a later one about the same replaces it; None where it stands for itself."""
        path = self.folder / "facts.json"
        return self.facts().get("subject") if path.is_file() else None

    def path(self, name: str) -> Path:
        """The path of a file of this bundle."""
        return self.folder / name

    def content_files(self) -> list[tuple[str, Path]]:
        """(kind, path) of the files that the store lists as they are, by name: those named `<kind>-...`."""
        named = ((path.name.partition("-"), path) for path in sorted(self.folder.iterdir()))
        return [(kind, path) for (kind, dash, _), path in named if dash and kind in CONTENT_KINDS]

    def seal(self) -> None:
        """Record the SHA-256 of each content file, to tell later whether it is still what was computed."""
        hashes = {path.name: sha256_of(path) for _, path in self.content_files()}
        if hashes:
            (self.folder / _HASHES).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")

    def hashes(self) -> dict[str, str]:
        """The recorded SHA-256 of each content file by name; empty where none was recorded."""
        path = self.folder / _HASHES
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@dataclass(frozen=True)
class Artefacts:
    """All artefacts of one store folder. A dry run writes to `scratch` instead, and finds what lies in either."""

    store: Path
    scratch: Path | None = None

    @property
    def folder(self) -> Path:
        return self.store / ARTEFACTS

    def find(self, stage: str, key: str) -> Bundle | None:
        """The finished bundle, or None."""
        roots = [self.folder] if self.scratch is None else [self.scratch, self.folder]
        return next((Bundle(root / stage / key) for root in roots if (root / stage / key).is_dir()), None)

    def get(self, stage: str, key: str) -> Bundle:
        """The finished bundle. Raises StoreError when it is gone."""
        bundle = self.find(stage, key)
        if bundle is None:
            raise StoreError(
                f"The artefact {stage}/{key} is missing from {self.folder}. "
                "Run the same `python -m precompute run` again."
            )
        return bundle

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Bundle]:
        """A bundle to fill; it appears under its name when the block ends without an error, whole."""
        parent = (self.scratch or self.folder) / stage
        final, partial = parent / key, parent / f"{PARTIAL}{key}"
        with explained(self.store):
            parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                yield Bundle(partial)
                Bundle(partial).seal()
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            os.replace(partial, final)

    def remove(self, stage: str, key: str) -> None:
        """Delete a bundle that nothing needs any more; no error where there is none."""
        folder = self.folder / stage / key
        if folder.is_dir():
            doomed = folder.with_name(f"{PARTIAL}{key}")  # renamed first: a bundle that exists is whole
            with explained(self.store):
                os.replace(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def sweep(self) -> int:
        """Delete what a killed run left half-written. Returns how many."""
        partials = list(self.folder.glob(f"*/{PARTIAL}*")) if self.folder.is_dir() else []
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)
        return len(partials)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a full disk or a refused write below `folder` into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full. Free some space"
        elif error.errno == errno.EFBIG:
            reason = "a file would be larger than is allowed there. Raise the limit, or choose another disk"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "writing is not permitted. Give this user write access, or choose another folder"
        else:
            raise
        raise StoreError(
            f"{folder} cannot be written: {reason}, then run the same command again: finished work is kept."
        ) from error
