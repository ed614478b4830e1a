"""Check a store whole: its database, its files, what its tables name, and its artefacts. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.errors import NotInStoreError, StoreError
from explorer.store import Store, checksum_path, generation_path, how_to_make_again, open_store, table_columns
from explorer.store.disk import read_small
from explorer.store.names import content_path, is_file, is_folder, is_key
from explorer.text import count, whole
from precompute.artefacts import PARTIAL, Artefacts, Bundle
from precompute.manifest import UNSEALED, sha256_of
from precompute.run_records import MAX_NAMED, damage, load_runs

READ_LIMIT_S = 3600.0  # of one table
# What a table names: table, column, kind of the file.
_NAMED = (
    ("clips", "preview", "preview"),
    ("saes", "weights_file", "sae"),
    ("saes", "codes_by_feature_file", "codes"),
    ("saes", "codes_by_clip_file", "codes"),
    ("saes", "traces_file", "traces"),
)


def verify(store: Path) -> list[str]:
    """Read everything and compare it with what was written down about it. Returns what was found whole.

    Raises StoreError naming what is wrong and what helps.
    """
    opened = open_store(store)
    try:
        wrong = _faults_of_database(opened)
        listed = opened.query("SELECT path, kind, n_bytes, sha256 FROM generation_files ORDER BY path")
        wrong += _faults_of_files(store, listed)
        wrong += _faults_of_names(opened, set(listed["path"]))
    finally:
        opened.close()
    artefacts = Artefacts(store)
    runs = load_runs(artefacts)
    damaged, notes = _faults_of_artefacts(artefacts, runs)
    if wrong:
        shown = "; ".join(wrong[: MAX_NAMED + 2])
        more = f"; and {len(wrong) - MAX_NAMED - 2} more" if len(wrong) > MAX_NAMED + 2 else ""
        raise StoreError(
            f"{count(len(wrong), 'fault')} in {store}: {shown}{more}. "
            f"{damage(store, damaged, runs) if damaged else how_to_make_again(store)}"
        )
    if damaged:
        raise StoreError(f"What is published in {store} is whole. {damage(store, damaged, runs)}")
    return [f"{store}: generation {opened.generation}, {count(len(listed), 'file')}, all as published.", *notes]


def _faults_of_database(opened: Store) -> list[str]:
    """What differs from the checksum of the database, and what of it cannot be read."""
    path = generation_path(opened.folder, opened.generation)
    noted = checksum_path(opened.folder, opened.generation)
    wrong = []
    if is_file(noted):
        try:
            expected = read_small(noted, 1000).decode("ascii").split()[:1]
        except (OSError, ValueError):
            expected = []
        if expected != [sha256_of(path)]:
            wrong.append(f"{path.name} is not what was published ({noted.name} has another checksum)")
    for table in sorted(table_columns()):
        try:  # every column of every row: a block whose checksum is wrong is not read
            opened.query(f'SELECT sum(hash(t)) FROM "{table}" t', limit_s=READ_LIMIT_S)  # noqa: S608 - names of the schema
        except StoreError:
            wrong.append(f"the table {table} in {path.name} cannot be read whole")
    return wrong


def _faults_of_files(store: Path, listed: pd.DataFrame) -> list[str]:
    with ThreadPoolExecutor() as pool:
        faults = pool.map(lambda row: _fault_of_file(store, row), listed.itertuples())
        return [fault for fault in faults if fault]


def _fault_of_file(store: Path, row: Any) -> str | None:
    try:
        path = content_path(store, row.path)
    except NotInStoreError:
        return f"{row.path} is missing"
    except StoreError as error:
        return str(error).rstrip(".")
    try:
        if path.stat().st_size != row.n_bytes or sha256_of(path) != row.sha256:
            return f"{row.path} is not what was published"
    except OSError as error:
        return f"{row.path} cannot be read ({error.strerror})"
    return None


def _faults_of_names(opened: Store, listed: set[str]) -> list[str]:
    """What the tables name and the generation does not list, and what refers to nothing."""
    wrong = []
    for table, column, kind in _NAMED:
        names = opened.query(f'SELECT DISTINCT {column} AS name FROM "{table}" WHERE {column} IS NOT NULL')["name"]  # noqa: S608 - names of the schema
        missing = sorted(set(names) - listed)
        if missing:
            wrong.append(
                f"{count(len(missing), f'{kind} file')} that {table} names (of {whole(len(names))}) not listed"
            )
    states = opened.query(
        "SELECT count(*) AS n FROM (SELECT DISTINCT encoder_id, layer FROM saes) s WHERE "
        "(SELECT count(*) > 0 FROM clips WHERE is_playable) AND NOT EXISTS (SELECT 1 FROM generation_files f "
        "WHERE f.kind = 'states' AND starts_with(f.path, format('files/states-{}-L{:02d}-', s.encoder_id, s.layer)))"
    )
    if int(states["n"].iloc[0]):
        wrong.append(f"the states of the playable clips are missing for {count(states['n'].iloc[0], 'layer')}")
    dangling = opened.query(
        "SELECT count(*) AS n FROM listed_clips l LEFT JOIN clips c USING (clip_index) WHERE c.clip_id IS NULL"
    )
    if int(dangling["n"].iloc[0]):
        wrong.append(f"{count(dangling['n'].iloc[0], 'listed clip')} not in the corpus")
    return wrong


def _faults_of_artefacts(
    artefacts: Artefacts, runs: Sequence[dict[str, Any]]
) -> tuple[dict[tuple[str, str], str | None], list[str]]:
    """(damaged bundles that a run stands on, remarks about the others)."""
    recorded = {(stage, key): False for record in runs for stage, key in record["bundles"]}
    for record in runs:
        if record.get("is_sealed") is True:
            recorded.update({(stage, key): True for stage, key in record["bundles"]})
    there = {(bundle.folder.parent.name, bundle.folder.name): bundle for bundle in all_bundles(artefacts)}
    with ThreadPoolExecutor() as pool:
        faults = dict(zip(there, pool.map(artefacts.fault, there.values()), strict=True))
    damaged: dict[tuple[str, str], str | None] = {}
    for entry, is_sealed in recorded.items():
        fault = faults.get(entry, "it is missing")
        if fault is not None and not (fault == UNSEALED and not is_sealed):
            damaged[entry] = fault
    others = [entry for entry, fault in faults.items() if fault not in (None, UNSEALED) and entry not in recorded]
    n_unsealed = sum(fault == UNSEALED for entry, fault in faults.items() if entry not in damaged)
    notes = (
        [f"{count(len(there), 'artefact')}, {whole(len(there) - len(damaged) - len(others) - n_unsealed)} as computed."]
        if there
        else []
    )
    if n_unsealed:
        notes.append(f"{count(n_unsealed, 'artefact')} made before artefacts were sealed, which cannot be checked.")
    if others:
        notes.append(
            f"{count(len(others), 'damaged artefact')} that no run needs now; a run that does computes it again."
        )
    return damaged, notes


def all_bundles(artefacts: Artefacts) -> list[Bundle]:
    """Every bundle in the folder, whether a run stands on it or not; nothing is followed."""
    if not is_folder(artefacts.folder):
        return []
    stages = [path for path in sorted(artefacts.folder.iterdir()) if is_key(path.name) and is_folder(path)]
    keys = [path for stage in stages for path in sorted(stage.iterdir()) if not path.name.startswith(PARTIAL)]
    return [Bundle(path) for path in keys if is_key(path.name) and is_folder(path)]
