"""Artefacts: what a stage leaves behind, named by a hash of everything it depends on.

A bundle is a folder `artefacts/<stage>/<key>/` of tables (parquet, named after the store's tables), arrays
(safetensors), facts (JSON) and content files that the store lists as they are. It is written under a name of its
writer's own, sealed with a list of its files and their hashes, and renamed, so a run that was killed repeats at most
the one that was open. A bundle counts as finished when it is whole: one that is damaged is computed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile
from safetensors import safe_open

from explorer.errors import StoreError
from explorer.store import ARTEFACTS
from explorer.store.disk import read_small, sync
from explorer.store.names import check_folder, is_content_name, is_file, is_folder, is_key, kind_of, shown
from explorer.tensors import save_tensors
from explorer.text import count
from precompute.manifest import MANIFEST, UNSEALED, fault_of, seal

PARTIAL = ".partial-"
MOST_ROWS = 10**8  # of one table of a bundle
_MAX_FACTS_BYTES = 1 << 30
RUN_AGAIN = "Run the same `python -m precompute` command again: it computes what is missing or damaged."
log = logging.getLogger("precompute")


def key_of(**parts: object) -> str:
    """16 hex digits: a hash of the named values, which must be plain (numbers, strings, lists, dicts)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Bundle:
    """A finished artefact, or one being written."""

    folder: Path

    def add_table(self, name: str, rows: pd.DataFrame) -> None:
        """Keep `rows` as the part of the store's table `name` that this stage makes."""
        with (self.folder / f"{name}.parquet").open("wb") as file:  # by name, Arrow takes no path that is not UTF-8
            rows.to_parquet(file, index=False)

    def table(self, name: str) -> pd.DataFrame:
        """The rows that `add_table` kept; an empty frame where there are none. Raises StoreError for damage."""
        path = self.folder / f"{name}.parquet"
        if not is_file(path):
            return pd.DataFrame()
        try:
            with path.open("rb") as file:
                n_rows = ParquetFile(file).metadata.num_rows
                if n_rows > MOST_ROWS:  # a file of 1 MB can hold billions that are alike
                    raise ValueError(f"it has {count(n_rows, 'row')}, more than {MOST_ROWS}")
                return pd.read_parquet(file)
        except (ArrowException, ValueError, OSError) as error:
            raise StoreError(f"{path} is damaged ({shown(str(error))}). {RUN_AGAIN}") from error

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
        path = self.folder / "facts.json"
        try:
            facts = json.loads(read_small(path, _MAX_FACTS_BYTES).decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{path} is damaged ({shown(str(error))}). {RUN_AGAIN}") from error
        if not isinstance(facts, dict):
            raise StoreError(f"{path} holds no facts. {RUN_AGAIN}")
        return facts

    def subject(self) -> str | None:
        """What the bundle is about, where a later one about the same replaces it; None where it stands for itself."""
        subject = self.facts().get("subject") if is_file(self.folder / "facts.json") else None
        return subject if isinstance(subject, str) else None

    def path(self, name: str) -> Path:
        """The path of a file of this bundle."""
        return self.folder / name

    def content_files(self) -> list[tuple[str, Path]]:
        """(kind, path) of the files that the store lists as they are, by name: those named `<kind>-...`."""
        named = [path for path in sorted(self.folder.iterdir()) if is_content_name(path.name) and is_file(path)]
        return [(kind_of(path.name), path) for path in named]


@dataclass(frozen=True)
class Artefacts:
    """All artefacts of one store folder. A dry run writes to `scratch` instead, and finds what lies in either.

    Each bundle is read and compared with its manifest once, when it is asked for first, and again only when another one
    has taken its place.
    """

    store: Path
    scratch: Path | None = None
    _checked: dict[tuple[Path, int, int], str | None] = field(default_factory=dict, compare=False, repr=False)
    _said: set[str] = field(default_factory=set, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Artefacts], tuple[Path, Path | None]]:
        return Artefacts, (self.store, self.scratch)  # a worker process looks for itself

    @property
    def folder(self) -> Path:
        return self.store / ARTEFACTS

    def find(self, stage: str, key: str) -> Bundle | None:
        """The finished bundle, or None: also for one that is damaged, which the caller then computes again."""
        bundle = self._there(stage, key)
        fault = None if bundle is None else self.fault(bundle)
        if fault is None:
            return bundle
        what = f"Artefacts in {stage} are" if fault == UNSEALED else f"The artefact {stage}/{key} is"
        if what not in self._said:
            self._said.add(what)
            log.warning("%s computed again where needed: %s.", what, fault)
        return None

    def get(self, stage: str, key: str, *, takes_unsealed: bool = False) -> Bundle:
        """The finished bundle. Raises StoreError when it is gone or damaged.

        `takes_unsealed`: also one of before bundles were sealed, whose tables cannot be checked.
        """
        bundle = self._there(stage, key)
        if bundle is None:
            raise StoreError(f"The artefact {stage}/{key} is missing from {self.folder}. {RUN_AGAIN}")
        fault = self.fault(bundle)
        if fault is not None and not (takes_unsealed and fault == UNSEALED):
            raise StoreError(f"The artefact {stage}/{key} of {self.store} is damaged: {fault}. {RUN_AGAIN}")
        return bundle

    def _there(self, stage: str, key: str) -> Bundle | None:
        if not (is_key(stage) and is_key(key)):
            raise StoreError(
                f"{self.store} names the artefact {shown(stage)}/{shown(key)}, which is no name of one. It was "
                "changed, or not made by Sonoscope: use another copy."
            )
        for root in [self.folder] if self.scratch is None else [self.scratch, self.folder]:
            for place in (root, root / stage, root / stage / key):
                check_folder(place)
            if is_folder(root / stage / key):
                return Bundle(root / stage / key)
        return None

    def fault(self, bundle: Bundle) -> str | None:
        """What is wrong with a bundle, as words that follow a colon; None where it is whole."""
        mark = _mark(bundle.folder)
        if mark not in self._checked:
            self._checked[mark] = fault_of(bundle.folder)
        return self._checked[mark]

    def fault_now(self, bundle: Bundle) -> str | None:
        """The same, read again: after something was put back."""
        self._checked.pop(_mark(bundle.folder), None)
        return self.fault(bundle)

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Bundle]:
        """A bundle to fill; it appears under its name when the block ends without an error, whole and on the disk.

        Takes the place of a damaged one. Where another writer has finished the same meanwhile, that one stays.
        """
        root = self.scratch or self.folder
        parent, final = root / stage, root / stage / key
        for place in (root, parent, final):
            check_folder(place)
        with explained(self.store):
            parent.mkdir(parents=True, exist_ok=True)
            partial = parent / _own_name(key)
            partial.mkdir()
            try:
                yield Bundle(partial)
                seal(partial)
                self._put(partial, final)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise

    def _put(self, partial: Path, final: Path) -> None:
        if final.is_dir():
            if fault_of(final) is None:  # another writer was quicker
                shutil.rmtree(partial, ignore_errors=True)
                return
            self.remove(final.parent.name, final.name)
        os.replace(partial, final)
        sync(final.parent)
        self._checked[_mark(final)] = None

    def remove(self, stage: str, key: str) -> None:
        """Delete a bundle that nothing needs any more; no error where there is none."""
        folder = (self.scratch or self.folder) / stage / key
        for place in (folder.parent.parent, folder.parent, folder):
            check_folder(place)
        if folder.is_dir():
            doomed = folder.with_name(_own_name(key))  # renamed first: a bundle that exists is whole
            with explained(self.store):
                os.replace(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def sweep(self) -> int:
        """Delete what killed processes left half-written; not what one still writes to. Returns how many."""
        stages = [path for path in self.folder.iterdir() if is_folder(path)] if is_folder(self.folder) else []
        partials = [path for stage in stages for path in stage.glob(f"{PARTIAL}*") if not _is_being_written(path.name)]
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)
        return len(partials)


def _mark(folder: Path) -> tuple[Path, int, int]:
    """Tells a bundle from another one of the same name."""
    try:
        status = (folder / MANIFEST).lstat()
    except OSError:
        return folder, 0, 0
    return folder, status.st_ino, status.st_mtime_ns


def _own_name(key: str) -> str:
    """A name to write a bundle under: this process's, and of this one writing."""
    return f"{PARTIAL}{key}.{os.getpid()}.{secrets.token_hex(4)}"


def _is_being_written(name: str) -> bool:
    """Whether another process that lives writes under this name, as a worker does whose run was killed."""
    process = name.split(".")[-2] if name.count(".") >= 3 else ""
    if not process.isdigit() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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
