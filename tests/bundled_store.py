"""A small store of real bundles, put together by the real publisher in a second: for what is done to it afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from explorer.audio import Waveform, write_preview
from explorer.sae import SAE
from precompute.artefacts import Artefacts
from precompute.publish import publish
from precompute.run_records import save_run

N_CLIPS = 8
FACTORS_KEYS = ("fac0", "fac1")


def write_bundles(folder: Path, *, run_id: str = "run0") -> list[tuple[str, str]]:
    """A corpus of eight clips, their previews and factors in two bundles, an SAE's weights; and the run's record."""
    artefacts = Artefacts(folder)
    clips = [
        {"clip_index": i, "clip_id": f"c{i}", "file_id": f"f{i}", "start_s": 0.0, "duration_s": 0.25,
         "title": f"clip {i}", "group_id": f"g{i % 2}", "split": "train", "preview": f"files/preview-c{i}.flac"}
        for i in range(N_CLIPS)
    ]  # fmt: skip
    entries = [("corpus", "corp0")]
    with artefacts.writing(*entries[0]) as bundle:
        bundle.add_facts({"subject": "corpus"})
        bundle.add_table("clips", pd.DataFrame(clips))
    for number, key in enumerate(FACTORS_KEYS):
        write_factors(artefacts, key, clips[number * 4 : number * 4 + 4])
        entries.append(("factors", key))
    entries.append(("saes", "sae0"))
    numbers = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    with artefacts.writing(*entries[-1]) as bundle:
        SAE(numbers, np.zeros(8, np.float32), numbers.T.copy(), np.zeros(4, np.float32), 2, {}).save(
            bundle.path("sae-0123456789ab.safetensors")
        )
        bundle.add_arrays("others", {"x": numbers})
        bundle.add_table("sae_curves", pd.DataFrame([{"sae_id": "0123456789ab", "epoch": 0, "loss": 0.5}]))
    save_run(artefacts, record_of(run_id, entries))
    return entries


def write_factors(artefacts: Artefacts, key: str, clips: list[dict[str, object]]) -> None:
    """One bundle of previews and factor values."""
    rng = np.random.default_rng(list(key.encode()))
    with artefacts.writing("factors", key) as bundle:
        for clip in clips:
            wave = Waveform(rng.normal(0, 0.1, 2000).astype(np.float32), 8000)
            write_preview(wave, bundle.path(f"preview-{clip['clip_id']}.flac"))
        rows = [
            {"clip_id": clip["clip_id"], "factor_index": index, "value": float(rng.normal()), "reason": None}
            for clip in clips
            for index in range(3)
        ]
        bundle.add_table("factor_values", pd.DataFrame(rows))


def record_of(run_id: str, entries: list[tuple[str, str]]) -> dict[str, object]:
    """What a finished run notes about itself."""
    return {
        "run_id": run_id, "started_at": "2026-01-02T03:04:05+00:00", "finished_at": "2026-01-02T04:04:05+00:00",
        "preset": "quick", "command": "python -m precompute run", "config": {}, "versions": {}, "hardware": {},
        "n_clips": N_CLIPS, "summary": "8 clips", "timings": [], "bundles": entries, "layer_choices": [],
        "meta": {"corpus_id": "corpus", "corpus_name": "by hand", "label_name": "technique", "group_name": "singer"},
    }  # fmt: skip


def write_bundled_store(folder: Path) -> Path:
    """The bundles, published once. Returns the folder."""
    write_bundles(folder)
    publish(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every regular file below a folder by its place; links are not followed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
