"""Features of one SAE: the table, the map, and everything the page of one feature shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explorer.errors import NotInStoreError
from explorer.queries.corpus import record
from explorer.queries.factors import acoustic, predicted
from explorer.queries.labels import shown_label
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store

SORTS = {
    "density": "density DESC",
    "largest": "max_value DESC",
    "mean": "mean_active DESC",
    "f1": "label_is_shown DESC, label_f1 DESC",
    "factor": "abs(best_factor_weight) DESC",
    "disentanglement": "disentanglement DESC",
    "stability": "stability DESC",
    "number": "feature ASC",
}
LABELS = ("any", "labelled", "unlabelled")
MAX_ROWS = 200
MIN_DRAWN = 8  # clips in which a feature is active that chance may open


@dataclass(frozen=True)
class FeatureFilter:
    """Which live features a table lists. `text` is looked for in the shown label and the best factor's name.

    only: these features alone (None: all). also: those that `text` finds besides, by what a reader wrote about them.
    density: lowest and highest share of clips, 0 to 1. min_f1: of a shown label. min_groups: in which it is
    ever active. min_returns: in how many other seeds it returns. factor_group: of its best factor ('': any).
    """

    sort: str = "density"
    labels: str = "any"
    text: str = ""
    with_dense: bool = True
    only: tuple[int, ...] | None = None
    also: tuple[int, ...] = ()
    density: tuple[float, float] = (0.0, 1.0)
    min_f1: float = 0.0
    min_groups: int = 0
    factor_group: str = ""
    min_returns: int = 0


def _where(chosen: FeatureFilter) -> tuple[str, list[object]]:
    clauses: list[str] = ["f.sae_id = ?", "NOT f.is_dead"]
    values: list[object] = []
    if chosen.labels == "labelled":
        clauses.append("f.label_is_shown")
    elif chosen.labels == "unlabelled":
        clauses.append("NOT coalesce(f.label_is_shown, false)")
    if not chosen.with_dense:
        clauses.append("NOT f.is_dense")
    if chosen.density != (0.0, 1.0):
        clauses.append("f.density BETWEEN ? AND ?")
        values += list(chosen.density)
    if chosen.min_f1 > 0:
        clauses.append("f.label_is_shown AND f.label_f1 >= ?")
        values.append(chosen.min_f1)
    if chosen.min_groups > 0:
        clauses.append("f.n_groups_active >= ?")
        values.append(chosen.min_groups)
    if chosen.min_returns > 0:
        clauses.append("f.n_returns >= ?")
        values.append(chosen.min_returns)
    if chosen.factor_group:
        clauses.append("g.factor_group = ?")
        values.append(chosen.factor_group)
    if chosen.only is not None:
        clauses.append("f.feature IN (SELECT unnest(?::INTEGER[]))")
        values.append(list(chosen.only))
    if chosen.text.strip():
        clauses.append(
            f"(contains(lower({shown_label('f')}), lower(?)) OR contains(lower(f.best_factor), lower(?)) "
            "OR contains(lower(g.display_name), lower(?)) OR f.feature IN (SELECT unnest(?::INTEGER[])))"
        )
        values += [*[chosen.text.strip()] * 3, list(chosen.also)]
    return " AND ".join(clauses), values


def fetch_n_other_seeds(store: Store, sae_id: str) -> int:
    """With how many other seeds the SAE's features were compared; 0 where they were not."""
    rows = store.query(
        "SELECT max(stability_n_seeds) AS n FROM features WHERE sae_id = ? AND n_returns IS NOT NULL", [sae_id]
    )
    return int(rows["n"].fillna(0).iloc[0])


def count_features(store: Store, sae_id: str, chosen: FeatureFilter) -> int:
    """How many live features of the SAE pass the filter."""
    where, values = _where(chosen)
    sql = f"SELECT count(*) AS n FROM features f LEFT JOIN factors g ON g.name = f.best_factor WHERE {where}"  # noqa: S608
    return int(store.query(sql, [sae_id, *values])["n"].iloc[0])


def fetch_feature_table(
    store: Store, sae_id: str, chosen: FeatureFilter, *, limit: int | None = 50, offset: int = 0
) -> pd.DataFrame:
    """One page of the live features that pass the filter, sorted; at most MAX_ROWS rows, or all where `limit` is None.

    `label` reads as people read it (`shown_label`); `best_factor` is the display name.
    """
    if chosen.sort not in SORTS:
        raise NotInStoreError(f"Features cannot be sorted by {chosen.sort!r}; the orders are {', '.join(SORTS)}.")
    where, values = _where(chosen)
    order = ", ".join(f"f.{part.strip()}" if "(" not in part else part for part in SORTS[chosen.sort].split(","))
    sql = (  # `where` and `order` are fixed clauses of this module; what a reader types is bound
        f"SELECT f.feature, {shown_label('f')} AS label, "  # noqa: S608
        "CASE WHEN f.label_is_shown THEN f.label_f1 END AS label_f1, f.density, f.n_active, f.n_groups_active, "
        "f.max_value, f.mean_active, coalesce(g.display_name, f.best_factor) AS best_factor, f.best_factor_weight, "
        "f.disentanglement, f.stability, f.is_dense "
        "FROM features f LEFT JOIN factors g ON g.name = f.best_factor "
        f"WHERE {where} ORDER BY {order} NULLS LAST, f.feature LIMIT ? OFFSET ?"
    )
    most = None if limit is None else min(int(limit), MAX_ROWS)
    return store.query(sql, [sae_id, *values, most, max(0, int(offset))])


def fetch_factor_groups(store: Store) -> pd.DataFrame:
    """The groups of the acoustic factors, in the factors' order: factor_group."""
    return store.query(
        f"SELECT factor_group FROM factors g WHERE {acoustic('g')} GROUP BY factor_group ORDER BY min(factor_index)"  # noqa: S608
    )


def fetch_feature_map(store: Store, sae_id: str) -> pd.DataFrame:
    """Every live feature with a place on the map: feature, map_x, map_y, density, max_value, stability,
    disentanglement, label (as shown) and its label_f1, factor_group (of its best factor), n_groups_active,
    clip_id (of the strongest clip; NULL when none is listed) and that clip's title.
    """
    return store.query(
        f"""SELECT f.feature, f.map_x, f.map_y, f.density, f.max_value, f.stability, f.disentanglement,
                   f.n_groups_active, {shown_label("f")} AS label,
                   CASE WHEN f.label_is_shown THEN f.label_f1 END AS label_f1,
                   g.factor_group, c.clip_id, c.title
            FROM features f LEFT JOIN factors g ON g.name = f.best_factor
            LEFT JOIN (SELECT sae_id, feature, arg_min(clip_index, rank) AS clip_index FROM listed_clips
                       WHERE kind = 'top' GROUP BY ALL) t ON t.sae_id = f.sae_id AND t.feature = f.feature
            LEFT JOIN clips c USING (clip_index)
            WHERE f.sae_id = ? AND NOT f.is_dead AND f.map_x IS NOT NULL ORDER BY f.feature""",  # noqa: S608
        [sae_id],
    )


@dataclass(frozen=True)
class Neighbourhood:
    """Live features next to one by number, and one drawn at random; None where there is none."""

    previous: int | None
    following: int | None


def fetch_neighbourhood(store: Store, sae_id: str, feature: int) -> Neighbourhood:
    """The nearest live feature numbers below and above `feature`."""
    row = record(
        store.query(
            "SELECT max(feature) FILTER (feature < $feature) AS low, min(feature) FILTER (feature > $feature) AS high "
            "FROM features WHERE sae_id = $sae_id AND NOT is_dead",
            {"sae_id": sae_id, "feature": int(feature)},
        )
    )
    low, high = row["low"], row["high"]
    return Neighbourhood(None if low is None else int(low), None if high is None else int(high))


def fetch_live_feature_at(store: Store, sae_id: str, position: float) -> int | None:
    """The live feature at `position` in 0..1 of all clips (or frames) on which one is active; None when all are dead.

    So a random position draws features by their use. Those active in under MIN_DRAWN of them, or in over half, are left
    out where there are others.
    """
    rows = store.query(
        "SELECT feature, coalesce(n_active, 0) AS n, coalesce(n_active, 0) >= ? AND NOT coalesce(is_dense, false) "
        "AS is_used FROM features WHERE sae_id = ? AND NOT is_dead ORDER BY feature",
        [MIN_DRAWN, sae_id],
    )
    if rows.empty:
        return None
    used = rows[rows["is_used"].astype(bool)]
    often = rows[rows["n"] >= min(MIN_DRAWN, rows["n"].max())]
    drawn = used if len(used) else often
    ends = np.cumsum(np.maximum(drawn["n"].to_numpy(dtype=np.int64), 1))
    at = int(np.searchsorted(ends, position * ends[-1], side="right"))
    return int(drawn["feature"].iloc[min(len(drawn) - 1, at)])


def fetch_histogram(store: Store, sae_id: str, feature: int) -> dict[str, Any] | None:
    """n_zero, edges (n + 1), counts (n) and quantiles (101) of the activations; None when none is stored."""
    rows = store.query("SELECT * FROM feature_histograms WHERE sae_id = ? AND feature = ?", [sae_id, int(feature)])
    if rows.empty:
        return None
    row = rows.iloc[0]
    return {"n_zero": int(row["n_zero"])} | {key: np.asarray(row[key]) for key in ("edges", "counts", "quantiles")}


def fetch_label_counts(store: Store, sae_id: str, feature: int) -> pd.DataFrame:
    """The labels on which the feature is ever active: label, n_active, n_clips, mean_value and two shares in 0..1.

    share_active is of the feature's active clips that have a label, share_all of all clips that have one.
    """
    return store.query(
        "SELECT label, n_active, n_clips, mean_value, n_active / nullif(sum(n_active) OVER (), 0) AS share_active, "
        "n_clips / (SELECT nullif(count(*), 0) FROM clips WHERE label IS NOT NULL) AS share_all "
        "FROM feature_label_counts "
        "WHERE sae_id = ? AND feature = ? ORDER BY n_active DESC, label",
        [sae_id, int(feature)],
    )


def fetch_attribute_shares(store: Store, sae_id: str, feature: int) -> pd.DataFrame:
    """column_name and share (eta squared, 0..1) of the activation's variance, largest first."""
    return store.query(
        "SELECT column_name, share FROM feature_attribute_shares WHERE sae_id = ? AND feature = ? "
        "ORDER BY share DESC NULLS LAST, column_name",
        [sae_id, int(feature)],
    )


def fetch_neighbours(store: Store, sae_id: str, feature: int, *, limit: int = 4) -> pd.DataFrame:
    """kind ('decoder' or 'lift'), rank, other, value and the other's shown label; `limit` of each kind."""
    return store.query(
        f"SELECT n.kind, n.rank, n.other, n.value, {shown_label('f')} AS label "  # noqa: S608
        "FROM feature_neighbours n LEFT JOIN features f ON f.sae_id = n.sae_id AND f.feature = n.other "
        "WHERE n.sae_id = ? AND n.feature = ? QUALIFY row_number() OVER (PARTITION BY n.kind ORDER BY n.rank) <= ? "
        "ORDER BY n.kind, n.rank",
        [sae_id, int(feature), int(limit)],
    )


def fetch_matches(store: Store, sae_id: str, feature: int, *, limit: int = 6) -> pd.DataFrame:
    """The best match in each other SAE: its encoder, layer, seed, r on training and held-out clips, and kind.

    Matches in other encoders and layers come first (largest |r| first), then those of other seeds; `limit` of each.
    """
    return store.query(
        "WITH best AS (SELECT * FROM feature_matches WHERE sae_id = ? AND feature = ? "  # noqa: S608
        "  QUALIFY row_number() OVER (PARTITION BY kind, other_sae_id ORDER BY rank) = 1) "
        "SELECT m.kind, m.other_sae_id, m.other_feature, m.r_train, m.r_heldout, s.layer, s.seed, s.sparsity, "
        f"e.name AS encoder_name, e.display_name AS encoder_display, e.is_trained, {shown_label('f')} AS label "
        f"FROM best m JOIN saes s ON s.sae_id = m.other_sae_id JOIN {NAMED_ENCODERS} e USING (encoder_id) "
        "LEFT JOIN features f ON f.sae_id = m.other_sae_id AND f.feature = m.other_feature "
        "QUALIFY row_number() OVER (PARTITION BY m.kind ORDER BY abs(m.r_train) DESC NULLS LAST, m.other_sae_id) <= ? "
        "ORDER BY m.kind, abs(m.r_train) DESC NULLS LAST, m.other_sae_id",
        [sae_id, int(feature), int(limit)],
    )


def fetch_factor_weights(store: Store, sae_id: str, feature: int, *, limit: int = 8) -> pd.DataFrame:
    """The factors that use this feature most: weight, r2, r2_permuted, is_predicted, n_weights, reason, names,
    unit, protocol.

    Standardised Lasso weights of both signs, largest |weight| first. Of the protocols 'held-out' and 'paper' the first
    that the SAE has is used.
    """
    return store.query(
        "WITH chosen AS (SELECT min(protocol) AS protocol FROM lasso_weights "  # noqa: S608 - fixed text
        "  WHERE representation_id = $sae_id AND protocol IN ('held-out', 'paper')) "
        "SELECT w.factor_index, w.weight, w.protocol, g.name, g.display_name, g.unit, g.factor_group, "
        "s.r2, s.r2_permuted, s.is_predicted, s.n_weights, s.reason "
        "FROM lasso_weights w JOIN chosen USING (protocol) JOIN factors g USING (factor_index) "
        "LEFT JOIN (SELECT representation_id, protocol, factor_index, avg(r2) AS r2, avg(r2_permuted) AS r2_permuted, "
        f"  bool_or({predicted('x')}) AS is_predicted, max(n_weights) AS n_weights, max(reason) AS reason "
        "  FROM factor_scores x "
        "  WHERE representation_id = $sae_id GROUP BY representation_id, protocol, factor_index) s "
        "  ON (s.representation_id, s.protocol, s.factor_index) = (w.representation_id, w.protocol, w.factor_index) "
        "WHERE w.representation_id = $sae_id AND w.dim = $feature AND w.weight <> 0 "
        "ORDER BY abs(w.weight) DESC, w.factor_index LIMIT $limit",
        {"sae_id": sae_id, "feature": int(feature), "limit": int(limit)},
    )


@dataclass(frozen=True)
class LassoState:
    """How many factors were tried on an SAE's codes, how many weights came out, the commonest reason for none."""

    n_tried: int
    n_weights: int
    reason: str | None


def fetch_lasso_state(store: Store, sae_id: str) -> LassoState:
    """What there is of Lasso for this SAE."""
    row = record(
        store.query(
            "SELECT (SELECT count(*) FROM factor_scores WHERE representation_id = $id) AS n_tried, "
            "(SELECT count(*) FROM lasso_weights WHERE representation_id = $id AND weight <> 0) AS n_weights, "
            "(SELECT mode(reason) FROM factor_scores WHERE representation_id = $id) AS reason",
            {"id": sae_id},
        )
    )
    return LassoState(int(row["n_tried"]), int(row["n_weights"]), row["reason"])


def fetch_listed_clips(store: Store, sae_id: str, feature: int) -> pd.DataFrame:
    """Every listed clip of the feature with the clip's own columns, in the order kind, interval (high first), rank.

    is_tail: the short end of a recording that was cut, under half as long as the pieces before it.
    """
    return store.query(
        "SELECT l.*, c.clip_id, c.title, c.label, c.group_id, c.split, c.duration_s, c.start_s, c.is_silent, "
        "c.start_s > 0 AND c.duration_s < (SELECT max(duration_s) FROM clips) / 2 AS is_tail "
        "FROM listed_clips l JOIN clips c USING (clip_index) WHERE l.sae_id = ? AND l.feature = ? "
        "ORDER BY l.kind DESC, l.interval_low DESC NULLS LAST, l.rank, l.clip_index",
        [sae_id, int(feature)],
    )


def fetch_label_errors(store: Store, sae: dict[str, Any], row: dict[str, Any], *, limit: int = 24) -> pd.DataFrame:
    """Held-out clips on which the feature's shown label is wrong, as rows of `fetch_listed_clips`.

    kind 'false alarm': the rule gives the label and the clip has another; 'miss': the clip has it and the rule does not
    give it. Of each the first `limit`, the largest activations first; `rank` counts on, `n_all` is how many there are.
    Empty where no label is shown or the activations are not stored.
    """
    if not row["label_is_shown"] or not sae["codes_by_feature_file"]:
        return pd.DataFrame()
    return store.query(
        f"""WITH said AS (
                SELECT c.clip_index, c.clip_id, c.title, c.label, c.group_id, c.split, c.duration_s, c.start_s,
                       c.is_silent, coalesce(a.value, 0.0) AS value, v.value = $label AS has_it,
                       CASE WHEN $direction = 'below' THEN coalesce(a.value, 0.0) <= $threshold
                            ELSE coalesce(a.value, 0.0) > $threshold END AS is_said
                FROM clips c JOIN clip_columns v ON v.clip_index = c.clip_index AND v.role = 'label' AND v.name = $name
                LEFT JOIN (SELECT clip_index, max(value) AS value FROM read_parquet($file) WHERE feature = $feature
                           GROUP BY clip_index) a ON a.clip_index = c.clip_index
                WHERE c.split = 'held-out' AND v.value IS NOT NULL)
            SELECT CASE WHEN is_said THEN 'false alarm' ELSE 'miss' END AS kind, *, value > 0 AS is_active,
                   NULL::DOUBLE AS preactivation, NULL::DOUBLE AS kth_value,
                   count(*) OVER (PARTITION BY is_said) AS n_all,
                   row_number() OVER (PARTITION BY is_said ORDER BY value DESC, clip_index) AS rank
            FROM said WHERE is_said <> has_it
            QUALIFY rank <= {int(limit)} ORDER BY kind, rank""",  # noqa: S608 - a whole number
        {
            "file": store.parquet(sae["codes_by_feature_file"]), "feature": int(row["feature"]),
            "name": row["label_name"], "label": row["label"], "direction": row["label_direction"],
            "threshold": float(row["label_threshold"]),
        },
    )  # fmt: skip


def fetch_activation(store: Store, codes_file: str | None, feature: int, clip_index: int) -> float | None:
    """The feature's activation in one clip, 0 when it is not active there; None when the SAE has no stored codes."""
    if not codes_file:
        return None
    rows = store.query(
        "SELECT max(value) AS value FROM read_parquet(?) WHERE clip_index = ? AND feature = ?",
        [store.parquet(codes_file), int(clip_index), int(feature)],
    )
    value = record(rows)["value"]
    return 0.0 if value is None else float(value)
