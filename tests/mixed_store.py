"""A hand-made store of everything that one run alone does not mix, and cuts of it.

Two checkpoints of one family (equal display names), two recipes of one layer, two widths, an SAE of protocol paper
beside held-out ones, clips without a label, and a label that a feature tells by being low.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from explorer.store import SCHEMA_VERSION, new_generation

ENCODER_A, ENCODER_B = "hubert-aaaaaaaa", "hubert-bbbbbbbb"
D, D_WIDE = 240, 480
OLD_75, OLD_95, NEW_75, NEW_95 = "old75", "old95", "new75", "new95"
WIDE_75, WIDE_95, OTHER_75, OTHER_95, PAPER_75 = "wide75", "wide95", "other75", "other95", "paper75"
N_MATCHES = 230  # of NEW_75 with OTHER_75, the last 10 without a held-out correlation
ONE_GROUP = "only one group (g0): nothing can be concluded about unseen groups"
# sae_id, encoder, width, sparsity, epochs, protocol, run
_SAES = (
    (OLD_75, ENCODER_A, D, 0.75, 40, "held-out", "r-old"),
    (OLD_95, ENCODER_A, D, 0.95, 40, "held-out", "r-old"),
    (NEW_75, ENCODER_A, D, 0.75, 100, "held-out", "r-new"),
    (NEW_95, ENCODER_A, D, 0.95, 100, "held-out", "r-new"),
    (WIDE_75, ENCODER_A, D_WIDE, 0.75, 100, "held-out", "r-new"),
    (WIDE_95, ENCODER_A, D_WIDE, 0.95, 100, "held-out", "r-new"),
    (OTHER_75, ENCODER_B, D, 0.75, 100, "held-out", "r-new"),
    (OTHER_95, ENCODER_B, D, 0.95, 100, "held-out", "r-new"),
    (PAPER_75, ENCODER_A, D, 0.75, 100, "paper", "r-new"),
)
Tables = dict[str, pd.DataFrame]


def mixed_tables() -> Tables:
    """The store's tables: 40 clips of 4 groups, layers 0 to 2 probed, SAEs on layer 1 of both encoders."""
    tables = {**_corpus(), **_saes(), **_probes(), **_factors()}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def write_tables(folder: Path, tables: Tables) -> Path:
    """Publish `tables` as a store. Returns the folder."""
    with new_generation(folder) as writer:
        for name, rows in tables.items():
            writer.insert(name, rows)
    return folder


def paper_only(tables: Tables) -> Tables:
    """The tables with no SAE and no factor score but those of protocol paper."""
    kept = {
        name: rows[rows["protocol"] == "paper"] for name, rows in tables.items() if name in ("saes", "factor_scores")
    }
    return {**tables, **kept}


def one_group(tables: Tables) -> Tables:
    """The tables as one group leaves them: held out by file, and only folds by file score a probe."""
    by_group = tables["probes"]["protocol"].isin(["held-out", "group-folds"])
    scores = ["accuracy", "balanced_accuracy", "macro_f1", "chance"]
    probes = tables["probes"].copy()
    probes.loc[by_group, scores] = float("nan")
    probes["n_groups"] = 1
    probes["reason"] = probes["reason"].astype(object).where(~by_group, ONE_GROUP)
    kept = tables["probe_groups"][~tables["probe_groups"]["probe_id"].isin(probes[by_group]["probe_id"])]
    return {
        **tables,
        "probes": probes,
        "probe_groups": kept.assign(group_id="g0"),
        "clips": tables["clips"].assign(group_id="g0"),
    }


def _corpus() -> dict[str, list[dict[str, Any]]]:
    meta = {"schema_version": SCHEMA_VERSION, "corpus_name": "mixed", "label_name": "technique", "group_name": "singer"}
    labels = ("clean", "trill", "a<b", None)
    return {
        "meta": [{"key": key, "value": str(value)} for key, value in meta.items()],
        "runs": [
            {"run_id": "r-old", "started_at": "2026-01-01T00:00:00Z", "preset": "quick", "command": "first"},
            {"run_id": "r-new", "started_at": "2026-02-01T00:00:00Z", "preset": "default", "command": "second"},
        ],
        "encoders": [
            {"encoder_id": encoder, "name": "hubert", "display_name": "HuBERT", "n_layers": 2, "is_trained": True}
            for encoder in (ENCODER_A, ENCODER_B)
        ],
        "clips": [
            {"clip_index": i, "clip_id": f"c{i}", "file_id": f"f{i}", "duration_s": 1.0, "title": f"clip {i}",
             "label": labels[i % 4], "group_id": f"g{i // 10}", "split": "held-out" if i >= 30 else "train",
             "paper_split": "test" if i >= 35 else "train", "is_playable": False}
            for i in range(40)
        ],
        "layer_choices": [
            {"encoder_id": encoder, "layer": 1, "is_chosen": True, "role": "best2", "run_id": "r-new"}
            for encoder in (ENCODER_A, ENCODER_B)
        ],
    }  # fmt: skip


def _saes() -> dict[str, list[dict[str, Any]]]:
    saes, features = [], []
    for sae_id, encoder, width, sparsity, epochs, protocol, run_id in _SAES:
        high = sparsity > 0.9
        k = round((1 - sparsity) * width)
        fvu = (0.5 if epochs == 40 else 0.3) + (0.1 if high else 0.0)
        saes.append(
            {"sae_id": sae_id, "encoder_id": encoder, "layer": 1, "level": "clip", "n_features": width, "k": k,
             "sparsity": sparsity, "method": "paper" if protocol == "paper" else "sound", "protocol": protocol,
             "seed": 0, "is_reference": sae_id in (NEW_75, OTHER_75, PAPER_75), "run_id": run_id, "n_epochs": epochs,
             "fvu_train": fvu - 0.1, "fvu_heldout": fvu, "mse_heldout": fvu, "pca_k_fvu_heldout": 0.25,
             "l0_mean": float(k), "n_live": width - 2, "n_dead": 2, "n_dense": 1, "dense_mass": 0.1,
             "informativeness": 0.7, "informativeness_fixed": 0.6, "completeness": 0.5 + 0.1 * high,
             "completeness_fixed": 0.4 + 0.1 * high, "completeness_d": width, "effective_codes": 9.0 - 2 * high,
             "effective_codes_fixed": 10.0, "disentanglement": 0.3}
        )  # fmt: skip
        features += [{"sae_id": sae_id, "feature": f, "density": 0.25, "is_dead": False, "n_active": 10,
                      "n_groups_active": 4, "label_is_shown": False} for f in range(width)]  # fmt: skip
    shown = {"label_name": "technique", "label_threshold": 0.5, "label_f1": 0.9, "label_is_shown": True}
    features[2 * D] |= {"label": "trill", "label_direction": "above", **shown}  # features 0 and 1 of NEW_75
    features[2 * D + 1] |= {"label": "clean", "label_direction": "below", **shown}
    matches = [
        {"sae_id": NEW_75, "feature": f, "other_sae_id": OTHER_75, "other_feature": D - 1 - f, "rank": 1,
         "r_train": 0.9 - 0.001 * f, "r_heldout": 0.5 if f < N_MATCHES - 10 else None, "kind": "encoder"}
        for f in range(N_MATCHES)
    ]  # fmt: skip
    return {"saes": saes, "features": features, "feature_matches": matches}


def _probes() -> dict[str, list[dict[str, Any]]]:
    held = {"n_clips": 30, "n_groups": 4, "n_classes": 3, "chance": 0.35, "label_name": "technique", "seed": 0,
            "balanced_accuracy": 0.5, "macro_f1": 0.5, "reason": None}  # fmt: skip
    representations: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    confusion: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []

    def probe(representation: str, protocol: str, accuracy: float, n_clips: int) -> None:
        name = f"{representation}.{protocol}"
        probes.append({**held, "probe_id": name, "representation_id": representation, "protocol": protocol,
                       "accuracy": accuracy, "n_clips": n_clips})  # fmt: skip
        classes.extend({"probe_id": name, "class": c, "recall": 0.5, "n": 25} for c in ("clean", "a<b"))
        confusion.append({"probe_id": name, "true_class": "a<b", "predicted_class": "clean", "n": 3})
        groups.extend({"probe_id": name, "group_id": f"g{g}", "accuracy": accuracy, "n": 10} for g in range(4))

    for offset, encoder in enumerate((ENCODER_A, ENCODER_B)):
        for layer in range(3):
            representation = f"{encoder}.L0{layer}"
            representations.append({"representation_id": representation, "kind": "dense", "encoder_id": encoder,
                                    "layer": layer, "n_dims": 90})  # fmt: skip
            for protocol in ("held-out", "group-folds", "random-folds", "paper"):
                probe(representation, protocol, (0.5, 0.8, 0.7)[layer] + 0.05 * offset, 30)
    for sae_id, encoder, width, _, _, protocol, _ in _SAES:
        representations.append({"representation_id": sae_id, "kind": "codes", "encoder_id": encoder, "layer": 1,
                                "n_dims": width})  # fmt: skip
        probe(sae_id, protocol, 0.75, 5 if protocol == "paper" else 30)
    return {"representations": representations, "probes": probes, "probe_classes": classes,
            "probe_confusion": confusion, "probe_groups": groups}  # fmt: skip


def _factors() -> dict[str, list[dict[str, Any]]]:
    scores: list[dict[str, Any]] = []
    weights: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    names = ("F0 mean", "jitter", "loudness", "shimmer")
    bodies = [(s[0], s[5], s[2]) for s in _SAES] + [
        (f"{encoder}.L01", protocol, 90) for encoder in (ENCODER_A, ENCODER_B) for protocol in ("held-out", "paper")
    ]
    for place, (representation, protocol, width) in enumerate(bodies):
        same = {"representation_id": representation, "protocol": protocol}
        paper = protocol == "paper"
        score = {**same, "seed": 0, "alpha": 0.1, "alpha_source": "paper" if paper else "cv", "n_train": 30,
                 "n_clips": 40 if paper else 10, "n_groups": 4, "completeness_d": width,
                 "is_fixed_set": False}  # fmt: skip
        r2 = 0.8 + 0.01 * place
        scores += [
            {**score, "factor_index": 0, "r2": r2, "r2_permuted": 0.1, "n_weights": 2, "completeness": 0.6,
             "effective_codes": 9.0, "is_fixed_set": True},
            {**score, "factor_index": 1, "r2": 0.2, "r2_permuted": 0.4, "n_weights": 1,
             "completeness": 0.9 if paper else None},
            {**score, "factor_index": 2, "n_weights": 0, "reason": "12 distinct values, fewer than 50"},
            {**score, "factor_index": 3, "r2": 0.0, "r2_permuted": 0.0, "n_weights": 0,
             "completeness": 1.0 if paper else None},
        ]  # fmt: skip
        weights += [
            {**same, "factor_index": g, "dim": f, "weight": w} for g, f, w in ((0, 0, 0.5), (0, 1, -0.25), (1, 2, 0.1))
        ]
        predictions += [
            {**same, "factor_index": 0, "clip_index": 30 + i, "measured": 1.0 + i, "predicted": 1.1 + i}
            for i in range(10)
        ]
    factors = [
        {"factor_index": i, "name": f"factor{i}", "display_name": name, "unit": "Hz", "factor_group": "pitch"}
        for i, name in enumerate(names)
    ]
    return {"factors": factors, "factor_scores": scores, "lasso_weights": weights, "factor_predictions": predictions}
