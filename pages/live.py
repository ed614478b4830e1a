"""Live: any sound through the encoders and SAEs of the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from explorer.environment import missing_for_models
from explorer.errors import EncoderError, ExplorerError, ModelProcessError
from explorer.inference import nearness_of
from explorer.inference.requests import Encoded
from explorer.naming import sae_names
from explorer.queries.corpus import fetch_corpus, fetch_saes
from explorer.queries.nearness import fetch_usual_cosines
from explorer.store import Store
from explorer.text import seconds, series_name
from explorer.ui import choose_sae, get_store, page_header
from explorer.ui.context import cached
from explorer.ui.history import name_view
from explorer.ui.kept import kept
from explorer.ui.live_factors import draw_factors
from explorer.ui.live_features import draw_features, heard_name
from explorer.ui.live_labels import draw_labels
from explorer.ui.live_models import at_hand, encoders_of, forget_failed, reading_of, waited, warm_up
from explorer.ui.live_near import draw_nearest, draw_where
from explorer.ui.live_source import choose_sound
from explorer.ui.markup import as_written
from explorer.ui.style import caption, empty_state, notice
from explorer.ui.top_clips import draw_top_clips
from explorer.ui.url import carried, drop, get_param, page_file, set_params

MAX_SAES = 4


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    sae = choose_sae(store)
    page_header(
        "Live", "Put any sound in and see how the models respond. It stays in memory and is gone after your visit.",
        encoder_ids=encoders_of(store, [str(sae["sae_id"]), *_asked_beside(sae)]),
    )  # fmt: skip
    if missing := missing_for_models():
        empty_state(
            f"Reading new sounds needs {', '.join(missing)}, and this installation is for browsing only.",
            "Install everything with: pip install -r requirements.txt (6 GB, or 2 GB with a CPU build of torch). "
            "Then start the app again. Every other page works as it is.",
        )
        return
    sound = choose_sound(store)
    sae_ids = _choose_saes(store, sae)
    if sound is None:
        warm_up(store, sae_ids)
        return
    name_view("Live", sound.title, series_name(sae["encoder_display"], sae["layer"]))
    ticket = reading_of(store, sound, sae_ids)
    try:
        heard = waited(ticket, "heard", "Encoding … (the first sound also loads the encoder)")
    except ExplorerError as error:
        _refused(store, error, "heard")
        return
    caption(_how_long(ticket.results["took"]))
    focus = draw_features(store, sound, heard)
    at = 0
    if len(heard) > 1:  # by place: two seeds have one name
        at = st.segmented_control(
            "Details of", range(len(heard)),
            format_func=lambda i: as_written(heard_name(heard[i])), default=0, required=True,
            key=f"live-of-{','.join(sae_ids)}",
        ) or 0  # fmt: skip
    one, feature = heard[at], focus[at]
    usual = partial(cached, fetch_usual_cosines)
    near = nearness_of(store, one.sae, one.code_f, without=sound.clip_index, fetch_usual=usual)
    draw_labels(one, feature, is_far=near.is_far)
    if feature is not None:
        draw_top_clips(store, dict(one.sae), fetch_corpus(store), feature, "live-top")
    draw_nearest(store, sound, one, near)
    try:
        draw_where(store, sound, one, feature)
    except ExplorerError as error:
        _refused(store, error, "where")
    try:
        table, seconds = waited(ticket, "factors", "openSMILE measures the factors …")
        draw_factors(store, sound, table, seconds, one)
    except ExplorerError as error:
        _refused(store, error, "factors")


def _choose_saes(store: Store, sae: dict[str, Any]) -> list[str]:
    """The sidebar's SAE and, if the reader adds some, others beside it (`with` in the address)."""
    saes = cached(fetch_saes, store)
    names = kept(sae_names, saes, with_encoder=True)
    here, asked = str(sae["sae_id"]), _asked_beside(sae)
    if missing := [sae_id for sae_id in asked if sae_id not in names]:
        drop("with", f"The link asks for SAE {', '.join(missing)} next to the first, which is not in this store.")
        asked = [sae_id for sae_id in asked if sae_id in names]
    references = [str(row) for row in saes[saes["is_reference"].astype(bool)]["sae_id"]]
    options = [sae_id for sae_id in dict.fromkeys([*references, *asked]) if sae_id != here]
    chosen = st.multiselect(
        "Hear it through others too", options, default=asked[: MAX_SAES - 1], max_selections=MAX_SAES - 1,
        format_func=lambda key: names.get(key, key), key=f"live-with-{here}-{','.join(asked)}",
        placeholder="SAEs of other encoders, next to the one in the sidebar",
    )  # fmt: skip
    if set(chosen) != set(asked[: MAX_SAES - 1]):
        set_params(**{"with": ",".join(chosen) or None})
    return [here, *asked[: MAX_SAES - 1]]


def _asked_beside(sae: dict[str, Any]) -> list[str]:
    """The SAEs that the address names beside the first, each once."""
    texts = (get_param("with") or "").split(",")
    return list(dict.fromkeys(text for text in texts if text and text != str(sae["sae_id"])))


def _refused(store: Store, error: ExplorerError, what: str) -> None:
    """Say what is wrong and, where it is a checkpoint, which encoders can be heard through instead."""
    if isinstance(error, EncoderError):
        empty_state(str(error), "The rest of the app needs no encoder: features, layers and factors are in the store.")
        _offer(store)
    else:
        notice(str(error), kind="warning")
    may_pass = isinstance(error, EncoderError | ModelProcessError)
    if may_pass and st.button("Try again", key=f"live-again-{what}", icon=":material/refresh:"):
        forget_failed()
        st.rerun()


def _offer(store: Store) -> None:
    there = set(at_hand(store))
    saes = cached(fetch_saes, store)
    first = saes[saes["encoder_id"].isin(there)].drop_duplicates("encoder_id")
    caption("Available on this machine:" if len(first) else "No encoder of this store is available on this machine.")
    for row in first.to_dict("records"):
        st.page_link(
            page_file("live"), label=as_written(str(row["encoder_display"])), icon=":material/graphic_eq:",
            query_params=carried("live", sae=row["sae_id"]),
        )  # fmt: skip


def _how_long(took: Sequence[tuple[str, Encoded]]) -> str:
    parts = []
    for name, one in took:
        loaded = f"loaded in {seconds(one.load_s)}, " if one.load_s else ""
        parts.append(f"{name}: {loaded}encoded in {seconds(one.encode_s)} on {one.device}. {one.note}".strip())
    return " ".join(parts)


main()
