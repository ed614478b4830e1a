"""Where else what is looked for was found: the best features of the store's other SAEs, each a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from explorer.figures.theme import encoder_color
from explorer.naming import sae_name
from explorer.text import count, is_false, number, series_name
from explorer.ui.links import LinkRow, link_card


def elsewhere_words(rows: pd.DataFrame) -> str:
    """One sentence on how many features of other SAEs go with it; empty for none."""
    if rows.empty:
        return ""
    n_all, n_saes = int(rows["n_all"].iloc[0]), int(rows["n_saes"].iloc[0])
    return f"In other SAEs: {count(n_all, 'feature')} of {count(n_saes, 'SAE')}."


def draw_elsewhere(rows: pd.DataFrame, said: str, *, score: str, view: Mapping[str, str]) -> None:
    """A card of links to the features of `rows`, of `fetch_elsewhere`; nothing for none. `score` names their number."""
    if rows.empty:
        return
    links = [
        LinkRow(
            text=f"{_name(row)} · feature {row['feature']}", page="features",
            params={"sae": row["sae_id"], "feature": int(row["feature"]), **view},
            detail=sae_name(row), value=number(row["score"]),
            color=encoder_color(str(row["encoder_name"])),
        )
        for row in rows.to_dict("records")
    ]  # fmt: skip
    link_card(f"{said} in other SAEs", f"the best feature of each, {score}", links, "find-elsewhere")


def _name(row: Mapping[str, Any]) -> str:
    untrained = " (untrained)" if is_false(row["is_trained"]) else ""
    return f"{series_name(str(row['encoder_display']), row['layer'])}{untrained}"
