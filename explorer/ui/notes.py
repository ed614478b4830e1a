"""What a reader writes about a feature: the bookmark and the panel of own label, note and lists on its page."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import streamlit as st

from explorer.annotations import LONGEST_LABEL, LONGEST_NOTE, Annotation, AnnotationError, Annotations
from explorer.naming import sae_title
from explorer.ui.markup import as_written
from explorer.ui.reader import NOT_KEPT, is_kept, reader_id


def notebook() -> Annotations:
    """Those of this server's data folder; of readers who are not known again, in a folder that goes with the server."""
    return Annotations() if is_kept() else Annotations(Path(_of_visits().name))


@cache
def _of_visits() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="sonoscope-visits-")


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
    """The bookmark button and the panel; each thing that is changed there is kept at once, and nothing else.

    What another tab wrote since the page was drawn appears with the next click here.
    """
    place = f"{sae['sae_id']}-{feature}"
    _show_newer(place, written)
    given = (sae, feature, written)
    st.button(
        "Bookmarked" if written.is_bookmarked else "Bookmark",
        icon=":material/bookmark_added:" if written.is_bookmarked else ":material/bookmark:",
        key=f"bookmark-{place}",
        help="Keep this feature in your notebook (B)",
        shortcut="B",
        on_click=_keep,
        args=(*given, replace(written, is_bookmarked=not written.is_bookmarked)),
    )
    n_words = sum((bool(written.label), bool(written.note), bool(written.lists)))
    with st.popover(f"Notes ({n_words})" if n_words else "Notes", icon=":material/edit_note:", key=f"notes-{place}"):
        st.text_input(
            "Your label", key=_key("label", place), max_chars=LONGEST_LABEL,
            placeholder="what it responds to, in your words", on_change=_changed, args=(*given, "label"),
        )  # fmt: skip
        st.text_area(
            "Note", key=_key("note", place), max_chars=LONGEST_NOTE, height=120, on_change=_changed,
            args=(*given, "note"),
        )  # fmt: skip
        st.multiselect(
            "Lists", _list_names(written), key=_key("lists", place), accept_new_options=True,
            placeholder="choose or write a name", on_change=_changed, args=(*given, "lists"),
        )  # fmt: skip
        _say_replaced(sae, feature, written)
        kept = "Kept for you on this server, not in the store; see Notebook." if is_kept() else f"Not kept. {NOT_KEPT}"
        st.html(f'<p class="so-hint">{kept}</p>')


def _key(field: str, place: str) -> str:
    return f"own-{field}-{place}"


def _show_newer(place: str, written: Annotation) -> None:
    """Put what is written into the fields that do not show it yet; a text that could not be kept stays in its field."""
    state, shown = st.session_state, f"so-shown-{place}"
    before: Annotation | None = state.get(shown)
    for field in ("label", "note", "lists"):
        now = getattr(written, field)
        if _key(field, place) not in state or before is None or getattr(before, field) != now:
            state[_key(field, place)] = list(now) if field == "lists" else now
    state[shown] = written


def _list_names(written: Annotation) -> list[str]:
    known = notebook().of_owner(reader_id())["lists"]
    return sorted({*(name for names in known for name in names), *written.lists})


def _changed(sae: dict[str, Any], feature: int, written: Annotation, field: str) -> None:
    value = st.session_state[_key(field, f"{sae['sae_id']}-{feature}")]
    wanted: dict[str, Any] = {field: tuple(value) if field == "lists" else value or ""}
    _keep(sae, feature, written, replace(written, **wanted))


def _keep(sae: dict[str, Any], feature: int, written: Annotation, wanted: Annotation) -> None:
    about = sae_title(sae)
    place = f"{sae['sae_id']}-{feature}"
    try:
        after = notebook().change(reader_id(), str(sae["sae_id"]), feature, written, wanted, about=about)
    except AnnotationError as error:  # in a callback: the page itself can still be drawn
        st.toast(as_written(error), icon=":material/error:", duration="infinite")
        return
    if after.replaced:
        st.session_state[f"so-replaced-{place}"] = after.replaced
        fields = " and ".join(name for name, _ in after.replaced)
        st.toast(
            f"Your {as_written(fields)} had been changed elsewhere meanwhile. The newest text was kept; Notes "
            "shows the other.",
            icon=":material/info:", duration="infinite",
        )  # fmt: skip


def _say_replaced(sae: dict[str, Any], feature: int, written: Annotation) -> None:
    """The words of another tab that the last write here replaced, to be put back."""
    kept_under = f"so-replaced-{sae['sae_id']}-{feature}"
    for field, text in st.session_state.get(kept_under, ()):
        st.html(f'<p class="so-hint">Written elsewhere meanwhile: {escape(text)}</p>')
        st.button(
            f"Use this {field}", key=f"{kept_under}-{field}", type="tertiary", icon=":material/undo:",
            on_click=_put_back, args=(sae, feature, written, field, text),
        )  # fmt: skip


def _put_back(sae: dict[str, Any], feature: int, written: Annotation, field: str, text: str) -> None:
    kept_under = f"so-replaced-{sae['sae_id']}-{feature}"
    st.session_state[kept_under] = tuple(one for one in st.session_state[kept_under] if one[0] != field)
    words: dict[str, Any] = {field: text}
    _keep(sae, feature, written, replace(written, **words))
