"""The opened store. It is opened once per generation; when a new one is published, the next run moves to it.

A store that was deleted and made again under a running app counts generations from 1: its file tells it from the old.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import pandas as pd
import streamlit as st

from explorer.errors import StoreError
from explorer.recent import last_store
from explorer.store import Store, current_edition, current_generation, open_store


def store_folder() -> Path:
    """The store to show: `--store DIR` of the command line, else SONOSCOPE_STORE, else the last store made.

    Raises StoreError, with the commands that make one, when none of them names a folder.
    """
    named = _options(*sys.argv[1:]).store or os.environ.get("SONOSCOPE_STORE")
    folder = Path(named).expanduser() if named else last_store()
    if folder is None:
        raise StoreError(
            "No store is named and none was made here before. Make one with `python -m precompute demo`, "
            "or name one with `streamlit run app.py -- --store DIR` or SONOSCOPE_STORE."
        )
    return folder


def named_checkpoints() -> list[str]:
    """The places that the command line names: `streamlit run app.py -- --checkpoint NAME=DIR`, any number of times."""
    named: list[str] = _options(*sys.argv[1:]).checkpoint
    return named


def named_hosts() -> list[str]:
    """The names of this server on the command line: `streamlit run app.py -- --host NAME`, any number of times."""
    named: list[str] = _options(*sys.argv[1:]).host
    return named


def named_frame_ancestors() -> list[str]:
    """The sites that may frame the app: `streamlit run app.py -- --frame-ancestor URL`, any number of times."""
    named: list[str] = _options(*sys.argv[1:]).frame_ancestor
    return named


@cache
def _options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--store")
    for name in ("--checkpoint", "--host", "--frame-ancestor"):
        parser.add_argument(name, action="append", default=[])
    return parser.parse_known_args(arguments)[0]


class _Opened:
    """The current generation of each store this process shows, opened once, whoever asks first.

    An older one is not held here: who still reads it holds it, and its file is closed after them.
    """

    def __init__(self, n_kept: int) -> None:
        self._lock, self._n_kept, self._stores = Lock(), n_kept, OrderedDict[Path, Store]()
        self._in_use = WeakValueDictionary[tuple[Path, int], Store]()

    def get(self, folder: Path) -> Store:
        with self._lock:
            generation = current_generation(folder)
            edition = current_edition(folder, generation)
            old = self._stores.get(folder)
            if old is not None and (old.generation, old.edition) == (generation, edition):
                self._stores.move_to_end(folder)
                return old
            if old is not None:
                del self._stores[folder]
                _forget_rows()
            other = self._in_use.pop((folder, generation), None)
            if other is not None and other.edition != edition:
                # A process has one database of a path: while this one is open, its rows answer for the new file.
                other.close()
            self._stores[folder] = self._in_use[folder, generation] = open_store(folder, generation=generation)
            while len(self._stores) > self._n_kept:
                self._stores.popitem(last=False)
            return self._stores[folder]


@cache
def _opened() -> _Opened:
    return _Opened(n_kept=2)


def get_store() -> Store:
    """The current generation of the store, opened once in this process and shared by pages and routes.

    When a new one is published, the next call moves to it; whoever reads the old one keeps it. Raises StoreError when
    there is no store.
    """
    return _opened().get(store_folder().resolve())


@cache
def _remembered() -> Callable[..., pd.DataFrame]:
    """The cache of rows, made on first use: at import there is no server yet."""

    def rows(name: str, store: tuple[str, int, str], arguments: str, _run: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        return _run()

    return st.cache_data(max_entries=400, show_spinner=False)(rows)


def _forget_rows() -> None:
    """Nobody asks for the rows of an older generation again."""
    _remembered().clear()  # type: ignore[attr-defined]


def cached(fetch: Callable[..., pd.DataFrame], store: Store, *args: str | int | float | bool | None) -> pd.DataFrame:
    """`fetch(store, *args)`, remembered per generation. Arguments are plain values, never arrays or frames.

    The rows are the caller's own copy.
    """
    name = f"{fetch.__module__}.{fetch.__qualname__}"
    which = (str(store.folder), store.generation, store.edition)
    return _remembered()(name, which, repr(args), lambda: fetch(store, *args))


def is_dark() -> bool:
    """Whether the reader's browser shows the dark theme."""
    return st.context.theme.type == "dark"
