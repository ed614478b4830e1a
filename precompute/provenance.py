"""What a run writes down about itself: versions, hardware, the command, and where the time of all its sittings went."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import explorer
from explorer.store import RUNS
from explorer.store.disk import read_small, replace_text
from explorer.store.names import check_folder
from precompute.artefacts import Artefacts
from precompute.config import RunConfig
from precompute.reporting import Reporter, StageTime

VERSIONED = (
    "torch",
    "transformers",
    "scikit-learn",
    "opensmile",
    "umap-learn",
    "duckdb",
    "numpy",
    "scipy",
    "soundfile",
)
_ROOT = Path(__file__).resolve().parents[1]


def versions() -> dict[str, str]:
    """The versions of Sonoscope, of Python and of the packages that numbers depend on."""
    found = {"sonoscope": code_version(_ROOT), "python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def code_version(root: Path) -> str:
    """The release, and where `root` is a git checkout its commit, with '-dirty' where files differ from it."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return explorer.__version__
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return explorer.__version__
    return f"{explorer.__version__}+{done.stdout.strip()}"


def hardware(config: RunConfig) -> dict[str, Any]:
    """The machine, its system, cores, and the GPU that the run may use."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() and config.device != "cpu" else None
    return {"machine": platform.machine(), "system": platform.system(), "n_cores": os.cpu_count(), "gpu": gpu}


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["python", "-m", "precompute", *sys.argv[1:]])


@dataclass(frozen=True, eq=False)
class Sittings:
    """When a run began first, and where its time went: in earlier sittings, killed ones included, and in this one."""

    started_at: str
    earlier: Sequence[StageTime]
    reporter: Reporter

    @classmethod
    def of(cls, artefacts: Artefacts, run_id: str, reporter: Reporter) -> Sittings:
        """Take over what earlier sittings noted, and from now on note this one's time after each stage."""
        path = artefacts.folder / RUNS / f"{run_id}.sittings"
        for place in (artefacts.folder, path.parent):
            check_folder(place)
        noted = _noted(path)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        earlier = [StageTime(**row) for row in noted.get("timings", ())]
        sittings = cls(noted.get("started_at", now), earlier, reporter)
        reporter.on_stage = lambda: sittings.keep(path)
        return sittings

    def timings(self) -> list[StageTime]:
        """One entry a stage, of all sittings together."""
        return merged(self.earlier, self.reporter.times)

    def keep(self, path: Path) -> None:
        """Note both in a file."""
        noted = {"started_at": self.started_at, "timings": [dataclasses.asdict(item) for item in self.timings()]}
        with contextlib.suppress(OSError):  # a disk that is full stops the run where it matters, not here
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(noted))


def _noted(path: Path) -> dict[str, Any]:
    """What earlier sittings noted; nothing where there is no such file, or one that is damaged: only times are lost."""
    try:
        noted = json.loads(read_small(path, 1 << 24).decode("utf-8"))
        return {"started_at": str(noted["started_at"]), "timings": [dict(row) for row in noted["timings"]]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def merged(earlier: Sequence[StageTime], now: Sequence[StageTime]) -> list[StageTime]:
    """One entry a stage, in order of first appearance: seconds and work done of all sittings together.

    What this sitting found finished counts as reused only as far as no earlier sitting of the run did it.
    """
    by_name = {item.stage: dataclasses.replace(item) for item in earlier}
    n_found: dict[str, int] = {}
    for item in now:
        entry = by_name.setdefault(item.stage, StageTime(item.stage, 0.0, 0, 0))
        entry.seconds += item.seconds
        entry.n_done += item.n_done
        n_found[item.stage] = n_found.get(item.stage, 0) + item.n_reused
    before = {item.stage: item.n_done for item in earlier}
    for name, found in n_found.items():
        by_name[name].n_reused = max(0, found - before.get(name, 0))
    return list(by_name.values())
