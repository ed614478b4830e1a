"""Figures of the Sparsity page: one measure against sparsity, every seed drawn, with its controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import SHARE_TICKS, base_layout, encoder_color, palette, shown, with_alpha
from explorer.naming import sae_title
from explorer.text import count, is_defined, is_false, number, percent, quantity, recipe_name, series_name

SERIES = ("encoder_id", "layer", "method", "level", "n_features", "recipe")
_SYMBOLS = ("circle", "square", "triangle-up", "cross", "x", "star")
_SIGNS = {"circle": "●", "square": "■", "triangle-up": "▲", "cross": "✚", "x": "✖", "star": "★"}
_WORDS = (
    "display_name", "layer", "sparsity", "seed", "k", "n_features", "l0_mean", "probe_n_clips", "probe_n_groups",
    "method", "protocol", "sae_id", "run_id", "is_trained", "recipe",
)  # fmt: skip
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Measure:
    """A column against sparsity: its axis words, an optional control column in the same rows, and the axis' range."""

    column: str
    title: str
    control: str | None = None
    control_words: str = ""
    low: float | None = 0.0
    high: float | None = None
    is_share: bool = False


MEASURES = {
    "fvu": Measure("fvu_heldout", "FVU, held out", "pca_k_fvu_heldout", "PCA with k components"),
    "mse": Measure("mse_heldout", "MSE, held out"),
    "accuracy": Measure("accuracy", "probe accuracy on codes", "dense_accuracy", "dense states of that layer"),
    "informativeness": Measure("informativeness", "mean R², top 10 factors", low=None),
    "informativeness_fixed": Measure("informativeness_fixed", "mean R², the fixed 10", low=None),
    "completeness": Measure("completeness", "completeness, top 10 factors", low=None),
    "completeness_fixed": Measure("completeness_fixed", "completeness, the fixed 10", low=None),
    "effective_codes": Measure("effective_codes", "effective codes, top 10 factors"),
    "effective_codes_fixed": Measure("effective_codes_fixed", "effective codes, the fixed 10"),
    "dead": Measure("dead_share", "dead features", is_share=True),
    "dense": Measure("dense_mass", "activation held by dense features", is_share=True),
    "l0": Measure("l0_share", "measured l0 as a share of k", is_share=True),
    "disentanglement": Measure("disentanglement_fixed", "disentanglement, the fixed 10", low=None),
}


def add_shares(points: pd.DataFrame) -> pd.DataFrame:
    """`points` with dead_share = n_dead / n_features, l0_share = l0_mean / k, and the recipe in words.

    SAEs of one series and sparsity differ by seed alone: how long they were trained is part of the series.
    """
    return points.assign(
        dead_share=points["n_dead"] / points["n_features"],
        l0_share=points["l0_mean"] / points["k"],
        recipe=[recipe_name(value) for value in points["n_epochs"]],
    )


def series_styles(points: pd.DataFrame) -> dict[tuple[object, ...], dict[str, str]]:
    """For each series (encoder, layer, method, level, width, recipe): name, colour, dash and symbol.

    Series of one colour (layers of an encoder, two checkpoints of a family) differ by dash and symbol. Where an encoder
    and layer have more than one recipe, the names say it.
    """
    styles: dict[tuple[object, ...], dict[str, str]] = {}
    seen: dict[str, int] = {}
    widths = points["n_features"].nunique() > 1
    recipes = points.groupby(["encoder_id", "layer"])["recipe"].nunique()
    methods = points["method"].nunique() > 1 or points["level"].nunique() > 1
    for key, rows in points.groupby(list(SERIES), sort=True):
        color = encoder_color(str(rows["name"].iloc[0]))
        place = seen.get(color, 0)
        seen[color] = place + 1
        words = series_name(str(rows["display_name"].iloc[0]), key[1])
        if widths:
            words += f" · D = {key[4]}"
        if methods:
            words += f" · {key[2]}, {key[3]}s"
        if recipes[key[:2]] > 1:
            words += f" · {key[5]}"
        styles[key] = {
            "name": words,
            "color": color,
            "dash": _DASHES[place % len(_DASHES)],
            "symbol": _SYMBOLS[place % len(_SYMBOLS)],
        }
    return styles


def sparsity_panel(
    points: pd.DataFrame, measure: Measure, dark: bool, *, styles: dict[tuple[object, ...], dict[str, str]]
) -> go.Figure:
    """`measure` against nominal sparsity: a mark for each SAE, the mean over seeds as a line, their range as a bar.

    The range of seeds is a range, not a confidence interval. Marks carry [sae_id] as customdata. `styles` comes from
    `series_styles` of all drawn points, so that a series looks the same in every panel.
    """
    lines = [*_controls(points, measure, styles), *_ranges(points, measure, styles), *_means(points, measure, styles)]
    fig = go.Figure([*lines, *_marks(points, measure, styles)])
    base_layout(fig, dark)
    ticks = sorted({round(100 * float(value), 3) for value in points["sparsity"].dropna()})
    fig.update_layout(
        height=270,
        margin={"t": 10, "b": 36},
        clickmode="event+select",
        hovermode="closest",
        showlegend=False,
        xaxis={
            "title": {"text": "nominal sparsity, 1 − k / features (%)"},
            "tickvals": ticks,
            "ticktext": [quantity(tick) for tick in ticks],
        },
        yaxis={
            "title": {"text": measure.title},
            "tickformat": SHARE_TICKS if measure.is_share else "",
            "rangemode": "normal" if measure.low is None else "tozero",
        },
    )
    if points[measure.column].isna().all():
        empty_note(fig, f"{measure.title}: undefined for every SAE shown", dark)
    return fig


def _marks(
    points: pd.DataFrame, measure: Measure, styles: dict[tuple[object, ...], dict[str, str]]
) -> list[dict[str, object]]:
    """All SAEs as one trace: it selects and draws faster than one for each series."""
    drawn = points[points[measure.column].notna()]
    if drawn.empty:
        return []
    looks = [styles[key] for key in drawn[list(SERIES)].itertuples(index=False, name=None)]
    needed = [*_WORDS, measure.column, *([measure.control] if measure.control else [])]
    records = drawn[list(dict.fromkeys(needed))].astype(object).to_dict("records")
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": 100 * drawn["sparsity"].to_numpy(dtype=float),
            "y": drawn[measure.column].to_numpy(dtype=float),
            "marker": {
                "size": 9,
                "opacity": 1,
                "symbol": [look["symbol"] for look in looks],
                "color": [look["color"] for look in looks],
            },
            "customdata": [[sae] for sae in drawn["sae_id"]],
            "text": [_point_words(row, measure) for row in records],
            "hovertemplate": "%{text}<extra></extra>",
        }
    ]


@dataclass
class _Line:
    """The lines of all series that look alike, as one trace with gaps: a figure of a hundred traces draws slowly."""

    names: list[str] = field(default_factory=list)
    x: list[object] = field(default_factory=list)
    y: list[object] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def break_for(self, name: str) -> None:
        """Begin the line of the series `name`, unless it is the one being drawn."""
        if self.names and self.names[-1] == name:
            return
        if self.names:
            self.add(None, None)
        self.names.append(name)

    def add(self, x: float | None, y: float | None, text: str = "") -> None:
        """Go on to a point; None makes a gap."""
        self.x.append(x)
        self.y.append(y)
        self.text.append(text)

    def trace(self, line: dict[str, object], end: str = "") -> dict[str, object]:
        """The plotly trace without what hovering says; it is named by its series."""
        name = ", ".join(self.names) + end
        return {"type": "scatter", "mode": "lines", "x": self.x, "y": self.y, "line": line, "name": name}


Looks = dict[tuple[str, str], _Line]


def _by_sparsity(points: pd.DataFrame, column: str) -> Iterator[tuple[tuple[object, ...], tuple[float, ...]]]:
    """(series, (100 x sparsity, mean, lowest, highest, number of SAEs)) wherever the column has a value."""
    there = points[points[column].notna()]
    by = there.groupby([*SERIES, "sparsity"], sort=True)[column].agg(["mean", "min", "max", "size"]).reset_index()
    by["sparsity"] *= 100
    n = len(SERIES)
    return ((row[:n], row[n:]) for row in by.itertuples(index=False, name=None))


def _means(
    points: pd.DataFrame, measure: Measure, styles: dict[tuple[object, ...], dict[str, str]]
) -> list[dict[str, object]]:
    looks: Looks = {}
    for key, (x, mean, *_) in _by_sparsity(points, measure.column):
        line = looks.setdefault((styles[key]["color"], styles[key]["dash"]), _Line())
        line.break_for(styles[key]["name"])
        line.add(x, mean)
    return [
        {**line.trace({"color": color, "dash": dash, "width": 2}), "hoverinfo": "skip"}
        for (color, dash), line in looks.items()
    ]


def _ranges(
    points: pd.DataFrame, measure: Measure, styles: dict[tuple[object, ...], dict[str, str]]
) -> list[dict[str, object]]:
    looks: Looks = {}
    for key, (x, _, low, high, n) in _by_sparsity(points, measure.column):
        if n > 1:
            line = looks.setdefault((styles[key]["color"], ""), _Line())
            line.names.extend([styles[key]["name"]] if styles[key]["name"] not in line.names else [])
            for y in (low, high):
                line.add(x, y)
            line.add(None, None)
    return [
        {**line.trace({"color": with_alpha(color, 0.4), "width": 5}, ", range of seeds"), "hoverinfo": "skip"}
        for (color, _), line in looks.items()
    ]


def _controls(
    points: pd.DataFrame, measure: Measure, styles: dict[tuple[object, ...], dict[str, str]]
) -> list[dict[str, object]]:
    if measure.control is None:
        return []
    looks: Looks = {}
    for key, (x, mean, *_) in _by_sparsity(points, measure.control):
        name = styles[key]["name"]
        line = looks.setdefault((styles[key]["color"], ""), _Line())
        line.break_for(name)
        line.add(x, mean, f"{shown(name)}: {measure.control_words}, {number(mean, 3)}")
    return [
        {
            **line.trace({"color": with_alpha(color, 0.75), "width": 1.2, "dash": "dot"}, ", control"),
            "text": line.text,
            "hovertemplate": "%{text}<extra>control</extra>",
        }
        for (color, _), line in looks.items()
    ]


def _point_words(row: dict[str, object], measure: Measure) -> str:
    value = percent(row[measure.column], 1) if measure.is_share else number(row[measure.column], 3)
    words = [
        f"<b>{shown(sae_title(row, is_whole=True))}</b>",
        f"{measure.title} {value}",
        f"measured l0 {number(row['l0_mean'], 1)} · {percent(row['sparsity'])} sparse",
    ]
    if measure.control is not None and is_defined(row[measure.control]):
        words.append(f"{measure.control_words} {number(row[measure.control], 3)}")
    if measure.column == "accuracy":
        words.append(f"{count(row['probe_n_clips'], 'clip')} of {count(row['probe_n_groups'], 'group')}")
    words.append(f"{row['method']} · {row['recipe']} · {row['protocol']} · SAE {row['sae_id']} · run {row['run_id']}")
    if is_false(row["is_trained"]):
        words.append("random weights: says nothing about the trained model")
    return "<br>".join(words)


def empty_note(fig: go.Figure, text: str, dark: bool) -> go.Figure:
    """Write `text` in the middle of a figure that has nothing to draw. Returns it."""
    fig.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"color": palette(dark).muted}
    )
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    return fig


def legend_html(styles: dict[tuple[object, ...], dict[str, str]], order: Sequence[tuple[object, ...]]) -> str:
    """The series as one line of HTML: a dashed sample and the mark in the series' colour, and its escaped name."""
    borders = {"solid": "solid", "dash": "dashed", "longdash": "dashed"}
    items = [
        f'<span style="white-space:nowrap;margin-right:1.2em"><i style="display:inline-block;width:24px;'
        f"vertical-align:middle;margin-right:.4em;"
        f'border-top:3px {borders.get(styles[key]["dash"], "dotted")} {styles[key]["color"]}"></i>'
        f'<i style="font-style:normal;color:{styles[key]["color"]};margin-right:.3em">'
        f"{_SIGNS[styles[key]['symbol']]}</i>"
        f"{escape(styles[key]['name'])}</span>"
        for key in order
    ]
    return f'<div style="font-size:0.85rem;line-height:1.7">{"".join(items)}</div>'
