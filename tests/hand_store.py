"""A store with hand-written factor scores, for what a tiny corpus cannot give: factors that are predicted, and not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from explorer.store import SCHEMA_VERSION, new_generation

HAND_SAE = "handmadesae1"
_REP = {"representation_id": HAND_SAE, "protocol": "held-out"}


def write_scored_store(folder: Path) -> Path:
    """Four held-out clips, one SAE of four features; of four factors one is predicted, one not, two are undefined.

    Returns the folder.
    """
    score = {**_REP, "seed": 0, "alpha": 0.01, "alpha_source": "cross-validated", "n_train": 8, "n_clips": 4,
             "n_groups": 2, "completeness_d": 4, "is_fixed_set": False}  # fmt: skip
    tables: dict[str, list[dict[str, object]]] = {
        "meta": [
            {"key": "schema_version", "value": str(SCHEMA_VERSION)},
            {"key": "corpus_name", "value": "by hand"},
            {"key": "label_name", "value": "technique"},
            {"key": "group_name", "value": "singer"},
        ],
        "encoders": [
            {"encoder_id": "hubert-00000000", "name": "hubert", "display_name": "HuBERT", "n_layers": 12,
             "is_trained": True}
        ],
        "clips": [
            {"clip_index": i, "clip_id": f"c{i}", "file_id": f"f{i}", "duration_s": 1.0, "title": f"clip {i}",
             "group_id": f"g{i % 2}", "split": "held-out"}
            for i in range(4)
        ],
        "saes": [
            {"sae_id": HAND_SAE, "encoder_id": "hubert-00000000", "layer": 3, "level": "clip", "n_features": 4, "k": 1,
             "sparsity": 0.75, "method": "sound", "protocol": "held-out", "seed": 0, "is_reference": True,
             "run_id": "r1"}
        ],
        "representations": [
            {"representation_id": HAND_SAE, "kind": "codes", "encoder_id": "hubert-00000000", "layer": 3, "n_dims": 4}
        ],
        "features": [{"sae_id": HAND_SAE, "feature": f, "density": 0.25, "is_dead": False} for f in range(4)],
        "factors": [
            {"factor_index": i, "name": f"factor{i}", "display_name": f"Factor {i}", "unit": "Hz",
             "factor_group": "pitch", "description": "By hand."}
            for i in range(4)
        ],
        "factor_scores": [
            {**score, "factor_index": 0, "r2": 0.8, "r2_within_group": 0.7, "r2_permuted": 0.2, "n_weights": 2,
             "completeness": 0.6, "effective_codes": 1.9},
            {**score, "factor_index": 1, "r2": 0.1, "r2_permuted": 0.2, "n_weights": 0},
            {**score, "factor_index": 2, "reason": "12 distinct values, fewer than 50"},
            {**score, "factor_index": 3, "reason": "31 distinct values, fewer than 50"},
        ],
        "lasso_weights": [
            {**_REP, "factor_index": 0, "dim": 1, "weight": 0.25},
            {**_REP, "factor_index": 0, "dim": 2, "weight": -0.5},
            {**_REP, "factor_index": 0, "dim": 3, "weight": 0.0},
        ],
        "factor_predictions": [
            {**_REP, "factor_index": 0, "clip_index": i, "measured": 1.0 + i, "predicted": 1.5 + 0.8 * i}
            for i in range(4)
        ],
    }  # fmt: skip
    with new_generation(folder) as writer:
        for name, rows in tables.items():
            writer.insert(name, pd.DataFrame(rows))
    return folder
