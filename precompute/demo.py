"""The demo: a small generated singing corpus and four small encoders with random weights, and nothing to download."""

from __future__ import annotations

import os
from pathlib import Path

from precompute.artefacts import explained
from precompute.checkpoint_folder import CONFIG
from precompute.config import RunConfig, make_config
from precompute.datasets.singing.corpus import write_corpus
from precompute.datasets.singing.parts import Part, crossed
from precompute.random_checkpoints import write_random_checkpoint
from precompute.reporting import Reporter

NAMES = ("ast", "wavlm", "hubert", "mert")
SOURCES = "demo_sources"


def write_generated(root: Path, part: Part, *, seed: int, n_workers: int, reporter: Reporter) -> None:
    """Write a generated corpus, with progress."""
    with reporter.stage("singing", len(part.cells), "clips") as stage:
        write_corpus(root, part, seed=seed, n_workers=n_workers, progress=lambda *_: stage.advance())


def demo_config(store: Path) -> RunConfig:
    """Write the corpus and the checkpoints (once) below the store, and return the run over them."""
    sources = store / SOURCES
    corpus = sources / "singing"
    write_generated(corpus, crossed(), seed=0, n_workers=os.cpu_count() or 1, reporter=Reporter())
    for name in NAMES:
        folder = sources / f"random-{name}"
        if not (folder / CONFIG).is_file():
            with explained(store):
                write_random_checkpoint(name, folder, size="small", seed=0)
    return make_config(
        {
            "dataset": "synthetic",
            "root": corpus,
            "store": store,
            "encoders": [f"{name}={sources / f'random-{name}'}" for name in NAMES],
            "preset": "quick",
        }
    )
