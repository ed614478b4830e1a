"""The demo: generated singing whose truth is known, four small encoders trained for it, and nothing to download."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from explorer.environment import app_command
from explorer.errors import ExplorerError, StoreError
from explorer.store import POINTER, SCHEMA_VERSION, open_store
from explorer.store.disk import read_small, replace_text
from explorer.store.names import check_folder
from precompute.artefacts import key_of
from precompute.config import PAPER_SPARSITIES, RunConfig, make_config
from precompute.datasets.singing.corpus import CORPUS_VERSION, write_corpus
from precompute.datasets.singing.parts import Part, crossed
from precompute.manifest import sha256_of
from precompute.reporting import Reporter, log
from precompute.run_records import DEMO_SOURCES
from precompute.verify import verify

NAMES = ("hubert", "mert", "wavlm", "ast")
ENCODERS = Path(__file__).parent / "demo_encoders"
BUILT = "built.json"


def demo_config(store: Path, *, n_workers: int = 0) -> RunConfig:
    """The demo's run: every layer probed, the two best with SAEs at six sparsities, three seeds at 95 %.

    Lasso and labels are those of preset `quick`. Raises StoreError when the encoders are not there.
    """
    missing = [name for name in NAMES if not (ENCODERS / name).is_dir()]
    if missing:
        raise StoreError(
            f"The demo's encoders {', '.join(missing)} are missing from {ENCODERS}. They come with the repository; "
            "`python -m precompute.pretraining train --work DIR` makes them again."
        )
    return make_config(
        {
            "dataset": "synthetic",
            "root": store / DEMO_SOURCES / "singing",
            "store": store,
            "encoders": [f"{name}={ENCODERS / name}" for name in NAMES],
            "preset": "quick",
            "sparsities": PAPER_SPARSITIES,
            "seeds": (0, 1, 2),
            "n_workers": n_workers,
            "probe_c_grid": (0.3,),  # trained states need a weaker penalty than the preset's
        }
    )


def write_demo_corpus(config: RunConfig) -> None:
    """The crossed part, 1200 clips of 20 singers; found again when it is there."""
    write_generated(config.root, crossed(), seed=0, n_workers=config.workers(), reporter=Reporter())


def write_generated(root: Path, part: Part, *, seed: int, n_workers: int, reporter: Reporter) -> None:
    """Write a generated corpus, with progress."""
    with reporter.stage("singing", len(part.cells), "clips") as stage:
        write_corpus(root, part, seed=seed, n_workers=n_workers, progress=lambda *_: stage.made(amount=1))
        if not stage.n_done:
            stage.found(len(part.cells), amount=0)


def is_built(config: RunConfig) -> bool:
    """Whether the store holds this very demo, finished: the same options and encoders."""
    path = config.store / DEMO_SOURCES / BUILT
    if not path.is_file() or not (config.store / POINTER).is_file():
        return False
    return _read_recipe(path) == _recipe(config) and _is_whole(config.store)


def _read_recipe(path: Path) -> object:
    try:
        return json.loads(read_small(path, 10_000).decode("utf-8"))
    except (OSError, ValueError):
        return None


def _is_whole(store: Path) -> bool:
    """Whether nothing of it is damaged: otherwise the demo computes again what is."""
    try:
        verify(store)
    except StoreError as error:
        log.warning("%s", error)
        return False
    return True


def is_readable(store: Path) -> bool:
    """Whether the app would have something to show, as after a demo that was stopped."""
    try:
        open_store(store).close()
    except StoreError:
        return False
    return True


def remember_built(config: RunConfig) -> None:
    """Note that the store holds this demo whole."""
    path = config.store / DEMO_SOURCES / BUILT
    check_folder(path.parent)
    replace_text(path, json.dumps(_recipe(config)) + "\n")


def _recipe(config: RunConfig) -> dict[str, str]:
    places = ("store", "root", "encoders", "n_workers")
    options = {name: value for name, value in config.as_dict().items() if name not in places}
    files = [path for name in NAMES for path in sorted((ENCODERS / name).iterdir()) if path.is_file()]
    made_by = key_of(schema=SCHEMA_VERSION, corpus=CORPUS_VERSION)
    return {
        "made_by": made_by,
        "options": key_of(options=options),
        "encoders": key_of(files=[sha256_of(path) for path in files]),
    }


class App:
    """The app as a process of its own, started once the store can be browsed."""

    def __init__(self, store: Path, *, is_wanted: bool) -> None:
        self._store, self._is_wanted = store, is_wanted
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, _generation: int = 0) -> None:
        """Start it, unless it runs already or is not wanted."""
        if self._is_wanted and self._process is None:
            log.info("The store can be browsed: the app opens. What is still computed appears there as it is done.")
            words = app_command(self._store, "--server.showEmailPrompt=false")
            self._process = subprocess.Popen(words)  # noqa: S603

    def wait(self) -> None:
        """Until it is closed; at once where it does not run."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@contextmanager
def opened_app(store: Path, *, is_wanted: bool) -> Iterator[App]:
    """An App that stays open when what is inside fails, with the reason in the terminal, and closes with Ctrl-C."""
    app = App(store, is_wanted=is_wanted)
    try:
        yield app
    except ExplorerError as error:
        log.warning("error: %s", error)
        app.wait()
        raise
    finally:
        app.close()
