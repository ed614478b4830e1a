"""The measures of a store's clips (acoustic factors, columns of numbers, planted values), and a feature beside one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from explorer.errors import NotInStoreError
from explorer.measures import COLUMN, PLANTED, are_acoustic, numeric_columns
from explorer.store import Store

VALUES = """(SELECT clip_index, factor_index, value FROM factor_values
    UNION ALL SELECT p.clip_index, f.factor_index, p.value FROM planted_values p
        JOIN factors f ON f.name = 'planted.' || p.parameter WHERE p.value IS NOT NULL
    UNION ALL SELECT c.clip_index, f.factor_index, min(try_cast(c.value AS DOUBLE)) FROM clip_columns c
        JOIN factors f ON f.name = 'column.' || c.name WHERE c.role <> 'group' GROUP BY ALL)"""
"""SQL: what every clip has of every measure that the Lasso predicts: clip_index, factor_index, value."""


def fetch_measures(store: Store) -> pd.DataFrame:
    """What activations can be drawn against: kind (PLANTED, COLUMN or a factor's group), name, title, unit and text.

    What was planted comes first, where the corpus is a generated one; then the corpus's own columns that hold numbers;
    factors follow by group.
    """
    planted = store.query(
        "SELECT name, display_name AS title, unit, description FROM planted_parameters WHERE kind = 'number' "
        "ORDER BY rowid"
    )
    names = fetch_numeric_columns(store)
    columns = pd.DataFrame({"name": names, "title": names, "unit": "", "description": "a column of the corpus"})
    factors = store.query(
        "SELECT factor_group, name, display_name AS title, unit, description FROM factors ORDER BY factor_index"
    )
    factors = factors[are_acoustic(factors)].rename(columns={"factor_group": "kind"})
    parts = [planted.assign(kind=PLANTED), columns.assign(kind=COLUMN), factors]
    filled = [part for part in parts if len(part)] or [factors]
    return pd.concat(filled, ignore_index=True)[["kind", "name", "title", "unit", "description"]]


def fetch_numeric_columns(store: Store) -> list[str]:
    """The names of the corpus's own columns that are measures, as `numeric_columns` takes them."""
    clips = store.query("SELECT clip_index, file_id, group_id, fold_all FROM clips ORDER BY clip_index")
    rows = store.query(
        "SELECT DISTINCT clip_index, role, name, value FROM clip_columns WHERE role <> 'group' AND value IS NOT NULL"
    )
    columns: dict[str, dict[str, list[object]]] = {"label": {}, "attribute": {}}
    for (role, name), part in rows.groupby(["role", "name"]):
        held = part.drop_duplicates("clip_index").set_index("clip_index")["value"].reindex(clips["clip_index"])
        columns.setdefault(str(role), {})[str(name)] = [None if pd.isna(value) else value for value in held]
    names = (list(clips[name]) for name in ("group_id", "file_id", "fold_all"))
    return list(numeric_columns(columns["attribute"], columns["label"], *names))


def fetch_against(store: Store, sae: Mapping[str, Any], feature: int, kind: str, name: str) -> pd.DataFrame:
    """One row a clip: clip_index, clip_id, title, group_id, label, split, value (0: not active; of an SAE of frames the
    largest), measured (or NULL).

    Raises NotInStoreError for a measure that is not there, or an SAE whose codes were not stored.
    """
    if not sae["codes_by_feature_file"]:
        raise NotInStoreError(
            f"The activations of SAE {sae['sae_id']} on every clip are not stored; its listed clips are on the page."
        )
    if kind == PLANTED:
        measured = "SELECT clip_index, value AS measured FROM planted_values WHERE parameter = $name"
    elif kind == COLUMN:
        measured = (
            "SELECT clip_index, min(try_cast(value AS DOUBLE)) AS measured FROM clip_columns "
            "WHERE name = $name AND role <> 'group' GROUP BY clip_index"
        )
    else:
        measured = (
            "SELECT clip_index, value AS measured FROM factor_values "
            "WHERE factor_index = (SELECT factor_index FROM factors WHERE name = $name)"
        )
    rows = store.query(
        f"""SELECT c.clip_index, c.clip_id, c.title, c.group_id, c.label, c.split,
                   coalesce(a.value, 0.0) AS value, m.measured
            FROM clips c
            LEFT JOIN (SELECT clip_index, max(value) AS value FROM read_parquet($file) WHERE feature = $feature
                       GROUP BY clip_index) a USING (clip_index)
            LEFT JOIN ({measured}) m USING (clip_index) ORDER BY c.clip_index""",  # noqa: S608 - fixed clauses
        {"file": store.parquet(sae["codes_by_feature_file"]), "feature": int(feature), "name": name},
    )
    if rows["measured"].isna().all():
        raise NotInStoreError(f"This store has no measure {name!r}; choose one from the list.")
    return rows
