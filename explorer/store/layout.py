"""Where everything lies in a store's folder, and which schema this code reads."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

SCHEMA_VERSION = 7
POINTER = "CURRENT"
FILES = "files"
ARTEFACTS = "artefacts"
RUNS = "runs"
SCHEMA_SQL = Path(__file__).parents[1] / "schema.sql"
GENERATION = re.compile(r"store-([0-9]{6}|[1-9][0-9]{6,8})\.duckdb")
LAST_GENERATION = 10**9 - 1  # after it they count from 1 again


def generation_path(folder: Path | str, generation: int) -> Path:
    """Where generation number `generation` lies."""
    return Path(folder) / f"store-{generation:06d}.duckdb"


def checksum_path(folder: Path | str, generation: int) -> Path:
    """Where the SHA-256 of a generation's database is written down, as `sha256sum -c` reads it."""
    return generation_path(folder, generation).with_suffix(".sha256")


def command(folder: Path | str, name: str) -> str:
    """A command of precompute on this folder, as a person can paste it."""
    return f"`python -m precompute {name} --store {shlex.quote(str(folder))}`"


def how_to_make_again(folder: Path | str) -> str:
    """What helps where a published part of a store is damaged or gone: a sentence that fits what the folder holds."""
    if (Path(folder) / ARTEFACTS / RUNS).is_dir():
        return f"Make it again with {command(folder, 'publish')}."
    return "This copy holds no artefacts to make it again from: get a whole copy of the store."
