"""Where to start: features worth hearing first, of all reference SAEs together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.permutation import ALPHA, critical
from explorer.queries.factors import acoustic, predicted
from explorer.queries.labels import shown_label
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store


def fetch_joint_limits(store: Store) -> dict[str, float]:
    """For each label, the MCC that the best feature of all reference SAEs together has to exceed for a p of 0.05.

    Every SAE saw the same permutations, so that the largest MCC of each over the SAEs is the null of the largest of all
    (Westfall and Young 1993). Empty for a store whose nulls were not kept.
    """
    rows = store.query(
        "SELECT n.* FROM label_nulls n JOIN saes USING (sae_id) WHERE is_reference AND len(n.reached) > 0 "
        "ORDER BY sae_id"
    )
    limits: dict[str, float] = {}
    for (_, _, is_exact, alpha, _), part in rows.assign(n=rows["reached"].map(len)).groupby(
        ["label_name", "level", "is_exact", "alpha", "n"], dropna=False
    ):
        largest = np.max(np.stack(part["reached"].to_list()), axis=0)
        limit = critical(largest, is_exact=bool(is_exact), alpha=float(alpha))
        for label in {str(label) for labels in part["labels"] for label in labels}:
            limits[label] = max(limits.get(label, 0.0), float("inf") if np.isnan(limit) else limit)
    return limits


def fetch_first_looks(store: Store, limit: int = 6) -> pd.DataFrame:
    """Features worth hearing first, of reference SAEs: those whose label chance does not reach in any of them (by MCC),
    else those with the largest weight on a factor that is predicted at 0.05 over the tests of all of them (Bonferroni).

    display_name, layer, sae_id, feature, why ('label' or 'factor'), label (or the factor's name), score, r2.
    One that fires on all but a label is none of them: its clips do not let the label be heard.
    At most three of one SAE and one for each label of it; one of each label before a second of any.
    """
    limits = fetch_joint_limits(store)
    return store.query(
        f"""WITH limits AS (SELECT unnest($labels::TEXT[]) AS label, unnest($limits::DOUBLE[]) AS mcc),
           asked AS (
               SELECT * FROM features WHERE sae_id IN (SELECT sae_id FROM saes WHERE is_reference)),
           looks AS (
               SELECT count(DISTINCT sae_id) AS n FROM saes JOIN factor_scores ON representation_id = sae_id
               WHERE is_reference AND factor_scores.protocol = 'held-out' AND r2_p IS NOT NULL),
           found AS (
               SELECT f.sae_id, f.feature, 'label' AS why, {shown_label("f")} AS label, f.label_f1 AS score,
                    NULL::DOUBLE AS r2, f.label_mcc AS strength
               FROM asked f LEFT JOIN limits USING (label)
               WHERE f.label_is_shown AND f.label_direction IS DISTINCT FROM 'below'
                     AND f.label_mcc > coalesce(limits.mcc, 0)
               UNION ALL
               SELECT f.sae_id, f.feature, 'factor', g.display_name, f.best_factor_weight, s.r2,
                    s.r2 * abs(f.best_factor_weight)
               FROM asked f JOIN factors g ON f.best_factor IN (g.name, g.display_name) AND {acoustic("g")}
               JOIN factor_scores s ON s.representation_id = f.sae_id AND s.factor_index = g.factor_index
                    AND s.protocol = 'held-out' AND {predicted("s")}
                    AND coalesce(s.r2_p <= {ALPHA} / (SELECT greatest(n, 1) FROM looks), true)
               WHERE f.best_factor_weight IS NOT NULL AND f.n_groups_active >= 2),
           one AS (
               SELECT *, row_number() OVER (PARTITION BY sae_id, why, label ORDER BY strength DESC, feature) AS place
               FROM found),
           few AS (
               SELECT *, row_number() OVER (PARTITION BY sae_id ORDER BY why = 'label' DESC,
                                            strength DESC, feature) AS turn
               FROM one WHERE place = 1)
           SELECT e.display_name, t.layer, few.* EXCLUDE (place, turn, strength)
           FROM few JOIN saes t USING (sae_id) JOIN {NAMED_ENCODERS} e USING (encoder_id)
           WHERE turn <= 3
           ORDER BY coalesce(e.is_trained, true) DESC, why = 'label' DESC,
                    row_number() OVER (PARTITION BY coalesce(e.is_trained, true), why, label
                                       ORDER BY strength DESC, sae_id, feature),
                    strength DESC, sae_id, feature LIMIT $limit""",  # noqa: S608 - the names are code
        {"limit": limit, "labels": list(limits), "limits": list(limits.values())},
    )
