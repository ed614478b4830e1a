"""Streamlit pieces that pages are built from. Pages import them from here.

store = get_store()                                   the opened store, per generation
page_header(title, sentence)                          head of a page and its banners (untrained, generated)
sae = choose_sae(store)                               sidebar choosers; the row of `fetch_saes` as a dict
link_to(page, **params), go_to(page, **params)        an address; opening a view as a new history entry
get_param(name), get_int(name), set_params(**params)  the URL's state; carried(page, **params) for a link's own
visit_key(key)                                        for maps and tables in which a click opens another view
player(store, clips, key)                             the clip player
as_written(text), caption(text)                       a data set's words in labels and under figures, never as Markdown
download_csv(df, name), stat_cards, notice, empty_state, encoder_dot
show_figure(fig, key, title=...)                      a plotly figure in the common manner
cached(fetch, store, *args)                           remember a query's rows per generation
"""

from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.figure import show_figure
from explorer.ui.markup import as_written
from explorer.ui.player import PlayerClip, PlayerTrace, player
from explorer.ui.selectors import choose_sae
from explorer.ui.style import (
    caption,
    download_csv,
    empty_state,
    encoder_dot,
    notice,
    page_header,
    stat_cards,
)
from explorer.ui.url import carried, get_int, get_param, go_to, link_to, set_params, visit_key

__all__ = [
    "PlayerClip",
    "PlayerTrace",
    "as_written",
    "cached",
    "caption",
    "carried",
    "choose_sae",
    "download_csv",
    "empty_state",
    "encoder_dot",
    "get_int",
    "get_param",
    "get_store",
    "go_to",
    "is_dark",
    "link_to",
    "notice",
    "page_header",
    "player",
    "set_params",
    "show_figure",
    "stat_cards",
    "visit_key",
]
