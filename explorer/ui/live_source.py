"""The sound to read: a file, the microphone, or a clip of the corpus; whole or a part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import streamlit as st

from explorer.audio import MAX_FILE_S, SoundBytes
from explorer.errors import AudioError, ModelProcessError, NotInStoreError
from explorer.inference import MAX_LIVE_S, clip_sound
from explorer.queries.corpus import resolve_clip
from explorer.queries.live import fetch_clips_named
from explorer.store import Store
from explorer.text import number, seconds
from explorer.ui.choices import choose_one
from explorer.ui.live_models import decoded
from explorer.ui.live_sounds import LiveSound, forget, live_sound
from explorer.ui.style import caption, empty_state, notice
from explorer.ui.url import drop, get_param, set_params

WAYS = {"file": "a file", "microphone": "the microphone", "clip": "a corpus clip"}
N_MATCHES = 30
MAX_FILE_MB = 25  # as .streamlit/config.toml has it for the server, which refuses more whatever the page says
_KEPT, _PART, _LAST, _LENGTH = "so-live-sound", "so-live-part", "so-live-last", "so-live-length"
_REFUSED = "so-live-refused"


def choose_sound(store: Store) -> LiveSound | None:
    """Draw the choosers; the sound they choose, or None with a sentence about what to do. It lives in the session."""
    way = choose_one("Sound from", WAYS, "sound", default="clip" if get_param("clip") else "file")
    try:
        whole = {"file": _from_file, "microphone": _from_microphone, "clip": lambda: _from_corpus(store)}[way]()
    except (AudioError, ModelProcessError) as error:
        notice(str(error), kind="warning")
        return None
    if whole is None:
        return None
    part_of, part_id = st.session_state.get(_PART, (None, None))
    part = live_sound(part_id)
    if part is None or part_of != whole.sound_id:
        return whole
    if st.button("Whole sound again", key="live-whole", icon=":material/undo:"):
        del st.session_state[_PART]
        st.rerun()
    return part


def keep_part(sound: LiveSound, start_s: float, end_s: float) -> None:
    """From the next run on read only this part of the sound."""
    st.session_state[_PART] = (st.session_state[_KEPT][1], sound.between(start_s, end_s).sound_id)
    st.rerun()


def read_clip(clip_id: str) -> NoReturn:
    """From the next run on read a clip of the corpus, wherever the sound came from before."""
    set_params(clip=clip_id, sound=None)


def _kept(source: object, make: Callable[[], LiveSound]) -> LiveSound:
    """The sound of a source, read once."""
    known_source, name = st.session_state.get(_KEPT, (None, None))
    sound = live_sound(name) if known_source == source else None
    if sound is None:
        sound = make()
        st.session_state[_KEPT] = (source, sound.sound_id)
    return sound


def _from_file() -> LiveSound | None:
    file = st.file_uploader(
        "A recording", key="live-file", on_change=_forget_last, args=("file", "live-file"),
        max_upload_size=MAX_FILE_MB,
        help="wav, flac, ogg, mp3, opus, aiff and more; m4a with the extra. It stays in memory and is gone after your "
        "visit. For part of a larger file use `python -m explorer.inference "
        "FILE --start S --length S`, or convert it to flac or mp3.",
    )  # fmt: skip
    if file is None:
        only = f"Only its first {number(MAX_LIVE_S, 0)} s are analysed, unless you choose others."
        return _last("file", f"No sound yet. Drop a recording in the box above. {only}")
    return _from_bytes(SoundBytes(file.name, file.getvalue()), file.file_id, "file")


def _from_microphone() -> LiveSound | None:
    file = st.audio_input(
        "Record", key="live-microphone", on_change=_forget_last, args=("microphone", "live-microphone"),
        help="It stays in memory and is gone after your visit.",
    )  # fmt: skip
    if file is None:
        return _last("microphone", "Nothing recorded yet. Press the microphone, sing, and press it again.")
    return _from_bytes(SoundBytes("your recording", file.getvalue()), file.file_id, "microphone")


def _last(way: str, nothing: str) -> LiveSound | None:
    """The sound that came this way before the reader went elsewhere, since a widget forgets its file when it is not
    drawn; where there is none, say so."""
    sound = live_sound(st.session_state.get(_LAST, {}).get(way))
    if sound is None:
        caption(nothing)  # no box: beside the one that takes files, another would look as if it did
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        caption(f"{sound.title}, from before. Another one takes its place.")
        if st.button("Forget it", key="live-forget", icon=":material/delete:"):
            forget(sound.sound_id)
            st.rerun()
    return sound


def _forget_last(way: str, key: str) -> None:
    """A reader who takes a file away wants it gone."""
    if st.session_state.get(key) is None:
        forget(st.session_state.get(_LAST, {}).pop(way, ""))


def _from_bytes(data: SoundBytes, file_id: str, way: str) -> LiveSound:
    """The part to be read of what a file holds. No more is decoded: a small file can hold hours. What was refused once
    is refused at once in the runs that follow."""

    def read(start_s: float) -> LiveSound:
        part, error = st.session_state.get(_REFUSED, (None, None))
        if error is not None and part == (file_id, start_s):
            raise error
        try:
            excerpt = decoded(data, start_s, MAX_LIVE_S)
        except AudioError as refusal:  # others, such as a decoder that died, are worth another try
            st.session_state[_REFUSED] = ((file_id, start_s), refusal.with_traceback(None))
            raise
        length_s = math.inf if excerpt.whole_s is None else excerpt.whole_s
        st.session_state[_LENGTH] = (file_id, length_s)
        notes = (excerpt.note,) if excerpt.note else ()
        return LiveSound(excerpt.wave, data.name, notes, start_s=start_s if length_s > MAX_LIVE_S else None)

    if st.session_state.get(_LENGTH, ("",))[0] != file_id:
        _kept((file_id, 0.0), lambda: read(0.0))
    start_s = _start_of(data.name, st.session_state[_LENGTH][1], file_id) or 0.0
    sound = _kept((file_id, start_s), lambda: read(start_s))
    st.session_state.setdefault(_LAST, {})[way] = sound.sound_id
    return sound


def _start_of(name: str, duration_s: float, key: str) -> float | None:
    """Where in a sound that is too long for one reading its part begins, in s; None for one that is read whole."""
    if duration_s <= MAX_LIVE_S:
        return None
    is_known = math.isfinite(duration_s)
    last_s = (duration_s if is_known else MAX_FILE_S) - MAX_LIVE_S
    most = number(MAX_LIVE_S, 0, unit="s")
    length, choice = (seconds(duration_s), f" (0 to {number(last_s, 1)})") if is_known else (f"over {most}", "")
    notice(f"{name} lasts {length}: {most} of it are analysed, from a second that you choose{choice}.")
    return float(st.number_input("From (s)", 0.0, last_s, 0.0, step=5.0, key=f"live-from-{key}"))


def _from_corpus(store: Store) -> LiveSound | None:
    asked = get_param("clip")
    try:
        clip = resolve_clip(store, asked) if asked else {}
    except NotInStoreError as error:
        drop("clip", str(error))
        asked, clip = None, {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("Find a clip", key="live-find", placeholder="words of its title", width=260)
        found = fetch_clips_named(store, text, N_MATCHES)
        titles = dict(zip(found["clip_id"], found["title"], strict=True))
        if asked and not titles:
            caption("No clip has these words.")
        if asked and asked not in titles:
            titles = {asked: clip["title"], **titles}
        chosen = st.selectbox(
            "Clip", list(titles), index=list(titles).index(asked) if asked else None, key=f"live-clip-{asked}-{text}",
            format_func=lambda key: str(titles[key]), placeholder="choose one", width=420,
        )  # fmt: skip
    if chosen and chosen != asked:
        set_params(clip=chosen)
    if not chosen:
        empty_state("No clip is chosen." if titles else "No clip has these words.", "Type a word of its title.")
        return None
    start_s = _start_of(str(clip["title"]), float(clip["duration_s"]), chosen)

    def make() -> LiveSound:
        sound = clip_sound(store, int(clip["clip_index"]))
        wave = sound.wave.between(start_s or 0.0, (start_s or 0.0) + MAX_LIVE_S)
        return LiveSound(wave, str(clip["title"]), (sound.note,), int(clip["clip_index"]), start_s)

    sound = _kept((store.generation, chosen, start_s), make)
    caption(f"Read {sound.notes[0]}.")
    return sound
