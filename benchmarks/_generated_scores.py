"""Probes, factor scores, Lasso weights and predictions of every representation, and the corpus, drawn at random."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks._generated_scale import (
    ATTRIBUTES,
    GROUP_NAME,
    LABEL_NAME,
    LABELS,
    NOTE,
    RUN_ID,
    Place,
    Scale,
    clip_frame,
    dense_id,
    encoder_names,
    places,
)
from explorer.factors import FACTORS
from explorer.store import SCHEMA_VERSION

N_WEIGHTS, N_CURVE = 30, 100
Tables = Iterator[tuple[str, pd.DataFrame]]


def corpus_tables(scale: Scale, rng: np.random.Generator) -> Tables:
    """Everything about the store that no SAE is part of."""
    clips = clip_frame(scale)
    meta = {
        "schema_version": str(SCHEMA_VERSION), "corpus_name": "random numbers", "corpus_id": "generated",
        "dataset_kind": "synthetic", "dataset_note": NOTE, "demo_note": NOTE, "is_synthetic": "true",
        "label_name": LABEL_NAME, "group_name": GROUP_NAME, "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    yield "meta", pd.DataFrame(list(meta.items()), columns=["key", "value"])
    run = {"run_id": RUN_ID, "started_at": "2026-01-01T00:00:00", "finished_at": "2026-01-01T01:00:00",
           "preset": "generated", "command": "python -m benchmarks.full_size_store", "n_clips": scale.n_clips,
           "config_json": json.dumps(dataclasses.asdict(scale)), "versions_json": "{}", "hardware_json": "{}",
           "summary": NOTE}  # fmt: skip
    yield "runs", pd.DataFrame([run])
    stages = [(RUN_ID, f"stage {i}", float(s), scale.n_clips, 0) for i, s in enumerate(rng.random(40) * 100)]
    yield "run_timings", pd.DataFrame(stages, columns=["run_id", "stage", "seconds", "n_done", "n_reused"])
    yield "clips", clips
    files = {"file_id": clips["file_id"], "path": "generated/" + clips["file_id"] + ".wav", "n_channels": 1,
             "sample_rate_hz": 16_000, "duration_s": scale.clip_s, "encoding": "PCM_16"}  # fmt: skip
    yield "files", pd.DataFrame(files)
    yield "clip_columns", _clip_columns(clips)
    yield "skipped_files", pd.DataFrame({"path": ["notes.txt"], "reason": ["no sound"], "kind": ["not audio"]})
    yield "factors", pd.DataFrame([{"factor_index": i, **dataclasses.asdict(f)} for i, f in enumerate(FACTORS)])
    clip, factor = np.divmod(np.arange(scale.n_clips * len(FACTORS)), len(FACTORS))
    values = {"clip_index": clip, "factor_index": factor, "value": rng.normal(size=len(clip)) + factor}
    yield "factor_values", pd.DataFrame(values)
    yield "encoders", _encoders(scale)
    yield from _by_layer(scale, rng)


def _clip_columns(clips: pd.DataFrame) -> pd.DataFrame:
    parts = [("label", LABEL_NAME, clips["label"]), ("group", GROUP_NAME, clips["group_id"])]
    parts += [
        ("attribute", name, clips["clip_index"].map(lambda i, v=v: v[i % len(v)])) for name, v in ATTRIBUTES.items()
    ]
    return pd.concat(
        [
            pd.DataFrame({"clip_index": clips["clip_index"], "role": role, "name": name, "value": values})
            for role, name, values in parts
        ]
    )


def _encoders(scale: Scale) -> pd.DataFrame:
    rows = [
        {"encoder_id": encoder_id, "name": name, "display_name": display, "source": "none", "loader": "none",
         "fingerprint": hashlib.sha256(name.encode()).hexdigest(), "sample_rate_hz": 16_000,
         "frame_rate_hz": scale.frame_rate_hz, "n_layers": scale.n_layers - 1, "d_model": scale.d_model, "note": NOTE}
        for encoder_id, name, display in encoder_names(scale)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _by_layer(scale: Scale, rng: np.random.Generator) -> Tables:
    there = [(encoder_id, layer) for encoder_id, _, _ in encoder_names(scale) for layer in range(scale.n_layers)]
    chosen = [{"encoder_id": e, "layer": layer, "is_chosen": True, "role": "all", "score": 0.5, "run_id": RUN_ID}
              for e, layer in there]  # fmt: skip
    yield "layer_choices", pd.DataFrame(chosen)
    sizes = np.linspace(10, min(scale.d_model, scale.n_features), 8).astype(int)
    baselines = [(e, layer, int(n), 0.5 / n, 0.8 / n) for e, layer in there for n in sizes]
    columns = ["encoder_id", "layer", "n_components", "fvu_train", "fvu_heldout"]
    yield "pca_baselines", pd.DataFrame(baselines, columns=columns)
    checks = ("mse growth", "completeness", "l0", "probe drop", "dead", "dense mass", "few clips")
    warned = rng.random((len(there), len(checks), 4)) < 0.05
    found = [
        {"run_id": RUN_ID, "encoder_id": e, "layer": layer, "code": code, "value": 0.1, "limit_": 0.2,
         "severity": "warning" if warned[i, j, n] else "ok", "message": f"{code}: a number drawn at random"}
        for i, (e, layer) in enumerate(there) for j, code in enumerate(checks) for n in range(4)
    ]  # fmt: skip
    yield "diagnostics", pd.DataFrame(found)
    attributes = [{"representation_id": f"attribute.{name}", "kind": "attribute", "n_dims": len(values)}
                  for name, values in ATTRIBUTES.items()]  # fmt: skip
    dense = [{"representation_id": dense_id(e, layer), "kind": "dense", "encoder_id": e, "layer": layer,
              "n_dims": scale.d_model} for e, layer in there]  # fmt: skip
    codes = [{"representation_id": p.sae_id, "kind": "codes", "encoder_id": p.encoder_id, "layer": p.layer,
              "n_dims": scale.n_features} for p in places(scale)]  # fmt: skip
    yield "representations", pd.DataFrame([*attributes, *dense, *codes]).astype({"layer": "Int32"})
    for name in ATTRIBUTES:
        yield from probe_tables(scale, f"attribute.{name}", 0, rng)


def probe_tables(scale: Scale, representation_id: str, n_dims: int, rng: np.random.Generator) -> Tables:
    """A representation's probes under four protocols; weights (of `n_dims` dimensions, if any) of held-out ones."""
    n_held_out, names = scale.n_clips // 5, [f"group{i:02d}" for i in range(scale.n_groups)]
    n_train = round(0.8 * scale.n_groups)
    for protocol in ("all-groups", "held-out", "group-folds", "random-folds"):
        groups = {"all-groups": names, "held-out": names[n_train:]}.get(protocol, names[:n_train])
        probe_id = hashlib.sha256(f"{representation_id} {protocol}".encode()).hexdigest()[:16]
        accuracy = 0.3 + 0.4 * rng.random()
        probe = {"probe_id": probe_id, "representation_id": representation_id, "label_name": LABEL_NAME,
                 "protocol": protocol, "seed": 0, "accuracy": accuracy, "balanced_accuracy": accuracy - 0.01,
                 "macro_f1": accuracy - 0.02, "chance": 0.1, "n_clips": n_held_out, "n_groups": len(groups),
                 "n_classes": len(LABELS), "c": 0.1, "ci_low": accuracy - 0.05, "ci_high": accuracy + 0.05}  # fmt: skip
        yield "probes", pd.DataFrame([probe])
        n, per_class = len(LABELS), max(1, n_held_out // len(LABELS))
        scores = {name: rng.random(n) for name in ("recall", "precision_", "f1")}
        yield "probe_classes", pd.DataFrame({"probe_id": probe_id, "class": LABELS, **scores, "n": per_class})
        pairs = {"true_class": np.repeat(LABELS, n), "predicted_class": np.tile(LABELS, n)}
        yield "probe_confusion", pd.DataFrame({"probe_id": probe_id, **pairs, "n": rng.integers(0, 40, n * n)})
        said = {"clip_index": rng.choice(scale.n_clips, n_held_out, replace=False),
                "predicted_class": rng.choice(LABELS, n_held_out)}  # fmt: skip
        yield "probe_predictions", pd.DataFrame({"probe_id": probe_id, **said})
        rows = {"group_id": groups, "accuracy": rng.random(len(groups)), "n": n_held_out // 4, "chance": 0.1}
        yield "probe_groups", pd.DataFrame({"probe_id": probe_id, **rows})
        if protocol == "held-out" and n_dims:
            weights = {"intercept": rng.normal(size=n), "weights": list(rng.normal(size=(n, n_dims)).astype("f4"))}
            yield "probe_weights", pd.DataFrame({"probe_id": probe_id, "class": LABELS, **weights})
            scaler = {"center": [np.zeros(n_dims, "f4")], "scale": [np.ones(n_dims, "f4")]}
            yield "probe_scalers", pd.DataFrame({"probe_id": [probe_id], **scaler})


def factor_tables(
    scale: Scale, representation: pd.Categorical, n_dims: int, measured_gh: np.ndarray, rng: np.random.Generator
) -> Tables:
    """Held-out scores, weights and predictions of all factors from one representation (a categorical of one row).

    `measured_gh`: the factors' values on the held-out clips, which are the last of each cycle of groups.
    """
    n, n_clips = measured_gh.shape
    r2 = np.clip(rng.beta(2, 3, n), 0.01, 0.95)
    undefined = np.arange(n) % 29 == 0
    codes = np.exp(rng.normal(2, 0.7, n))
    head = {"representation_id": representation.repeat(n), "protocol": "held-out", "factor_index": np.arange(n)}
    scores = pd.DataFrame(
        {
            **head, "seed": 0, "alpha": 0.05, "alpha_source": "cv", "r2": r2, "r2_within_group": 0.8 * r2,
            "r2_permuted": rng.random(n) * 0.2, "r2_train": r2 + 0.04, "n_train": scale.n_clips - n_clips,
            "n_clips": n_clips, "n_groups": scale.n_groups // 5, "n_weights": N_WEIGHTS,
            "completeness": np.clip(1 - np.log(codes) / np.log(n_dims), 0, 1), "completeness_d": n_dims,
            "effective_codes": codes, "is_fixed_set": np.arange(n) < 10,
            "reason": ["12 distinct values, fewer than 50" if none else None for none in undefined],
        }
    )  # fmt: skip
    scores.loc[undefined, ["r2", "r2_within_group", "r2_permuted", "completeness", "effective_codes"]] = np.nan
    yield "factor_scores", scores
    used = min(N_WEIGHTS, n_dims)
    dims = np.argsort(rng.random((n, n_dims)), axis=1)[:, :used]
    weights = {"representation_id": representation.repeat(n * used), "protocol": "held-out",
               "factor_index": np.repeat(np.arange(n), used), "dim": dims.ravel(),
               "weight": rng.normal(scale=0.1, size=n * used)}  # fmt: skip
    yield "lasso_weights", pd.DataFrame(weights)
    model = {"intercept": 0.0, "y_mean": 0.0, "y_scale": 1.0, "clip_low": -3.0, "clip_high": 3.0}
    yield "lasso_models", pd.DataFrame({**head, **model})
    scaler = {"x_mean": [np.zeros(n_dims, "f4")], "x_scale": [np.ones(n_dims, "f4")]}
    yield "lasso_scalers", pd.DataFrame({"representation_id": representation, "protocol": "held-out", **scaler})
    clips = np.flatnonzero(np.arange(scale.n_clips) % scale.n_groups >= round(0.8 * scale.n_groups))
    noise = rng.normal(size=measured_gh.shape) * np.sqrt(1 - r2)[:, None]
    rows = {"representation_id": representation.repeat(n * n_clips), "protocol": "held-out",
            "factor_index": np.repeat(np.arange(n), n_clips), "clip_index": np.tile(clips, n),
            "measured": measured_gh.ravel(), "predicted": (measured_gh + noise).ravel()}  # fmt: skip
    yield "factor_predictions", pd.DataFrame(rows)


def sae_row(scale: Scale, place: Place, files: dict[str, str], rng: np.random.Generator) -> dict[str, object]:
    """The SAE's row of `saes`: its recipe, and measures drawn at random that move with sparsity."""
    loss = 0.02 + 0.3 * place.sparsity**8
    k, n_dead = scale.k(place.sparsity), round(0.05 * scale.n_features)
    codes = 8 + 20 * (1 - place.sparsity) + rng.random()
    return {
        "sae_id": place.sae_id, "encoder_id": place.encoder_id, "layer": place.layer, "level": place.level,
        "pooling": "valid frames", "n_features": scale.n_features, "d_model": scale.d_model, "k": k,
        "sparsity": place.sparsity, "method": "sound", "protocol": "held-out", "seed": 0,
        "is_reference": place.level == "clip" and place.sparsity == scale.reference, "run_id": RUN_ID,
        "n_train_clips": round(0.8 * scale.n_clips), "n_epochs": N_CURVE, "n_epochs_trained": N_CURVE,
        "epochs_reason": "generated", "train_seconds": 60.0,
        "mse_train": loss / 10, "mse_heldout": loss / 8, "fvu_train": loss, "fvu_heldout": loss * 1.1,
        "pca_k_fvu_heldout": loss * 0.9, "pca_live_fvu_heldout": loss / 9, "pca_k_n": k, "pca_live_n": scale.d_model,
        "l0_mean": float(k), "n_live": scale.n_features - n_dead, "n_dead": n_dead, "n_dense": 3, "dense_mass": 0.1,
        "informativeness": 0.6 + 0.1 * rng.random(), "informativeness_fixed": 0.5 + 0.1 * rng.random(),
        "completeness": 0.5 + 0.2 * place.sparsity, "completeness_fixed": 0.5 + 0.2 * place.sparsity,
        "completeness_d": scale.n_features, "effective_codes": codes, "effective_codes_fixed": codes + 1,
        "disentanglement": 0.4 + 0.1 * rng.random(), **files,
    }  # fmt: skip


def curve_rows(place: Place) -> pd.DataFrame:
    """The training curve of one SAE."""
    epoch = np.arange(N_CURVE)
    return pd.DataFrame(
        {"sae_id": place.sae_id, "epoch": epoch, "loss": np.exp(-epoch / 20), "dead_fraction": 0.3 * np.exp(-epoch / 9)}
    )
