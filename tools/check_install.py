"""Whether this environment can do the work: import each direct dependency, encode one clip with each family.

Usage: check_install.py [--browse]. A line each; exit status 1 where one fails. `--browse`: imports of the browse-only
installation alone. `make smoke`, `make canary` and .ci/run use it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from explorer.environment import BROWSE, FULL, OPTIONAL, check_environment, direct_dependencies, import_failure

MODULES = {"scikit-learn": "sklearn", "umap-learn": "umap"}  # others are imported under their own name
FAMILIES = ("hubert", "mert", "wavlm", "ast", "whisper")


def checks(needs: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Named checks; each returns what it found and raises where something does not work."""
    yield "versions", partial(_versions, needs)
    for name in direct_dependencies(needs):
        yield f"import {name}", partial(_import, name)
    if needs == FULL:
        for family in FAMILIES:
            yield f"encode with {family}", partial(_encode, family)


def _versions(needs: str) -> str:
    return " ".join(check_environment(needs)) or "all as listed"


def _import(name: str) -> str:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if name in OPTIONAL:
            return "not installed; Sonoscope works without it"
        raise
    try:
        importlib.import_module(MODULES.get(name, name))
    except (ImportError, OSError) as error:
        if name in OPTIONAL:
            return f"{version} does not load ({str(error)[:100]}); Sonoscope works without it"
        raise
    return version


def _encode(family: str) -> str:
    """One second of a 220 Hz tone through the demo's encoder of this family, or a random one where it has none."""
    import numpy as np

    from explorer.audio import Waveform
    from explorer.encoders import load_encoder
    from precompute.random_checkpoints import write_random_checkpoint

    with tempfile.TemporaryDirectory() as made:
        folder = ROOT / "precompute" / "demo_encoders" / family
        if not folder.is_dir():
            folder = write_random_checkpoint(family, made, size="small")
        encoder = load_encoder(f"check={folder}")
    rate = encoder.checkpoint.sample_rate_hz
    samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(rate) / rate)
    wave = Waveform(samples.astype(np.float32), rate)
    last = encoder.checkpoint.n_layers
    pooled = encoder.pooled_states([wave], [last])[last]
    if not np.isfinite(pooled).all():
        raise ValueError(f"{family}: the last layer is not finite")
    return f"{pooled.shape[1]} numbers a clip, rms {float(np.sqrt((pooled**2).mean())):.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browse", action="store_true", help="check the browse-only installation")
    needs = BROWSE if parser.parse_args().browse else FULL
    n_failed = 0
    for name, check in checks(needs):
        began = time.perf_counter()
        try:
            line = f"ok      {name}: {check()}"
        except Exception as error:  # noqa: BLE001 - whatever a package raises is what this looks for
            n_failed += 1
            line = f"FAILED  {name}: {import_failure(error) or f'{type(error).__name__}: {str(error)[:300]}'}"
        print(f"{line} ({time.perf_counter() - began:.1f} s)", flush=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
