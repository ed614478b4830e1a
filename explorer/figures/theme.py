"""The palette and the common look of every figure, light and dark.

The five encoders keep one colour each everywhere (Okabe and Ito's colour-blind-safe set, "Color Universal Design",
2008; its orange is darkened so that lines read on white, and its vermilion so that it stays apart from that orange).
Signs never rely on colour alone.
"""

from __future__ import annotations

import hashlib
import html
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from explorer.text import quantity, shortened

LONGEST_TICK, LONGEST_SERIES = 40, 72  # characters of a tick; of a series, a title of an axis, a note
SHARE_TICKS = ",.1~%"  # d3's words for explorer.text.percent; plotly draws the minus sign
FONT = "Inter, 'Source Sans Pro', 'DejaVu Sans', system-ui, sans-serif"
_ENCODERS = {"ast": "#D08700", "wavlm": "#0072B2", "hubert": "#009E73", "mert": "#CC79A7", "whisper": "#C23B00"}
_OTHERS = ("#7A5CC7", "#A65A2E", "#4FA3C7", "#8A8F2A", "#B8475F", "#5F7F8C")


@dataclass(frozen=True)
class Palette:
    """The surface colours of one theme, as hex strings."""

    background: str
    surface: str
    text: str
    muted: str
    line: str
    grid: str
    bar: str
    accent: str
    positive: str
    negative: str


LIGHT = Palette(
    "#FCFCFA", "#FFFFFF", "#1A2026", "#646E78", "#E3E6E4", "#ECEEEC", "#BCC3C8", "#00734F", "#4A5BC4", "#B4513A"
)
DARK = Palette(
    "#101418", "#161C20", "#E9EDF0", "#98A2AA", "#283036", "#232A2F", "#4A545B", "#1CC98F", "#8C9BF0", "#E08A6F"
)


def palette(dark: bool) -> Palette:
    """The colours of the light or the dark theme."""
    return DARK if dark else LIGHT


def encoder_color(name: str) -> str:
    """The hex colour of an encoder by its short name ('hubert', 'hubert-1a2b3c4d', 'HuBERT (small)': the same one).

    Names that are not among the five known ones get a further colour, always the same for the same name.
    """
    key = name.strip().lower()
    for known, color in _ENCODERS.items():
        if re.match(rf"{known}(?![a-z0-9])", key):
            return color
    digest = hashlib.sha256(key.encode("utf-8")).digest()
    return _OTHERS[digest[0] % len(_OTHERS)]


def with_alpha(color: str, alpha: float) -> str:
    """`color` ('#RRGGBB') as an 'rgba(...)' string with opacity `alpha` in 0..1."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def shown(text: object) -> str:
    """`text` as plotly draws it letter by letter: its own texts are markup, in which '<b>' makes bold.

    Only the three signs that plotly reads back are replaced; html.escape's quotation marks would stay as '&quot;'.
    """
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def in_short(fig: go.Figure) -> go.Figure:
    """`fig` with room for its marks, in place, whatever names a store has: ticks, legend, titles and notes are cut.

    What hovering says stays whole, and says the whole name; a note that was cut is whole on hover.
    """
    for trace in fig.data:
        if trace.name and len(trace.name) > LONGEST_TICK:
            trace.name = cut(trace.name, LONGEST_SERIES)
    for axis in (*fig.select_xaxes(), *fig.select_yaxes()):
        if axis.title.text:
            axis.title.text = cut(axis.title.text, LONGEST_SERIES)
        if axis.ticktext is not None and any(len(str(text)) > LONGEST_TICK for text in axis.ticktext):
            axis.ticktext = [cut(text, LONGEST_TICK) for text in axis.ticktext]
        elif axis.type == "category" and axis.ticktext is None:
            _name_categories(fig, axis)
    for note in fig.layout.annotations:
        short = cut(note.text or "", LONGEST_SERIES)
        if short != (note.text or ""):
            note.hovertext, note.text = note.text, short
    return fig


def _name_categories(fig: go.Figure, axis: Any) -> None:
    letter, which = axis.plotly_name[0], axis.plotly_name[0] + axis.plotly_name[5:]
    traces = [trace for trace in fig.data if (trace[f"{letter}axis"] or letter) == which]
    names = list(dict.fromkeys(str(name) for trace in traces for name in trace[letter]))
    if any(len(name) > LONGEST_TICK for name in names):
        axis.tickvals, axis.ticktext = names, [cut(name, LONGEST_TICK) for name in names]


def cut(markup: object, longest: int) -> str:
    """A text of plotly, of at most `longest` characters that are seen: tags stay, each piece of text between is cut."""
    parts = re.split(r"(<[^<>]*>)", str(markup))
    return "".join(part if part.startswith("<") else _cut_piece(part, longest) for part in parts)


def _cut_piece(piece: str, longest: int) -> str:
    plain = html.unescape(piece)
    return piece if len(plain) <= longest else shown(shortened(plain, longest))


def log_ticks(values: Iterable[float]) -> dict[str, list[Any]]:
    """tickvals and ticktext of a logarithmic axis, written as numbers are everywhere: 1, 2, 5 of each decade, or 1."""
    known = [value for value in map(float, values) if math.isfinite(value) and value > 0]
    if not known:
        return {}
    low, high = min(known), max(known)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    ticks = [step * 10.0**power for power in decades for step in steps]
    return {"tickvals": ticks, "ticktext": [quantity(tick) for tick in ticks]}


def base_layout(fig: go.Figure, dark: bool) -> go.Figure:
    """Give `fig` the common look, in place, and return it: the page's ground (a saved picture has one too), thin grid,
    small type, tight margins.
    """
    colors = palette(dark)
    axis = {
        "gridcolor": colors.grid,
        "linecolor": colors.line,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"size": 11, "color": colors.muted},
        "title": {"font": {"size": 12, "color": colors.muted}, "standoff": 8},
        "automargin": True,
        "separatethousands": True,
        "exponentformat": "e",  # 4e−7 as in explorer.text, where plotly would write 400n
        "minexponent": 5,
    }
    look = {
        "template": "none",
        "paper_bgcolor": colors.background,
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": colors.text},
        "margin": {"l": 48, "r": 12, "t": 28, "b": 40},
        "hoverlabel": {
            "bgcolor": colors.surface,
            "bordercolor": colors.line,
            "font": {"color": colors.text, "size": 12},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        "colorway": [*_ENCODERS.values(), *_OTHERS],
    }
    given = fig.layout.to_plotly_json()
    look |= dict.fromkeys(("xaxis", "yaxis", *(name for name in given if name[:5] in ("xaxis", "yaxis"))), axis)
    fig.layout = _over(given, look)  # in one piece: plotly's update takes twenty times as long
    return fig


def _over(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `more`, at every depth."""
    both = [key for key, value in more.items() if isinstance(value, dict) and isinstance(base.get(key), dict)]
    return {**base, **more, **{key: _over(base[key], more[key]) for key in both}}


def on_picture(name: str, lift: float = 0.45) -> str:
    """The encoder's colour, lightened by `lift` in 0..1, for lines over a dark spectrogram: the hue stays."""
    color = encoder_color(name)
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(value + (255 - value) * lift):02X}" for value in channels)
