"""When a factor counts as predicted, and how that is said: one definition for the job, the queries and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from explorer.permutation import ALPHA
from explorer.text import is_defined, number

MIN_R2 = 0.05  # what a predicted factor reaches at least, fixed beforehand
PREDICTED, BY_CHANCE = "predictable on unseen groups", "not beyond chance"
TOO_SMALL = f"beyond chance, but under R² {MIN_R2}"
NOT_PREDICTED = f"not beyond chance or under R² {MIN_R2}"


def are_predicted(rows: pd.DataFrame, end: str = "") -> pd.Series:
    """Whether each row's factor is predicted: as it says, else (older stores, `paper`) R2 above 0 and above that of
    shuffled factors; False where nothing can be told. `end` is the ending of the columns' names."""
    r2, limit = rows[f"r2{end}"].astype(float), rows[f"r2_permuted{end}"].astype(float)
    by_limit = (r2 > 0) & (r2 > limit)
    if f"is_predicted{end}" not in rows:
        return by_limit
    return rows[f"is_predicted{end}"].astype("boolean").fillna(by_limit.astype("boolean")).astype(bool)


def verdict(row: Mapping[str, Any]) -> str:
    """What may be said of one factor, in words; empty where it has no R2 at all."""
    if is_defined(row.get("untested")):
        return str(row["untested"])
    if not is_defined(row["r2"]):
        return ""
    is_predicted = is_defined(row.get("is_predicted")) and bool(row["is_predicted"])
    if row.get("protocol") == "paper":
        return "above shuffled factors, in sample" if is_predicted else "not above shuffled factors"
    if is_predicted:
        return PREDICTED
    p = row.get("r2_p")
    return TOO_SMALL if is_defined(p) and float(p) <= ALPHA else BY_CHANCE  # type: ignore[arg-type]


def p_words(row: Mapping[str, Any]) -> str:
    """The p value with what was exchanged for it; empty where there is none."""
    if not is_defined(row.get("r2_p")):
        return ""
    return f"p {number(row['r2_p'], 3)}, {row['tested_by']} exchanged"
