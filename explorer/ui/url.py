"""The view's state in the URL: every view is a link, and every way to move keeps the rest of the view.

`ui.params` lists what an address may hold. The address is the truth: choosers are set from it in every run and write to
it (`ui.options`), so that a link, Back and a click lead to the same view.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.errors import NotInStoreError
from explorer.ui.params import PAGES, moved

ABOUT_SAES = frozenset(("sparsity", "features", "find", "factors", "compare", "live"))  # nothing to show without one
_CURRENT, _VISIT, _DROPPED, _WRITTEN, _PLACE = "so-current-page", "so-visit", "so-dropped", "so-written", "so-place"
_FOLDER = Path(__file__).resolve().parents[2] / "pages"
ECHO_S = 2.0  # how long a browser may still send the address from before a choice


def page_file(page: str) -> Path:
    """The file of a page by its short name, one of PAGES. Raises NotInStoreError for another name."""
    if page not in PAGES:
        raise NotInStoreError(f"There is no page {page!r}; the pages are {', '.join(PAGES)}.")
    return _FOLDER / f"{page}.py"


def link_to(page: str, **params: object) -> str:
    """The address of a view as pages link to it: 'features?sae=...&feature=7'. None values are left out.

    It is relative, since only the browser knows the path under which a proxy shows the app; all pages lie side by side
    there. The first page is the app's root itself: Streamlit knows it under no other name.
    """
    page_file(page)
    query = urlencode({key: str(value) for key, value in params.items() if value is not None})
    place = "./" if page == PAGES[0] else page
    return f"{place}?{query}" if query else place


def address() -> dict[str, str]:
    """The parameters of the address, without empty ones and those that were dropped in this run."""
    gone = st.session_state.get(_DROPPED, ())
    return {name: value for name, value in st.query_params.items() if value and name not in gone}


def carried(page: str, **changes: object) -> dict[str, str]:
    """The parameters of a link from this view to `page`: `changes`, and what stays of this view; see `params.moved`."""
    return moved(address(), current_page(), page, changes)


def go_to(page: str, **changes: object) -> NoReturn:
    """Open a view now, as a new history entry, and end this run of the script. What fits of this view stays."""
    if page == current_page():
        set_params(**changes)
    query = carried(page, **changes)
    new_visit()
    st.switch_page(page_file(page), query_params=query)


def set_params(**changes: object) -> NoReturn:
    """Change some values of the address as one new history entry and run the page again; None removes a value.

    Others stay, but for those that end with what changes (a clip with its feature).
    """
    new_visit()
    st.query_params.from_dict(carried(current_page(), **changes))
    st.rerun()


def write_option(name: str, value: object) -> None:
    """Put what a chooser says into the address (None: take it out): for callbacks, which run before the script does."""
    before = dict(st.query_params.items())
    after = carried(current_page(), **{name: value})
    st.query_params.from_dict(after)
    st.session_state[_WRITTEN] = (before, after, time.monotonic())


def new_visit() -> None:
    """Give charts and tables of `visit_key` another key from the next run on: before a click in one sets parameters."""
    st.session_state[_VISIT] = st.session_state.get(_VISIT, 0) + 1


def visit_key(key: str) -> str:
    """The key of a chart or table in which a click opens another view: another one after each such click.

    A browser that comes back restores what was selected under the old key, and would open the view once more.
    """
    return f"{key}-{st.session_state.get(_VISIT, 0)}"


def get_param(name: str) -> str | None:
    """One value of the URL, or None when it is absent or empty."""
    return address().get(name)


def get_int(name: str) -> int | None:
    """One whole number of the URL, None when absent. Raises NotInStoreError when it is no whole number."""
    text = get_param(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise NotInStoreError(f"The link says {name}={text}, which is not a whole number. Fix or remove it.") from error


def drop(name: str, sentence: str) -> None:
    """Take a value that means nothing here out of the address, and say so at the top of the page."""
    st.session_state[_DROPPED] = (*st.session_state.get(_DROPPED, ()), name)
    if sentence:
        say(sentence)


def say(sentence: str) -> None:
    """A notice at the top of the page, about its address."""
    place = st.session_state.get(_PLACE)
    with place if isinstance(place, DeltaGenerator) else st.container():
        from explorer.ui.style import notice

        notice(sentence)


def dropped() -> tuple[str, ...]:
    """The names that this run took out of the address."""
    return tuple(st.session_state.get(_DROPPED, ()))


def current_page() -> str:
    """The page that this run draws."""
    return str(st.session_state.get(_CURRENT, PAGES[0]))


def note_page(page: str) -> None:
    """Remember which page this run draws, and where `drop` may speak; the frame calls it before the page."""
    before, after, at_s = st.session_state.pop(_WRITTEN, ({}, {}, -ECHO_S))
    now = dict(st.query_params.items())
    if page == current_page() and now == before != after and time.monotonic() - at_s < ECHO_S:
        # A second choice came before the browser knew of the first one's address: keep both.
        st.query_params.from_dict(after)
    st.session_state[_CURRENT], st.session_state[_DROPPED] = page, ()


def note_place(place: DeltaGenerator) -> None:
    """The container at the top of the page in which `drop` speaks."""
    st.session_state[_PLACE] = place
