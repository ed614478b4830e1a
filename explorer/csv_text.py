"""Rows as CSV text for people's own programs: raw numbers, whole precision, and text that no spreadsheet runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

# A spreadsheet takes a cell that begins so for a formula and runs it (OWASP, "CSV injection").
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: pd.DataFrame, about: Mapping[str, object] | None = None) -> str:
    """One header row and the rows, missing values empty, numbers as Python writes them (ASCII minus, whole precision).

    `about` goes in front of every row, in columns that the rows do not have: what the rows are of (encoder_id, sae_id).
    Text that a spreadsheet would run as a formula has an apostrophe before it; numbers are never changed.
    """
    more = {name: value for name, value in (about or {}).items() if name not in rows.columns}
    whole = pd.concat([pd.DataFrame(more, index=rows.index), rows], axis=1) if more else rows
    plain = whole.rename(columns=_guarded)
    for name in plain.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in plain.dtypes]]:
        plain = plain.assign(**{name: plain[name].map(_guarded)})
    return plain.to_csv(index=False)


def _guarded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_STARTS_FORMULA):
        return f"'{value}"
    return value


def sae_columns(sae: Mapping[str, Any]) -> dict[str, object]:
    """What names an SAE in a download: its columns of `fetch_saes`."""
    names = ("encoder_id", "layer", "sae_id", "level", "method", "k", "n_features", "seed", "protocol", "run_id")
    return {name: sae[name] for name in names if name in sae}
