"""What the search for features reads: the clips' attributes, an SAE's codes, and a measure of every clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from explorer.errors import NotInStoreError, StoreError
from explorer.feature_search import Clips, Found, find_measure, find_value
from explorer.measures import COLUMN, PLANTED, measure_name
from explorer.minimal_pairs import commonest_pair, pairs_of
from explorer.queries.against import fetch_against
from explorer.queries.factors import predicted
from explorer.queries.labels import shown_label
from explorer.queries.names import NAMED_ENCODERS
from explorer.same_as_label import same_as_label
from explorer.store import Store, command
from explorer.text import count

GROUP_COLUMN = "\0group"  # no column of a corpus is called so
MAX_VALUES = 60  # a column of more values is a name for each clip, not an attribute
MOST_CODES = 2**28  # activations of one SAE that are read at once, 1 GB


def fetch_attributes(store: Store) -> pd.DataFrame:
    """name, role and n_values of every column of the clips that several share: the label first, groups last.

    A column that is the label under another name, such as its number, is left out.
    """
    rows = store.query(
        "SELECT name, min(role) AS role, count(DISTINCT value)::INTEGER AS n_values FROM clip_columns "
        "WHERE value IS NOT NULL GROUP BY name HAVING n_values BETWEEN 2 AND ? "
        "ORDER BY array_position(['label', 'attribute', 'group'], min(role)), name",
        [MAX_VALUES],
    )
    labels = rows[rows["role"] == "label"]
    alike = rows[(rows["role"] == "attribute") & rows["n_values"].isin(labels["n_values"])]
    if alike.empty:
        return rows
    table = _columns(store, [*labels["name"], *alike["name"]])
    values = {str(name): list(table[name]) for name in alike["name"]}
    again = {name for label in labels["name"] for name in same_as_label(values, list(table[label]))}
    return rows[~rows["name"].isin(again)].reset_index(drop=True)


def fetch_attribute_values(store: Store, name: str) -> pd.DataFrame:
    """value, n_clips and n_groups of one column, by value."""
    return store.query(
        "SELECT value, count(*)::INTEGER AS n_clips, count(DISTINCT group_id)::INTEGER AS n_groups "
        "FROM clip_columns JOIN clips USING (clip_index) WHERE name = ? AND value IS NOT NULL GROUP BY value "
        "ORDER BY value",
        [name],
    )


def fetch_attribute_table(store: Store) -> pd.DataFrame:
    """A row a clip (index: clip_index), a column an attribute as text, missing as None: of `fetch_attributes` all."""
    return _columns(store, list(fetch_attributes(store)["name"]))


def _columns(store: Store, names: list[str]) -> pd.DataFrame:
    rows = store.query("SELECT DISTINCT clip_index, name, value FROM clip_columns WHERE value IS NOT NULL")
    wide = rows.pivot_table(index="clip_index", columns="name", values="value", aggfunc="first")
    n_clips = int(store.query("SELECT count(*) AS n FROM clips")["n"].iloc[0])
    return wide.reindex(index=range(n_clips), columns=names)


def fetch_codes(store: Store, sae: Mapping[str, Any]) -> NDArray[np.float32]:
    """The activations of an SAE, (c, f); of an SAE of frames, the largest in each clip.

    Raises NotInStoreError when they were not stored, and StoreError for those of other clips or features.
    """
    if not sae["codes_by_clip_file"]:
        raise NotInStoreError(f"The activations of SAE {sae['sae_id']} are not stored: choose another SAE.")
    n_clips = int(store.query("SELECT count(*) AS n FROM clips")["n"].iloc[0])
    n_features = int(sae["n_features"])
    file = store.parquet(sae["codes_by_clip_file"])
    facts = store.query(
        "SELECT count(*) AS n, coalesce(bool_and(clip_index BETWEEN 0 AND ? AND feature BETWEEN 0 AND ? "
        "AND value IS NOT NULL), true) AS fits FROM read_parquet(?)",
        [n_clips - 1, n_features - 1, file],
    ).iloc[0]
    n_most = n_clips * n_features if sae["level"] == "clip" else MOST_CODES
    if not (facts["fits"] and facts["n"] <= n_most and n_clips * n_features <= MOST_CODES):
        raise StoreError(
            f"The activations of SAE {sae['sae_id']} in {store.folder} are not of its {count(n_clips, 'clip')} and "
            f"{count(n_features, 'feature')}, so they are not read. "
            f"Check the store with {command(store.folder, 'verify')}."
        )
    whole = "SELECT clip_index, feature, max(value) AS value FROM read_parquet(?) GROUP BY clip_index, feature"
    sql = "SELECT clip_index, feature, value FROM read_parquet(?)" if sae["level"] == "clip" else whole
    rows = store.query(sql, [file])
    codes = np.zeros((n_clips, n_features), dtype=np.float32)
    codes[rows["clip_index"].to_numpy(), rows["feature"].to_numpy()] = rows["value"].to_numpy()
    return codes


def fetch_clip_parts(store: Store) -> Clips:
    """The outer split, the groups and the folds over all groups; folds are the two parts in a store that has none."""
    rows = store.query(
        "SELECT group_id, split, coalesce(fold_all, CASE WHEN split = 'train' THEN 0 ELSE 1 END)::INTEGER AS fold "
        "FROM clips ORDER BY clip_index"
    )
    split = rows["split"].to_numpy()
    return Clips(rows["group_id"].to_numpy(), split == "train", split == "held-out", rows["fold"].to_numpy())


def fetch_features_for_value(store: Store, sae: Mapping[str, Any], name: str, value: str) -> pd.DataFrame:
    """Live features by how well they tell clips whose column `name` is `value`, the best first.

    feature, label (shown), score (Matthews correlation over all groups), p, f1, precision, recall, n_hits, n_said,
    n_there, unseen (F1 on held-out clips), direction, threshold, density; critical, reason, level and n_groups are the
    same in every row.
    Raises NotInStoreError for a value that no clip has.
    """
    values = fetch_attribute_table(store)
    if name not in values or not (values[name] == value).any():
        there = list(values[name].dropna().unique()) if name in values else list(values.columns)
        raise NotInStoreError(
            f"No clip here has {name} {value!r}; there {'is' if len(there) == 1 else 'are'} "
            f"{', '.join(map(str, sorted(there)[:12])) or 'nothing to choose from'}."
        )
    parts = fetch_clip_parts(store)
    known = values[name].notna().to_numpy()
    found = find_value(
        fetch_codes(store, sae),
        (values[name] == value).to_numpy(),
        Clips(parts.groups_c, parts.train_c & known, parts.heldout_c & known, parts.folds_c),
    )
    return _listed(store, str(sae["sae_id"]), found)


def fetch_features_for_measure(store: Store, sae: Mapping[str, Any], kind: str, name: str) -> pd.DataFrame:
    """Live features by |r| with a measure (of `fetch_measures`): feature, label, score (the r that is tested), p, r
    (over all clips), unseen (r on held-out clips), weight (Lasso; NULL where it has none), density, critical,
    reason, level, n_groups."""
    measured = fetch_against(store, sae, 0, kind, name)["measured"].to_numpy(dtype=np.float64, na_value=np.nan)
    found = find_measure(fetch_codes(store, sae), measured, fetch_clip_parts(store))
    weights = store.query(
        "SELECT dim AS feature, weight FROM lasso_weights JOIN factors USING (factor_index) "
        "WHERE representation_id = ? AND name = ? AND protocol = 'held-out'",
        [str(sae["sae_id"]), measure_name(kind, name)],
    )
    return _listed(store, str(sae["sae_id"]), found).merge(weights, on="feature", how="left")


def _listed(store: Store, sae_id: str, found: Found) -> pd.DataFrame:
    features = store.query(
        f"SELECT f.feature, f.density, f.is_dead, {shown_label('f')} AS label FROM features f WHERE sae_id = ? "  # noqa: S608
        "ORDER BY feature",
        [sae_id],
    )
    columns = {
        name: getattr(found, name)
        for name in (
            "score",
            "p",
            "unseen",
            "direction",
            "threshold",
            "f1",
            "precision",
            "recall",
            "n_hits",
            "n_said",
            "n_there",
            "r",
        )
    }
    at = features["feature"].to_numpy()
    for name, values in columns.items():
        if values is not None:
            features[name] = values[at]
    features = features.assign(critical=found.critical, reason=found.reason, level=found.level, n_groups=found.n_groups)
    order = features["score"] if found.r is None else features["score"].abs()  # r either way, a rule only as it is
    is_scored = features["score"].notna()
    is_read = is_scored | (not is_scored.any())  # where none is scored the rows say why
    live = features[~features["is_dead"].astype(bool) & is_read]
    return live.loc[order[live.index].sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def fetch_elsewhere(store: Store, sae_id: str, name: str, value: str, *, limit: int = 6) -> pd.DataFrame:
    """The features of other SAEs whose shown label is `value` of the label `name`: the best of each SAE, best first.

    sae_id, feature, score (F1 over all groups), encoder_name, encoder_display, is_trained, layer, n_features, k,
    seed; n_all and n_saes (how many there are) are the same in every row.
    """
    return store.query(
        f"""WITH found AS (
                SELECT f.sae_id, f.feature, f.label_f1 AS score, f.label_mcc AS mcc, s.encoder_id, s.layer,
                       s.n_features, s.k, s.seed
                FROM features f JOIN saes s USING (sae_id)
                WHERE f.label_is_shown AND f.label_direction IS DISTINCT FROM 'below' AND f.label_name = $name
                  AND f.label = $value AND f.sae_id <> $sae_id)
            SELECT found.* EXCLUDE (mcc), e.name AS encoder_name, e.display_name AS encoder_display, e.is_trained,
                   (SELECT count(*) FROM found) AS n_all, (SELECT count(DISTINCT sae_id) FROM found) AS n_saes
            FROM found JOIN {NAMED_ENCODERS} e USING (encoder_id)
            QUALIFY row_number() OVER (PARTITION BY sae_id ORDER BY mcc DESC, feature) = 1
            ORDER BY mcc DESC, sae_id LIMIT {int(limit)}""",  # noqa: S608 - fixed text and a whole number
        {"name": name, "value": value, "sae_id": sae_id},
    )


def fetch_measured_elsewhere(store: Store, sae_id: str, kind: str, name: str, *, limit: int = 6) -> pd.DataFrame:
    """Like `fetch_elsewhere`, for a measure: other SAEs' features with which it goes best, by what was stored.

    What was planted: single features that find it, score being R2 on unseen singers. A factor: features that it is the
    best factor of, score being the Lasso weight, in SAEs that predict it. A column: features that have a Lasso weight
    for it, in SAEs that predict it.
    """
    sources = {
        PLANTED: "SELECT representation_id AS sae_id, feature, score FROM planted_scores "
        "WHERE kind = 'feature' AND parameter = $name AND is_found AND feature IS NOT NULL",
        COLUMN: "SELECT w.representation_id AS sae_id, w.dim AS feature, w.weight AS score FROM lasso_weights w "
        "JOIN predicted USING (representation_id, factor_index) JOIN saes ON sae_id = w.representation_id "
        "WHERE w.protocol = 'held-out' AND w.weight <> 0",
    }
    factor = """SELECT f.sae_id, f.feature, f.best_factor_weight AS score FROM features f
        JOIN predicted p ON p.representation_id = f.sae_id WHERE f.best_factor = $name AND NOT f.is_dead"""
    return store.query(
        f"""WITH predicted AS (
                SELECT s.representation_id, s.factor_index FROM factor_scores s JOIN factors g USING (factor_index)
                WHERE g.name = $full_name AND s.protocol = 'held-out' AND {predicted("s")}),
            found AS ({sources.get(kind, factor)}),
            others AS (SELECT * FROM found WHERE sae_id <> $sae_id)
            SELECT others.*, s.layer, s.n_features, s.k, s.seed, e.name AS encoder_name,
                   e.display_name AS encoder_display, e.is_trained,
                   (SELECT count(*) FROM others) AS n_all, (SELECT count(DISTINCT sae_id) FROM others) AS n_saes
            FROM others JOIN saes s USING (sae_id) JOIN {NAMED_ENCODERS} e USING (encoder_id)
            QUALIFY row_number() OVER (PARTITION BY sae_id ORDER BY abs(score) DESC, feature) = 1
            ORDER BY abs(score) DESC, sae_id LIMIT {int(limit)}""",  # noqa: S608 - fixed text and a whole number
        {"full_name": measure_name(kind, name), "sae_id": sae_id, **({} if kind == COLUMN else {"name": name})},
    )


def fetch_crossed_values(store: Store) -> pd.DataFrame:
    """name, one, other: for each attribute that has minimal pairs within a group, the two values with most of them."""
    values, rows = fetch_attribute_table(store), []
    groups = store.query("SELECT group_id FROM clips ORDER BY clip_index")["group_id"].rename(GROUP_COLUMN)
    for name, role in fetch_attributes(store)[["name", "role"]].itertuples(index=False):
        best = None if role == "group" else commonest_pair(values.join(groups), name)
        if best is not None:
            rows.append((name, *best))
    return pd.DataFrame(rows, columns=["name", "one", "other"])


def fetch_pairs(store: Store, differing: str, one: str, other: str) -> pd.DataFrame:
    """The minimal pairs: clip_one, clip_other (clip_index), id_one, id_other, group_id, split, words (what they share).

    Pairs over two groups, or over both sides of the split, have no group_id: they arise where the group itself differs.
    Raises NotInStoreError for a column or value that is not there.
    """
    values = fetch_attribute_table(store)
    for value in (one, other):
        if differing not in values or not (values[differing] == value).any():
            raise NotInStoreError(f"No clip here has {differing} {value!r}.")
    pairs = pairs_of(values, differing, one, other)
    clips = store.query("SELECT clip_index, clip_id, group_id, split FROM clips ORDER BY clip_index")
    first, second = (clips.iloc[pairs[name]].reset_index(drop=True) for name in ("clip_one", "clip_other"))
    same = first["group_id"] == second["group_id"]
    shared = values.drop(columns=differing).iloc[pairs["clip_one"]]
    return pairs.assign(
        id_one=first["clip_id"],
        id_other=second["clip_id"],
        group_id=first["group_id"].where(same, None),
        split=first["split"].where(same, None),
        words=[" · ".join(str(word) for word in row if isinstance(word, str)) for row in shared.to_numpy()],
    )
