"""What was made of the same content before: results of pure functions, shared by all readers of a server."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from explorer.ui.shelf import Shelf

P = ParamSpec("P")
R = TypeVar("R")
MAX_BYTES = 64 * 2**20


@cache
def _shelf() -> Shelf[Any]:
    return Shelf(MAX_BYTES)


def kept(make: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """`make(*arguments, **options)`, remembered by the content of its arguments, which must pickle.

    `make` is a pure function of a module. Its result is everybody's: change nothing in it.
    """
    content = pickle.dumps((make.__module__, make.__qualname__, arguments, options))
    result: R = _shelf().get(hashlib.sha256(content).digest(), lambda: make(*arguments, **options))
    return result
