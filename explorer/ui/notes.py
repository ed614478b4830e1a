"""What a reader writes about a feature: the bookmark and the panel of own label, note and lists on its page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from explorer.annotations import LONGEST_LABEL, LONGEST_NOTE, Annotation, AnnotationError, Annotations
from explorer.text import sae_name
from explorer.ui.reader import reader_id


def notebook() -> Annotations:
    """Those of this server's data folder."""
    return Annotations()


def own_words(sae_id: str, feature: int) -> Annotation:
    """What this reader wrote about a feature."""
    return notebook().get(reader_id(), sae_id, feature)


def features_saying(mine: pd.DataFrame, text: str) -> tuple[int, ...]:
    """The features of which this reader's label, note or a list's name holds `text`; none for an empty one."""
    sought = text.strip().lower()
    if not sought:
        return ()
    return tuple(
        int(row["feature"])
        for row in mine.to_dict("records")
        if sought in " ".join((row["label"], row["note"], *row["lists"])).lower()
    )


def short_words(mine: pd.DataFrame, features: pd.Series) -> list[str | None]:
    """For each feature the reader's own label, with a star where it is bookmarked; None where nothing is written."""
    said = {
        int(row["feature"]): " ".join(("★" if row["is_bookmarked"] else "", row["label"])).strip() or "note"
        for row in mine.to_dict("records")
    }
    return [said.get(int(feature)) for feature in features]


def draw_notes(sae: dict[str, Any], feature: int, written: Annotation) -> None:
    """The bookmark button and the panel; whatever is changed there is kept at once."""
    place = f"{sae['sae_id']}-{feature}"
    st.button(
        "Bookmarked" if written.is_bookmarked else "Bookmark",
        icon=":material/bookmark_added:" if written.is_bookmarked else ":material/bookmark:",
        key=f"bookmark-{place}",
        help="Keep this feature in your notebook (B)",
        shortcut="B",
        on_click=_keep,
        args=(sae, feature, replace(written, is_bookmarked=not written.is_bookmarked)),
    )
    n_words = sum((bool(written.label), bool(written.note), bool(written.lists)))
    with st.popover(f"Notes ({n_words})" if n_words else "Notes", icon=":material/edit_note:", key=f"notes-{place}"):
        st.text_input(
            "Your label", written.label, key=f"own-label-{place}", max_chars=LONGEST_LABEL,
            placeholder="what it responds to, in your words", on_change=_changed, args=(sae, feature, written),
        )  # fmt: skip
        st.text_area(
            "Note", written.note, key=f"own-note-{place}", max_chars=LONGEST_NOTE, height=120, on_change=_changed,
            args=(sae, feature, written),
        )  # fmt: skip
        st.multiselect(
            "Lists", _list_names(written), list(written.lists), key=f"own-lists-{place}", accept_new_options=True,
            placeholder="choose or write a name", on_change=_changed, args=(sae, feature, written),
        )  # fmt: skip
        st.html('<p class="so-hint">Kept for you on this server, not in the store; see Notebook.</p>')


def _list_names(written: Annotation) -> list[str]:
    known = notebook().of_owner(reader_id())["lists"]
    return sorted({*(name for names in known for name in names), *written.lists})


def _changed(sae: dict[str, Any], feature: int, written: Annotation) -> None:
    place = f"{sae['sae_id']}-{feature}"
    state = st.session_state
    lists = tuple(state[f"own-lists-{place}"])
    _keep(sae, feature, replace(written, label=state[f"own-label-{place}"] or "", note=state[f"own-note-{place}"] or "",
                                lists=lists))  # fmt: skip


def _keep(sae: dict[str, Any], feature: int, written: Annotation) -> None:
    about = sae_name(str(sae["encoder_display"]), sae["layer"], sae["sparsity"], sae["seed"])
    try:
        notebook().put(reader_id(), str(sae["sae_id"]), feature, written, about=about)
    except AnnotationError as error:  # in a callback: the page itself can still be drawn
        st.toast(str(error), icon=":material/error:", duration="infinite")
