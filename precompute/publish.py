"""Assemble a generation of the store from the bundles of all recorded runs. Needs no encoder and no data set."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.errors import StoreError
from explorer.store import (
    FILES,
    SCHEMA_VERSION,
    GenerationWriter,
    new_generation,
    remove_unlisted,
    table_columns,
)
from explorer.store.disk import partial_name, sync
from explorer.store.names import check_folder, is_content_name, is_file, is_folder, shown
from precompute.artefacts import RUN_AGAIN, Artefacts, Bundle, explained
from precompute.manifest import UNSEALED, content_hashes, sha256_of
from precompute.references import current_references, mark_references
from precompute.run_records import damage, recorded_runs
from precompute.summary import finish_tables
from precompute.table_checks import check_table, check_together, tables_of

NEEDED = {"clips": {"clip_id", "clip_index"}, "factor_values": {"clip_id", "factor_index"}}
NEEDED_BY = {"saes": {"features": {"sae_id", "feature"}}, "factor_scores": {"representations": {"representation_id"}}}
UNIQUE = {
    "encoders": ["encoder_id"],
    "representations": ["representation_id"],
    "probes": ["probe_id"],
    "probe_classes": ["probe_id", "class"],
    "probe_confusion": ["probe_id", "true_class", "predicted_class"],
    "probe_groups": ["probe_id", "group_id"],
    "probe_predictions": ["probe_id", "clip_index"],
    "probe_weights": ["probe_id", "class"],
    "probe_scalers": ["probe_id"],
    "saes": ["sae_id"],
    "features": ["sae_id", "feature"],
    "label_nulls": ["sae_id", "label_name", "level"],
    "factor_scores": ["representation_id", "protocol", "factor_index"],
    "lasso_weights": ["representation_id", "protocol", "factor_index", "dim"],
    "lasso_models": ["representation_id", "protocol", "factor_index"],
    "lasso_scalers": ["representation_id", "protocol"],
    "factor_predictions": ["representation_id", "protocol", "factor_index", "clip_index"],
    "feature_matches": ["sae_id", "feature", "other_sae_id", "rank"],
    "feature_stability": ["sae_id", "feature"],
    "sae_stability": ["sae_id"],
    "sae_giants": ["sae_id"],
    "layer_frames": ["encoder_id", "layer"],
    "feature_histograms": ["sae_id", "feature"],
    "feature_attribute_shares": ["sae_id", "feature", "column_name"],
    "feature_label_counts": ["sae_id", "feature", "label"],
    "feature_neighbours": ["sae_id", "feature", "kind", "rank"],
    "listed_clips": ["sae_id", "feature", "kind", "interval_low", "rank"],
    "layer_choices": ["encoder_id", "layer", "run_id"],
    "pca_baselines": ["encoder_id", "layer", "n_components"],
    "sae_curves": ["sae_id", "epoch"],
    "sae_lengths": ["sae_id", "n_epochs", "fold"],
    "sae_group_errors": ["sae_id", "group_id"],
}
NOT_TABLES = {"feature_stability", "sae_stability", "sae_giants"}
CONTENT = ("codes-", "traces-")  # parquet files that are published as they are


def publish(store: Path, *, mend: bool = False, artefacts: Artefacts | None = None) -> int:
    """Write a new generation from the artefacts of all runs and make it current. Returns its number.

    Every bundle is compared with its manifest first; `artefacts` of the run that asks knows which were. `mend` also
    restores files of bundles from the published ones. Raises StoreError when the folder holds no run, or when a bundle
    that a run stands on is gone or damaged: nothing is published then.
    """
    artefacts = artefacts or Artefacts(store)
    runs = recorded_runs(store)
    check_folder(store / FILES)
    bundles = _latest(_whole_bundles(artefacts, runs, mend=mend))
    with explained(store), new_generation(store) as writer:
        tables = _collect(store, bundles)
        tables["generation_files"] = _publish_files(store, bundles)
        tables["runs"] = pd.DataFrame([_run_row(record) for record in runs])
        timings = [{"run_id": record["run_id"], **timing} for record in runs for timing in record["timings"]]
        tables["run_timings"] = pd.DataFrame(timings)
        with tables_of(store):
            if "saes" in tables:
                tables["saes"] = mark_references(tables["saes"], current_references(artefacts, runs))
            finish_tables(tables, runs)
        facts = {**runs[-1]["meta"], "schema_version": SCHEMA_VERSION, "generation": writer.generation}
        facts["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        _write(writer, tables, facts)
        number = writer.generation
    with explained(store):
        remove_unlisted(store)
    return number


def _whole_bundles(artefacts: Artefacts, runs: Sequence[dict[str, Any]], *, mend: bool) -> list[Bundle]:
    """The bundles that the runs stand on, each compared with its manifest.

    Those of runs of before bundles were sealed are taken without, so that an older store can be published again.
    """
    sealed = {(stage, key): False for record in runs for stage, key in record["bundles"]}
    for record in runs:
        if record.get("is_sealed") is True:
            sealed.update(dict.fromkeys(((stage, key) for stage, key in record["bundles"]), True))
    bundles, damaged = [], {}
    for (stage, key), is_sealed in sealed.items():
        try:
            bundles.append(artefacts.get(stage, key, takes_unsealed=not is_sealed))
        except StoreError:
            bundle = Bundle(artefacts.folder / stage / key)
            if mend and is_folder(bundle.folder) and _restore(artefacts, bundle):
                bundles.append(artefacts.get(stage, key, takes_unsealed=not is_sealed))
                continue
            fault = artefacts.fault(bundle) if is_folder(bundle.folder) else "it is missing"
            damaged[stage, key] = fault
    if damaged:
        raise StoreError(f"Nothing was published: {damage(artefacts.store, damaged, runs)}")
    return bundles


def _restore(artefacts: Artefacts, bundle: Bundle) -> bool:
    """Put back content files of a bundle that are gone or damaged and were published whole. Whether it is whole now."""
    for name, sha256 in content_hashes(bundle.folder).items():
        if not is_content_name(name):
            continue
        ours, published = bundle.folder / name, artefacts.store / FILES / name
        if is_file(ours) and sha256_of(ours) == sha256:
            continue
        if is_file(published) and sha256_of(published) == sha256:
            _place(published, ours)
    return artefacts.fault_now(bundle) in (None, UNSEALED)


def _latest(bundles: Sequence[Bundle]) -> list[Bundle]:
    """The bundles without those that a later one of the same stage about the same subject replaces."""
    last: dict[tuple[str, str], Bundle] = {}
    for bundle in bundles:
        last[bundle.folder.parent.name, bundle.subject() or bundle.folder.name] = bundle
    return list(last.values())


def _collect(store: Path, bundles: Sequence[Bundle]) -> dict[str, pd.DataFrame]:
    wanted = [(bundle, name) for bundle in bundles for name in bundle.tables() if not name.startswith(CONTENT)]
    for bundle, name in wanted:
        if name not in table_columns() and name not in NOT_TABLES:
            raise StoreError(f"{bundle.folder} holds a table {shown(name)}, which no store has. {RUN_AGAIN}")
    parts: dict[str, list[pd.DataFrame]] = {}
    with ThreadPoolExecutor() as pool:  # many small files
        for (_, name), rows in zip(wanted, pool.map(lambda one: one[0].table(one[1]), wanted), strict=True):
            parts.setdefault(name, []).append(rows)
    tables = {}
    for name, frames in parts.items():
        rows = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        check_table(store, name, rows, UNIQUE.get(name, ()))
        tables[name] = rows.drop_duplicates(UNIQUE[name], keep="last") if name in UNIQUE else rows
    needed = [more for name, more in NEEDED_BY.items() if name in tables]
    check_together(store, tables, dict(pair for each in (NEEDED, *needed) for pair in each.items()))
    values = tables["factor_values"]
    index = tables["clips"].set_index("clip_id")["clip_index"]
    values = values.assign(clip_index=values["clip_id"].map(index)).dropna(subset=["clip_index"])
    tables["factor_values"] = values.drop(columns="clip_id").astype({"clip_index": "int32"})
    return tables


def _publish_files(store: Path, bundles: Sequence[Bundle]) -> pd.DataFrame:
    """Put the bundles' content files beside the database (a hard link where the file system allows) and list them."""
    rows: dict[str, dict[str, object]] = {}
    for bundle in bundles:
        hashes = content_hashes(bundle.folder)
        for kind, path in bundle.content_files():
            sha256 = hashes.get(path.name) or sha256_of(path)
            target = store / FILES / path.name
            if not _is_same(path, target, sha256):
                _place(path, target)
            row = {"path": f"{FILES}/{path.name}", "kind": kind, "n_bytes": path.stat().st_size, "sha256": sha256}
            rows[path.name] = row
    return pd.DataFrame(list(rows.values()))


def _is_same(path: Path, target: Path, sha256: str) -> bool:
    """Whether a published file is the artefact's: one file on the disk, or a copy with the same content."""
    if not is_file(target):
        return False
    return os.path.samefile(path, target) or (
        target.stat().st_size == path.stat().st_size and sha256_of(target) == sha256
    )


def _place(path: Path, target: Path) -> None:
    """Put a file, or a copy of it, in the place of whatever is at `target`; nothing is written into what was there."""
    if is_folder(target):
        raise StoreError(f"{target} is a folder where a file belongs. Delete it, then try again.")
    partial = target.with_name(partial_name(target.name))
    try:
        try:
            os.link(path, partial, follow_symlinks=False)
        except OSError:
            shutil.copyfile(path, partial, follow_symlinks=False)
            sync(partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _run_row(record: dict[str, Any]) -> dict[str, Any]:
    names = ("run_id", "started_at", "finished_at", "preset", "command", "n_clips", "summary")
    row = {name: record.get(name) for name in names}
    row.update({f"{name}_json": json.dumps(record[name]) for name in ("config", "versions", "hardware")})
    return row


def _write(writer: GenerationWriter, tables: dict[str, pd.DataFrame], facts: dict[str, Any]) -> None:
    rows = [{"key": key, "value": str(value)} for key, value in facts.items() if value is not None]
    writer.insert("meta", pd.DataFrame(rows))
    for name, frame in tables.items():
        if name not in NOT_TABLES:
            writer.insert(name, frame)
