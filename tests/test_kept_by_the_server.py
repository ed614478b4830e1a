"""What the server keeps, by generation and by reader, is bounded and let go."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from explorer.queries.corpus import fetch_corpus, fetch_saes
from explorer.store import POINTER, Store, current_generation, generation_path
from explorer.ui import context
from explorer.ui.shelf import Shelf
from explorer.ui.visits import LeftSessions


def open_databases(folder: Path) -> int:
    """How many files of databases below `folder` this process has open."""
    found = 0
    for handle in Path("/proc/self/fd").iterdir():
        try:
            found += str(handle.readlink()).startswith(f"{folder}/store-")
        except OSError:
            continue
    return found


@pytest.fixture
def store_folder(tiny_store: Path, tmp_path: Path) -> Path:
    """The database of the tiny store, to be published again."""
    generation = current_generation(tiny_store)
    shutil.copy(generation_path(tiny_store, generation), tmp_path)
    (tmp_path / POINTER).write_text(f"{generation_path(tiny_store, generation).name}\n", encoding="utf-8")
    return tmp_path


def publish_again(folder: Path) -> None:
    """The same rows as the next generation; the one before the last is deleted, as `publish` does."""
    now = current_generation(folder)
    os.link(generation_path(folder, now), folder / "next")
    os.replace(folder / "next", generation_path(folder, now + 1))
    (folder / "pointer").write_text(f"{generation_path(folder, now + 1).name}\n", encoding="utf-8")
    os.replace(folder / "pointer", folder / POINTER)
    generation_path(folder, now - 1).unlink(missing_ok=True)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_old_generations_are_closed_and_their_rows_forgotten(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "--store", str(store_folder)])
    asked: list[int] = []

    def fetch(store: Store) -> Any:
        asked.append(store.generation)
        return fetch_saes(store)

    held = context.get_store()
    for _ in range(8):
        store = context.get_store()
        assert fetch_corpus(store).generation == store.generation
        assert len(context.cached(fetch, store)) == len(context.cached(fetch, store)) > 0
        publish_again(store_folder)
    store = context.get_store()
    gc.collect()
    assert len(asked) == 8 == len(set(asked))  # once a generation
    assert held.query("SELECT 1 AS one")["one"].tolist() == [1]  # who still reads an old one may
    assert open_databases(store_folder) <= 4  # that one, the current one, and the two whose facts are remembered
    del held
    gc.collect()
    assert open_databases(store_folder) <= 3


def test_a_store_made_again_under_a_page_that_reads_it(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "--store", str(store_folder)])
    first = context.get_store()
    path = generation_path(store_folder, first.generation)
    shutil.copy(path, store_folder / "again")
    os.replace(store_folder / "again", path)
    second = context.get_store()
    assert second is not first and second.edition != first.edition
    assert second is context.get_store() and len(fetch_saes(second))


def test_a_shelf_holds_so_many_bytes_and_makes_a_result_once() -> None:
    shelf, made = Shelf[bytes](1000), list[int]()

    def make(number: int) -> bytes:
        made.append(number)
        time.sleep(0.01)
        return bytes(300)

    readers = [threading.Thread(target=shelf.get, args=(1, lambda: make(1))) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert made == [1]
    for number in (2, 3, 1, 4):
        shelf.get(number, lambda number=number: make(number))  # type: ignore[misc]
    assert made == [1, 2, 3, 4] and shelf.n_bytes == 900
    shelf.get(1, lambda: make(1))
    assert made == [1, 2, 3, 4]  # used last, so it stayed
    shelf.get(2, lambda: make(2))
    assert made[-1] == 2
    with pytest.raises(ZeroDivisionError):
        shelf.get(9, lambda: bytes(1 // 0))
    assert len(shelf.get(9, lambda: bytes(9))) == 9


def a_session(name: str, closed: list[str]) -> Any:
    return SimpleNamespace(session=SimpleNamespace(id=name, shutdown=lambda: closed.append(name)))


def test_sessions_that_left_are_closed_in_time_and_not_too_many_are_held() -> None:
    closed: list[str] = []
    storage = LeftSessions(ttl_s=100.0, most=3)
    for name in "abcde":
        storage.save(a_session(name, closed))
    assert closed == ["a", "b"] and storage.get("a") is None
    back = storage.get("c")
    assert back is not None
    storage.delete("c")  # its browser came back
    assert storage.close_expired(time.monotonic() + 99) == 0
    assert storage.close_expired(time.monotonic() + 101) == 2
    assert closed == ["a", "b", "d", "e"] and storage.list() == []
