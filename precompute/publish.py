"""Assemble a generation of the store from the bundles of all recorded runs. Needs no encoder and no data set."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.errors import StoreError
from explorer.store import FILES, SCHEMA_VERSION, GenerationWriter, new_generation, remove_unlisted
from precompute.artefacts import Artefacts, Bundle, explained, sha256_of
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
    "probe_predictions": ["probe_id", "clip_index"],
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
CONTENT = ("codes-", "traces-")  # parquet files that are published as they are


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


def recorded_runs(store: Path) -> list[dict[str, Any]]:
    """The records of all runs, oldest first. Raises StoreError when the folder holds none."""
    runs = load_runs(Artefacts(store))
    if not runs:
        raise StoreError(
            f"{store} holds no run to publish. Make one with `python -m precompute run --store {store} ...`."
        )
    return runs


def publish(store: Path, *, mend: bool = False) -> int:
    """Write a new generation from the artefacts of all runs and make it current. Returns its number.

    `mend` reads every published file and replaces those that are not what was computed. Raises StoreError when the
    folder holds no run, or when a bundle that a run stands on is gone or, where it is needed to mend, damaged.
    """
    artefacts = Artefacts(store)
    runs = recorded_runs(store)
    seen = dict.fromkeys((stage, key) for record in runs for stage, key in record["bundles"])
    bundles = _latest([artefacts.get(stage, key) for stage, key in seen])
    with explained(store), new_generation(store) as writer:
        tables = _collect(bundles)
        if mend:
            _mend(store, bundles, runs)
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
    with explained(store):
        remove_unlisted(store)
    return number


def _latest(bundles: Sequence[Bundle]) -> list[Bundle]:
    """The bundles without those that a later one of the same stage about the same subject replaces."""
    last: dict[tuple[str, str], Bundle] = {}
    for bundle in bundles:
        last[bundle.folder.parent.name, bundle.subject() or bundle.folder.name] = bundle
    return list(last.values())


def _collect(bundles: Sequence[Bundle]) -> dict[str, pd.DataFrame]:
    wanted = [(bundle, name) for bundle in bundles for name in bundle.tables() if not name.startswith(CONTENT)]
    parts: dict[str, list[pd.DataFrame]] = {}
    with ThreadPoolExecutor() as pool:  # many small files
        for (_, name), rows in zip(wanted, pool.map(lambda one: one[0].table(one[1]), wanted), strict=True):
            parts.setdefault(name, []).append(rows)
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
    hashes = bundle.hashes()
    for kind, path in bundle.content_files():
        target = store / FILES / path.name
        if not target.exists() or target.stat().st_size != path.stat().st_size:
            _place(path, target)
        sha256 = hashes.get(path.name) or sha256_of(path)
        yield {"path": f"{FILES}/{path.name}", "kind": kind, "n_bytes": path.stat().st_size, "sha256": sha256}


def _place(path: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:
        shutil.copyfile(path, partial)
    os.replace(partial, target)


def _mend(store: Path, bundles: Sequence[Bundle], runs: Sequence[dict[str, Any]]) -> None:
    """Replace published files that are not what was computed by the artefact's, or the other way round.

    Raises StoreError when neither is: only a run can make them again.
    """
    damaged: dict[Path, str] = {}
    for bundle in bundles:
        for name, sha256 in bundle.hashes().items():
            copies = [bundle.folder / name, store / FILES / name]
            whole = [path for path in copies if path.is_file() and sha256_of(path) == sha256]
            if not whole:
                damaged[bundle.folder] = _command_of(bundle, runs)
            for path in copies if len(whole) == 1 else ():
                if path != whole[0]:
                    _place(whole[0], path)
    if damaged:
        folders = " ".join(str(folder) for folder in damaged)
        commands = " and ".join(f"`{command}`" for command in dict.fromkeys(damaged.values()))
        raise StoreError(
            f"{len(damaged)} artefact(s) of {store} are damaged themselves, so nothing was published. Delete them "
            f"(rm -r {folders}), then compute them again with {commands}."
        )


def _command_of(bundle: Bundle, runs: Sequence[dict[str, Any]]) -> str:
    entry = [bundle.folder.parent.name, bundle.folder.name]
    return next(str(record["command"]) for record in reversed(runs) if entry in [list(it) for it in record["bundles"]])


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
