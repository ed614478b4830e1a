"""One probe class by class: recall and confusion, side by side."""

from __future__ import annotations

import streamlit as st

from explorer.figures.classes import class_recall, confusion_matrix
from explorer.queries.curves import fetch_probe_classes, fetch_probe_confusion
from explorer.store import Store
from explorer.ui.choices import chart
from explorer.ui.context import cached, is_dark
from explorer.ui.style import empty_state


def draw_classes(store: Store, probe_id: str, color: str) -> None:
    """Recall by class and the confusion matrix of a probe, each with its rows as CSV, or that it was not stored."""
    classes = cached(fetch_probe_classes, store, probe_id)
    confusion = cached(fetch_probe_confusion, store, probe_id)
    with st.container(key="so-split-classes"):
        left, right = st.columns(2, gap="large")
    with left:
        if classes.empty:
            empty_state("Recall by class was not stored for this probe.")
        else:
            chart(
                class_recall(classes, is_dark(), color), "recall", classes, f"recall_{probe_id}",
                title="Recall by class", caption="Undefined under 20 clips of a class.",
            )  # fmt: skip
    with right:
        if confusion.empty:
            empty_state("The confusion of this probe was not stored.")
        else:
            chart(
                confusion_matrix(confusion, is_dark()), "confusion", confusion, f"confusion_{probe_id}",
                title="Confusion: clips by true and predicted class", caption="Shade: share of the true class's clips.",
            )  # fmt: skip
