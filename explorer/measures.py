"""What counts as a measure of clips beside the acoustic factors: columns of numbers, and planted values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from explorer.same_as_label import same_as_label
from explorer.text import count, is_defined

COLUMN, PLANTED = "column", "planted"
EXTRA = (COLUMN, PLANTED)  # factor groups of measures that are no acoustic factors
MIN_VALUES = 3  # two values are two classes
_NOUNS = {COLUMN: ("column", "columns"), PLANTED: ("planted value", "planted values")}


def measure_name(kind: str, name: str) -> str:
    """The name of a measure among the factors of a store: 'column.age', 'planted.f0_st'; a factor's is its own."""
    return f"{kind}.{name}" if kind in EXTRA else name


def kind_and_own_name(factor_group: str, name: str) -> tuple[str, str]:
    """The reverse of `measure_name`: ('column', 'age'); of a factor its group and name."""
    return factor_group, name.removeprefix(f"{factor_group}.") if factor_group in EXTRA else name


def measure_text(row: Mapping[str, object]) -> str:
    """What a measure is called where it stands among factors: 'note · column', 'planted pitch', 'loudness mean'."""
    return f"{row['display_name']}{f' · {COLUMN}' if row['factor_group'] == COLUMN else ''}"


def are_acoustic(rows: pd.DataFrame) -> pd.Series:
    """Which rows (with `factor_group`) are acoustic factors, those that all counts and averages are over."""
    return ~rows["factor_group"].isin(EXTRA)


def kinds_counted(factor_groups: Iterable[object]) -> str:
    """'28 factors, 2 columns and 1 planted value'; 'no factors' for none."""
    groups = [str(group) for group in factor_groups]
    n_factors = sum(group not in EXTRA for group in groups)
    extras = [count(groups.count(kind), *_NOUNS[kind]) for kind in EXTRA if kind in groups]
    words = [count(n_factors, "factor"), *extras] if n_factors or not extras else extras
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def numeric_columns(
    attributes: Mapping[str, Sequence[object]],
    labels: Mapping[str, Sequence[object]],
    groups: Sequence[object],
    files: Sequence[object],
    folds: Sequence[object],
) -> dict[str, NDArray[np.float64]]:
    """The columns of a corpus that are measures, (c,) floats by name in order, NaN where a clip has no value.

    All values that are there are finite numbers, MIN_VALUES different ones at least. Left out is what is a name and no
    quantity: an attribute that is a label or the data set's fold under another name, a label that is the group under
    another name, and row numbers (each file its own, from 0 or 1 on without a gap). Each column has a value a clip.
    """
    are_own_folds = len(set(folds)) < len(set(groups))  # else a fold is a group, which a quantity may stand for
    found = {}
    for name, values in sorted({**attributes, **labels}.items()):
        numbers = _numbers(values)
        if numbers is None or _are_row_numbers(numbers, files):
            continue
        names = [groups] if name in labels else [*labels.values(), *([folds] if are_own_folds else [])]
        if not any(same_as_label({name: values}, other) for other in names):
            found[name] = numbers
    return found


def _numbers(values: Sequence[object]) -> NDArray[np.float64] | None:
    """The values as floats, or None where one is no finite number or there are too few different ones."""
    numbers = np.full(len(values), np.nan)
    for at, value in enumerate(values):
        if not is_defined(value) or value == "":
            continue
        text = str(value)
        try:
            numbers[at] = float(text)
        except ValueError:
            return None
        if "_" in text or not math.isfinite(numbers[at]):
            return None
    return numbers if len(np.unique(numbers[np.isfinite(numbers)])) >= MIN_VALUES else None


def _are_row_numbers(numbers: NDArray[np.float64], files: Sequence[object]) -> bool:
    of_files = sorted({(number, str(file)) for number, file in zip(numbers, files, strict=True)})
    first = of_files[0][0] if np.isfinite(numbers).all() else math.nan
    n_files = len(set(map(str, files)))
    return first in (0, 1) and [number for number, _ in of_files] == [first + at for at in range(n_files)]
