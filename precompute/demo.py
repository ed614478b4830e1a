"""The demo: generated singing whose truth is known, four small encoders trained for it, and nothing to download."""

from __future__ import annotations

from pathlib import Path

from explorer.errors import StoreError
from precompute.config import PAPER_SPARSITIES, RunConfig, make_config
from precompute.datasets.singing.corpus import write_corpus
from precompute.datasets.singing.parts import Part, crossed
from precompute.reporting import Reporter

NAMES = ("hubert", "mert", "wavlm", "ast")
ENCODERS = Path(__file__).parent / "demo_encoders"
SOURCES = "demo_sources"


def write_generated(root: Path, part: Part, *, seed: int, n_workers: int, reporter: Reporter) -> None:
    """Write a generated corpus, with progress."""
    with reporter.stage("singing", len(part.cells), "clips") as stage:
        write_corpus(root, part, seed=seed, n_workers=n_workers, progress=lambda *_: stage.advance())


def demo_config(store: Path) -> RunConfig:
    """The demo's run: every layer probed, the two best with SAEs at six sparsities, three seeds at 95 %.

    Lasso, probes and labels are those of preset `quick`. Raises StoreError when the encoders are not there.
    """
    missing = [name for name in NAMES if not (ENCODERS / name).is_dir()]
    if missing:
        raise StoreError(
            f"The demo's encoders {', '.join(missing)} are missing from {ENCODERS}. They come with the repository; "
            "`python -m precompute.pretraining train --work DIR` makes them anew."
        )
    return make_config(
        {
            "dataset": "synthetic",
            "root": store / SOURCES / "singing",
            "store": store,
            "encoders": [f"{name}={ENCODERS / name}" for name in NAMES],
            "preset": "quick",
            "sparsities": PAPER_SPARSITIES,
            "seeds": (0, 1, 2),
        }
    )


def write_demo_corpus(config: RunConfig) -> None:
    """The crossed part, 1200 clips of 20 singers; found again when it is there."""
    write_generated(config.root, crossed(), seed=0, n_workers=config.workers(), reporter=Reporter())
