"""The page's way to the models: one queue for the whole server, one request for each open page."""

from __future__ import annotations

import atexit
import secrets
import time
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from typing import Any

import streamlit as st

from explorer.audio import DECODE_LIMIT_S, Excerpt, SoundBytes
from explorer.inference import Missing, Place, beside_corpus, check_sound, encode_by, listen, places_of
from explorer.inference.model_process import Ask, ModelProcess, ReaderQueue, Ticket
from explorer.inference.requests import DecodeRequest, Encoded, FactorRequest, FindRequest, WarmRequest
from explorer.queries.corpus import fetch_saes
from explorer.queries.live import fetch_encoder
from explorer.store import Store
from explorer.text import count
from explorer.ui.context import cached, named_checkpoints
from explorer.ui.live_sounds import LiveSound, live_sound

POLL_S = 0.2
_TICKETS, _PAGE = "so-live-tickets", "so-live-page"
_FIND = "find"
N_KEPT = 6


@cache
def queue() -> ReaderQueue:
    """The server's queue; its process starts with the first request."""
    return _queue_before(ModelProcess())


@cache
def _decoding() -> ReaderQueue:
    """A process and queue of their own: a stranger's file that crashes its decoder takes no models with it, and no
    file waits for somebody's encoding."""
    return _queue_before(ModelProcess(limit_s=2 * DECODE_LIMIT_S, task="decodes sounds"))


def _queue_before(process: ModelProcess) -> ReaderQueue:
    atexit.register(process.stop)
    return ReaderQueue(process)


def decoded(sound: SoundBytes, start_s: float, duration_s: float) -> Excerpt:
    """A stretch of a file that a reader brought. Raises AudioError, and ModelProcessError where the decoder died."""

    def work(ask: Ask, ticket: Ticket) -> None:
        ticket.put("excerpt", ask(DecodeRequest(sound, start_s, duration_s)))

    excerpt: Excerpt = waited(_decoding().submit(f"{_page()}-decode", work), "excerpt", f"Decoding {sound.name} …")
    return excerpt


def _page() -> str:
    """A name for this open page, which no other has."""
    page: str = st.session_state.setdefault(_PAGE, secrets.token_hex(8))
    return page


def asked(
    key: tuple[Any, ...],
    work: Callable[[Ask, Ticket], None],
    sound: LiveSound | None = None,
    *,
    lets_others_first: bool = False,
) -> Ticket:
    """The request of this key: made once for a page that is open, and the same one in later runs.

    One about a sound is given up when the sound is gone, with its reader. Those used last are kept.
    """
    tickets: dict[tuple[Any, ...], Ticket] = st.session_state.setdefault(_TICKETS, {})
    known = tickets.pop(key, None)
    if known is None or known.is_replaced:
        sound_id = sound.sound_id if sound else None
        known = queue().submit(
            f"{_page()}-{key[0]}",
            work,
            is_wanted=lambda: sound_id is None or live_sound(sound_id) is not None,
            lets_others_first=lets_others_first,
        )
    tickets[key] = known
    while len(tickets) > N_KEPT:
        tickets.pop(next(iter(tickets)))
    return known


def forget_failed() -> None:
    """Make what failed anew in the next run, and look for checkpoints again."""
    tickets: dict[tuple[Any, ...], Ticket] = st.session_state.get(_TICKETS, {})
    st.session_state[_TICKETS] = {
        key: known for key, known in tickets.items() if known.error is None and key[0] != _FIND
    }


def at_hand(store: Store) -> list[str]:
    """The ids of the encoders whose checkpoint is on this machine."""
    places = tuple(places_of(store, named_checkpoints()))
    ids = cached(fetch_saes, store)["encoder_id"].unique()
    encoders = tuple(fetch_encoder(store, encoder_id) for encoder_id in ids)

    def work(ask: Ask, ticket: Ticket) -> None:
        found: list[Place | Missing] = ask(FindRequest(encoders, places))
        ticket.put("found", [place.encoder_id for place in found if isinstance(place, Place)])

    found: list[str] = waited(asked((_FIND, places, store.generation), work), "found", "Looking for checkpoints …")
    return found


def waited(ticket: Ticket, name: str, doing: str) -> Any:
    """A part of a request's result, with a line that says what is going on until it is there. Raises its error."""
    line = st.empty()
    while not ticket.wait(name, POLL_S):
        n_before = ticket.n_before()
        words = f"Waiting: {count(n_before, 'request')} before yours." if n_before else doing
        line.html(f'<p class="so-hint" role="status">{escape(words)}</p>')
    line.empty()
    if name not in ticket.results and ticket.error is not None:
        raise ticket.error
    return ticket.results[name]


def encoders_of(store: Store, sae_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of the encoders of these SAEs, each once; SAEs that are not there are left out."""
    saes = cached(fetch_saes, store)
    return tuple(str(encoder_id) for encoder_id in saes[saes["sae_id"].isin(sae_ids)]["encoder_id"].unique())


def warm_up(store: Store, sae_ids: Sequence[str]) -> None:
    """Have the encoders of these SAEs loaded while the reader still chooses a sound."""
    ids = encoders_of(store, sae_ids)
    encoders = tuple(fetch_encoder(store, encoder_id) for encoder_id in ids)
    places = tuple(places_of(store, named_checkpoints()))

    def work(ask: Ask, ticket: Ticket) -> None:
        ask(WarmRequest(encoders, places))

    asked(("warm", ids, store.generation), work, lets_others_first=True)


def reading_of(store: Store, sound: LiveSound, sae_ids: Sequence[str]) -> Ticket:
    """How long encoding took ('took'), the features ('heard'), then the factors and their seconds ('factors')."""
    places = tuple(places_of(store, named_checkpoints()))

    def work(ask: Ask, ticket: Ticket) -> None:
        took: list[tuple[str, Encoded]] = []
        check_sound(sound.wave, sound.title)
        encode = encode_by(ask, places, note=lambda name, one: took.append((name, one)))
        heard = listen(store, sound.wave, sae_ids, encode)
        ticket.put("took", took)
        ticket.put("heard", heard)
        started = time.perf_counter()
        row = ask(FactorRequest(sound.wave))
        ticket.put("factors", (beside_corpus(store, row), time.perf_counter() - started))

    return asked(("reading", sound.sound_id, tuple(sae_ids), store.generation), work, sound)
