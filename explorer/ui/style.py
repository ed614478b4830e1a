"""The look that all pages share: the style sheet, the head of a page with its banners, small cards, downloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

import pandas as pd
import streamlit as st

from explorer.csv_text import csv_text
from explorer.figures.theme import encoder_color, palette
from explorer.queries.corpus import CorpusFacts, fetch_corpus, fetch_encoders
from explorer.queries.runs import fetch_unfinished
from explorer.store import Store
from explorer.store.lock import is_locked
from explorer.text import LONGEST_NAME, count, is_false, shortened
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.markup import as_written, brief
from explorer.ui.url import current_page

LONGEST_TITLE = 90  # characters of a heading
_HEADED = "so-headed"


@cache
def _sheet() -> str:
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def apply_style() -> None:
    """Put the shared style sheet into the page, with the palette of the reader's theme."""
    st.session_state.pop(_HEADED, None)
    colors = palette(is_dark())
    names = ("background", "surface", "text", "muted", "line", "accent", "positive", "negative")
    variables = "".join(f"--so-{name}:{getattr(colors, name)};" for name in names)
    st.html(f"<style>:root{{{variables}}}{_sheet()}</style>")


def page_header(title: str, sentence: str, *, store: Store | None = None, encoder_ids: Collection[str] = ()) -> None:
    """The head of a page: its title, one sentence on what it shows, and what must be known before any number is read.

    Says when the corpus is generated and which encoders (only `encoder_ids`, if a page is about some) are untrained or
    not the published ones.
    """
    st.session_state[_HEADED] = current_page()
    st.html(f'<header class="so-head"><h1>{brief(title, LONGEST_TITLE)}</h1><p>{escape(sentence)}</p></header>')
    banners(store or get_store(), encoder_ids=encoder_ids)


def banners(store: Store, *, encoder_ids: Collection[str] = ()) -> None:
    """What a reader must know before any number: generated sounds, encoders (only `encoder_ids` if named) that are
    untrained or not the published ones."""
    facts, lines = fetch_corpus(store), []
    if facts.is_synthetic:
        lines.append(
            f"Generated sounds: {(facts.demo_note or facts.dataset_note or 'nothing here was recorded').rstrip('.')}."
        )
    elif facts.demo_note:
        lines.append(facts.demo_note)
    encoders = cached(fetch_encoders, store)
    named = encoders[encoders["encoder_id"].isin(encoder_ids)] if encoder_ids else encoders
    untrained = [row.display_name for row in named.itertuples() if is_false(row.is_trained)]
    if untrained:
        lines.append(
            f"Untrained weights: {', '.join(untrained)}. These numbers show what an untrained network of that shape "
            "gives, not what the published model knows."
        )
    own = [row.display_name for row in named.itertuples() if is_false(row.is_published)]
    if own:
        lines.append(
            f"Not the published weights: {', '.join(own)}. Results describe these small networks, not the "
            "published models."
        )
    if is_locked(store.folder):
        lines.append(_at_work(fetch_unfinished(store), len(encoders)))
    if lines:
        st.html(f'<div class="so-notices">{"".join(_notice_html(line, "note") for line in lines)}</div>')


def _at_work(n_wanted: int | None, n_there: int) -> str:
    """What is said while a run adds to the store."""
    done = "" if n_wanted is None else f" {n_there} of {count(max(n_there, n_wanted), 'encoder')} finished."
    return f"A run is writing to this store.{done} What it finishes appears with your next click."


def no_sae_yet(store: Store) -> tuple[str, str]:
    """What is said where SAEs are needed and there are none, and what to do about it."""
    if is_locked(store.folder):
        return "No SAE is here yet.", "A run is training the first ones: click again when they are done."
    return "This store holds no SAE.", "Run precompute with an --encoder: it trains SAEs on the best two layers."


def _notice_html(text: str, kind: str) -> str:
    return f'<div class="so-notice so-{escape(kind)}" role="note">{escape(text)}</div>'


def notice(text: str, *, kind: str = "note") -> None:
    """A quiet line that must not be missed. `kind` is 'note' or 'warning'."""
    st.html(_notice_html(text, kind))


def empty_state(text: str, next_step: str = "") -> None:
    """Say that something is missing, why, and what to do about it."""
    step = f"<small>{escape(next_step)}</small>" if next_step else ""
    st.html(f'<div class="so-empty" role="note"><span>{escape(text)}</span>{step}</div>')


def caption(text: str) -> None:
    """A quiet line under a figure or a table. Unlike `st.caption` it takes the text as it is, never as Markdown."""
    st.html(f'<p class="so-caption">{escape(text, quote=False)}</p>')


def stat_cards(cards: Sequence[tuple[str, str]]) -> None:
    """A row of small cards: each a formatted value and what it is."""
    cells = "".join(
        f"<div><b>{escape(value)}</b><span>{brief(what, LONGEST_TITLE)}</span></div>" for value, what in cards
    )
    st.html(f'<div class="so-stats">{cells}</div>')


def card(title: str, subtitle: str, body_html: str) -> None:
    """A card with a title; `body_html` is markup whose data the caller has escaped."""
    small = f" <small>{brief(subtitle, LONGEST_TITLE)}</small>" if subtitle else ""
    st.html(f'<section class="so-card"><h2>{brief(title, LONGEST_TITLE)}{small}</h2>{body_html}</section>')


def plain_table(rows: pd.DataFrame, *, right: Sequence[str] = ()) -> None:
    """A short table of formatted texts as they are, nothing to click; the columns `right` stand to the right."""
    sides = [' class="n"' if name in right else "" for name in rows.columns]

    def row_html(cells: Iterable[object], tag: str, longest: int) -> str:
        pairs = zip(cells, sides, strict=True)
        return f"<tr>{''.join(f'<{tag}{side}>{brief(cell, longest)}</{tag}>' for cell, side in pairs)}</tr>"

    head = row_html(rows.columns, "th", LONGEST_NAME)
    body = "".join(row_html(row, "td", LONGEST_TITLE) for row in rows.itertuples(index=False))
    st.html(f'<div class="so-table"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>')


def encoder_dot(name: str) -> str:
    """An HTML dot in the encoder's colour, to stand before its name."""
    return f'<i class="so-dot" style="background:{encoder_color(name)}"></i>'


def download_csv(
    df: pd.DataFrame | Callable[[], pd.DataFrame],
    name: str,
    *,
    about: Mapping[str, object] | None = None,
    n_rows: int | None = None,
) -> None:
    """A small button that downloads `df` as NAME.csv: see `csv_text`, which also says what `about` is.

    The text is made when it is asked for; `df` may be a function that fetches its `n_rows` rows only then.
    """
    file_name = name if name.endswith(".csv") else f"{name}.csv"
    st.download_button(
        "CSV", lambda: csv_text(df() if callable(df) else df, about), file_name=file_name,
        mime="text/csv", key=f"csv-{file_name}", icon=":material/download:", type="tertiary", on_click="ignore",
        help=f"Download {as_written(file_name)}: {count(n_rows if callable(df) else len(df), 'row')}",
    )  # fmt: skip


def store_columns(store: Store) -> dict[str, object]:
    """What names a store in a download of rows that are of no one SAE."""
    return {"corpus_id": store.meta().get("corpus_id"), "generation": store.generation}


def table_foot(text: str, rows: pd.DataFrame, name: str, *, about: Mapping[str, object] | None = None) -> None:
    """The line under a table: a caption, and the rows as CSV under this name; `about`: see `download_csv`."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        caption(text)
        download_csv(rows, name, about=about)


def sidebar_head(facts: CorpusFacts | None) -> None:
    """The name of the tool and one line on the store, at the top of the sidebar."""
    line, title = "no store", ""
    if facts is not None:
        groups = count(facts.n_groups, facts.group_name)
        line = f"{shortened(facts.name)} · {count(facts.n_clips, 'clip')} · {shortened(groups)}"
        title = f"{facts.name} · {groups}"
    with st.sidebar:
        st.html(f'<div class="so-brand"><b>Sonoscope</b><span title="{escape(title)}">{escape(line)}</span></div>')


def error_page(message: str, *, title: str = "This view cannot be shown") -> None:
    """An error as a person reads it: what happened, what is there instead, and the commands in it set apart."""
    level = "h2" if st.session_state.pop(_HEADED, None) == current_page() else "h1"  # one first heading a page
    parts = escape(message).split("`")
    text = "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
    st.html(f'<div class="so-error" role="alert"><{level}>{escape(title)}</{level}><p>{text}</p></div>')
