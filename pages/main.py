"""The script of every run: page frame, navigation, the store, and errors as sentences."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

import explorer.ui
from explorer.errors import ExplorerError
from explorer.queries.corpus import fetch_corpus, fetch_saes
from explorer.ui.context import cached, get_store
from explorer.ui.history import name_view, one_entry_a_view
from explorer.ui.params import PAGES
from explorer.ui.sae_links import sae_links
from explorer.ui.style import apply_style, empty_state, error_page, no_sae_yet, page_header, sidebar_head
from explorer.ui.url import ABOUT_SAES, carried, get_param, note_page, note_place, page_file

ICON = Path(explorer.ui.__file__).with_name("icon.png")
TITLES = {page: page.capitalize() for page in PAGES}


def main() -> None:
    """Draw the frame and run the page of the address."""
    st.set_page_config(page_title="Sonoscope", page_icon=str(ICON), layout="wide")
    pages = {
        name: st.Page(page_file(name), title=TITLES[name], url_path=name, default=name == PAGES[0]) for name in PAGES
    }
    current = st.navigation(list(pages.values()), position="hidden")
    name_now = current.url_path or PAGES[0]
    note_page(name_now)
    apply_style()
    name_view(TITLES[name_now])
    unseen = st.container(key="so-unseen")
    note_place(st.container(key="so-dropped"))
    _page(current, pages, name_now)
    one_entry_a_view(unseen)


def _page(current: StreamlitPage, pages: dict[str, StreamlitPage], name_now: str) -> None:
    """The sidebar, and the page or why there is none."""
    try:
        facts, saes = fetch_corpus(get_store()), cached(fetch_saes, get_store())
    except ExplorerError as error:
        sidebar_head(None)
        error_page(str(error), title="There is no store to show")
        return
    sidebar_head(facts)
    asked = get_param("sae")
    sae = asked if asked in set(saes["sae_id"]) else None  # one that is not there would make every link an error
    with st.sidebar:
        for name, page in pages.items():
            beside = {"feature": None} if name == "features" else {}
            params = carried(name, sae=sae, **beside)
            st.page_link(page, label=TITLES[name], query_params=params or None, width="stretch")
        st.html('<hr class="so-rule">')
    if saes.empty and name_now in ABOUT_SAES:
        page_header(TITLES[name_now], "This page is about sparse autoencoders.")
        empty_state(*no_sae_yet(get_store()))
        return
    try:
        current.run()
    except ExplorerError as error:
        error_page(str(error))
        if asked != sae:
            sae_links(saes, name_now)


main()
