"""The view's state in the URL: every view is a link.

Page, SAE, feature and clip go through `go_to` and `set_params`, which push a history entry (Back restores the view).
Do not assign `st.query_params`: it refuses when any of its values is bound to a widget.
Display options (a sort order, a tab) are widgets with `bind="query-params"`, which replace it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode

import streamlit as st

from explorer.errors import NotInStoreError

PAGES = ("overview", "layers", "sparsity", "features", "find", "factors", "compare", "live", "notebook", "runs")
ABOUT_SAES = frozenset(("sparsity", "features", "find", "factors", "compare", "live"))  # nothing to show without one
_CURRENT = "so-current-page"
_VISIT = "so-visit"
_FOLDER = Path(__file__).resolve().parents[2] / "pages"


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


def go_to(page: str, **params: object) -> NoReturn:
    """Open a view now, as a new history entry, and end this run of the script. None values are left out."""
    query = {key: str(value) for key, value in params.items() if value is not None}
    new_visit()
    st.switch_page(page_file(page), query_params=query)


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
    return st.query_params.get(name) or None


def get_int(name: str) -> int | None:
    """One whole number of the URL, None when absent. Raises NotInStoreError when it is no whole number."""
    text = get_param(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise NotInStoreError(
            f"The link says {name}={text}, which is not a whole number. Remove it or mend it."
        ) from error


def set_params(*, keep_options: bool = False, **params: object) -> NoReturn:
    """Change some values of the address as one new history entry and run the page again; None removes a value.

    Other values stay. Display options stay too when nothing is removed; removing opens the page anew without them,
    because Streamlit keeps values that are bound to widgets from being written by anybody else. `keep_options` keeps
    them even then: only for a view that draws the same widgets, since Streamlit takes the values of others out of the
    address as a second history entry.
    """
    changed = {key: str(value) for key, value in params.items() if value is not None}
    if keep_options:  # a value without items leaves the address; `del` would make a history entry of its own
        st.query_params.update({key: [] if value is None else str(value) for key, value in params.items()})
        st.rerun()
    if any(value is None and key in st.query_params for key, value in params.items()):
        kept = {
            key: value for key, value in st.query_params.items() if key not in st.session_state and key not in params
        }
        go_to(st.session_state[_CURRENT], **kept, **changed)
    st.query_params.update(changed)
    st.rerun()


def note_page(page: str) -> None:
    """Remember which page this run draws; the frame calls it before the page."""
    st.session_state[_CURRENT] = page
