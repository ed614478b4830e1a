"""Probes on representations: every layer, every SAE's codes, and attributes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from explorer.same_as_label import same_as_label
from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork, States
from precompute.job import ALL_GROUPS, GROUP_FOLDS, HELD_OUT, PAPER, RANDOM_FOLDS, Job, is_categorical
from precompute.probe_result import ProbeResult, is_known
from precompute.probes import attribute_baseline, run_paper_probe, run_probe

PROBE_STAGE, BASELINE_STAGE = "probes", "attribute_baselines"
VERSION = 4
FOLDS_OF_LAYERS = (ALL_GROUPS, GROUP_FOLDS, RANDOM_FOLDS)  # the second chooses layers, the third is what it avoids


def dense_id(encoder_id: str, layer: int) -> str:
    """The representation_id of pooled states."""
    return f"{encoder_id}.L{layer:02d}"


def probe_representation(
    job: Job,
    x_cd: np.ndarray,
    *,
    seed: int,
    folds: Sequence[str] = FOLDS_OF_LAYERS,
    x_by_fold: Mapping[int, np.ndarray] | None = None,
) -> list[tuple[str, ProbeResult]]:
    """All probes of one representation: (label name, result) for every label, held out and under the protocols `folds`.

    x_by_fold: for 'all-groups', the representation by what was fitted without each fold.
    """
    arrays, config = job.arrays, job.config
    folds_of = {
        ALL_GROUPS: arrays.fold_all_c,
        GROUP_FOLDS: arrays.fold_group_c,
        RANDOM_FOLDS: arrays.fold_random_c,
    }
    results = []
    for label_name, labels_c in arrays.labels.items():
        held_out = run_probe(
            x_cd,
            labels_c,
            arrays.groups_c,
            protocol=HELD_OUT,
            train_mask_c=arrays.train_c,
            heldout_mask_c=arrays.heldout_c,
            folds_c=arrays.fold_group_c,
            c_grid=config.probe_c_grid,
            seed=seed,
        )
        results.append((label_name, held_out))
        # One C for all protocols, so that they differ in the clips alone (under 'all-groups' the training groups' own
        # labels had a part in that one number); without a held-out part, chosen in each fold.
        c_grid = config.probe_c_grid if held_out.c is None else (held_out.c,)
        for protocol in folds:
            result = run_probe(
                x_cd,
                labels_c,
                arrays.groups_c,
                protocol=protocol,
                train_mask_c=arrays.train_c,
                heldout_mask_c=arrays.heldout_c,
                folds_c=folds_of[protocol],
                c_grid=c_grid,
                seed=seed,
                x_by_fold=x_by_fold if protocol == ALL_GROUPS else None,
            )
            results.append((label_name, result))
    return results


def probe_codes(
    job: Job, codes_cf: np.ndarray, *, seed: int, refits: Mapping[int, np.ndarray] | None
) -> list[tuple[str, ProbeResult]]:
    """`probe_representation` of an SAE: held out and over all groups, since nothing is chosen on its folds."""
    return probe_representation(job, codes_cf, seed=seed, folds=(ALL_GROUPS,), x_by_fold=refits)


def paper_probe(job: Job, first_cd: np.ndarray, crops_cnd: np.ndarray, *, seed: int) -> list[tuple[str, ProbeResult]]:
    """Preset paper: fitted on training crops, kept by the validation files, scored on the test singers' first crops."""
    arrays = job.arrays
    results = []
    for label_name, labels_c in arrays.labels.items():
        labelled = is_known(labels_c)
        train, valid, test = ((arrays.paper_split_c == part) & labelled for part in ("train", "valid", "test"))
        result = run_paper_probe(
            crops_cnd[train],
            labels_c[train],
            first_cd[valid],
            labels_c[valid],
            first_cd[test],
            labels_c[test],
            seed,
            groups_test=arrays.groups_c[test],
        )
        if result.predictions is not None:
            of_all = np.full(len(labels_c), None, dtype=object)
            of_all[test] = result.predictions
            result = replace(result, predictions=of_all)
        results.append((label_name, result))
    return results


def add_probe_tables(
    bundle: Bundle,
    representation_id: str,
    results: Sequence[tuple[str, ProbeResult]],
    *,
    is_codes: bool,
    is_refitted: bool = False,
) -> None:
    """Keep probe results as the store's tables. is_refitted: codes under 'all-groups' are of SAEs refitted by fold."""
    blind = (HELD_OUT, PAPER, ALL_GROUPS) if is_refitted else (HELD_OUT, PAPER)
    probes: list[dict[str, Any]] = []
    classes: list[tuple[Any, ...]] = []
    confusion: list[tuple[Any, ...]] = []
    groups: list[tuple[Any, ...]] = []
    weights: list[tuple[Any, ...]] = []
    scalers: list[tuple[Any, ...]] = []
    predictions: list[tuple[Any, ...]] = []
    for label_name, result in results:
        probe_id = key_of(
            representation=representation_id, label=label_name, protocol=result.protocol, seed=result.seed
        )
        probes.append(
            {
                "probe_id": probe_id,
                "representation_id": representation_id,
                "label_name": label_name,
                "protocol": result.protocol,
                "seed": result.seed,
                "accuracy": result.accuracy,
                "balanced_accuracy": result.balanced_accuracy,
                "macro_f1": result.macro_f1,
                "chance": result.chance,
                "n_clips": result.n_clips,
                "n_groups": result.n_groups,
                "n_classes": result.n_classes,
                "c": result.c,
                "ci_low": result.ci_low,
                "ci_high": result.ci_high,
                "is_sae_blind": (result.protocol in blind) if is_codes else None,
                "reason": result.reason,
            }
        )
        classes.extend((probe_id, s.name, s.recall, s.precision, s.f1, s.n, s.reason) for s in result.classes)
        confusion.extend((probe_id, *row) for row in result.confusion)
        groups.extend((probe_id, g.name, g.accuracy, g.n, g.chance) for g in result.groups)
        if result.predictions is not None:
            said = enumerate(result.predictions)
            predictions.extend((probe_id, index, str(name)) for index, name in said if name is not None)
        if result.probe is not None:
            scalers.append((probe_id, result.probe.center_d.astype("f4"), result.probe.scale_d.astype("f4")))
            weights.extend(
                (probe_id, name, float(result.probe.intercept_k[row]), result.probe.weights_kd[row].astype("f4"))
                for row, name in enumerate(result.probe.classes)
            )
    numbers = ("accuracy", "balanced_accuracy", "macro_f1", "chance", "c", "ci_low", "ci_high")
    types = {**dict.fromkeys(numbers, "float64"), "is_sae_blind": "boolean", "reason": "string"}
    if probes:
        bundle.add_table("probes", pd.DataFrame(probes).astype(types))
    for name, rows, columns in (
        ("probe_classes", classes, ["probe_id", "class", "recall", "precision_", "f1", "n", "reason"]),
        ("probe_confusion", confusion, ["probe_id", "true_class", "predicted_class", "n"]),
        ("probe_groups", groups, ["probe_id", "group_id", "accuracy", "n", "chance"]),
        ("probe_predictions", predictions, ["probe_id", "clip_index", "predicted_class"]),
        ("probe_weights", weights, ["probe_id", "class", "intercept", "weights"]),
        ("probe_scalers", scalers, ["probe_id", "center", "scale"]),
    ):
        if rows:
            bundle.add_table(name, pd.DataFrame(rows, columns=columns))


def add_representation(
    bundle: Bundle, representation_id: str, kind: str, encoder_id: str, layer: int, n_dims: int
) -> None:
    """Keep the row of `representations` of what probes and the Lasso predict from."""
    columns = ["representation_id", "kind", "encoder_id", "layer", "n_dims"]
    row = [(representation_id, kind, encoder_id, layer, n_dims)]
    bundle.add_table("representations", pd.DataFrame(row, columns=columns))


def probe_layers(work: EncoderAtWork, states: States) -> pd.DataFrame:
    """Probe every layer's pooled states. Returns the `probes` rows, with a column `layer`."""
    job, config = work.job, work.job.config

    def probe(layer: int) -> pd.DataFrame:
        representation_id = dense_id(work.encoder_id, layer)
        key = key_of(
            version=VERSION,
            representation=representation_id,
            corpus=job.corpus.corpus_id,
            labels=list(job.arrays.labels),
            c_grid=config.probe_c_grid,
            pooling=work.pooled_as,
            seed=config.seeds[0],
            paper=[config.crop_s, config.n_crops, config.faults.encoders_in_training_mode] if config.is_paper else None,
        )

        def make(bundle: Bundle) -> None:
            results = probe_representation(job, states.pooled_cld[:, layer], seed=config.seeds[0])
            if config.is_paper:
                results += paper_probe(job, *states.crops(layer), seed=config.seeds[0])
            bundle.add_facts({"subject": representation_id})
            add_probe_tables(bundle, representation_id, results, is_codes=False)
            add_representation(bundle, representation_id, "dense", work.encoder_id, layer, work.checkpoint.d_model)

        return job.keep(stage, PROBE_STAGE, key, make).table("probes").assign(layer=layer)

    stage_name = f"probe the layers of {work.checkpoint.spec.name}"
    with (
        job.reporter.stage(stage_name, len(work.layers()), "layers") as stage,
        ThreadPoolExecutor(config.workers()) as pool,
    ):
        return pd.concat(list(pool.map(probe, work.layers())), ignore_index=True)


def probe_attributes(job: Job) -> None:
    """The attribute-only baseline: what each column gives away about each label without any sound."""
    usable = {name: values for name, values in job.arrays.attributes.items() if is_categorical(values)}
    with job.reporter.stage("probe attributes alone", len(usable), "columns") as stage:
        for name, values in usable.items():
            key = key_of(
                version=VERSION,
                representation=f"attribute.{name}",
                corpus=job.corpus.corpus_id,
                labels=list(job.arrays.labels),
                c=job.config.probe_c_grid,
                seed=job.config.seeds[0],
            )
            job.keep(stage, BASELINE_STAGE, key, partial(_add_baseline, job, name, values))


def _add_baseline(job: Job, name: str, values: np.ndarray, bundle: Bundle) -> None:
    arrays, config = job.arrays, job.config
    representation_id = f"attribute.{name}"
    results = []
    for label_name, labels_c in arrays.labels.items():
        if same_as_label({name: values}, labels_c):
            continue  # the label under another name
        for protocol, folds_c in ((HELD_OUT, arrays.fold_group_c), (ALL_GROUPS, arrays.fold_all_c)):
            result = attribute_baseline(
                [values],
                labels_c,
                arrays.groups_c,
                protocol=protocol,
                train_mask_c=arrays.train_c,
                heldout_mask_c=arrays.heldout_c,
                folds_c=folds_c,
                c_grid=config.probe_c_grid,
                seed=config.seeds[0],
            )
            results.append((label_name, result))
    bundle.add_facts({"subject": representation_id})
    add_probe_tables(bundle, representation_id, results, is_codes=False)
    row = [(representation_id, "attribute", len({value for value in values if value is not None}))]
    bundle.add_table("representations", pd.DataFrame(row, columns=["representation_id", "kind", "n_dims"]))
