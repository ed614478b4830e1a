"""How one SAE was trained: its loss by epoch, where it stopped, and what was tried on groups kept apart."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.figures.theme import encoder_color
from explorer.figures.training import length_curve, training_curve
from explorer.queries.curves import fetch_lengths, fetch_training_curves
from explorer.store import Store
from explorer.text import is_defined, length_words, recipe_name
from explorer.ui.choices import chart
from explorer.ui.context import cached, is_dark
from explorer.ui.figure import kept_figure
from explorer.ui.markup import as_written
from explorer.ui.style import caption, empty_state


def draw_training(store: Store, sae: pd.Series) -> None:
    """The training of one SAE; `sae` is a row of `fetch_sae_points`."""
    sae_id, color = str(sae["sae_id"]), encoder_color(str(sae["name"]))
    curve, lengths = cached(fetch_training_curves, store, sae_id), cached(fetch_lengths, store, sae_id)
    trained = sae.get("n_epochs_trained")
    stopped = int(trained) if is_defined(trained) else None
    most = int(sae["n_epochs"]) if is_defined(sae["n_epochs"]) else None
    words = length_words(trained, sae["n_epochs"], sae.get("epochs_reason"))
    caption(as_written(words or f"{recipe_name(most)} at most; where its training ended is not stored."))
    if curve.empty:
        empty_state("The training curve of this SAE was not stored.")
        return
    about = {"sae_id": sae_id, "encoder_id": sae["encoder_id"], "layer": sae["layer"]}
    left, right = st.columns(2, gap="medium")
    with left:
        chart(
            kept_figure(training_curve, curve, is_dark(), color, most=most, stopped=stopped), "training", curve,
            f"training_{sae_id}", about=about, title="Loss on training clips",
            caption="Mean squared error of each epoch as a share of the clips' variance.",
        )  # fmt: skip
    if lengths.empty:
        return
    with right:
        chart(
            kept_figure(length_curve, lengths, is_dark(), color, stopped=stopped), "lengths", lengths,
            f"lengths_{sae_id}", about=about, title="FVU on training groups kept apart",
            caption="Each line: one fold of the training groups, reconstructed by SAEs trained on the others for so "
            "many epochs. Held-out groups had no part. A length no better than the longest is not tried again.",
        )  # fmt: skip
