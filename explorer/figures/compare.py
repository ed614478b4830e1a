"""Figures of the Compare page: the same factors from two representations, and how far matches hold up."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from explorer.factor_words import are_predicted
from explorer.figures.theme import base_layout, palette, shown, with_alpha
from explorer.measures import are_acoustic
from explorer.text import count, number

R2_FLOOR = -1.0  # what is worse is drawn here: one value of −12 would leave no room for the others


def factor_pairs(pairs: pd.DataFrame, dark: bool, *, name_a: str, name_b: str) -> go.Figure:
    """R2 of each factor from B against that from A, where both have one. customdata: [factor_index].

    R2 under R2_FLOOR is drawn at it. Those that are predicted from neither are hollow; measures that are no acoustic
    factors are diamonds.
    """
    colors = palette(dark)
    drawn = pairs[pairs["r2_a"].notna() & pairs["r2_b"].notna()]
    sound = are_predicted(drawn, "_a") | are_predicted(drawn, "_b")
    across, up = (drawn[name].clip(lower=R2_FLOOR) for name in ("r2_a", "r2_b"))
    values = pd.concat([across, up])
    low = min(0.0, float(values.min())) if len(values) else 0.0
    fig = go.Figure()
    fig.add_scatter(
        x=[low, 1],
        y=[low, 1],
        mode="lines",
        line={"color": colors.muted, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    fig.add_scatter(
        x=across,
        y=up,
        mode="markers",
        marker={
            "size": 9,
            "color": with_alpha(colors.positive, 0.7),
            "symbol": [
                f"{'circle' if is_factor else 'diamond'}{'' if flag else '-open'}"
                for is_factor, flag in zip(are_acoustic(drawn), sound, strict=True)
            ],
        },
        customdata=[[int(g)] for g in drawn["factor_index"]],
        text=[
            f"<b>{shown(r['display_name'])}</b> ({shown(r['factor_group'])})<br>A: R² {number(r['r2_a'])}, permuted "
            f"{number(r['r2_permuted_a'])}, effective codes {number(r['effective_codes_a'], 1)}<br>"
            f"B: R² {number(r['r2_b'])}, permuted {number(r['r2_permuted_b'])}, effective codes "
            f"{number(r['effective_codes_b'], 1)}<br>{count(r['n_clips_a'], 'clip')} / {count(r['n_clips_b'], 'clip')}"
            for r in drawn.to_dict("records")
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    base_layout(fig, dark)
    fig.update_xaxes(title_text=f"R² from A: {shown(name_a)}", range=[low - 0.04, 1.04])
    fig.update_yaxes(title_text=f"R² from B: {shown(name_b)}", range=[low - 0.04, 1.04])
    fig.update_layout(height=400, margin={"t": 12}, hovermode="closest")
    return fig


def match_scatter(matches: pd.DataFrame, dark: bool, *, selected: tuple[int, int] | None = None) -> go.Figure:
    """Held-out correlation of matched features against the training correlation the match was chosen on.

    Matches without a held-out correlation are not drawn. customdata: [feature, other_feature].
    """
    colors = palette(dark)
    drawn = matches[matches["r_train"].notna() & matches["r_heldout"].notna()]
    pairs = list(zip(drawn["feature"], drawn["other_feature"], strict=True))
    fig = go.Figure()
    fig.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": colors.muted, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    fig.add_scatter(
        x=drawn["r_train"],
        y=drawn["r_heldout"],
        mode="markers",
        marker={
            "size": [13 if pair == selected else 7 for pair in pairs],
            "color": with_alpha(colors.positive, 0.6),
            "line": {"color": colors.text, "width": [2 if pair == selected else 0 for pair in pairs]},
        },
        customdata=drawn[["feature", "other_feature"]].to_numpy(dtype=object),
        text=[
            f"A {r['feature']} with B {r['other_feature']}<br>r {number(r['r_train'])} on training clips, "
            f"{number(r['r_heldout'])} held out"
            for r in drawn.to_dict("records")
        ],
        hovertemplate="%{text}<extra>click plays the pair</extra>",
        showlegend=False,
    )
    base_layout(fig, dark)
    fig.update_xaxes(title_text="r on training clips (chosen on)")
    fig.update_yaxes(title_text="r on held-out clips")
    fig.update_layout(height=400, margin={"t": 12}, clickmode="event+select", hovermode="closest")
    return fig
