"""One probe class by class: recall and confusion side by side, and the clips behind a cell of the confusion."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.figures.classes import class_recall, confusion_matrix
from explorer.queries.curves import fetch_confused, fetch_probe, fetch_probe_classes, fetch_probe_confusion
from explorer.store import Store
from explorer.text import count
from explorer.ui.choices import chart
from explorer.ui.clip_list import draw_clips
from explorer.ui.context import cached, is_dark
from explorer.ui.figure import kept_figure
from explorer.ui.style import caption, empty_state
from explorer.ui.url import drop, get_param, set_params

# What a download says of the probe that its rows are of.
_ABOUT = ("probe_id", "representation_id", "encoder_id", "layer", "label_name", "protocol", "seed")


def draw_classes(store: Store, probe_id: str, color: str) -> None:
    """Recall by class and the confusion matrix of a probe, each with its rows as CSV, or that it was not stored.

    A click on a cell puts its two classes into the address as `true` and `said`; their clips are drawn below.
    """
    classes = cached(fetch_probe_classes, store, probe_id)
    confusion = cached(fetch_probe_confusion, store, probe_id)
    probe = cached(fetch_probe, store, probe_id)
    about = {name: probe[name].iloc[0] for name in _ABOUT} if len(probe) else {"probe_id": probe_id}
    cell = get_param("true"), get_param("said")
    picked = None
    with st.container(key="so-split-classes"):
        left, right = st.columns(2, gap="large")
    with left:
        if classes.empty:
            empty_state("Recall by class was not stored for this probe.")
        elif classes["recall"].isna().all():
            empty_state(
                "Recall by class is undefined: no class has a scored clip.",
                f"{count(len(classes), 'class', 'classes')} were only predicted. "
                "Click a cell of the confusion to hear its clips.",
            )
        else:
            chart(
                kept_figure(class_recall, classes, is_dark(), color), "recall", classes, f"recall_{probe_id}",
                about=about,
                title="Recall by class", caption="Beside each bar: how many of the class's clips were recognised.",
            )  # fmt: skip
    with right:
        if confusion.empty:
            empty_state("The confusion of this probe was not stored.")
        else:
            picked = chart(
                kept_figure(confusion_matrix, confusion, is_dark(), selected=cell), "confusion",
                confusion, f"confusion_{probe_id}", about=about,
                title="Confusion: clips by true and predicted class", selectable=True,
                caption="Shade: share of the true class's clips. Click a cell to hear its clips.",
            )  # fmt: skip
    if picked and tuple(picked) != cell:
        set_params(true=picked[0], said=picked[1])
    if cell[0] is not None and cell[1] is not None:
        _hear(store, probe_id, confusion, cell[0], cell[1])


def _hear(store: Store, probe_id: str, confusion: pd.DataFrame, true: str, said: str) -> None:
    """The clips of one cell; a cell that this probe does not have (another label is chosen) is said to be none."""
    there = sorted(set(confusion["true_class"]) | set(confusion["predicted_class"]))
    if true not in there or said not in there:
        drop("true", f"The link asks for {true} called {said}, which this probe does not have: {', '.join(there)}.")
        drop("said", "")
        return
    rows = cached(fetch_confused, store, probe_id, true, said)
    words = f"{true}, rightly called so" if true == said else f"{true} that the probe called {said}"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if rows.empty:
            counted = confusion.loc[
                (confusion["true_class"] == true) & (confusion["predicted_class"] == said), "n"
            ].sum()
            missing = "which they are was not stored; run precompute once more to hear them"
            caption(f"{count(counted, 'clip')}: {words}; {missing}." if counted else f"No clip is {words}.")
        else:
            n_all, n_groups = rows["n_all"].iloc[0], rows["n_groups"].iloc[0]
            shown = "" if len(rows) == n_all else f" The first {len(rows)}, each group in turn:"
            caption(f"{count(n_all, 'clip')} of {count(n_groups, 'group')}: {words}.{shown}")
        if st.button("Close", key="close-cell", type="tertiary", icon=":material/close:"):
            set_params(true=None, said=None)
    if len(rows):
        draw_clips(store, rows, f"confused-{probe_id}-{true}-{said}")
