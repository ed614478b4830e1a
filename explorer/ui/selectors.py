"""The choosers in the sidebar: encoder, layer and SAE. The choice lives in the URL as `sae`."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from explorer.errors import NotInStoreError
from explorer.queries.corpus import fetch_saes, record, resolve_sae
from explorer.store import Store
from explorer.ui.context import cached
from explorer.ui.url import get_param, set_params

_KEYS = {"encoder_id": "so-encoder", "layer": "so-layer", "sae_id": "so-sae"}


def sae_name(row: dict[str, Any]) -> str:
    """A short name for people of an SAE within its encoder and layer: '95 % of 2048 · seed 0 · paper'."""
    parts = [f"{100 * row['sparsity']:.4g} % of {row['n_features']}", f"seed {row['seed']}"]
    if row["level"] != "clip":
        parts.append(f"{row['level']}s")
    if row["protocol"] == "paper" or row["method"] == "paper":
        parts.append("paper")
    return " · ".join(parts)


def default_sae(saes: pd.DataFrame) -> dict[str, Any]:
    """The SAE shown when a link names none: a reference one, of a trained encoder, not of preset paper, if there is."""
    trained = saes["is_trained"].map(lambda value: value is not False and value != 0)
    ranked = saes.assign(
        first=-(
            2 * saes["is_reference"].fillna(False).astype(int) + 4 * trained.astype(int) + (saes["protocol"] != "paper")
        )
    ).sort_values(["first", "encoder_display", "layer", "sae_id"], kind="stable")
    return record(ranked.drop(columns="first"))


def choose_sae(store: Store) -> dict[str, Any]:
    """Draw the three choosers in the sidebar and return the chosen SAE as a row of `fetch_saes`.

    Changing one pushes a history entry and keeps as much of the other two as exists. Raises NotInStoreError for a
    link that names an SAE that is not there, and when the store holds none.
    """
    saes = cached(fetch_saes, store)
    if saes.empty:
        raise NotInStoreError(
            "This store holds no SAE yet. Add one with `python -m precompute run` and at least one `--encoder`."
        )
    named = get_param("sae")
    chosen = resolve_sae(store, named) if named else default_sae(saes)
    for column, key in _KEYS.items():
        st.session_state[key] = chosen[column]
    encoders = saes.drop_duplicates("encoder_id").set_index("encoder_id")
    here = saes[saes["encoder_id"] == chosen["encoder_id"]]
    there = here[here["layer"] == chosen["layer"]]
    names = {row["sae_id"]: sae_name(row) for row in there.to_dict("records")}
    depth = int(chosen["n_layers"])
    with st.sidebar:
        st.selectbox(
            "Encoder", list(encoders.index), key=_KEYS["encoder_id"], on_change=_changed, args=(store, "encoder_id"),
            format_func=lambda key: _encoder_name(encoders, key),
        )  # fmt: skip
        st.selectbox(
            "Layer", sorted({int(layer) for layer in here["layer"]}), key=_KEYS["layer"], on_change=_changed,
            args=(store, "layer"), format_func=lambda layer: f"{layer} of {depth}",
        )  # fmt: skip
        st.selectbox(
            "SAE", list(names), key=_KEYS["sae_id"], on_change=_changed, args=(store, "sae_id"),
            format_func=lambda key: names.get(key, key),
        )  # fmt: skip
    return chosen


def _encoder_name(encoders: pd.DataFrame, encoder_id: str) -> str:
    row = encoders.loc[encoder_id]
    same = (encoders["encoder_display"] == row["encoder_display"]).sum() > 1
    untrained = row["is_trained"] is False or row["is_trained"] == 0
    return (
        f"{row['encoder_display']}{' (' + encoder_id.rsplit('-', 1)[-1] + ')' if same else ''}"
        f"{' · untrained' if untrained else ''}"
    )


def _changed(store: Store, column: str) -> None:
    """Move the URL to the SAE nearest to the choosers after one of them changed; the feature does not carry over."""
    saes = cached(fetch_saes, store)
    wanted = {name: st.session_state[key] for name, key in _KEYS.items()}
    if column == "sae_id":
        target = wanted["sae_id"]
    else:
        rows = saes[saes["encoder_id"] == wanted["encoder_id"]]
        if column == "layer":
            rows = rows[rows["layer"] == wanted["layer"]]
        before = saes[saes["sae_id"] == wanted["sae_id"]].iloc[0]
        nearness = [
            (abs(row.layer - before["layer"]) if column == "encoder_id" else 0,
             row.protocol != before["protocol"], row.level != before["level"], abs(row.sparsity - before["sparsity"]),
             row.n_features != before["n_features"], row.seed != before["seed"], row.sae_id)
            for row in rows.itertuples()
        ]  # fmt: skip
        target = min(nearness)[-1]
    set_params(sae=target, feature=None, clip=None)
