"""Which type each option of a run must have: a TOML file can hold anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from explorer.errors import ConfigError


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _list_of(is_item: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and all(is_item(item) for item in value)


# By a field's annotation without "| None".
_ALLOWED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "str": (_is_text, 'text in quotes, such as "6,12"'),
    "int": (_is_whole, "a whole number"),
    "float": (_is_number, "a number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "Path": (lambda value: isinstance(value, str | Path), "the path of a folder in quotes"),
    "tuple[str, ...]": (_list_of(_is_text), 'a list of texts, such as ["hubert"]'),
    "tuple[int, ...]": (_list_of(_is_whole), "a list of whole numbers, such as [0, 1, 2]"),
    "tuple[float, ...]": (_list_of(_is_number), "a list of numbers, such as [0.75, 0.95]"),
}


def checked(config_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, where they have the types of their fields in `config_class`; a whole number may stand for a number.

    Other names are not looked at. Raises ConfigError naming the value and what is allowed.
    """
    found = dict(values)
    for field in dataclasses.fields(config_class):
        is_allowed, text = _ALLOWED.get(str(field.type).removesuffix(" | None"), (lambda _: True, ""))
        if field.name in values and not is_allowed(values[field.name]):
            name = field.name.replace("_", "-")
            raise ConfigError(f"{name}: {values[field.name]!r} is not allowed; give {text}.")
        if field.name in values and field.type == "float":
            found[field.name] = float(values[field.name])  # 10 and 10.0 are one run
    return found
