"""Notebook: what you wrote about features, whichever store they are in; to be taken away and brought back."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.annotations import AnnotationError
from explorer.notes_exchange import MOST_BYTES, exported, restore
from explorer.queries.corpus import fetch_saes
from explorer.store import Store
from explorer.ui import cached, caption, empty_state, get_store, notice, page_header
from explorer.ui.markup import as_written
from explorer.ui.notes import notebook
from explorer.ui.options import choose_one
from explorer.ui.reader import NOT_KEPT, is_kept, reader_id
from explorer.ui.tables import as_read
from explorer.ui.url import link_to

EVERYTHING, BOOKMARKED = "all", "bookmarked"


def draw_table(store: Store, rows: pd.DataFrame) -> None:
    """What is written, a row a feature, with a link where its SAE is in this store."""
    here = set(cached(fetch_saes, store)["sae_id"])
    lists = sorted({name for names in rows["lists"] for name in names})
    names = {EVERYTHING: "everything", BOOKMARKED: "bookmarked", **{f"list.{name}": name for name in lists}}
    which = choose_one("Show", names, "list", label_visibility="collapsed")
    if which == BOOKMARKED:
        rows = rows[rows["is_bookmarked"]]
    elif which != EVERYTHING:
        rows = rows[[names[which] in among for among in rows["lists"]]]
    if rows.empty:
        empty_state("Nothing is here.", "Bookmark a feature on its page.")
        return
    table = pd.DataFrame(
        {
            "Open": [
                link_to("features", sae=row.sae_id, feature=row.feature) if row.sae_id in here else None
                for row in rows.itertuples()
            ],
            "SAE": rows["about"].where(rows["about"] != "", rows["sae_id"]),
            "Feature": rows["feature"],
            "Your label": rows["label"],
            "Note": rows["note"],
            "Bookmarked": rows["is_bookmarked"],
            "Lists": [list(names) for names in rows["lists"]],
            "Changed": pd.to_datetime(rows["changed_at"]),
        }
    )
    column = st.column_config
    st.dataframe(
        as_read(table, {"Feature": str}), hide_index=True, height="content" if len(table) < 20 else 740,
        column_config={
            "Open": column.LinkColumn(display_text="open", width=70),
            "Feature": column.NumberColumn(width=75),
            "Note": column.TextColumn(width="large"),
            "Changed": column.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC"),
        },
    )  # fmt: skip
    elsewhere = int((~rows["sae_id"].isin(here)).sum())
    if elsewhere:
        caption(f"{elsewhere} of them belong to SAEs that are not in this store: their text is kept, without a link.")


def draw_exchange(*, is_empty: bool) -> None:
    """Take everything away as a file; bring one back."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Export", exported(notebook(), reader_id()), "sonoscope-notes.json", "application/json",
            icon=":material/download:", disabled=is_empty, on_click="ignore",
        )  # fmt: skip
        with st.popover("Import", icon=":material/upload:"):
            file = st.file_uploader(
                "A file that Export wrote. Its labels and notes replace yours; lists and bookmarks are added. Nothing "
                "is removed.",
                type=["json"], key="import", max_upload_size=MOST_BYTES // 2**20,
            )  # fmt: skip
            if file is not None and st.button("Import it", key="import-now", type="primary"):
                try:
                    taken = restore(notebook(), reader_id(), file.getvalue())
                except AnnotationError as error:
                    notice(str(error), kind="warning")
                else:
                    st.toast(as_written(taken.sentence()), icon=":material/check:")
                    st.rerun()


def main() -> None:
    """Draw the notebook."""
    store = get_store()
    page_header(
        "Notebook",
        "What you wrote about features: bookmarks, labels, notes and lists. Kept for this browser (or your account), "
        "outside the store, through every new generation of it.",
    )
    if not is_kept():
        notice(NOT_KEPT, kind="warning")
    rows = notebook().of_owner(reader_id())
    draw_exchange(is_empty=rows.empty)
    if rows.empty:
        empty_state(
            "Your notebook is empty.", "Open a feature: Bookmark and Notes, next to its number, keep what you hear."
        )
        return
    draw_table(store, rows)


main()
