"""Whether the tables of bundles are as stages leave them, before anything is computed from them.

A store may be anybody's, and a manifest says only that a bundle is as it was sealed. What is checked here is what the
computations stand on; what else does not fit the schema is refused where it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from explorer.errors import StoreError
from explorer.store import table_columns
from explorer.store.names import shown

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN")
_AS_NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")
_PLAIN = (*_AS_NUMBERS, "string", "bytes", "mixed-integer", "datetime64", "datetime", "date")
_INDICES = {"factor_index": 2**11, "feature": 2**31, "dim": 2**31, "clip_index": 2**31}


def check_table(store: Path, name: str, rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Raise StoreError unless the rows have the columns that tell them apart, numbers where the schema has numbers, and
    indices that something can have. `keys`: the columns that name a row, empty where rows have no name."""
    if missing := [key for key in keys if key not in rows.columns]:
        raise _unfit(store, f"{name} has no column {missing[0]}")
    types = table_columns().get(name, {})
    for column in map(str, rows.columns):
        values = rows[column]
        if types.get(column, "") in _NUMBERS and not _are(values, _AS_NUMBERS):
            raise _unfit(store, f"{column} of {name} holds what is no number")
        if column in keys and not _are(values, _PLAIN):
            raise _unfit(store, f"{column} of {name} holds what names no row")
        if column in _INDICES and not pd.to_numeric(values.dropna()).between(0, _INDICES[column] - 1).all():
            raise _unfit(store, f"{column} of {name} holds what is no index")


def check_together(store: Path, tables: Mapping[str, pd.DataFrame], needed: Mapping[str, set[str]]) -> None:
    """Raise StoreError unless the tables that others stand on are there, and each clip has one name and one place."""
    for name, columns in needed.items():
        if name not in tables or not columns.issubset(tables[name].columns):
            raise _unfit(store, f"there is no table {name} as a run leaves it")
    clips = tables["clips"]
    for column in ("clip_id", "clip_index"):
        if not _are(clips[column], _PLAIN) or not clips[column].is_unique or clips[column].isna().any():
            raise _unfit(store, f"{column} of clips does not name each clip once")


@contextmanager
def tables_of(store: Path) -> Iterator[None]:
    """Around what is computed from tables: where they do not fit together, a StoreError says so.

    The error that showed it is its cause; of a run's own tables that would be a fault of ours.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise _unfit(store, f"they do not fit together, {type(error).__name__} {shown(str(error))}") from error


def _are(values: pd.Series, kinds: Sequence[str]) -> bool:
    is_plain = is_numeric_dtype(values.dtype) or is_bool_dtype(values.dtype)
    return is_plain or infer_dtype(values, skipna=True) in kinds or bool(values.isna().all())


def _unfit(store: Path, what: str) -> StoreError:
    return StoreError(
        f"Nothing was published: the tables in the artefacts of {store} are not as a run leaves them ({what}). They "
        "were changed, or made by another version of Sonoscope: use another copy of the store, or run into a new one."
    )
