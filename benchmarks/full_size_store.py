"""Write a store as large as a full study's, from random numbers: for the speed of the pages, and for nothing else.

    python -m benchmarks.full_size_store [--store DIR] [--scale full|small] [--seed 0]

Full: 4 encoders, 13 layers, 6 sparsities, 3,600 clips of 10 s, 88 factors. Clip level complete: 312 SAEs with codes,
traces, lists, matches, probes and Lasso; the four encoders share the files of a layer and sparsity, and all SAEs one
file of weights. Frame level: 312 SAEs with features and measures, codes for one an encoder. Without --store it goes
into a temporary folder, to say how long it takes. Its pages say that its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._generated_codes import (
    DrawnCodes,
    attribute_shares,
    neighbours,
    write_codes,
    write_traces,
)
from benchmarks._generated_scale import (
    ATTRIBUTES,
    GROUP_NAME,
    LABEL_NAME,
    LABELS,
    SCALES,
    Place,
    Scale,
    clip_frame,
    dense_id,
    encoder_names,
    places,
    preview_name,
    representation_ids,
)
from benchmarks._generated_scores import corpus_tables, curve_rows, factor_tables, probe_tables, sae_row
from explorer.audio import Waveform, write_preview
from explorer.factors import FACTOR_NAMES
from explorer.sae import SAE
from explorer.store import FILES, GenerationWriter, new_generation
from explorer.tensors import save_tensors

ROWS_AT_ONCE = 1_000_000
N_MATCHES = 3
LIMIT_GB = 15.0


class Buffer:
    """Rows on their way into a generation: small frames wait until there are enough for one insertion."""

    def __init__(self, writer: GenerationWriter) -> None:
        self._writer, self._waiting = writer, dict[str, list[pd.DataFrame]]()

    def add(self, table: str, rows: pd.DataFrame) -> None:
        """Append rows, keeping their order within the table."""
        waiting = self._waiting.setdefault(table, [])
        waiting.append(rows)
        if sum(map(len, waiting)) >= ROWS_AT_ONCE:
            self._flush(table)

    def finish(self) -> None:
        """Insert what waits."""
        for table in list(self._waiting):
            self._flush(table)

    def _flush(self, table: str) -> None:
        if waiting := self._waiting.pop(table, []):
            self._writer.insert(table, pd.concat(waiting, ignore_index=True))


def write_store(folder: Path, scale: Scale, seed: int = 0) -> None:
    """Write one generation of a store of this scale into `folder`."""
    rng = np.random.default_rng(seed)
    files = folder / FILES
    files.mkdir(parents=True, exist_ok=True)
    ids = pd.CategoricalDtype(representation_ids(scale))
    with new_generation(folder) as writer:
        buffer = Buffer(writer)
        for table, rows in corpus_tables(scale, rng):
            buffer.add(table, rows)
        shared = {"weights_file": _weights(files, scale, rng)}
        _states(files, scale, rng)
        _previews(files, scale, rng)
        held_out = clip_frame(scale)["split"].eq("held-out").sum()
        measured_gh = rng.normal(size=(len(FACTOR_NAMES), held_out))
        levels = {level: [p for p in places(scale) if p.level == level] for level in ("clip", "frame")}
        for at in range(0, len(levels["clip"]), scale.n_encoders):
            _one_dictionary(buffer, files, scale, levels["clip"][at : at + scale.n_encoders], shared, ids, rng)
        _frame_level(buffer, files, scale, levels["frame"], shared, ids, rng)
        everything = [(p.sae_id, scale.n_features) for p in levels["clip"]]
        everything += [(dense_id(e, layer), scale.d_model) for e, _, _ in encoder_names(scale)
                       for layer in range(scale.n_layers)]  # fmt: skip
        for representation, n_dims in everything:
            one = pd.Categorical([representation], dtype=ids)
            for table, rows in factor_tables(scale, one, n_dims, measured_gh, rng):
                buffer.add(table, rows)
            for table, rows in probe_tables(scale, representation, n_dims, rng):
                buffer.add(table, rows)
        _matches(buffer, scale, levels["clip"], ids, rng)
        buffer.add("generation_files", _listing(files))
        buffer.finish()


def _one_dictionary(
    buffer: Buffer, files: Path, scale: Scale, group: list[Place], shared: dict[str, str], ids: pd.CategoricalDtype,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """The SAEs of one layer and sparsity, one an encoder: the same codes under different names."""
    clips = clip_frame(scale)
    drawn = DrawnCodes.draw(rng, scale.n_clips, scale.n_features, scale.k(group[0].sparsity))
    name = group[0].sae_id
    paths = {
        "codes_by_clip_file": f"codes-by-clip-{name}.parquet",
        "codes_by_feature_file": f"codes-by-feature-{name}.parquet",
        "traces_file": f"traces-{name}.parquet",
    }
    listed = drawn.listed_clips(rng)
    write_codes(drawn.rows(), files / paths["codes_by_clip_file"], files / paths["codes_by_feature_file"])
    write_traces(listed, files / paths["traces_file"], scale.n_points, 1 / scale.frame_rate_hz, rng)
    columns = [LABEL_NAME, GROUP_NAME, *ATTRIBUTES]
    tables = {
        "feature_histograms": drawn.histograms(),
        "feature_label_counts": drawn.label_counts(clips["label"].to_numpy(dtype=str)),
        "feature_attribute_shares": attribute_shares(drawn.live(), columns, rng),
        "feature_neighbours": neighbours(drawn.live(), rng),
        "listed_clips": listed,
    }
    told = drawn.feature_columns(clips["group_id"].to_numpy(dtype=str), rng)
    row_files = {**shared, **{column: f"{FILES}/{path}" for column, path in paths.items()}}
    for place in group:
        for table, rows in tables.items():
            buffer.add(table, _of_sae(rows, place, ids))
        buffer.add("features", _of_sae(_features(told, rng), place, ids))
        buffer.add("saes", pd.DataFrame([sae_row(scale, place, row_files, rng)]))
        buffer.add("sae_curves", curve_rows(place))


def _of_sae(rows: pd.DataFrame, place: Place, ids: pd.CategoricalDtype) -> pd.DataFrame:
    return rows.assign(sae_id=pd.Categorical([place.sae_id], dtype=ids).repeat(len(rows)))


def _features(told: dict[str, np.ndarray], rng: np.random.Generator) -> pd.DataFrame:
    n = len(told["density"])
    labels = pd.Categorical.from_codes(rng.integers(0, len(LABELS), n), list(LABELS))
    factors = pd.Categorical.from_codes(rng.integers(0, len(FACTOR_NAMES), n), list(FACTOR_NAMES))
    f1 = rng.random(n)
    columns = {
        "feature": np.arange(n), **told, "preactivation_mean": rng.normal(size=n) * 0.1, "label_name": LABEL_NAME,
        "label": labels, "label_direction": np.where(rng.random(n) < 0.9, "above", "below"), "label_threshold": 0.2,
        "label_precision": rng.random(n), "label_recall": rng.random(n), "label_f1": f1, "label_mcc_train": f1,
        "label_mcc": f1, "label_null_mcc": 0.5, "label_is_shown": (f1 > 0.5) & ~told["is_dead"],
        "label_reason": [None if good else "not above the best feature's under permuted labels" for good in f1 > 0.5],
        "disentanglement": rng.random(n), "best_factor": factors, "best_factor_weight": rng.normal(size=n) * 0.2,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _frame_level(
    buffer: Buffer, files: Path, scale: Scale, frame_places: list[Place], shared: dict[str, str],
    ids: pd.CategoricalDtype, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Features and measures of all, codes (one file, shared) of one SAE an encoder: the sparsest of the last layer."""
    groups = clip_frame(scale)["group_id"].to_numpy(dtype=str)
    n_frames, sparsest = scale.n_clips * scale.n_points, max(scale.sparsities)
    k = scale.k(sparsest)
    rows = pd.DataFrame(
        {
            "clip_index": np.repeat(np.arange(scale.n_clips, dtype="int32"), scale.n_points * k),
            "frame": np.tile(np.repeat(np.arange(scale.n_points, dtype="int16"), k), scale.n_clips),
            "feature": rng.integers(0, scale.n_features, n_frames * k, dtype="int32"),
            "value": rng.random(n_frames * k, dtype="float32"),
        }
    )
    write_codes(rows, files / "codes-by-clip-frames.parquet", files / "codes-by-feature-frames.parquet")
    codes = {f"codes_by_{order}_file": f"{FILES}/codes-by-{order}-frames.parquet" for order in ("clip", "feature")}
    told = {s: DrawnCodes.draw(rng, scale.n_clips, scale.n_features, scale.k(s)).feature_columns(groups, rng)
            for s in scale.sparsities}  # fmt: skip
    for place in frame_places:
        has_codes = place.layer == scale.n_layers - 1 and place.sparsity == sparsest
        buffer.add("features", _of_sae(_features(told[place.sparsity], rng), place, ids))
        buffer.add("saes", pd.DataFrame([sae_row(scale, place, {**shared, **(codes if has_codes else {})}, rng)]))
        buffer.add("sae_curves", curve_rows(place))


def _matches(
    buffer: Buffer, scale: Scale, clip_places: list[Place], ids: pd.CategoricalDtype, rng: np.random.Generator
) -> None:
    """Three matches of every live feature of a reference SAE in each other one."""
    references = [p.sae_id for p in clip_places if p.sparsity == scale.reference]
    live = np.arange(scale.n_features - round(0.05 * scale.n_features))
    n = len(live) * N_MATCHES
    for sae_id in references:
        for other in (name for name in references if name != sae_id):
            rank = np.tile(np.arange(N_MATCHES), len(live))
            r = np.sort(rng.random((len(live), N_MATCHES)), axis=1)[:, ::-1].ravel()
            columns = {
                "sae_id": pd.Categorical([sae_id], dtype=ids).repeat(n),
                "other_sae_id": pd.Categorical([other], dtype=ids).repeat(n),
                "feature": np.repeat(live, N_MATCHES), "other_feature": rng.choice(live, n), "rank": rank,
                "r_train": r, "r_heldout": r * rng.random(n), "kind": "encoder",
            }  # fmt: skip
            buffer.add("feature_matches", pd.DataFrame(columns))


def _weights(files: Path, scale: Scale, rng: np.random.Generator) -> str:
    d, f = scale.d_model, scale.n_features
    w_fd = (rng.normal(size=(f, d)) / np.sqrt(d)).astype("f4")
    sae = SAE(np.ascontiguousarray(w_fd.T), np.zeros(f, "f4"), w_fd, np.zeros(d, "f4"), scale.k(scale.reference), {})
    sae.save(files / "sae-generated.safetensors")
    return f"{FILES}/sae-generated.safetensors"


def _states(files: Path, scale: Scale, rng: np.random.Generator) -> None:
    """States of the playable clips: one file under the name of every layer."""
    arrays: dict[str, np.ndarray] = {}
    times = (np.arange(scale.n_points) + 0.5) / scale.frame_rate_hz
    for clip_id in clip_frame(scale)["clip_id"].head(scale.n_playable):
        drawn = rng.standard_normal((scale.n_points, scale.d_model), dtype=np.float32)
        arrays[f"{clip_id}.delta_td"] = drawn.astype(np.float16)
        arrays[f"{clip_id}.mean_d"] = np.zeros(scale.d_model, "f4")
        arrays[f"{clip_id}.times_s"] = times
    first: Path | None = None
    for encoder_id, _, _ in encoder_names(scale):
        for layer in range(scale.n_layers):
            path = files / f"states-{encoder_id}-L{layer:02d}-generated.safetensors"
            path.unlink(missing_ok=True)
            if first is None:
                save_tensors(path, arrays)
                first = path
            else:
                os.link(first, path)


def _previews(files: Path, scale: Scale, rng: np.random.Generator) -> None:
    rate_hz = 16_000
    times = np.arange(round(scale.clip_s * rate_hz)) / rate_hz
    for number in range(scale.n_previews):
        phase = 2 * np.pi * 110 * 2 ** rng.uniform(0, 2) * times + 3 * np.sin(2 * np.pi * rng.uniform(4, 7) * times)
        tone = sum(np.sin(k * phase) / k for k in range(1, 6))
        samples = 0.1 * tone + 0.005 * rng.standard_normal(len(times))
        write_preview(Waveform(samples.astype(np.float32), rate_hz), files / preview_name(number))


def _listing(files: Path) -> pd.DataFrame:
    """Every file with its size and hash; linked ones are read once."""
    hashes: dict[int, str] = {}
    rows = []
    for path in sorted(files.iterdir()):
        facts = path.stat()
        if facts.st_ino not in hashes:
            with path.open("rb") as stream:
                hashes[facts.st_ino] = hashlib.file_digest(stream, "sha256").hexdigest()
        rows.append((f"{FILES}/{path.name}", path.name.split("-")[0], facts.st_size, hashes[facts.st_ino]))
    return pd.DataFrame(rows, columns=["path", "kind", "n_bytes", "sha256"])


def size_gb(folder: Path) -> float:
    """The space that a store takes, each linked file once."""
    facts = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(facts.values()) / 1e9


def main() -> int:
    """Write the store and say how large it is. Exit code 1 when it is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--scale", choices=tuple(SCALES), default="full")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.store or Path(scratch) / "store"
        started = time.monotonic()
        write_store(folder, SCALES[options.scale], options.seed)
        size = size_gb(folder)
        print(f"written in {time.monotonic() - started:.0f} s: {size:.2f} GB (limit {LIMIT_GB:.0f})")
    return int(size > LIMIT_GB)


if __name__ == "__main__":
    sys.exit(main())
