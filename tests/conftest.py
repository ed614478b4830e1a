"""Shared fixtures: a tiny store made by the real pipeline, once per test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

from explorer.encoders import hide_broken_torchaudio
from explorer.store import SCHEMA_VERSION, Store, new_generation, open_store
from precompute.config import RunConfig, make_config
from precompute.datasets.singing.corpus import write_corpus
from precompute.datasets.singing.parts import crossed
from precompute.factor_worker import FACTOR_STAGE
from precompute.pipeline import run
from precompute.random_checkpoints import write_random_checkpoint
from tests.browser import Server, running_app, running_browser

hide_broken_torchaudio()  # before a test imports transformers

TINY_PART = crossed(
    n_singers=8,
    techniques=("belt", "breathy", "straight", "vibrato", "vocal_fry"),
    exercises=("arpeggios", "long_tones"),
    n_vowels=1,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests first: begun last, they would leave one process alone at work at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _the_main_module_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest puts its script in that place, which every worker process started later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests out of the user's own Sonoscope folder."""
    os.environ["SONOSCOPE_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def tiny_sources(shared_folder: Path) -> Path:
    """Generated singing (`singing/`) and two small random checkpoints (`random-ast/`, `random-hubert/`)."""
    folder = shared_folder / "tiny_sources"
    with _only_one(shared_folder / "tiny_sources.lock"):
        if not (folder / "done").exists():
            write_corpus(folder / "singing", TINY_PART)
            (folder / "singing" / "FULL" / "notes.txt").write_text("not a recording\n")
            for name in ("ast", "hubert"):
                write_random_checkpoint(name, folder / f"random-{name}", size="small", seed=0)
            (folder / "done").touch()
    return folder


def tiny_config(sources: Path, store: Path, **options: object) -> RunConfig:
    """The run of the tiny store; `options` replace its own."""
    return make_config(
        {
            "dataset": "synthetic",
            "root": sources / "singing",
            "store": store,
            "encoders": [f"{name}={sources / f'random-{name}'}" for name in ("ast", "hubert")],
            "preset": "quick",
            "sparsities": (0.8, 0.95),
            "seeds": (0, 1),
            "epochs": 15,
            "label_permutations": 10,
            "n_workers": 2,
            "device": "cpu",
            **options,
        }
    )


@pytest.fixture(scope="session")
def tiny_store(shared_folder: Path, tiny_sources: Path) -> Path:
    """A real store: 80 generated clips of 8 singers, two small untrained encoders, two sparsities, two seeds."""
    store = shared_folder / "tiny_store"
    with _only_one(shared_folder / "tiny_store.lock"):
        if not (store / "CURRENT").exists():
            run(tiny_config(tiny_sources, store), command="the tests' tiny store")
    return store


def measured(tiny_store: Path, store: Path) -> Path:
    """The folder of a new store as a run leaves it that was stopped once the tiny corpus's factors were measured, which
    takes longer than all the rest."""
    shutil.copytree(tiny_store / "artefacts" / FACTOR_STAGE, store / "artefacts" / FACTOR_STAGE)
    return store


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Iterator[Store]:
    """The tiny store, opened."""
    opened = open_store(tiny_store)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a single clip."""
    folder = tmp_path_factory.mktemp("empty_store")
    with new_generation(folder) as writer:
        meta = [("schema_version", str(SCHEMA_VERSION)), ("corpus_name", "nothing yet")]
        writer.insert("meta", pd.DataFrame(meta, columns=["key", "value"]))
    return folder


@pytest.fixture(scope="module")
def empty(empty_folder: Path) -> Iterator[Store]:
    """The store without a clip, opened."""
    opened = open_store(empty_folder)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def app(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app on the tiny store, served."""
    with running_app(tiny_store, tmp_path_factory.mktemp("app")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with running_browser() as one:
        yield one


class _only_one:
    """Let one test process at a time through."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._file = self._path.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
