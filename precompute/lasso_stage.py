"""Acoustic factors and other measures predicted by Lasso from codes and dense states, as the store's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from precompute.artefacts import Bundle, key_of
from precompute.attribution import fit_factors, fit_factors_paper
from precompute.factor_fit import NAN, FactorFit, LassoSettings
from precompute.job import HELD_OUT, PAPER, Job
from precompute.reporting import Stage
from precompute.targets import Targets

LASSO_STAGE = "lasso"
VERSION = 5


def lasso(
    job: Job,
    stage: Stage,
    x_cd: np.ndarray,
    targets: Targets,
    representation_id: str,
    *,
    seed: int,
    pooling: str,
    given: Bundle | None = None,
    protocol: str = HELD_OUT,
    refits: Mapping[int, np.ndarray] | None = None,
) -> Bundle:
    """Fit every target from one representation, whose states were pooled as `pooling` says; under `paper` the factors
    alone.

    `given`: the bundle whose alphas are taken instead of choosing anew. refits: by fold over all groups, the
    representation by what was fitted without it.
    """
    config = job.config
    targets = targets.acoustic if protocol == PAPER else targets
    key = key_of(
        version=VERSION,
        representation=representation_id,
        pooling=pooling,
        seed=seed,
        corpus=job.corpus.corpus_id,
        added=targets.added,
        settings=[
            config.lasso_folds,
            config.lasso_alphas,
            config.lasso_eps,
            config.lasso_permutations,
            config.lasso_counts_codes,
        ],
        given=None if given is None else given.folder.name,
        refitted=refits is not None,
        protocol=protocol,
        fault=config.faults.completeness_one_without_weights,
    )

    def make(bundle: Bundle) -> None:
        rows_c = np.flatnonzero(job.score_c) if protocol == PAPER else np.arange(len(x_cd))
        fits = _fits(job, x_cd, targets, rows_c, seed=seed, given=given, protocol=protocol, refits=refits)
        bundle.add_facts({"subject": f"{representation_id} {protocol}"})
        _add_tables(bundle, fits, representation_id, protocol, seed, rows_c)

    return job.keep(stage, LASSO_STAGE, key, make)


def _fits(
    job: Job,
    x_cd: np.ndarray,
    targets: Targets,
    rows_c: np.ndarray,
    *,
    seed: int,
    given: Bundle | None,
    protocol: str,
    refits: Mapping[int, np.ndarray] | None,
) -> Sequence[FactorFit]:
    config = job.config
    if protocol == PAPER:
        return fit_factors_paper(
            x_cd[rows_c],
            targets.values_cg[rows_c],
            seed,
            groups_c=job.arrays.groups_c[rows_c],
            n_permutations=config.lasso_permutations,
            completeness_of_no_weight=1.0 if config.faults.completeness_one_without_weights else None,
            n_jobs=config.workers(),
        )
    return fit_factors(
        x_cd,
        targets.values_cg,
        job.arrays.groups_c,
        train_mask=job.arrays.train_c,
        heldout_mask=job.arrays.heldout_c,
        folds_c=lasso_folds(job),
        folds_all_c=job.arrays.fold_all_c,
        settings=replace(lasso_settings(job), mode="cv" if given is None else "given", seed=seed),
        given_alphas_g=None if given is None else _alphas(given, targets.values_cg.shape[1]),
        families_g=targets.families_g,
        x_by_fold=refits,
        n_jobs=config.workers(),
    )


def lasso_folds(job: Job) -> np.ndarray:
    """(c,) the run's folds of training groups that choose alpha; -1: in none."""
    fold_c = job.arrays.fold_group_c
    return np.where(fold_c >= 0, fold_c % job.config.lasso_folds, -1)


def lasso_settings(job: Job) -> LassoSettings:
    """How the run finds alpha by cross-validation."""
    config = job.config
    return LassoSettings(
        alphas=config.lasso_alphas,
        eps=config.lasso_eps,
        n_permutations=config.lasso_permutations,
        count_codes=config.lasso_counts_codes,
    )


def _alphas(bundle: Bundle, n_factors: int) -> list[float]:
    rows = bundle.table("factor_scores")
    alphas = np.full(n_factors, np.nan)
    alphas[rows["factor_index"].to_numpy(dtype=int)] = rows["alpha"].to_numpy(dtype=float)
    return [float(alpha) for alpha in alphas]


_TEXT = ("reason", "tested_by", "untested", "transform")
_SCORES = (
    "factor_index", "alpha", "alpha_source", "r2", "r2_within_group", "r2_permuted", "r2_train", "r2_folds", "r2_all",
    "r2_all_within", "r2_p", "tested_by", "untested", "is_predicted", "transform", "n_train", "n_clips", "n_groups",
    "n_all_clips", "n_all_groups", "n_weights", "completeness", "effective_codes", "n_codes_90", "reason",
)  # fmt: skip


def _add_tables(
    bundle: Bundle, fits: Sequence[FactorFit], representation_id: str, protocol: str, seed: int, rows_c: np.ndarray
) -> None:
    same = {"representation_id": representation_id, "protocol": protocol}
    scores, models = [], []
    for fit in fits:
        scores.append(
            {**same, "seed": seed, **{name: getattr(fit, name) for name in _SCORES}, "completeness_d": fit.n_dims}
        )
        if np.isfinite(fit.intercept):
            how = fit.how
            models.append(
                {
                    **same,
                    **{name: getattr(fit, name) for name in ("factor_index", "intercept", "y_mean", "y_scale")},
                    "clip_low": NAN if how is None else how.low,
                    "clip_high": NAN if how is None else how.high,
                    "knots": None if how is None or how.knots is None else how.knots.astype("f4"),
                }
            )
    frame = pd.DataFrame(scores).astype(
        {name: "Int64" for name in ("n_codes_90", "completeness_d")}
        | {"is_predicted": "boolean"}
        | dict.fromkeys(_TEXT, "string")
    )
    bundle.add_table("factor_scores", frame)
    long_tables: dict[str, dict[str, list[np.ndarray]]] = {
        "lasso_weights": {"dim": [fit.weights[0] for fit in fits], "weight": [fit.weights[1] for fit in fits]},
        "factor_predictions": {
            "clip_index": [rows_c[fit.heldout_index] for fit in fits],
            "measured": [fit.measured_heldout for fit in fits],
            "predicted": [fit.predicted_heldout for fit in fits],
        },
    }
    for name, columns in long_tables.items():
        lengths = [len(part) for part in next(iter(columns.values()))]
        if sum(lengths):
            factor_index = np.repeat([fit.factor_index for fit in fits], lengths)
            values = {column: np.concatenate(parts) for column, parts in columns.items()}
            bundle.add_table(name, pd.DataFrame({**same, "factor_index": factor_index, **values}))
    if models:
        scaler = next(fit.scaler for fit in fits if np.isfinite(fit.intercept))
        row = {**same, "x_mean": scaler.x_mean.astype("f4"), "x_scale": scaler.x_scale.astype("f4")}
        bundle.add_table("lasso_models", pd.DataFrame(models))
        bundle.add_table("lasso_scalers", pd.DataFrame([row]))
