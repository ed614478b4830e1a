"""What was made of the same content before: results of pure functions, shared by all readers of a server."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

import streamlit as st

P = ParamSpec("P")
R = TypeVar("R")
N_KEPT = 500


@cache
def _shelf() -> Callable[..., Any]:
    """The cache itself, made on first use: at import there is no server yet."""

    def made(content: bytes, _make: Callable[[], Any]) -> Any:
        return _make()

    return st.cache_resource(max_entries=N_KEPT, show_spinner=False)(made)


def kept(make: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """`make(*arguments, **options)`, remembered by the content of its arguments, which must pickle.

    `make` is a pure function of a module. Its result is everybody's: change nothing in it.
    """
    content = pickle.dumps((make.__module__, make.__qualname__, arguments, options))
    return _shelf()(hashlib.sha256(content).digest(), lambda: make(*arguments, **options))
