"""Where a run reads and writes: the checks before anything is computed."""

from __future__ import annotations

import shutil
from pathlib import Path

from explorer.errors import ConfigError, DatasetError, StoreError
from explorer.store import ARTEFACTS, FILES
from explorer.text import size
from precompute.datasets.base import is_store
from precompute.plan import Estimate


def check_places(root: Path, store: Path) -> None:
    """Raise ConfigError where a run would read the previews that it writes as recordings."""
    root, store = root.resolve(), store.resolve()
    if root == store:
        raise ConfigError(f"--root and --store are the same folder, {store}. Give a folder of its own with --store.")
    for name in (ARTEFACTS, FILES):
        if root.is_relative_to(store / name):
            raise ConfigError(f"--root {root} is where the store {store} keeps its own files. Give the recordings.")
    if store.is_relative_to(root) and store.is_dir() and not is_store(store):
        others = sorted(path.name for path in store.iterdir() if not path.name.startswith("."))
        if others:
            raise ConfigError(
                f"--store {store} is in the folder of recordings, is no store yet and holds {others[0]!r}. "
                "Give a new or empty folder with --store."
            )


def check_root(root: Path) -> None:
    """Raise DatasetError where there is no folder of recordings."""
    if not root.is_dir():
        raise DatasetError(f"The data set {root} is not there. Give the folder of recordings with --root.")


def check_space(store: Path, expected: Estimate) -> None:
    """Raise StoreError when the run would not fit on the disk."""
    free = shutil.disk_usage(_existing(store)).free
    if expected.disk_bytes > free:
        raise StoreError(
            f"{store} would need about {size(expected.disk_bytes)} more and its disk has {size(free)} free. "
            "Free some space, choose another --store, or lower --frame-cache-gb, --seeds or --sparsities."
        )


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
