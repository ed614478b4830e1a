"""The choosers in the sidebar: encoder, layer and SAE. The choice lives in the URL as `sae`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from explorer.errors import NotInStoreError
from explorer.naming import sae_names
from explorer.queries.corpus import fetch_saes, record, resolve_sae
from explorer.store import Store
from explorer.text import is_false, series_name
from explorer.ui.context import cached
from explorer.ui.history import name_view
from explorer.ui.kept import kept
from explorer.ui.url import current_page, get_param, set_params


def default_sae(saes: pd.DataFrame, accuracy: Mapping[tuple[str, int], float] | None = None) -> dict[str, Any]:
    """The SAE shown when a link names none: a reference one, of a trained encoder, not of preset paper, if there is.

    Of the first encoder's, the one of the first layer; with `accuracy` by encoder_id and layer, of its best one.
    """
    best = [(accuracy or {}).get((row.encoder_id, int(row.layer)), -1.0) for row in saes.itertuples()]
    trained = ~saes["is_trained"].map(is_false).astype(bool)
    ranked = saes.assign(
        best=best,
        first=-(
            2 * saes["is_reference"].fillna(False).astype(int) + 4 * trained.astype(int) + (saes["protocol"] != "paper")
        ),
    ).sort_values(
        ["first", "encoder_display", "encoder_id", "best", "layer", "sae_id"],
        ascending=[True, True, True, False, True, True],
        kind="stable",
    )
    return record(ranked.drop(columns=["first", "best"]))


def choose_sae(store: Store) -> dict[str, Any]:
    """Draw the three choosers in the sidebar and return the chosen SAE as a row of `fetch_saes`.

    Changing one pushes a history entry and keeps as much of the other two as exists. Raises NotInStoreError for a
    link that names an SAE that is not there, and when the store holds none.
    """
    saes = cached(fetch_saes, store)
    if saes.empty:
        raise NotInStoreError("This store holds no SAE.")
    named = get_param("sae")
    chosen = resolve_sae(store, named) if named else dict(kept(default_sae, saes))
    encoders = saes.drop_duplicates("encoder_id").set_index("encoder_id")
    here = saes[saes["encoder_id"] == chosen["encoder_id"]]
    there = here[here["layer"] == chosen["layer"]]
    names = kept(sae_names, there)
    with st.sidebar:
        encoder = _choose(
            "Encoder", list(encoders.index), "encoder_id", chosen, lambda key: _encoder_name(encoders, key)
        )
        layers, depth = sorted({int(layer) for layer in here["layer"]}), int(chosen["n_layers"])
        layer = _choose("Layer", layers, "layer", chosen, lambda layer: f"{layer} of {depth}")
        sae_id = _choose("SAE", list(names), "sae_id", chosen, lambda key: names.get(key, key))
    name_view(current_page().capitalize(), series_name(chosen["encoder_display"], chosen["layer"]))
    if encoder != chosen["encoder_id"]:
        set_params(sae=nearest_sae(saes[saes["encoder_id"] == encoder], chosen))
    if layer != chosen["layer"]:
        set_params(sae=nearest_sae(here[here["layer"] == layer], chosen))
    if sae_id != chosen["sae_id"]:
        set_params(sae=sae_id)
    return chosen


def _choose(label: str, options: list[Any], column: str, chosen: dict[str, Any], name: Callable[[Any], str]) -> Any:
    """One chooser. Its key holds the SAE of the address, so that it always starts from what the address says."""
    index = options.index(chosen[column])
    return st.selectbox(label, options, index=index, format_func=name, key=f"so-{column}-{chosen['sae_id']}")


def nearest_sae(rows: pd.DataFrame, chosen: dict[str, Any]) -> str:
    """The SAE among `rows` most like the one chosen: its layer, then protocol, level, sparsity, width and seed."""
    likeness = [
        (
            abs(row.layer - chosen["layer"]),
            row.protocol != chosen["protocol"],
            row.level != chosen["level"],
            abs(row.sparsity - chosen["sparsity"]),
            row.n_features != chosen["n_features"],
            row.seed != chosen["seed"],
            row.sae_id,
        )
        for row in rows.itertuples()
    ]
    return str(min(likeness)[-1])


def _encoder_name(encoders: pd.DataFrame, encoder_id: str) -> str:
    row = encoders.loc[encoder_id]
    return f"{row['encoder_display']}{' · untrained' if is_false(row['is_trained']) else ''}"
