"""What each command does: plain functions that return the lines to print."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from explorer.encoders import ENCODERS
from explorer.environment import browse_command
from explorer.errors import ConfigError
from explorer.giant_words import giants_said
from explorer.pooling import Pooling
from explorer.queries.giants import fetch_layer_frames, fetch_usual_frames
from explorer.queries.sae_facts import fetch_sae_facts
from explorer.sae import export_for_saelens, load_sae
from explorer.sae_card import USUAL_FRAMES
from explorer.store import ARTEFACTS, POINTER, open_store
from explorer.store.lock import is_locked
from explorer.store.names import is_file, is_folder, printable
from explorer.text import count, size, whole
from precompute import demo as demo_corpus
from precompute.artefacts import Artefacts, explained
from precompute.config import PRESET_NOTES, RunConfig
from precompute.datasets import DATASETS, Skipped
from precompute.datasets.base import COPY, REJECTED
from precompute.datasets.singing.parts import crossed, vocalset_shaped
from precompute.encoder_choice import choose_encoders
from precompute.lock import locked
from precompute.options_page import option_lines, options_page
from precompute.pipeline import RunSummary, open_job, run
from precompute.places import check_places
from precompute.plan import estimate
from precompute.provenance import command_line
from precompute.publish import publish as publish_store
from precompute.reporting import Reporter, log
from precompute.run_records import load_runs, recorded_runs
from precompute.verify import verify as verify_store


def run_and_report(config: RunConfig) -> list[str]:
    """Run, and say what came out."""
    return _report(run(config, command=command_line()), config)


def _report(summary: RunSummary, config: RunConfig) -> list[str]:
    corpus = summary.corpus
    lines = [
        f"{count(len(corpus.clips), 'clip')} of {count(len(corpus.files), 'file')} in "
        f"{count(len({c.group for c in corpus.clips}), 'group')}."
    ]
    if corpus.note:
        lines.append(f"Note: {corpus.note}")
    lines += skipped_lines(corpus.skipped)
    with closing(open_store(config.store)) as opened:
        frames = fetch_layer_frames(opened)
    lines += [f"{name}: {giants_said(rows)}" for name, rows in frames.groupby("display_name", sort=False)]
    lines += [summary.where_the_time_went, f"Store: {config.store}, generation {summary.generation}. Browse it with:"]
    return [*lines, f"  {browse_command(config.store)}"]


def skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """Every file that was refused, by name, and how many others were not taken for which reason."""
    if not skipped:
        return []
    lines = [f"{count(len(skipped), 'file')} not taken:"]
    refused = sorted((item for item in skipped if item.kind == REJECTED), key=lambda item: item.path)
    lines += [f"  {item.kind}: {item.path}: {item.reason}" for item in refused]
    others = Counter(
        "a copy of another file" if item.kind == COPY else item.reason for item in skipped if item.kind != REJECTED
    )
    lines += [
        f"  not taken: {count(n, 'file')}: {reason}"
        for reason, n in sorted(others.items(), key=lambda it: (-it[1], it[0]))
    ]
    return [*lines, "  The page Runs names each of them."] if others else lines


def dry_run(config: RunConfig) -> list[str]:
    """What a run would compute, how long it would take and how large it would get. Writes nothing to the store."""
    check_places(config.root, config.store)
    choices = choose_encoders(config, Artefacts(config.store))
    with tempfile.TemporaryDirectory() as scratch:
        job = open_job(config, Artefacts(config.store, Path(scratch)), Reporter())
        works = [choice.at(job) for choice in choices]
        forecast = estimate(job, works, timed=True)
    names = ", ".join(f"{work.encoder_id} ({work.checkpoint.source})" for work in works)
    lines = [
        f"data set: {job.corpus.name}, {count(len(job.corpus.files), 'file')}, {whole(len(job.corpus.skipped))} "
        "not taken"
    ]
    lines += skipped_lines(job.corpus.skipped)[1:]
    lines += [f"encoders: {names}", f"preset: {config.preset} ({PRESET_NOTES[config.preset]})", *forecast.lines()]
    return [*lines, "Nothing was written. Run it without --dry-run."]


def demo(store: Path, open: bool = False, n_workers: int = 0) -> list[str]:
    """The demo, through the same pipeline as anything else; `open`: with the app, once there is something to see."""
    config = demo_corpus.demo_config(store, n_workers=n_workers)
    with demo_corpus.opened_app(store, is_wanted=open) as app:
        if demo_corpus.is_readable(store):
            app.open()
        demo_corpus.write_demo_corpus(config)
        summary = run(config, command=command_line(), on_published=app.open)
        demo_corpus.remember_built(config)
        lines = _report(summary, config)
        if open:
            log.info("The demo is whole.")
        app.open()
        app.wait()
    return lines


def generate(
    root: Path,
    part: str,
    seed: int,
    singers: int | None,
    vowels: int | None,
    exercises: tuple[str, ...] | None,
    n_workers: int,
) -> list[str]:
    """Write a generated corpus. Raises ConfigError for options that the part does not take."""
    given: dict[str, Any] = {"n_singers": singers, "n_vowels": vowels, "exercises": exercises}
    given = {name: value for name, value in given.items() if value is not None}
    if part != "crossed" and given:
        raise ConfigError(f"--part {part} has VocalSet's own cells: leave --singers, --vowels and --exercises out.")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 on.")
    design = crossed(**given) if part == "crossed" else vocalset_shaped()
    demo_corpus.write_generated(root, design, seed=seed, n_workers=n_workers, reporter=Reporter())
    return [
        f"{count(len(design.cells), 'clip')} of {count(len(design.singers), 'singer')} in {root}, "
        f"{whole(len(design.test_singers))} held out.",
        "Every parameter is in truth.csv, what moves within a clip in truth_contours.parquet. Compute a store with:",
        f"  python -m precompute run --dataset synthetic --root {root} --store STORE --encoder NAME",
    ]


def status(store: Path) -> list[str]:
    """What the store holds and whether a run is working. Raises StoreError where there is neither store nor run."""
    is_at_work = is_locked(store)
    lines = [f"{store}: {'a run is working' if is_at_work else 'no run is working'}"]
    for record in load_runs(Artefacts(store)):
        state = (
            f"finished {record['finished_at']}" if record["finished_at"] else "not finished: run the same command again"
        )
        lines.append(printable(f"run {record['run_id']} ({record['preset']}): {state}; {record['summary']}"))
    if not is_file(store / POINTER) and (is_at_work or is_folder(store / ARTEFACTS)):
        what_next = "comes when the first encoder is probed" if is_at_work else "needs the same run once more"
        return [*lines, f"nothing is published yet: the first generation {what_next}"]
    with_store = open_store(store)
    counts = with_store.query(
        "SELECT (SELECT count(*) FROM clips) AS clips, (SELECT count(*) FROM encoders) AS encoders, "
        "(SELECT count(*) FROM saes) AS saes, (SELECT sum(n_bytes) FROM generation_files) AS n_bytes"
    ).iloc[0]
    n_bytes = counts["n_bytes"] if counts["n_bytes"] == counts["n_bytes"] else 0
    lines.append(
        f"generation {with_store.generation}: {count(counts['clips'], 'clip')}, "
        f"{count(counts['encoders'], 'encoder')}, {count(counts['saes'], 'SAE')}, {size(n_bytes)} of files"
    )
    return lines


def verify(store: Path) -> list[str]:
    """Read the whole store and compare it with what was noted about it. Raises StoreError naming what is wrong."""
    return verify_store(store)


def publish(store: Path) -> list[str]:
    """Write a new generation from the artefacts, and mend published files that are not what was computed."""
    recorded_runs(store)  # before the lock, which would make a folder where there is none
    with locked(store):
        return [f"{store}: generation {publish_store(store, mend=True)} is current."]


def export_sae(store: Path, sae: str, out: Path) -> list[str]:
    """Write one SAE as a folder that SAELens opens."""
    opened = open_store(store)
    weights_file, facts = fetch_sae_facts(opened, sae)
    loaded = load_sae(opened.file(weights_file))
    usual = None
    if Pooling.named(str(facts["pooling"])).without_giants:
        usual = fetch_usual_frames(opened, str(facts["encoder_id"]), int(facts["layer"] or 0))
    with explained(out):
        export_for_saelens(loaded, out, facts, usual)
    licence = printable(str(facts["encoder_licence"] or "unknown"))
    files = "cfg.json, sae_weights.safetensors" + (f", {USUAL_FRAMES}" if usual else "")
    return [
        f"{out}: {files} and README.md of SAE {sae} (generation {opened.generation}).",
        f"The licence of the encoder's weights, {licence}, may apply to what is made from them.",
    ]


def list_things(what: str, markdown: bool = False) -> list[str]:
    """The encoders, data sets, presets or options there are; `markdown`: the page of the options."""
    if what == "options":
        return options_page().splitlines() if markdown else option_lines()
    if what == "encoders":
        return [
            f"{spec.name:<8} {spec.hub_id} ({spec.sample_rate_hz} Hz, revision {spec.revision}), {spec.licence}"
            for spec in ENCODERS.values()
        ]
    if what == "datasets":
        return [f"{kind.name:<10} {kind.description}" for kind in DATASETS.values()]
    return [f"{name:<10} {note}" for name, note in PRESET_NOTES.items()]
