"""Corpus clips that sound alike to an SAE, and the test of where a feature listens."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer.inference import Heard, Occlusion, encode_by, occlude, places_of, reader_of
from explorer.inference.model_process import Ask, Ticket
from explorer.inference.nearness import Nearness
from explorer.inference.occlusion import N_CONTROLS
from explorer.queries.corpus import fetch_corpus
from explorer.store import Store
from explorer.text import count, number, percent
from explorer.ui.choices import section
from explorer.ui.context import named_checkpoints
from explorer.ui.live_features import heard_name
from explorer.ui.live_models import asked, waited
from explorer.ui.live_sounds import LiveSound
from explorer.ui.live_source import read_clip
from explorer.ui.player import PlayerClip, player
from explorer.ui.style import caption, empty_state

MIN_FRAMES = 10


def draw_nearest(store: Store, sound: LiveSound, heard: Heard, near: Nearness) -> None:
    """Players of the corpus clips with the most similar codes; a click on a title reads that clip here."""
    section("Nearest corpus clips")
    if not heard.sae["codes_by_clip_file"]:
        empty_state("No codes to compare with are stored for this SAE.")
        return
    rows = near.clips
    if rows.empty:
        empty_state("No corpus clip shares an active feature with this sound.")
        return
    clips = [
        PlayerClip(
            str(row["clip_id"]), str(row["title"]), float(row["duration_s"]),
            detail=f"{row['group_id']} · {row['split']}", value=float(row["cosine"]), value_max=1.0, rank=rank,
        )
        for rank, row in enumerate(rows.to_dict("records"), start=1)
    ]  # fmt: skip
    event = player(store, clips, f"near-{heard.sae['sae_id']}-{sound.sound_id}")
    caption(
        f"Values: cosine between the codes of {heard_name(heard)}. Click a title to analyse that clip here. "
        + _usual_words(near, fetch_corpus(store).group_name)
    )
    if event and event.get("action") == "open":
        read_clip(str(event["clip_id"]))


def _usual_words(near: Nearness, group_name: str) -> str:
    """What cosines are usual in the corpus, and where this sound is among them."""
    if not len(near.usual_n):
        return ""
    low, median, high = (number(value) for value in np.quantile(near.usual_n, (0.05, 0.5, 0.95)))
    return (
        f"Clips of the corpus reach {low} to {high} (90 % of them; median {median}) with their nearest clip of another "
        f"{group_name}; {percent(near.share_farther)} of them are farther from the others than this sound."
    )


def draw_where(store: Store, sound: LiveSound, heard: Heard, feature: int | None) -> None:
    """The test of where a feature listens, on a click."""
    section("Where it listens")
    if feature is None:
        empty_state("No feature is active to test.")
        return
    n_frames = len(heard.reading.times_s)
    if n_frames < MIN_FRAMES:
        empty_state(f"This sound has only {count(n_frames, 'frame')} in this encoder: no tenth of it can be silenced.")
        return
    key = ("where", sound.sound_id, str(heard.sae["sae_id"]), feature)
    known = st.session_state.get("so-live-where")
    if known != key:
        if st.button(
            f"Silence the tenth that feature {feature} points to", key="live-where", icon=":material/volume_off:"
        ):
            st.session_state["so-live-where"] = key
            st.rerun()
        caption(
            "Silences the tenth of the time with the largest trace, encodes again, and compares with a tenth "
            "elsewhere: a trace shows where the number comes from, not where its cause is."
        )
        return
    places = tuple(places_of(store, named_checkpoints()))

    def work(ask: Ask, ticket: Ticket) -> None:
        encode = encode_by(ask, places)
        read = reader_of(store, str(heard.sae["sae_id"]), encode)
        ticket.put("test", occlude(sound.wave, heard.reading, feature, read))

    found: Occlusion = waited(
        asked(key, work, sound, lets_others_first=True), "test", f"Encoding the sound {N_CONTROLS + 1} times more …"
    )
    others = sorted(found.without_other)
    verdict = (
        f"Silencing this part lowers the feature more than silencing any of {N_CONTROLS} other parts."
        if found.falls_most
        else "Silencing this part does not lower the feature."
        if found.without_peak >= found.whole
        else "Silencing this part lowers the feature no more than silencing other parts."
    )
    st.write(
        f"Feature {feature}, pre-activation: {number(found.whole)} as it is; {number(found.without_peak)} without the "
        f"{percent(found.share)} it points to; {number(others[0])} to {number(others[-1])} (median "
        f"{number(others[len(others) // 2])}) with as much silence elsewhere. {verdict}"
    )
    caption(
        f"The control shifts the same silences in time, {N_CONTROLS} times. It shows whether a cause is where "
        "the trace points, on noise as on singing, not whether the feature means something. Try other sounds too."
    )
