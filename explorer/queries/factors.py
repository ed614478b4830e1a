"""Rows behind the Factors page: scores, Lasso weights, and predicted beside measured values."""

from __future__ import annotations

import pandas as pd

from explorer.queries.labels import shown_label
from explorer.store import Store


def fetch_factor_protocols(store: Store, representation_id: str) -> list[str]:
    """The protocols under which this representation's factors were scored ('held-out' first)."""
    rows = store.query(
        """SELECT DISTINCT protocol FROM factor_scores WHERE representation_id = $rep
           ORDER BY protocol <> 'held-out', protocol""",
        {"rep": representation_id},
    )
    return rows["protocol"].tolist()


def fetch_scored_saes(store: Store) -> pd.DataFrame:
    """Which SAEs have factor scores: sae_id, n_scored (factors with an R2), the SAEs with most of them first."""
    return store.query(
        """SELECT s.representation_id AS sae_id, count(s.r2)::INTEGER AS n_scored
           FROM factor_scores s JOIN saes t ON t.sae_id = s.representation_id
           GROUP BY ALL ORDER BY n_scored DESC, sae_id"""
    )


def fetch_factor_scores(store: Store, representation_id: str, protocol: str) -> pd.DataFrame:
    """One row per factor: names, unit, group, and every score of this representation; reason says why one is NULL.

    is_above_permuted: the R2 is above 0 and above that of permuted targets; NULL where either is undefined.
    """
    return store.query(
        """SELECT f.name, f.display_name, f.unit, f.factor_group, f.description, s.*,
                  (s.r2 > 0 AND s.r2 > s.r2_permuted) AS is_above_permuted
           FROM factor_scores s JOIN factors f USING (factor_index)
           WHERE s.representation_id = $rep AND s.protocol = $protocol ORDER BY s.factor_index, s.seed""",
        {"rep": representation_id, "protocol": protocol},
    )


def fetch_lasso_weights(store: Store, sae_id: str, protocol: str) -> pd.DataFrame:
    """Non-zero Lasso weights of one SAE: factor_index, feature, weight, and the feature's shown label and density.

    Weights act on standardised codes and predict standardised factors.
    """
    return store.query(
        f"""SELECT w.factor_index, w.dim AS feature, w.weight, t.density, t.n_active,
                  {shown_label("t")} AS label
           FROM lasso_weights w LEFT JOIN features t ON t.sae_id = w.representation_id AND t.feature = w.dim
           WHERE w.representation_id = $sae AND w.protocol = $protocol AND w.weight <> 0
           ORDER BY w.factor_index, abs(w.weight) DESC, w.dim""",  # noqa: S608
        {"sae": sae_id, "protocol": protocol},
    )


def fetch_factor_predictions(store: Store, representation_id: str, protocol: str, factor_index: int) -> pd.DataFrame:
    """Measured and predicted values of one factor on the scored clips, in the factor's unit, with the clips' names."""
    return store.query(
        """SELECT c.clip_id, c.title, c.label, c.group_id, c.split, p.measured, p.predicted
           FROM factor_predictions p JOIN clips c USING (clip_index)
           WHERE p.representation_id = $rep AND p.protocol = $protocol AND p.factor_index = $factor
           ORDER BY c.clip_index""",
        {"rep": representation_id, "protocol": protocol, "factor": factor_index},
    )


def fetch_factors(store: Store) -> pd.DataFrame:
    """Every factor of the store: factor_index, name, display_name, unit, factor_group, description."""
    return store.query(
        "SELECT factor_index, name, display_name, unit, factor_group, paper_group, description "
        "FROM factors ORDER BY factor_index"
    )


def fetch_undefined_reasons(store: Store, representation_id: str, protocol: str) -> pd.DataFrame:
    """Why factors have no score here, reasons that differ in their numbers only taken together, commonest first.

    reason (one of them), n_reasons (how many wordings), n_factors, factors (their names, joined).
    """
    return store.query(
        """SELECT min(coalesce(s.reason, 'no reason stored')) AS reason, count(DISTINCT s.reason)::INTEGER AS n_reasons,
                  count(*)::INTEGER AS n_factors, string_agg(f.display_name, ', ' ORDER BY f.factor_index) AS factors
           FROM factor_scores s JOIN factors f USING (factor_index)
           WHERE s.representation_id = $rep AND s.protocol = $protocol AND s.r2 IS NULL
           GROUP BY regexp_replace(coalesce(s.reason, ''), '[0-9.]+', '#', 'g') ORDER BY n_factors DESC, reason""",
        {"rep": representation_id, "protocol": protocol},
    )
