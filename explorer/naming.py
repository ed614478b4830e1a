"""Names of SAEs for people, with as many parts as are needed to tell them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from explorer.text import is_defined, is_false, percent, recipe_name, series_name

Row = Mapping[Any, Any]
# What may be said of an SAE beside its name, in the order in which it is said; None where it is not known.
_MORE: tuple[Callable[[Row], str | None], ...] = (
    lambda row: f"{row['level']}s" if is_defined(row.get("level")) else None,
    lambda row: str(row["method"]) if is_defined(row.get("method")) else None,
    lambda row: f"protocol {row['protocol']}" if is_defined(row.get("protocol")) else None,
    lambda row: recipe_name(row["n_epochs"]) if is_defined(row.get("n_epochs")) else None,
    lambda row: percent(row["sparsity"]) if is_defined(row.get("sparsity")) else None,
    lambda row: str(row["sae_id"])[:6],
    lambda row: str(row["sae_id"]),
)


def size_name(row: Row) -> str:
    """How many features a code of an SAE may have, and of how many: 'k = 17 of 341'; without a k '95 % of 341'."""
    size = f"k = {int(row['k'])}" if is_defined(row.get("k")) else percent(row.get("sparsity"))
    return f"{size} of {int(row['n_features'])}" if is_defined(row.get("n_features")) else size


def sae_name(row: Row) -> str:
    """An SAE within its encoder and layer: its size and seed, with 'frames' or 'paper' where it is of these."""
    parts = [size_name(row)]
    if is_defined(row.get("seed")):
        parts.append(f"seed {int(row['seed'])}")
    if is_defined(row.get("level")) and row["level"] != "clip":
        parts.append(f"{row['level']}s")
    if "paper" in (row.get("protocol"), row.get("method")):
        parts.append("paper")
    return " · ".join(parts)


def sae_title(row: Row, *, is_whole: bool = False) -> str:
    """An SAE with encoder and layer before its name: 'HuBERT L3 · k = 17 of 341 · seed 0'.

    `row` is of `fetch_saes`, or names the encoder as `display_name`; `is_whole`: however long that is.
    """
    encoder = row["encoder_display"] if "encoder_display" in row else row["display_name"]
    return f"{series_name(str(encoder), row['layer'], is_whole=is_whole)} · {sae_name(row)}"


def sae_names(saes: pd.DataFrame, *, with_encoder: bool = False) -> dict[str, str]:
    """Names by sae_id, no two alike: those that would share one get what they differ in, at last their ids.

    `with_encoder` puts encoder and layer first and says which weights are untrained, for lists over a whole store.
    """
    rows = {str(row["sae_id"]): row for row in saes.to_dict("records")}
    names = {sae_id: _long(row) if with_encoder else sae_name(row) for sae_id, row in rows.items()}
    for more in _MORE:
        alike = defaultdict(list)
        for sae_id, name in names.items():
            alike[name].append(sae_id)
        for name, ids in alike.items():
            said = {sae_id: more(rows[sae_id]) for sae_id in ids}
            if len(set(said.values())) > 1:
                names |= {sae_id: f"{name} · {words}" for sae_id, words in said.items() if words and words not in name}
    return names


def _long(row: Row) -> str:
    return f"{sae_title(row)}{' · untrained' if is_false(row.get('is_trained')) else ''}"
