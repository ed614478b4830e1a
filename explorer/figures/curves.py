"""The figure of probe accuracy by layer."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import base_layout, encoder_color, palette, shown, with_alpha
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.text import count, is_defined, is_false, number, shortened

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}

CHANCE = "chance"
N_NAMED = 3  # attributes named at one level of a figure
WORDS_HIGH = 0.03  # how high a line of words stands over a level, in units of accuracy


def chance_level(probes: pd.DataFrame, metric: str) -> float | None:
    """The score of knowing nothing: the commonest class's share, 1 / classes when balanced, None for macro F1."""
    if metric == "accuracy":
        values = probes["chance"].dropna()
        return float(values.iloc[0]) if len(values) else None
    if metric == "balanced_accuracy":
        values = probes["n_classes"].dropna()
        return 1.0 / float(values.iloc[0]) if len(values) and values.iloc[0] > 0 else None
    return None


def layer_curves(
    probes: pd.DataFrame,
    groups: pd.DataFrame,
    dark: bool,
    *,
    metric: str = "accuracy",
    attributes: pd.DataFrame | None = None,
    selected: tuple[str, int] | None = None,
    height_px: int = 420,
) -> go.Figure:
    """Score by layer, a line for each encoder; `probes` and `groups` as the curves queries return them.

    Intervals are drawn where the store has them; otherwise (`accuracy` only) a small dot for each group. Under
    MIN_GROUPS_FOR_INTERVAL groups nothing joins the layers: a line would compare what cannot be compared. Diamonds are
    layers chosen for SAEs. Points and dots carry [encoder_id, layer, probe_id] as customdata: a dot opens its probe.
    """
    fig = go.Figure()
    shift, dashes = _shifts(probes), _dashes(probes)
    for encoder_id, rows in probes.groupby("encoder_id", sort=False):
        color = encoder_color(str(rows["name"].iloc[0]))
        if metric == "accuracy":
            _add_groups(fig, groups[groups["encoder_id"] == encoder_id], color, shift[str(encoder_id)])
        _add_encoder(fig, rows, {"color": color, "dash": dashes[str(encoder_id)]}, metric, dark)
    _add_levels(fig, probes, attributes, metric, dark)
    _add_selected(fig, probes, selected, metric, dark)
    base_layout(fig, dark)
    fig.update_xaxes(title_text="layer (0 is the embedding output)", showgrid=False, tickangle=0)
    if len(probes):
        deepest = int(probes["layer"].max())
        fig.update_xaxes(range=[-0.7, deepest + 0.7], tickvals=list(range(deepest + 1)))
    fig.update_yaxes(title_text=METRICS[metric], rangemode="tozero")
    fig.update_layout(height=height_px, hovermode="closest", clickmode="event+select")
    return fig


def _shifts(probes: pd.DataFrame) -> dict[str, float]:
    ids = list(dict.fromkeys(probes["encoder_id"]))
    return {str(name): (i - (len(ids) - 1) / 2) * 0.12 for i, name in enumerate(ids)}


def _dashes(probes: pd.DataFrame) -> dict[str, str]:
    """The dash of each encoder's line: the same for all, but where two of a family share their colour."""
    styles, seen = ("solid", "dash", "dot", "dashdot"), Counter[str]()
    dashes = {}
    for row in probes.drop_duplicates("encoder_id").itertuples():
        color = encoder_color(str(row.name))
        dashes[str(row.encoder_id)] = styles[seen[color] % len(styles)]
        seen[color] += 1
    return dashes


def _add_groups(fig: go.Figure, groups: pd.DataFrame, color: str, shift: float) -> None:
    if groups.empty:
        return
    fig.add_scatter(
        x=groups["layer"] + shift,
        y=groups["accuracy"],
        mode="markers",
        marker={"size": 5, "color": with_alpha(color, 0.35)},
        customdata=groups[["encoder_id", "layer", "probe_id"]].to_numpy(dtype=object),
        text=[
            f"{shown(row.display_name)} L{row.layer} · {shown(row.group_id)}<br>accuracy {number(row.accuracy)} · "
            f"{count(row.n, 'clip')}"
            for row in groups.itertuples()
        ],
        hovertemplate="%{text}<extra>one group</extra>",
        showlegend=False,
    )


def _add_encoder(fig: go.Figure, rows: pd.DataFrame, look: dict[str, str], metric: str, dark: bool) -> None:
    color = look["color"]
    line = rows.groupby("layer", as_index=False)[metric].mean()
    name = shown(shortened(rows["display_name"].iloc[0], n_last=10))
    is_few = bool((rows["n_groups"] < MIN_GROUPS_FOR_INTERVAL).any())
    if not is_few:
        fig.add_scatter(
            x=line["layer"], y=line[metric], mode="lines", line={**look, "width": 2}, name=name, hoverinfo="skip"
        )
    around = (rows["ci_low"] <= rows[metric]) & (rows[metric] <= rows["ci_high"])  # an older store has other intervals
    with_interval = rows[around] if metric == "accuracy" and not is_few else rows.iloc[:0]
    if len(with_interval):
        fig.add_scatter(
            x=with_interval["layer"],
            y=with_interval[metric],
            mode="markers",
            marker={"size": 1, "color": color},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": with_interval["ci_high"] - with_interval[metric],
                "arrayminus": with_interval[metric] - with_interval["ci_low"],
                "color": with_alpha(color, 0.5),
                "thickness": 1.5,
                "width": 3,
            },
            hoverinfo="skip",
            showlegend=False,
        )
    other = "circle" if look["dash"] == "solid" or not is_few else "square"  # two of one family
    chosen = rows["is_chosen"].fillna(False).astype(bool)
    fig.add_scatter(
        x=rows["layer"],
        y=rows[metric],
        mode="markers",
        marker={
            "size": [13 if flag else 8 for flag in chosen],
            "symbol": ["diamond" if flag else other for flag in chosen],
            "color": color,
            "opacity": 1,
            "line": {"color": palette(dark).text, "width": [1.5 if flag else 0 for flag in chosen]},
        },
        customdata=rows[["encoder_id", "layer", "probe_id"]].to_numpy(dtype=object),
        text=[_probe_words(row, metric) for row in rows.to_dict("records")],
        hovertemplate="%{text}<extra></extra>",
        name=name,
        showlegend=is_few,
    )


def _probe_words(row: dict[str, object], metric: str) -> str:
    low, high = row["ci_low"], row["ci_high"]
    is_around = is_defined(low) and float(low) <= float(row[metric]) <= float(high)  # type: ignore[arg-type]
    interval = (
        f" (95 % interval {number(low)} to {number(high)}, by group)" if metric == "accuracy" and is_around else ""
    )
    words = [
        f"<b>{shown(row['display_name'])} L{row['layer']}</b>",
        f"{METRICS[metric]} {number(row[metric], 3)}{interval}",
        f"chance {number(row['chance'], 3)} · {count(row['n_classes'], 'class', 'classes')}",
        f"{count(row['n_clips'], 'clip')} of {count(row['n_groups'], 'group')}",
        f"{row['protocol']} · seed {row['seed']} · probe {row['probe_id']}",
    ]
    if is_defined(row["is_chosen"]) and bool(row["is_chosen"]):
        words.append(f"chosen for SAEs: {shown(row['role']) if is_defined(row['role']) else 'role not stored'}")
    if is_false(row["is_trained"]):
        words.append("random weights: says nothing about the trained model")
    if not is_defined(row[metric]) and is_defined(row["reason"]):
        words.append(f"undefined: {shown(row['reason'])}")
    return "<br>".join(words)


def _add_selected(
    fig: go.Figure, probes: pd.DataFrame, selected: tuple[str, int] | None, metric: str, dark: bool
) -> None:
    if selected is None:
        return
    rows = probes[(probes["encoder_id"] == selected[0]) & (probes["layer"] == selected[1])]
    fig.add_scatter(
        x=rows["layer"],
        y=rows[metric],
        mode="markers",
        marker={"symbol": "circle-open", "size": 22, "color": palette(dark).text, "line": {"width": 1.5}},
        name="shown below",
        hoverinfo="skip",
    )


def _add_levels(fig: go.Figure, probes: pd.DataFrame, attributes: pd.DataFrame | None, metric: str, dark: bool) -> None:
    levels: list[tuple[float, str]] = []
    chance = chance_level(probes, metric)
    if chance is not None:
        levels.append((chance, CHANCE))
    if attributes is not None:
        for attribute, rows in attributes.groupby("attribute"):
            value = rows[metric].mean()
            if is_defined(value):
                levels.append((float(value), shown(shortened(attribute))))
    for here in _near(levels):  # one line of words where two would overlap
        names = sorted((words for _, words in here), key=lambda words: words != CHANCE)
        low, high = number(here[0][0]), number(here[-1][0])
        text = f"{_level_words(names, names[0] == CHANCE)}: {low if low == high else f'{low} to {high}'}"
        for at, value in enumerate(dict.fromkeys(round(value, 2) for value, _ in here)):
            exact, words = next(level for level in here if round(level[0], 2) == value)
            is_top = at == len({round(level[0], 2) for level in here}) - 1
            _level(fig, exact, text if is_top else "", palette(dark).muted, "dot" if words == CHANCE else "dash")


def _near(levels: list[tuple[float, str]]) -> list[list[tuple[float, str]]]:
    """The levels from low to high, those together whose words would stand on each other."""
    groups: list[list[tuple[float, str]]] = []
    for level in sorted(levels, key=lambda level: level[0]):
        if groups and level[0] - groups[-1][0][0] < WORDS_HIGH:
            groups[-1].append(level)
        else:
            groups.append([level])
    return groups


def _level_words(names: list[str], is_chance: bool) -> str:
    """'chance, knowing only sex, vowel and 3 more': what reaches one level, short enough for a line in the figure."""
    attributes = names[1:] if is_chance else names
    more = f" and {len(attributes) - N_NAMED} more" if len(attributes) > N_NAMED else ""
    known = [f"knowing only {', '.join(attributes[:N_NAMED])}{more}"] if attributes else []
    return ", ".join([CHANCE] * is_chance + known)


def _level(fig: go.Figure, y: float, text: str, color: str, dash: str) -> None:
    fig.add_hline(
        y=y,
        line={"color": color, "width": 1, "dash": dash},
        annotation={"text": text, "font": {"size": 11, "color": color}, "xanchor": "right", "yanchor": "bottom"},
        annotation_position="top right",
    )
