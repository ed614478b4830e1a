"""A store with hand-written features, for what a tiny corpus cannot give: labels of both directions, many matches."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from explorer.store import SCHEMA_VERSION, new_generation

SAE = "handfeatures"
N_OTHERS = 8
OTHERS = tuple(f"othersae{i}" for i in range(N_OTHERS))
LABELS = ["clean"] * 6 + ["vibrato"] * 5 + ["fry"] * 3 + [None] * 2
FEATURES: tuple[dict[str, object], ...] = (
    {"feature": 0, "label": "clean", "label_direction": "below", "label_is_shown": True},
    {"feature": 1, "label": "vibrato", "label_direction": "above", "label_is_shown": True},
    {"feature": 2, "label": "clean", "label_direction": "below", "label_is_shown": False},
    {"feature": 3, "label": None, "label_direction": None, "label_is_shown": False},
)


def write_feature_store(
    folder: Path, *, corpus: str = "by hand", group: str = "singer", title: str = "clip", group_id: str = "g"
) -> Path:
    """Sixteen clips (14 with a label) of four groups; SAE has four live features, eight SAEs of AST match it.

    Feature 0 reads 'not clean', feature 1 'vibrato', the others show no label. Every stored match of feature 0 has
    three ranks in each other SAE. Returns the folder.
    """
    with new_generation(folder) as writer:
        for name, rows in {**_corpus(corpus, group, title, group_id), **_saes(), **_about_feature_0()}.items():
            writer.insert(name, pd.DataFrame(rows))
    return folder


def _corpus(corpus: str, group: str, title: str, group_id: str) -> dict[str, list[dict[str, object]]]:
    return {
        "meta": [
            {"key": "schema_version", "value": str(SCHEMA_VERSION)},
            {"key": "corpus_name", "value": corpus},
            {"key": "label_name", "value": "technique"},
            {"key": "group_name", "value": group},
        ],
        "encoders": [
            {"encoder_id": f"{name}-00000000", "name": name, "display_name": display, "n_layers": 12,
             "is_trained": True}
            for name, display in (("hubert", "HuBERT"), ("ast", "AST"))
        ],
        "clips": [
            {"clip_index": i, "clip_id": f"c0ffee{i:02d}", "file_id": f"f{i}", "duration_s": 1.0,
             "title": f"{title} {i}", "label": label, "group_id": f"{group_id}{i % 4}", "split": "train",
             "is_silent": False}
            for i, label in enumerate(LABELS)
        ],
    }  # fmt: skip


def _saes() -> dict[str, list[dict[str, object]]]:
    sae = {"level": "clip", "n_features": 4, "k": 1, "sparsity": 0.75, "method": "sound", "protocol": "held-out",
           "seed": 0, "is_reference": True, "n_live": 4, "n_dead": 0, "n_dense": 0, "run_id": "r1"}  # fmt: skip
    saes: list[dict[str, object]] = [{**sae, "sae_id": SAE, "encoder_id": "hubert-00000000", "layer": 3}]
    saes += [{**sae, "sae_id": other, "encoder_id": "ast-00000000", "layer": i} for i, other in enumerate(OTHERS)]
    feature = {"n_active": 16, "density": 0.25, "mean_active": 1.0, "max_value": 2.0, "is_dead": False,
               "is_dense": False, "n_groups_active": 4, "preactivation_mean": 0.0, "label_name": "technique",
               "label_threshold": 0.25, "label_f1": 0.9, "label_mcc": 0.8, "label_null_mcc": 0.3, "label_p": 0.01,
               "label_hits": 14, "label_said": 16, "label_there": 15, "label_groups": 4, "label_unseen_hits": 4,
               "label_unseen_said": 5, "label_unseen_there": 4, "label_unseen_groups": 2}  # fmt: skip
    features = [
        {**feature, **row, "sae_id": str(owner["sae_id"]), "map_x": float(place), "map_y": float(place % 2)}
        for owner in saes
        for place, row in enumerate(FEATURES)
    ]
    return {"saes": saes, "features": features}


def _about_feature_0() -> dict[str, list[dict[str, object]]]:
    mine = {"sae_id": SAE, "feature": 0}
    return {
        "feature_label_counts": [  # active on no clip of 'fry', whose row is therefore absent
            {**mine, "label": "clean", "n_active": 1, "n_clips": 6, "mean_value": 0.1},
            {**mine, "label": "vibrato", "n_active": 3, "n_clips": 5, "mean_value": 0.9},
        ],
        "feature_histograms": [
            {**mine, "n_zero": 12, "edges": [0.0, 1.0, 2.0], "counts": [3, 1],
             "quantiles": [i / 50 for i in range(101)]}
        ],
        "feature_attribute_shares": [
            {**mine, "column_name": "vowel", "share": 0.2},
            {**mine, "column_name": "singer", "share": 0.7},
            {**mine, "column_name": "exercise", "share": 0.2},
        ],
        "feature_neighbours": [
            {**mine, "kind": kind, "rank": rank, "other": other, "value": 0.9 - 0.1 * rank}
            for kind in ("lift", "decoder")
            for rank, other in ((2, 3), (0, 1), (1, 2))
        ],
        "feature_matches": [
            {**mine, "other_sae_id": other, "other_feature": rank, "rank": rank, "kind": "encoder",
             "r_train": 0.9 - 0.05 * place - 0.2 * rank, "r_heldout": 0.5}
            for place, other in enumerate(OTHERS)
            for rank in (2, 0, 1)
        ],
        "factors": [
            {"factor_index": 0, "name": "factor0", "display_name": "Factor <0>", "factor_group": None},
            {"factor_index": 1, "name": "factor1", "display_name": "Factor 1", "factor_group": "pitch"},
        ],
        "lasso_weights": [
            {"representation_id": SAE, "protocol": "held-out", "factor_index": factor, "dim": 0, "weight": 0.5}
            for factor in (0, 1)
        ],
        "listed_clips": [
            {**mine, "kind": "top", "rank": i, "clip_index": i, "value": 2.0 - 0.1 * i, "preactivation": 2.0 - 0.1 * i,
             "kth_value": 0.1, "is_active": True}
            for i in range(len(LABELS))
        ],
    }  # fmt: skip
