"""What each command does: plain functions that return the lines to print."""

from __future__ import annotations

import tempfile
from pathlib import Path

from explorer.encoders import ENCODERS
from explorer.errors import NotInStoreError, StoreError
from explorer.sae import export_for_saelens, load_sae
from explorer.store import current_generation, open_store
from explorer.store_lock import is_locked
from precompute import demo as demo_corpus
from precompute.artefacts import Artefacts
from precompute.config import PRESET_NOTES, RunConfig
from precompute.datasets import DATASETS
from precompute.encode_stage import open_encoder
from precompute.pipeline import RunSummary, command_line, open_job, run
from precompute.plan import estimate
from precompute.publish import load_runs, sha256_of
from precompute.publish import publish as publish_store
from precompute.reporting import Reporter
from precompute.sae_stage import planned

N_SKIPPED_SHOWN = 20


def run_and_report(config: RunConfig) -> list[str]:
    """Run, and say what came out."""
    return _report(run(config, command=command_line()), config)


def _report(summary: RunSummary, config: RunConfig) -> list[str]:
    corpus = summary.corpus
    lines = [
        f"{len(corpus.clips)} clips of {len(corpus.files)} files in {len({c.group for c in corpus.clips})} groups."
    ]
    if corpus.note:
        lines.append(f"Note: {corpus.note}")
    if corpus.skipped:
        lines.append(f"{len(corpus.skipped)} file(s) not taken:")
        shown = sorted(corpus.skipped, key=lambda item: (item.kind != "rejected", item.path))[:N_SKIPPED_SHOWN]
        lines += [f"  {item.kind}: {item.path}: {item.reason}" for item in shown]
        if len(corpus.skipped) > len(shown):
            lines.append(f"  and {len(corpus.skipped) - len(shown)} more; the page Runs lists them all")
    lines += [summary.where_the_time_went, f"Store: {config.store}, generation {summary.generation}. Browse it with:"]
    return [*lines, f"  streamlit run app.py -- --store {config.store}"]


def dry_run(config: RunConfig) -> list[str]:
    """What a run would compute, how long it would take and how large it would get. Writes nothing to the store."""
    with tempfile.TemporaryDirectory() as scratch:
        job = open_job(config, Artefacts(config.store, Path(scratch)), Reporter())
        works = [open_encoder(job, name) for name in config.encoders]
        for work in works:
            planned(job, work.checkpoint.d_model)
        forecast = estimate(job, works, timed=True)
    names = ", ".join(f"{work.encoder_id} ({work.checkpoint.source})" for work in works)
    lines = [f"data set: {job.corpus.name}, {len(job.corpus.files)} files, {len(job.corpus.skipped)} not taken"]
    lines += [f"encoders: {names}", f"preset: {config.preset} ({PRESET_NOTES[config.preset]})", *forecast.lines()]
    return [*lines, "Nothing was written. Run it without --dry-run."]


def demo(store: Path) -> list[str]:
    """The demo: a generated corpus and untrained small encoders, through the same pipeline as anything else."""
    config = demo_corpus.demo_config(store)
    return _report(run(config, command=command_line()), config)


def status(store: Path) -> list[str]:
    """What the store holds and whether a run is at work."""
    lines = [f"{store}: {'a run is at work' if is_locked(store) else 'no run is at work'}"]
    for record in load_runs(Artefacts(store)):
        state = (
            f"finished {record['finished_at']}" if record["finished_at"] else "not finished: run the same command again"
        )
        lines.append(f"run {record['run_id']} ({record['preset']}): {state}; {record['summary']}")
    with_store = open_store(store)
    counts = with_store.query(
        "SELECT (SELECT count(*) FROM clips) AS clips, (SELECT count(*) FROM encoders) AS encoders, "
        "(SELECT count(*) FROM saes) AS saes, (SELECT sum(n_bytes) FROM generation_files) AS n_bytes"
    ).iloc[0]
    size = float(counts["n_bytes"]) / 1e6
    lines.append(
        f"generation {with_store.generation}: {counts['clips']:.0f} clips, {counts['encoders']:.0f} encoders, "
        f"{counts['saes']:.0f} SAEs, {size:.0f} MB of files"
    )
    return lines


def verify(store: Path) -> list[str]:
    """Check every listed file against its size and hash. Raises StoreError naming what is wrong."""
    opened = open_store(store)
    files = opened.query("SELECT path, n_bytes, sha256 FROM generation_files ORDER BY path")
    wrong = []
    for row in files.itertuples():
        path = store / str(row.path)
        if not path.is_file():
            wrong.append(f"{row.path} is missing")
        elif path.stat().st_size != row.n_bytes or sha256_of(path) != row.sha256:
            wrong.append(f"{row.path} is not what was published")
    dangling = opened.query(
        "SELECT count(*) AS n FROM listed_clips l LEFT JOIN clips c USING (clip_index) WHERE c.clip_id IS NULL"
    )
    if int(dangling["n"].iloc[0]):
        wrong.append(f"{dangling['n'].iloc[0]} listed clips are not in the corpus")
    if wrong:
        shown = "; ".join(wrong[:5])
        raise StoreError(
            f"{len(wrong)} fault(s) in {store}: {shown}. Mend it with `python -m precompute publish --store {store}`."
        )
    return [f"{store}: generation {opened.generation}, {len(files)} files, all as published."]


def publish(store: Path) -> list[str]:
    """Write a new generation from the artefacts."""
    from precompute.pipeline import locked

    with locked(store):
        return [f"{store}: generation {publish_store(store)} is current."]


def export_sae(store: Path, sae: str, out: Path) -> list[str]:
    """Write one SAE as a folder that SAELens opens."""
    opened = open_store(store)
    rows = opened.query("SELECT weights_file FROM saes WHERE sae_id = ?", [sae])
    if rows.empty:
        known = opened.query("SELECT sae_id FROM saes ORDER BY is_reference DESC, sae_id LIMIT 5")["sae_id"]
        raise NotInStoreError(f"There is no SAE {sae!r} in {store}; there are {', '.join(known)} and others.")
    export_for_saelens(load_sae(opened.file(str(rows["weights_file"].iloc[0]))), out)
    return [f"{out}: cfg.json and sae_weights.safetensors of SAE {sae} (generation {current_generation(store)})."]


def list_things(what: str) -> list[str]:
    """The encoders, data sets or presets there are."""
    if what == "encoders":
        return [
            f"{spec.name:<8} {spec.hub_id} ({spec.sample_rate_hz} Hz, revision {spec.revision}), {spec.licence}"
            for spec in ENCODERS.values()
        ]
    if what == "datasets":
        return [f"{kind.name:<10} {kind.description}" for kind in DATASETS.values()]
    return [f"{name:<10} {note}" for name, note in PRESET_NOTES.items()]
