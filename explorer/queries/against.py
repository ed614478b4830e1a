"""A feature's activation on every clip beside a measure of the clips: an acoustic factor, or what was planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from explorer.errors import NotInStoreError
from explorer.store import Store

PLANTED, COLUMN = "planted", "column"


def fetch_measures(store: Store) -> pd.DataFrame:
    """What activations can be drawn against: kind (PLANTED, COLUMN or a factor's group), name, title, unit and text.

    What was planted comes first, where the corpus is a generated one; then the corpus's own columns that hold numbers;
    factors follow by group.
    """
    return store.query(
        f"""SELECT kind, name, title, unit, description FROM (
            SELECT 0 AS place, rowid AS number, '{PLANTED}' AS kind, name, display_name AS title, unit, description
            FROM planted_parameters WHERE kind = 'number'
            UNION ALL SELECT 1, row_number() OVER (ORDER BY name), '{COLUMN}', name, name, '', 'a column of the corpus'
            FROM clip_columns WHERE role <> 'group' AND value IS NOT NULL GROUP BY name
            HAVING bool_and(coalesce(isfinite(try_cast(value AS DOUBLE)), false)) AND count(DISTINCT value) > 2
            UNION ALL SELECT 2, factor_index, factor_group, name, display_name, unit, description FROM factors)
            ORDER BY place, number"""  # noqa: S608 - fixed
    )


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
