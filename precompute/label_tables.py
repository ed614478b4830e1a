"""Automatic labels of one SAE's features, as the store's tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from precompute.feature_labels import FeatureLabels, LabelSettings, label_features
from precompute.job import Job


def label_sae(job: Job, codes_cf: np.ndarray) -> FeatureLabels | None:
    """Automatic labels from the primary label; None where the corpus has none."""
    name = job.corpus.label_name
    if name is None or name not in job.arrays.labels:
        return None
    return label_features(
        codes_cf,
        job.arrays.labels[name],
        job.arrays.groups_c,
        train_mask_c=job.fit_c,
        heldout_mask_c=job.score_c,
        folds_c=job.arrays.fold_all_c,
        settings=LabelSettings(n_permutations=job.config.label_permutations),
    )


def label_columns(job: Job, found: FeatureLabels | None) -> pd.DataFrame:
    """The columns of `features` that are about labels, a row a feature; none where there are no labels."""
    if found is None:
        return pd.DataFrame()
    name = str(job.corpus.label_name)
    has_rule = np.array([label is not None for label in found.label])
    counts = {
        "label_hits": found.n_hits,
        "label_said": found.n_said,
        "label_there": found.n_there,
        "label_groups": found.n_groups,
        "label_unseen_hits": found.n_unseen_hits,
        "label_unseen_said": found.n_unseen_said,
        "label_unseen_there": found.n_unseen_there,
        "label_unseen_groups": found.n_unseen_groups,
    }
    return pd.DataFrame(
        {
            "label_name": [name if rule else None for rule in has_rule],
            "label": found.label,
            "label_direction": found.direction,
            "label_threshold": found.threshold,
            "label_mcc": found.mcc,
            "label_f1": found.f1,
            "label_p": np.where(has_rule, found.p, np.nan),
            "label_null_mcc": found.null_mcc,
            "label_is_shown": found.is_shown,
            "label_reason": found.reason,
            "label_mcc_train": found.mcc_train,
            "label_precision": found.precision,
            "label_recall": found.recall,
            "label_f1_unseen": found.f1_unseen,
            **{column: pd.Series(n, dtype="Int64").where(has_rule) for column, n in counts.items()},
        }
    )


def label_nulls(job: Job, found: FeatureLabels | None) -> pd.DataFrame:
    """The rows of `label_nulls`, less the SAE."""
    name = str(job.corpus.label_name)
    return pd.DataFrame(
        [
            (name, list(null.names), null.exchange.level, null.alpha, null.is_exact, null.reached)
            for null in (found.nulls if found is not None else ())
            if len(null.reached)
        ],
        columns=["label_name", "labels", "level", "alpha", "is_exact", "reached"],
    )
