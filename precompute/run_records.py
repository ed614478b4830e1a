"""The records of a store's runs: what each was asked, when, and the bundles that it stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from explorer.errors import StoreError
from explorer.store import RUNS, command
from explorer.store.disk import read_small, replace_text
from explorer.store.names import check_folder, is_file, is_folder, is_key, shown
from explorer.text import count
from precompute.artefacts import Artefacts, explained

_MAX_BYTES = 1 << 26
_TEXTS = ("run_id", "started_at", "preset", "command", "summary")
_MAPPINGS = ("config", "versions", "hardware", "meta")
_LISTS = ("bundles", "timings")
DEMO_SOURCES = "demo_sources"  # what the demo keeps in its store: what made it
MAX_NAMED = 3
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def save_run(artefacts: Artefacts, record: dict[str, Any]) -> None:
    """Keep a run's record: its facts and the bundles it stands on. Replaces the record of the same run, atomically."""
    folder = artefacts.folder / RUNS
    for place in (artefacts.folder, folder):
        check_folder(place)
    with explained(artefacts.store):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**record, "is_sealed": True}, indent=1, default=str)
        replace_text(folder / f"{record['run_id']}.json", text)


def load_runs(artefacts: Artefacts) -> list[dict[str, Any]]:
    """The records of all runs, the one that was at work last at the end: what it says holds.

    Raises StoreError for one that is damaged.
    """
    folder = artefacts.folder / RUNS
    if not (is_folder(artefacts.folder) and is_folder(folder)):
        return []
    paths = [path for path in folder.glob("*.json") if is_key(path.stem)]
    return sorted((_record(path) for path in paths), key=_when)


def _when(record: dict[str, Any]) -> tuple[str, str]:
    recorded_at = record.get("recorded_at")
    return recorded_at if isinstance(recorded_at, str) else record["started_at"], record["run_id"]


def recorded_runs(store: Path) -> list[dict[str, Any]]:
    """The records of all runs, oldest first. Raises StoreError when the folder holds none."""
    for place in (store / "artefacts", store / "artefacts" / RUNS):
        check_folder(place)
    runs = load_runs(Artefacts(store))
    if not runs:
        raise StoreError(f"{store} holds no run to publish. Make one with `python -m precompute run`.")
    return runs


def said_of(record: dict[str, Any]) -> str:
    """Which run a record is of, in words that are ours: its id, its day, how many clips."""
    day = _DAY.match(record["started_at"])
    return f"run {record['run_id']}{f' of {day[0]}' if day else ''}"


def damage(store: Path, damaged: Mapping[tuple[str, str], str | None], runs: Sequence[dict[str, Any]]) -> str:
    """Which artefacts are damaged, whose they are, and what computes them again, in words of ours alone."""
    shown = "; ".join(f"{stage}/{key}: {fault}" for (stage, key), fault in list(damaged.items())[:MAX_NAMED])
    more = f" and {len(damaged) - MAX_NAMED} more" if len(damaged) > MAX_NAMED else ""
    theirs = [record for record in runs if any((stage, key) in damaged for stage, key in record["bundles"])]
    is_demo = (store / DEMO_SOURCES).is_dir()
    again = f"Compute them again with {command(store, 'demo')}" if is_demo else (
        "Run the same `python -m precompute run` command as then again: it computes what is damaged, and nothing else"
    )  # fmt: skip
    return (
        f"{count(len(damaged), 'damaged artefact')} in {store} ({shown}{more}), of "
        f"{' and '.join(said_of(record) for record in theirs)}. {again}."
    )


def _record(path: Path) -> dict[str, Any]:
    try:
        if not is_file(path):
            raise ValueError("it is no regular file")
        record = json.loads(read_small(path, _MAX_BYTES).decode("utf-8"))
        _check(record, path.stem)
        record = json.loads(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))  # half a character: '?'
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"The record of a run, {path}, is damaged ({shown(str(error))}). Delete it, and run the same "
            "`python -m precompute` command again."
        ) from error
    return record


def _check(record: object, name: str) -> None:
    """Raise ValueError unless a record has what others read from it."""
    if not isinstance(record, dict) or record.get("run_id") != name:
        raise ValueError("it is of no run of this name")
    for names, kind in ((_TEXTS, str), (_MAPPINGS, dict), (_LISTS, list)):
        for key in names:
            if not isinstance(record.get(key), kind):
                raise ValueError(f"no {key}")
    if not isinstance(record.get("finished_at"), str | None):
        raise ValueError("no finished_at")
    for entry in record["bundles"]:
        if not (isinstance(entry, list) and len(entry) == 2 and all(is_key(part) for part in entry)):
            raise ValueError("a bundle with another name than a plain one")
    for rows in (record["timings"], record.get("layer_choices", [])):
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError("rows that are none")
    if not all(isinstance(value, str | int | float | None) for value in record["meta"].values()):
        raise ValueError("a fact that is no text")
