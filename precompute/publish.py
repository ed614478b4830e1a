"""Assemble a generation of the store from the bundles of all recorded runs. Needs no encoder and no data set."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.errors import StoreError
from explorer.store import FILES, SCHEMA_VERSION, GenerationWriter, new_generation, remove_unlisted
from precompute.artefacts import Artefacts, Bundle, explained
from precompute.references import current_references, mark_references
from precompute.summary import finish_tables

RUNS = "runs"
UNIQUE = {
    "encoders": ["encoder_id"],
    "representations": ["representation_id"],
    "probes": ["probe_id"],
    "probe_classes": ["probe_id", "class"],
    "probe_confusion": ["probe_id", "true_class", "predicted_class"],
    "probe_groups": ["probe_id", "group_id"],
    "probe_weights": ["probe_id", "class"],
    "probe_scalers": ["probe_id"],
    "saes": ["sae_id"],
    "features": ["sae_id", "feature"],
    "factor_scores": ["representation_id", "protocol", "factor_index"],
    "lasso_weights": ["representation_id", "protocol", "factor_index", "dim"],
    "lasso_models": ["representation_id", "protocol", "factor_index"],
    "lasso_scalers": ["representation_id", "protocol"],
    "factor_predictions": ["representation_id", "protocol", "factor_index", "clip_index"],
    "feature_matches": ["sae_id", "feature", "other_sae_id", "rank"],
    "feature_stability": ["sae_id", "feature"],
    "feature_histograms": ["sae_id", "feature"],
    "feature_attribute_shares": ["sae_id", "feature", "column_name"],
    "feature_label_counts": ["sae_id", "feature", "label"],
    "feature_neighbours": ["sae_id", "feature", "kind", "rank"],
    "listed_clips": ["sae_id", "feature", "kind", "interval_low", "rank"],
    "layer_choices": ["encoder_id", "layer", "run_id"],
    "pca_baselines": ["encoder_id", "layer", "n_components"],
    "sae_curves": ["sae_id", "epoch"],
}
NOT_TABLES = {"feature_stability"}


def save_run(artefacts: Artefacts, record: dict[str, Any]) -> None:
    """Keep a run's record: its facts and the bundles it stands on. Replaces the record of the same run, atomically."""
    folder = artefacts.folder / RUNS
    with explained(artefacts.store):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{record['run_id']}.partial"
        partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
        os.replace(partial, folder / f"{record['run_id']}.json")


def load_runs(artefacts: Artefacts) -> list[dict[str, Any]]:
    """The records of all runs, oldest first."""
    folder = artefacts.folder / RUNS
    records = (
        [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")] if folder.is_dir() else []
    )
    return sorted(records, key=lambda record: (record["started_at"], record["run_id"]))


def publish(store: Path) -> int:
    """Write a new generation from the artefacts of all runs and make it current. Returns its number.

    Raises StoreError when the folder holds no run, or when a bundle that a run stands on is gone.
    """
    artefacts = Artefacts(store)
    runs = load_runs(artefacts)
    if not runs:
        raise StoreError(
            f"{store} holds no run to publish. Make one with `python -m precompute run --store {store} ...`."
        )
    seen = dict.fromkeys((stage, key) for record in runs for stage, key in record["bundles"])
    bundles = _latest([artefacts.get(stage, key) for stage, key in seen])
    with explained(store), new_generation(store) as writer:
        tables = _collect(bundles)
        files = [row for bundle in bundles for row in _publish_files(store, bundle)]
        tables["generation_files"] = pd.DataFrame(files).drop_duplicates("path")
        tables["runs"] = pd.DataFrame([_run_row(record) for record in runs])
        timings = [{"run_id": record["run_id"], **timing} for record in runs for timing in record["timings"]]
        tables["run_timings"] = pd.DataFrame(timings)
        if "saes" in tables:
            tables["saes"] = mark_references(tables["saes"], current_references(artefacts, runs))
        finish_tables(tables, runs)
        facts = {**runs[-1]["meta"], "schema_version": SCHEMA_VERSION, "generation": writer.generation}
        facts["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        _write(writer, tables, facts)
        number = writer.generation
    remove_unlisted(store)
    return number


def _latest(bundles: Sequence[Bundle]) -> list[Bundle]:
    """The bundles without those that a later one of the same stage about the same subject replaces."""
    last: dict[tuple[str, str], Bundle] = {}
    for bundle in bundles:
        last[bundle.folder.parent.name, bundle.subject() or bundle.folder.name] = bundle
    return list(last.values())


def _collect(bundles: Sequence[Bundle]) -> dict[str, pd.DataFrame]:
    parts: dict[str, list[pd.DataFrame]] = {}
    for bundle in bundles:
        for name in bundle.tables():
            if name.startswith(("codes-", "traces-")):
                continue
            parts.setdefault(name, []).append(bundle.table(name))
    tables = {}
    for name, frames in parts.items():
        rows = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        tables[name] = rows.drop_duplicates(UNIQUE[name], keep="last") if name in UNIQUE else rows
    values = tables["factor_values"]
    index = tables["clips"].set_index("clip_id")["clip_index"]
    values = values.assign(clip_index=values["clip_id"].map(index)).dropna(subset=["clip_index"])
    tables["factor_values"] = values.drop(columns="clip_id").astype({"clip_index": "int32"})
    return tables


def _publish_files(store: Path, bundle: Bundle) -> Iterable[dict[str, object]]:
    """Put a bundle's content files beside the database (a hard link where the file system allows) and list them."""
    for path in sorted(bundle.folder.iterdir()):
        kind = path.name.split("-")[0]
        if kind not in ("preview", "sae", "codes", "traces", "states") or "-" not in path.name:
            continue
        target = store / FILES / path.name
        if not target.exists() or target.stat().st_size != path.stat().st_size:
            partial = target.with_name(f".{target.name}.partial")
            partial.unlink(missing_ok=True)
            try:
                os.link(path, partial)
            except OSError:
                shutil.copyfile(path, partial)
            os.replace(partial, target)
        yield {"path": f"{FILES}/{path.name}", "kind": kind, "n_bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
