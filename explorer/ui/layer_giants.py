"""Giant frames on Layers: what they hold of each layer, and what pooling with or without them changes."""

from __future__ import annotations

from html import escape

import streamlit as st

from explorer.giant_words import giants_said
from explorer.queries.giants import fetch_giant_effects, fetch_layer_frames
from explorer.store import Store
from explorer.text import MISSING, count, percent
from explorer.ui.choices import section
from explorer.ui.context import cached
from explorer.ui.style import caption, table_foot
from explorer.ui.tables import as_read, three_decimals

_COLUMNS = {
    "display_name": ("Encoder", "The model"),
    "layer": ("Layer", "0 is the embedding output"),
    "frames": ("Giant frames", "Share of the layer's frames that are giant"),
    "variance_share": ("Of the variance", "What they hold of the squared distances from the layer's middle"),
    "top": ("Largest dimension", "The dimension that holds most of the frames' variance, and its share"),
    "accuracy": ("Accuracy", "Of the probe, on states as they are pooled here"),
    "accuracy_other": ("the other way", "The same probe where clips are pooled the other way"),
    "r2": ("Factors, R²", "Median held-out R² of the factors predicted from the pooled states"),
    "r2_other": ("the other way ", "The same factors where clips are pooled the other way"),
    "fvu": ("FVU", "Held out, of the layer's reference SAE"),
    "fvu_other": ("the other way  ", "The same SAE on states pooled the other way"),
}


def draw_giants(store: Store, label: str, protocol: str) -> None:
    """The section. `label` and `protocol` say which probe's accuracy stands beside the frames."""
    frames = cached(fetch_layer_frames, store)
    if frames.empty:
        return
    section("Giant frames")
    some = frames[frames["n_giant"] > 0]
    if some.empty:
        caption(f"No frame of any layer is giant ({count(frames['encoder_id'].nunique(), 'encoder')}). {_WHAT}")
        return
    for name, rows in frames.groupby("display_name", sort=False):
        st.html(f"<p><b>{escape(str(name))}</b>: {escape(giants_said(rows))}</p>")
    effects = cached(fetch_giant_effects, store, label, protocol)
    rows = some.merge(effects.drop(columns="n_clips"), on=["encoder_id", "layer"], how="left")
    pools = bool(rows["pools_giants"].fillna(False).any())
    caption(
        f"{_WHAT} Here clips are pooled {'with' if pools else 'without'} them; “the other way” is "
        f"{'without' if pools else 'with'} them. Where giant frames are pooled FVU is low: their one dimension is "
        "easy to reconstruct: to compare layers, take each with its own PCA (Sparsity)."
    )
    shown = rows.assign(
        frames=rows["n_giant"] / rows["n_frames"],
        top=[f"{d}: {percent(s)}" for d, s in zip(rows["top_dimension"], rows["top_dimension_share"], strict=True)],
    )
    columns = {name: st.column_config.TextColumn(title, help=text) for name, (title, text) in _COLUMNS.items()}
    numbers = ("accuracy", "accuracy_other", "r2", "r2_other", "fvu", "fvu_other")
    read = {"layer": str, "frames": percent, "variance_share": percent, **dict.fromkeys(numbers, three_decimals)}
    st.dataframe(
        as_read(shown, read), hide_index=True, placeholder=MISSING, column_config=columns, column_order=list(columns)
    )
    table_foot(f"{count(len(shown), 'layer')} with giant frames.", rows.drop(columns="name"), "giant-frames")


_WHAT = (
    "A frame is giant when it lies over 3 times as far from the layer's middle as the median frame and one dimension "
    "alone makes up a fifth of that. Such frames say little of the sound, and are left out of peaks and loops."
)
