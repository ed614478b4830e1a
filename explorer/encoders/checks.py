"""What a value of a checkpoint's JSON files may be: checks that give the value in use, or a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from explorer.errors import EncoderError

MAX_LAYERS, MAX_WIDTH, MAX_LENGTH = 512, 65_536, 1_000_000
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000

Check = tuple[str, Callable[[Any], Any]]
"""What is allowed, in words, and a function from a value to the value in use; it raises ValueError for another."""


def whole(low: int, high: int) -> Check:
    """A whole number, also one written as 48.0."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValueError
        if not low <= value <= high:
            raise ValueError
        return int(value)

    return f"a whole number from {low} to {high}", check


def number_from(low: float, high: float, *, above: bool = False) -> Check:
    """A number; `above`: greater than `low`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError
        if above and value == low:
            raise ValueError
        return float(value)

    return f"a number {'above' if above else 'from'} {low:g} {'and up ' if above else ''}to {high:g}", check


def flag(value: Any) -> bool:
    """The value, where it is true or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def word(value: Any) -> str:
    """The value, where it is text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def one_of(*allowed: str) -> Check:
    """One of some texts."""

    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return " or ".join(map(repr, allowed)), check


def several(low: int, high: int) -> Check:
    """A list of whole numbers, one at least."""
    _, one = whole(low, high)

    def check(value: Any) -> list[int]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_LAYERS:
            raise ValueError
        return [one(item) for item in value]

    return f"a list of whole numbers from {low} to {high}", check


def or_null(inner: Check) -> Check:
    """What `inner` allows, or null."""
    return f"{inner[0]}, or null", lambda value: None if value is None else inner[1](value)


BOOL: Check = ("true or false", flag)
ACTIVATION: Check = ("the name of an activation, such as 'gelu'", word)
SHARE = number_from(0.0, 1.0)


def checked(checks: Mapping[str, Check], values: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Those of the values that there are checks for, as they are used. Raises EncoderError naming one not allowed."""
    found = {}
    for key, (allowed, check) in checks.items():
        if key in values:
            try:
                found[key] = check(values[key])
            except (ValueError, TypeError, OverflowError) as error:
                raise refusal(where, key, values[key], allowed) from error
    return found


def refusal(where: object, key: str, value: Any, allowed: str) -> EncoderError:
    """The sentence that names a value of the file `where` and what is allowed instead."""
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return EncoderError(
        f"{where} says {key}: {shown}, but allowed is {allowed}. Correct the file or fetch the checkpoint again."
    )
