"""The measures of a store by the keys that addresses carry: 'planted.pitch', 'factor.loudness_sma3_amean'."""

from __future__ import annotations

import pandas as pd

from explorer.measures import EXTRA, PLANTED

FACTOR = "factor"


def measure_key(kind: str, name: str) -> str:
    """The key of a measure of `fetch_measures`: names of factors are unique, whatever their group."""
    return f"{kind if kind in EXTRA else FACTOR}.{name}"


def measure_texts(measures: pd.DataFrame) -> dict[str, str]:
    """What stands in a chooser for each key."""
    return {
        measure_key(row["kind"], row["name"]): (
            f"planted: {row['title']}" if row["kind"] == PLANTED else f"{row['title']} · {row['kind']}"
        )
        for row in measures.to_dict("records")
    }


def old_measures(measures: pd.DataFrame) -> dict[str, str]:
    """Keys by what addresses once carried instead."""
    keys = [measure_key(kind, name) for kind, name in zip(measures["kind"], measures["name"], strict=True)]
    return {
        text: key
        for key, row in zip(keys, measures.to_dict("records"), strict=True)
        for text in (f"{row['kind']}:{row['name']}", f"{row['title']} ({row['kind']})")
    }


def kind_and_name(key: str, measures: pd.DataFrame) -> tuple[str, str]:
    """The columns kind and name of the measure with this key, which is one of `measure_texts`."""
    keys = [measure_key(kind, name) for kind, name in zip(measures["kind"], measures["name"], strict=True)]
    row = measures.iloc[keys.index(key)]
    return str(row["kind"]), str(row["name"])
