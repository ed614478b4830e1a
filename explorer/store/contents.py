"""What the parquet files of a store hold, by their kind: read from a stranger's store, they may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from explorer.errors import StoreError
from explorer.store.layout import how_to_make_again
from explorer.store.names import kind_of

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NUMBER = (*_WHOLE, "FLOAT", "DOUBLE")
_COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "codes": {"clip_index": _WHOLE, "feature": _WHOLE, "value": _NUMBER},
    "traces": {
        "clip_index": _WHOLE, "feature": _WHOLE, "points": ("BLOB",),
        **dict.fromkeys(("t0_s", "hop_s", "low", "step", "padded_share"), _NUMBER),
    },
}  # fmt: skip


def check_columns(path: Path, types: Mapping[str, str], n_rows: int) -> None:
    """Raise StoreError unless a parquet file has the columns of its kind. `types`: DuckDB's, by column.

    Without rows a column has no type that says anything.
    """
    columns = _COLUMNS.get(kind_of(path.name), {}).items()
    wrong = [name for name, kinds in columns if name not in types or (n_rows and types[name] not in kinds)]
    if wrong:
        raise StoreError(
            f"{path} has no column {wrong[0]} as Sonoscope writes it, so nothing can be read from it. "
            f"{how_to_make_again(path.parent.parent)}"
        )
