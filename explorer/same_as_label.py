"""Columns that are the label under another name, such as ESC-50's `target`, the number of its category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from explorer.text import is_defined


def same_as_label(columns: Mapping[str, Iterable[object]], label: Iterable[object]) -> list[str]:
    """The names of the columns that determine the label and are determined by it, in their order.

    Each is one value a clip, in the clips' order, as `label` is. A missing value (None, NaN, '') is a value like
    others, so that a column which is missing where the label is not is no other name for it. A label of fewer than two
    values has none.
    """
    truth = [_value(value) for value in label]
    n_labels = len(set(truth))
    if len(set(truth) - {None}) < 2:
        return []
    return [
        name
        for name, values in columns.items()
        if len(pairs := set(zip(map(_value, values), truth, strict=True))) == n_labels
        and len({value for value, _ in pairs}) == n_labels
    ]


def _value(value: object) -> str | None:
    return str(value) if is_defined(value) and value != "" else None
