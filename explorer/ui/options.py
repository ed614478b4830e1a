"""Choosers whose choice lives in the address, as a key; on the screen stands its text.

The address is the truth: a chooser is set from it before it is drawn, writes to it when a reader changes it, and what
is returned is always one of the keys, whatever the address or the browser held. A value that means nothing here is
taken out of the address with a sentence; the text that older addresses carried is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import streamlit as st

from explorer.ui.markup import as_written
from explorer.ui.url import drop, get_param, say, write_option

N_NAMED = 8
T = TypeVar("T")
Options = Mapping[str, str] | Sequence[str]


def choose_one(
    title: str,
    options: Options,
    name: str,
    *,
    default: str | None = None,
    help_text: str | None = None,
    old: Mapping[str, str] | None = None,
    lacking: Mapping[str, str] | None = None,
    label_visibility: Literal["visible", "hidden", "collapsed"] = "visible",
) -> str:
    """One key of `options` (key: text, or texts that are their own keys) by buttons, by default `default` or the first.

    `name` is its name in the address. `old`: what addresses once said: key. `lacking` (key: what) are not here but may
    be in the next view of the kind: the address keeps them, and it is said that there is none here.
    """
    texts = texts_of(options)
    value = asked_key(title, texts, name, default, old, lacking)
    if len(texts) == 1:
        return value
    st.segmented_control(
        title, list(texts), required=True, help=help_text, key=_ready(name, value), format_func=_text_of(texts),
        label_visibility=label_visibility, on_change=_chosen, args=(name, tuple(texts), default or next(iter(texts))),
    )  # fmt: skip
    return value


def choose_from(
    title: str,
    options: Options,
    name: str,
    *,
    default: str | None = None,
    old: Mapping[str, str] | None = None,
    width: int = 220,
    always: bool = False,
) -> str:
    """Like `choose_one`, by a list that opens. `always`: the address carries the default too once it is chosen."""
    texts = texts_of(options, is_label=False)
    value = asked_key(title, texts, name, default, old)
    st.selectbox(
        title, list(texts), key=_ready(name, value), format_func=_text_of(texts), width=width, on_change=_chosen,
        args=(name, tuple(texts), None if always else default or next(iter(texts))),
    )  # fmt: skip
    return value


def choose_some(title: str, options: Options, name: str, *, default: Sequence[str]) -> list[str]:
    """Some keys of `options` by buttons; `default` where none is chosen. Keys hold no comma."""
    texts, asked = texts_of(options), get_param(name)
    value, strange = list(default), list[str]()
    if asked is not None:
        back = {text: key for key, text in texts.items()}
        found = [part if part in texts else back.get(part) for part in asked.split(",")]
        value = [key for key in texts if key in found] or value
        strange = [part for part, key in zip(asked.split(","), found, strict=True) if key is None]
    if strange:
        drop(name, f"The link asks for {title} “{', '.join(strange)}”, which is not here. {_there(texts)}")
    st.pills(
        title, list(texts), selection_mode="multi", key=_ready(name, value), format_func=_text_of(texts),
        on_change=_chosen_some, args=(name, tuple(texts), tuple(default)),
    )  # fmt: skip
    return value


def choose_switch(title: str, name: str, *, default: bool = False) -> bool:
    """A switch; in the address as 'true' or 'false'."""
    value = asked_key(title, {"true": "true", "false": "false"}, name, str(default).lower()) == "true"
    st.toggle(title, key=_ready(name, value), on_change=_switched, args=(name, default))
    return value


def write_text(title: str, name: str, *, width: int, placeholder: str) -> str:
    """What a reader types."""
    value = get_param(name) or ""
    st.text_input(
        title, key=_ready(name, value), width=width, placeholder=placeholder, on_change=_put, args=(name, str.strip)
    )
    return value


def choose_number(title: str, name: str, low: int, high: int, *, default: int, width: int) -> int:
    """A whole number between `low` and `high`, both included."""
    value = _number_of(title, get_param(name), name, int, low, high, default)
    st.number_input(
        title, low, high, key=_ready(name, value), width=width, label_visibility="collapsed", on_change=_put,
        args=(name, lambda chosen: None if chosen in (None, default) else int(chosen)),
    )  # fmt: skip
    return value


def choose_least(title: str, name: str, high: float, step: float) -> float:
    """A number from 0 to `high` by a slider, 0 at first; whole numbers where `high` is one."""
    kind = type(high)
    value = _number_of(title, get_param(name), name, kind, kind(0), high, kind(0))
    st.slider(
        title, kind(0), high, step=step, key=_ready(name, value), on_change=_put,
        args=(name, lambda chosen: chosen or None),
    )  # fmt: skip
    return value


def choose_range(title: str, name: str, low: int, high: int) -> tuple[int, int]:
    """Two whole numbers between `low` and `high` by a slider, all of it at first; in the address as '10-40'."""
    asked = get_param(name)
    parts = (asked or "").split("-")
    value = (low, high)
    if asked is not None:
        ends = [int(part) for part in parts if part.isascii() and part.isdigit()]
        if len(parts) == len(ends) == 2 and low <= ends[0] <= ends[1] <= high:
            value = (ends[0], ends[1])
        else:
            drop(name, f"The link asks for {title} “{asked}”; it is two numbers from {low} to {high}, such as 10-40.")
    st.slider(
        title, low, high, key=_ready(name, value), on_change=_put,
        args=(name, lambda chosen: None if tuple(chosen) == (low, high) else f"{chosen[0]}-{chosen[1]}"),
    )  # fmt: skip
    return value


def texts_of(options: Options, *, is_label: bool = True) -> dict[str, str]:
    """The text of each key, no two alike; as a label, which reads Markdown, shows it (a list's rows are plain)."""
    shown_as = as_written if is_label else str
    pairs = options.items() if isinstance(options, Mapping) else ((str(text), str(text)) for text in options)
    texts: dict[str, str] = {}
    for key, text in pairs:
        shown, n = shown_as(text) or "(empty)", 1
        while shown in texts.values():
            n += 1
            shown = f"{shown_as(text)} ({n})"
        texts[str(key)] = shown
    return texts


def asked_key(
    title: str,
    options: Options,
    name: str,
    default: str | None = None,
    old: Mapping[str, str] | None = None,
    lacking: Mapping[str, str] | None = None,
) -> str:
    """The key that the address asks for, else `default` or the first. What is no key is dropped with a sentence."""
    texts, asked = texts_of(options), get_param(name)
    first = default if default is not None and default in texts else next(iter(texts))
    if asked is None:
        return first
    written = options.items() if isinstance(options, Mapping) else ()
    known = {text: key for key, text in (*texts.items(), *written)} | dict(old or {}) | {key: key for key in texts}
    key = known.get(asked, asked)
    if key in texts:
        return key
    if lacking and key in lacking:
        say(f"There is no list “{lacking[key]}” here; this is “{_plain(options, first)}”.")
        return first
    drop(
        name,
        f"The link asks for {title} “{asked}”, which is not here; this is “{_plain(options, first)}”. "
        f"{_there(options)}",
    )
    return first


def once_called(title: str, keys: Sequence[str], name: str) -> str | None:
    """The key that an older address carries under `name`; one that is not here is dropped with a sentence."""
    asked = get_param(name)
    if asked is None or asked in keys:
        return asked
    drop(name, f"The link asks for {title} “{asked}”, which is not here. {_there(keys)}")
    return None


def _plain(options: Options, key: str) -> str:
    return str(options[key]) if isinstance(options, Mapping) else key


def _there(options: Options) -> str:
    names = [str(name) for name in (options.values() if isinstance(options, Mapping) else options)]
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return f"There {'is' if len(names) == 1 else 'are'}: {', '.join(names[:N_NAMED])}{more}."


def _number_of(title: str, asked: str | None, name: str, kind: Callable[[Any], T], low: T, high: T, default: T) -> T:
    if asked is None:
        return default
    try:
        value = kind(asked)
    except ValueError:
        value = None
    if value is not None and low <= value <= high:  # type: ignore[operator]
        return value
    drop(name, f"The link asks for {title} “{asked}”; here it is a number from {low} to {high}.")
    return default


def _text_of(texts: Mapping[str, str]) -> Callable[[str], str]:
    return lambda key: texts.get(key, key)


def _ready(name: str, value: object) -> str:
    """Set the widget of this name to the value of the address; returns its key, which is the name."""
    if name not in st.session_state or st.session_state[name] != value:
        st.session_state[name] = value
    return name


def _chosen(name: str, keys: tuple[str, ...], default: str | None) -> None:
    picked = st.session_state.get(name)
    if picked in keys:  # else a text of a list that was shown before, from a browser that is a step behind
        write_option(name, None if picked == default else picked)


def _chosen_some(name: str, keys: tuple[str, ...], default: tuple[str, ...]) -> None:
    picked = st.session_state.get(name) or ()
    chosen = [key for key in keys if key in picked]
    write_option(name, None if not chosen or chosen == list(default) else ",".join(chosen))


def _switched(name: str, default: bool) -> None:
    value = bool(st.session_state.get(name))
    write_option(name, None if value == default else str(value).lower())


def _put(name: str, text_of: Callable[[Any], object]) -> None:
    write_option(name, text_of(st.session_state.get(name)) or None)
