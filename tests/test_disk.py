"""Writes that the disk refuses: a sentence that says what to do, and nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.errors import StoreError
from explorer.sae import SAE
from explorer.store import SCHEMA_VERSION, current_generation, new_generation, open_store, write_parquet
from explorer.store.lock import is_locked
from explorer.tensors import save_tensors
from precompute.artefacts import Artefacts
from precompute.lock import locked


@contextmanager
def small_files_only(n_bytes: int = 4096) -> Iterator[None]:
    """No file of this process may grow beyond this: to a writer the same as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_arrays_that_do_not_fit_are_an_oserror_and_leave_nothing(tmp_path: Path) -> None:
    with small_files_only(), pytest.raises(OSError, match=r"x\.safetensors") as caught:
        save_tensors(tmp_path / "x.safetensors", {"a": np.zeros(10_000)})
    assert caught.value.errno == 27
    assert names(tmp_path) == []


@pytest.mark.parametrize("what", ["arrays", "table", "facts", "weights"])
def test_a_bundle_that_does_not_fit_is_explained_and_not_kept(tmp_path: Path, what: str) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 400)).astype(np.float32)
    sae = SAE(numbers, np.zeros(400, np.float32), numbers.T.copy(), np.zeros(40, np.float32), 4, {})
    artefacts = Artefacts(tmp_path)
    with small_files_only(), pytest.raises(StoreError, match="same command again"), artefacts.writing("s", "k") as made:
        if what == "arrays":
            made.add_arrays("x", {"a": numbers})
        elif what == "table":
            made.add_table("x", pd.DataFrame(numbers.T))
        elif what == "facts":
            made.add_facts({"x": "y" * 10_000})
        else:
            sae.save(made.path("sae-x.safetensors"))
    assert artefacts.find("s", "k") is None
    assert names(tmp_path) == []


@pytest.mark.parametrize("n_rows", [20_000, 200_000])
@pytest.mark.parametrize("n_bytes", [4096, 20_000, 500_000, 1_000_000])  # fails in the file, its log, the checkpoint
def test_a_generation_that_does_not_fit_is_explained_and_the_old_one_stays(
    tmp_path: Path, n_bytes: int, n_rows: int
) -> None:
    meta = pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}])
    with new_generation(tmp_path) as writer:
        writer.insert("meta", meta)
    before = names(tmp_path)
    text = [str(number) for number in np.random.default_rng(0).integers(1 << 60, size=n_rows)]
    rows = pd.DataFrame({"key": text, "value": text})
    refused = pytest.raises(StoreError, match="cannot be written")
    with small_files_only(n_bytes), refused, new_generation(tmp_path) as writer:
        writer.insert("meta", rows)
    assert names(tmp_path) == before
    assert current_generation(tmp_path) == 1
    assert open_store(tmp_path).meta() == {"schema_version": str(SCHEMA_VERSION)}


def test_a_lock_that_does_not_fit_is_explained_and_not_held(tmp_path: Path) -> None:
    with small_files_only(0), pytest.raises(StoreError, match="same command again"), locked(tmp_path):
        pass
    assert not is_locked(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_may_not_be_deleted_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    artefacts = Artefacts(tmp_path)
    with artefacts.writing("s", "k") as made:
        made.add_facts({})

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("precompute.artefacts.os.replace", refused)
    with pytest.raises(StoreError, match="not permitted"):
        artefacts.remove("s", "k")


def test_codes_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.random.default_rng(0).normal(size=50_000)})
    with small_files_only(), pytest.raises(StoreError, match="cannot be written"):
        write_parquet(rows, tmp_path / "x.parquet", order_by=["a"])


def test_everybody_whom_the_umask_allows_can_read_what_is_saved(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_tensors(tmp_path / "x.safetensors", {"a": np.zeros(3)})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o644
