"""Rows behind the Factors page: scores, Lasso weights, and predicted beside measured values."""

from __future__ import annotations

import pandas as pd

from explorer.measures import COLUMN, PLANTED
from explorer.queries.labels import shown_label
from explorer.store import Store


def predicted(alias: str) -> str:
    """SQL: whether a row of factor_scores is predicted; for older artefacts and `paper`, above 0 and its limit."""
    return f"coalesce({alias}.is_predicted, {alias}.r2 > 0 AND {alias}.r2 > {alias}.r2_permuted)"


def acoustic(alias: str) -> str:
    """SQL: whether a row of factors is an acoustic factor, and not another measure that the Lasso predicts."""
    return f"{alias}.factor_group NOT IN ('{COLUMN}', '{PLANTED}')"


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
        """SELECT s.representation_id AS sae_id, count(coalesce(s.r2_all, s.r2))::INTEGER AS n_scored
           FROM factor_scores s JOIN saes t ON t.sae_id = s.representation_id
           GROUP BY ALL ORDER BY n_scored DESC, sae_id"""
    )


def fetch_factor_scores(store: Store, representation_id: str, protocol: str) -> pd.DataFrame:
    """One row per factor: names, unit, group, and every score of this representation; reason says why one is NULL.

    is_predicted: see `predicted`, NULL where nothing can be told. r2_shown, within_shown, n_shown_clips and
    n_shown_groups are over all groups where that was scored, else over the clips that were held out.
    """
    return store.query(
        f"""SELECT f.name, f.display_name, f.unit, f.factor_group, f.description, s.* EXCLUDE (is_predicted),
                  {predicted("s")} AS is_predicted, coalesce(s.r2_all, s.r2) AS r2_shown,
                  CASE WHEN s.r2_all IS NULL THEN s.r2_within_group ELSE s.r2_all_within END AS within_shown,
                  CASE WHEN s.r2_all IS NULL THEN s.n_clips ELSE s.n_all_clips END AS n_shown_clips,
                  CASE WHEN s.r2_all IS NULL THEN s.n_groups ELSE s.n_all_groups END AS n_shown_groups
           FROM factor_scores s JOIN factors f USING (factor_index)
           WHERE s.representation_id = $rep AND s.protocol = $protocol ORDER BY s.factor_index, s.seed""",  # noqa: S608
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
    """Measured and predicted values of one factor on the scored clips, with the clips' names: in the factor's unit, or
    normal scores where it is ranked."""
    return store.query(
        """SELECT c.clip_id, c.title, c.label, c.group_id, c.split, p.measured, p.predicted
           FROM factor_predictions p JOIN clips c USING (clip_index)
           WHERE p.representation_id = $rep AND p.protocol = $protocol AND p.factor_index = $factor
           ORDER BY c.clip_index""",
        {"rep": representation_id, "protocol": protocol, "factor": factor_index},
    )


def fetch_factors(store: Store) -> pd.DataFrame:
    """Every factor of the store, then every other measure that is predicted: factor_index, name, display_name, unit,
    factor_group, description."""
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
           WHERE s.representation_id = $rep AND s.protocol = $protocol AND coalesce(s.r2_all, s.r2) IS NULL
           GROUP BY regexp_replace(coalesce(s.reason, ''), '[0-9.]+', '#', 'g') ORDER BY n_factors DESC, reason""",
        {"rep": representation_id, "protocol": protocol},
    )
