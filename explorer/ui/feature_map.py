"""The map of an SAE's live features as a component: drawn without WebGL, plays the clip of the point under the pointer.

Its script and style sheet are plain files beside this one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from explorer.figures.features import MapColors
from explorer.text import count, is_defined, number, percent
from explorer.ui.kept import kept


@cache
def _renderer() -> Any:
    here = Path(__file__)
    return st.components.v2.component(
        "sonoscope_map",
        html='<div class="map"></div>',
        css=here.with_name("feature_map.css").read_text(encoding="utf-8"),
        js="\n".join(here.with_name(name).read_text(encoding="utf-8") for name in ("address.js", "feature_map.js")),
    )


def feature_map(rows: pd.DataFrame, colors: MapColors, key: str, *, height_px: int = 460) -> int | None:
    """Draw the map of `rows` of `fetch_feature_map`. Returns the feature that was clicked for this run, else None."""
    result = _renderer()(key=key, data=kept(map_data, rows, colors, height_px), on_event_change=lambda: None)
    event = result.get("event")
    return int(event["feature"]) if event else None


def map_data(rows: pd.DataFrame, colors: MapColors, height_px: int) -> dict[str, Any]:
    """What the script gets: a list for each column, places scaled to 0..1 with one scale for both axes."""
    span = max(float(rows["map_x"].max() - rows["map_x"].min()), float(rows["map_y"].max() - rows["map_y"].min()), 1e-9)
    return {
        "height_px": height_px,
        "x": _places(rows["map_x"], span),
        "y": _places(rows["map_y"], span),
        "feature": [int(feature) for feature in rows["feature"]],
        "color": colors.colors,
        "named": [bool(is_defined(label)) for label in rows["label"]],
        "words": [_words(row) for row in rows.to_dict("records")],
        "clip_id": [clip_id if isinstance(clip_id, str) else None for clip_id in rows["clip_id"]],
        "title": [title if isinstance(title, str) else "" for title in rows["title"]],
        "kinds": [list(kind) for kind in colors.kinds],
        "ramp": list(colors.ramp),
        "ends": [number(end) for end in colors.ends],
    }


def _places(values: pd.Series, span: float) -> list[float]:
    middle = (values.max() + values.min()) / 2
    return [round(float(value), 4) for value in (values - middle) / span + 0.5]


def _words(row: dict[Any, Any]) -> str:
    label = f"{row['label']}, F1 {number(row['label_f1'])}" if isinstance(row["label"], str) else "no label shown"
    return (
        f"{label} · active in {percent(row['density'], 1)}, in {count(row['n_groups_active'], 'group')} · "
        f"largest {number(row['max_value'])}"
    )
