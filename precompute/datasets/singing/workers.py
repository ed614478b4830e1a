"""Work that is done clip by clip, on this process or on several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from precompute.processes import at_work

Item = TypeVar("Item")
Made = TypeVar("Made")


def mapped(make: Callable[[Item], Made], items: Iterable[Item], n_workers: int) -> Iterator[Made]:
    """What `make` gives for each item, in order. For 2 workers or more `make` and the items must be picklable."""
    if n_workers < 2:
        yield from map(make, items)
        return
    with at_work(make, list(items), n_workers) as results:
        yield from results
