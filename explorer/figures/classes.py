"""Tables of the Layers page as figures: one probe's classes and confusion, and dense R2 by factor group."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import base_layout, palette, shown, with_alpha
from explorer.text import count, is_defined, number, or_none_stored, percent, series_name, shortened


def confusion_matrix(
    confusion: pd.DataFrame, dark: bool, *, selected: tuple[str | None, str | None] = (None, None)
) -> go.Figure:
    """Counts of true (rows) against predicted (columns) classes, shaded by the share of the row.

    Cells with clips carry [true, predicted] as customdata; the one that is `selected` has a frame.
    """
    colors = palette(dark)
    classes = sorted(set(confusion["true_class"]) | set(confusion["predicted_class"]))
    table = (
        confusion.pivot_table(index="true_class", columns="predicted_class", values="n", aggfunc="sum", fill_value=0)
        .reindex(index=classes, columns=classes, fill_value=0)
        .astype(int)
    )
    names = [shown(name) for name in classes]
    totals = table.sum(axis=1)
    shares = table.div(totals.where(totals > 0), axis=0)
    words = [
        [
            f"{table.loc[true, said]} of {totals[true]} {shown(true)} clips were called {shown(said)}"
            f" ({percent(shares.loc[true, said])})"
            for said in classes
        ]
        for true in classes
    ]
    fig = go.Figure(
        go.Heatmap(
            z=shares.to_numpy(),
            x=names,
            y=names,
            zmin=0,
            zmax=1,
            colorscale=[[0, with_alpha(colors.positive, 0.0)], [1, with_alpha(colors.positive, 0.6)]],
            text=[[str(v) if v else "" for v in row] for row in table.to_numpy()],
            texttemplate="%{text}",
            textfont={"color": palette(dark).text},
            hovertext=words,
            customdata=[[[true, said] if table.loc[true, said] else None for said in classes] for true in classes],
            hovertemplate="%{hovertext}<extra></extra>",
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    base_layout(fig, dark)
    fig.update_xaxes(title_text="predicted", type="category", showgrid=False, tickangle=-40)
    fig.update_yaxes(title_text="true", type="category", autorange="reversed", showgrid=False)
    ticks = {"tickvals": names, "ticktext": [shown(shortened(name)) for name in classes]}
    fig.update_xaxes(**ticks)
    fig.update_yaxes(**ticks)
    fig.update_layout(height=max(240, 90 + 26 * len(classes)), margin={"t": 6})
    if selected[0] in classes and selected[1] in classes:
        row, column = classes.index(selected[0]), classes.index(selected[1])
        frame = {"color": colors.accent, "width": 2}
        fig.add_shape(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5, line=frame)
    return fig


def class_recall(classes: pd.DataFrame, dark: bool, color: str) -> go.Figure:
    """A bar of recall for each class with its clips, '15 of 16'; classes without a scored clip say so instead of a
    bar."""
    fig = go.Figure(
        go.Bar(
            y=[shown(name) for name in classes["class"]],
            x=classes["recall"],
            orientation="h",
            marker={"color": with_alpha(color, 0.75)},
            text=[_recall_words(row) for row in classes.to_dict("records")],
            textposition="outside",
            textfont={"size": 11, "color": palette(dark).muted},
            cliponaxis=False,
            hovertext=[_class_hover(row) for row in classes.to_dict("records")],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    for row in classes[classes["recall"].isna()].to_dict("records"):
        fig.add_annotation(
            y=shown(row["class"]),
            x=0,
            text=_recall_words(row),
            showarrow=False,
            xanchor="left",
            font={"size": 11, "color": palette(dark).muted},
        )
    base_layout(fig, dark)
    fig.update_xaxes(title_text="recall", range=[0, 1.28], tickvals=[0, 0.25, 0.5, 0.75, 1])
    fig.update_yaxes(
        type="category", autorange="reversed", showgrid=False, tickvals=[shown(name) for name in classes["class"]],
        ticktext=[shown(shortened(name)) for name in classes["class"]],
    )  # fmt: skip
    fig.update_layout(height=max(240, 90 + 26 * len(classes)), bargap=0.35, showlegend=False, margin={"t": 6, "r": 40})
    return fig


def _recall_words(row: dict[str, object]) -> str:
    if is_defined(row["recall"]):
        n = int(row["n"])  # type: ignore[call-overload]
        return f"{round(float(row['recall']) * n)} of {n}"  # type: ignore[arg-type]
    return f"undefined: {shown(or_none_stored(row['reason']))}"


def _class_hover(row: dict[str, object]) -> str:
    return (
        f"{shown(row['class'])}: recall {number(row['recall'])}, precision {number(row['precision'])}, "
        f"F1 {number(row['f1'])}, {count(row['n'], 'clip')}"
    )


def dense_factor_groups(rows: pd.DataFrame, dark: bool) -> go.Figure:
    """Median held-out R2 of dense states: factor groups down, encoder and layer across; the number in each cell.

    Cells without any score are left empty. Values under 0 are shaded as 0; the printed number is the true one. Cells of
    layers with an SAE carry [sae_id, name of the best factor].
    """
    rows = rows.assign(
        series=[
            shown(series_name(n, layer, is_whole=True))
            for n, layer in zip(rows["display_name"], rows["layer"], strict=True)
        ]
    )
    across = list(dict.fromkeys(rows["series"]))
    down = list(rows.sort_values(["is_extra", "factor_group"])["factor_group"].unique())
    cells = {(r["factor_group"], r["series"]): r for r in rows.to_dict("records")}
    value = [[cells[g, s]["r2_median"] if (g, s) in cells else None for s in across] for g in down]
    fig = go.Figure(
        go.Heatmap(
            z=[[max(0.0, float(v)) if v is not None and is_defined(v) else None for v in line] for line in value],
            x=across,
            y=down,
            zmin=0,
            zmax=1,
            colorscale=[[0, with_alpha(palette(dark).positive, 0.04)], [1, with_alpha(palette(dark).positive, 0.6)]],
            text=[[number(v) if is_defined(v) else "" for v in line] for line in value],
            texttemplate="%{text}",
            textfont={"color": palette(dark).text},
            hovertext=[[_cell_words(cells.get((g, s)), g, s) for s in across] for g in down],
            customdata=[[_cell_link(cells.get((g, s))) for s in across] for g in down],
            hovertemplate="%{hovertext}<extra></extra>",
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    base_layout(fig, dark)
    short = {shown(series_name(n, layer, is_whole=True)): shown(series_name(n, layer))
             for n, layer in zip(rows["display_name"], rows["layer"], strict=True)}  # fmt: skip
    ticks = {"tickvals": across, "ticktext": [short[name] for name in across]}
    fig.update_xaxes(type="category", showgrid=False, side="top", **ticks)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    fig.update_layout(height=70 + 32 * len(down), margin={"t": 26, "b": 8})
    return fig


def _cell_words(row: dict[str, object] | None, group: str, series: str) -> str:
    if row is None:
        return f"{group} from {series}: not computed"
    best = f"best {row['best_factor']} {number(row['r2_best'])}" if is_defined(row["best_factor"]) else "best: none"
    return (
        f"{group} from {series} (dense states): median R² {number(row['r2_median'])} over "
        f"{count(row['n_scored'], 'factor')}, {row['n_undefined']} undefined<br>"
        f"{best} · {row['n_above']} predicted<br>"
        f"{count(row['n_clips'], 'clip')} of {count(row['n_groups'], 'group')}"
    )


def _cell_link(row: dict[str, object] | None) -> list[str] | None:
    if row is None or not is_defined(row["sae_id"]) or not is_defined(row["best_name"]):
        return None
    return [str(row["sae_id"]), str(row["best_name"])]
