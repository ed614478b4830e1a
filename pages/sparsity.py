"""Sparsity: what is lost and gained as SAEs keep fewer features active."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from explorer.figures.sparsity import MEASURES, Measure, add_shares, legend_html, series_styles, sparsity_panel
from explorer.figures.theme import encoder_color
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.naming import sae_names
from explorer.queries.curves import fetch_dense_factor_means, fetch_sae_points
from explorer.queries.selection import heard_words, telling_layers
from explorer.store import Store
from explorer.text import MISSING, count, number, percent, r2_words, sentence, series_name
from explorer.ui.choices import chart, choose_label, choose_probed
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.explained import explain
from explorer.ui.figure import kept_figure
from explorer.ui.markup import as_written
from explorer.ui.options import choose_from, choose_one, choose_some
from explorer.ui.probe_classes import draw_classes
from explorer.ui.style import caption, download_csv, empty_state, page_header, store_columns
from explorer.ui.tables import as_read, one_decimal, three_decimals
from explorer.ui.training import draw_training
from explorer.ui.url import get_param, go_to, link_to
from explorer.verdicts import too_few

Styles = dict[tuple[object, ...], dict[str, str]]
PAPER = "paper"
N_READABLE = 12  # series of a figure
IN_SAMPLE = "In-sample (protocol paper): scored on the clips it was fitted on, where noise alone scores well."
_TABLE = {
    "encoder": "Encoder", "layer": "Layer", "sparsity": "Sparsity", "n_features": "D", "k": "k",
    "seed": "Seed", "n_epochs": "Epochs", "n_epochs_trained": "Epochs trained", "protocol": "Protocol",
    "fvu_train": "FVU train", "fvu_heldout": "FVU held out", "pca_k_fvu_heldout": "PCA-k FVU",
    "mse_heldout": "MSE held out", "accuracy": "Accuracy", "dense_accuracy": "Dense accuracy",
    "informativeness": "R² top 10", "completeness": "Completeness", "effective_codes": "Effective codes",
    "l0_mean": "l0", "n_live": "Live", "n_dead": "Dead", "n_dense": "Dense", "share_returning": "Returning",
    "open": "Open",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One figure of the page; `width` keeps it to the SAEs of one D."""

    title: str
    measure: Measure
    caption: str
    width: int | None = None


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    page_header("Sparsity", "What SAEs lose and gain as fewer features stay active, against controls.", store=store)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        label = choose_label(store)
        probed = choose_probed(store, label)
        points = add_shares(cached(fetch_sae_points, store, label, probed))
        points = _of_one_level(points)
        protocol = choose_one("Protocol", sorted(set(points["protocol"])), "protocol")
        error = choose_one("Reconstruction", {"fvu": "FVU", "mse": "MSE"}, "error")
        over = choose_one(
            "Factors averaged", {"top": "top 10", "fixed": "fixed 10"}, "over",
            help_text="Top 10: each SAE's own best factors. Fixed: the 10 best predicted from dense states.",
        )  # fmt: skip
    points = _with_dense(points[points["protocol"] == protocol], cached(fetch_dense_factor_means, store))
    points = _choose_series(points)
    styles = series_styles(points)
    st.html(legend_html(styles, list(styles)))
    caption(
        "One mark for each SAE (each seed); line: mean over seeds; thick bar: range of seeds, no confidence interval. "
        "Thin dotted lines: controls. Click a mark to open that SAE."
    )
    panels = _panels(points, error, "_fixed" if over == "fixed" else "", label, protocol)
    drawn = [panel for panel in panels if not _is_undefined(points, panel)]
    for start in range(0, len(drawn), 2):
        for column, panel in zip(st.columns(2, gap="medium"), drawn[start : start + 2], strict=False):
            with column:
                _draw(points, styles, panel)
    _say_undefined(points, [panel for panel in panels if panel not in drawn])
    _classes(store, points, label)
    _training(store, points)
    explain(
        "FVU", "probe accuracy", "informativeness", "effective codes", "completeness", "density", "sparsity",
    )  # fmt: skip
    _table(store, points)


def _classes(store: Store, points: pd.DataFrame, label: str | None) -> None:
    """The probe on the codes of one SAE, class by class, beside what the dense states of its layer reach."""
    probed = points[points["accuracy"].notna()]
    if probed.empty:
        return
    opened = st.expander(
        f"Which {as_written(label)} the codes still show, class by class", key="so-classes", on_change="rerun",
        expanded=get_param("classes") is not None,
    )  # fmt: skip
    if not opened.open:
        return
    with opened:
        _classes_of(store, probed)


def _classes_of(store: Store, probed: pd.DataFrame) -> None:
    names = sae_names(probed, with_encoder=True)
    first = probed.sort_values("is_reference", ascending=False, kind="stable")["sae_id"].iloc[0]
    chosen = choose_from("SAE", names, "classes", default=str(first), width=360, always=True)
    row = probed[probed["sae_id"] == chosen].iloc[0]
    caption(
        f"Probe on its codes: accuracy {number(row['accuracy'], 3)}, from the dense states of its layer "
        f"{number(row['dense_accuracy'], 3)}, chance {number(row['chance'], 3)}; "
        f"{_scored_on(probed[probed['sae_id'] == chosen])}."
    )
    draw_classes(store, str(row["probe_id"]), encoder_color(str(row["name"])))


def _training(store: Store, points: pd.DataFrame) -> None:
    """How one SAE was trained, and where it stopped."""
    opened = st.expander(
        "How long an SAE was trained, and why", key="so-training", on_change="rerun",
        expanded=get_param("trained") is not None,
    )  # fmt: skip
    if not opened.open:
        return
    with opened:
        names = sae_names(points, with_encoder=True)
        first = points.sort_values("is_reference", ascending=False, kind="stable")["sae_id"].iloc[0]
        chosen = choose_from("SAE", names, "trained", default=str(first), width=360, always=True)
        draw_training(store, points[points["sae_id"] == chosen].iloc[0])


def _of_one_level(points: pd.DataFrame) -> pd.DataFrame:
    """The SAEs of clips or those of frames: their losses and l0 are of different things."""
    levels = sorted(set(points["level"].dropna()))
    return points if len(levels) < 2 else points[points["level"] == choose_one("Level", levels, "level")]


def _choose_series(points: pd.DataFrame) -> pd.DataFrame:
    names = points["encoder_id"].astype(str) + "." + points["layer"].astype(str)
    series = zip(points["display_name"], points["layer"], strict=True)
    texts = {name: series_name(*one) for name, one in zip(names, series, strict=True)}
    there = list(dict.fromkeys(names))
    if len(there) == 1:
        return points
    first = list(dict.fromkeys(names[telling_layers(points).index])) if len(there) > N_READABLE else there
    shown = choose_some("Encoder and layer", texts, "show", default=first)
    if len(first) < len(there):
        caption(
            f"{count(len(there), 'layer')}: too many to show at once. Shown first: the two of each encoder with the "
            "best probes on their codes."
        )
    return points[names.isin(shown)]


def _with_dense(points: pd.DataFrame, dense: pd.DataFrame) -> pd.DataFrame:
    """Add the dense states' own means of the same layer and protocol as dense_* columns."""
    columns = [c for c in dense.columns if c not in ("encoder_id", "layer", "protocol", "n_dims")]
    renamed = dense.rename(columns={c: f"dense_{c}" for c in columns}).drop(columns="n_dims")
    return points.merge(renamed, on=["encoder_id", "layer", "protocol"], how="left")


def _panels(points: pd.DataFrame, error: str, end: str, label: str | None, protocol: str) -> list[Panel]:
    """The panels in their order; `end` is the ending of the columns averaged over the fixed 10."""
    informative = _controlled(f"informativeness{end}", f"dense_informativeness{end}", protocol)
    effective = _controlled(f"effective_codes{end}", f"dense_effective_codes{end}", protocol)
    in_sample = f" {IN_SAMPLE}" if protocol == PAPER else ""
    panels = [
        Panel(f"Reconstruction: {error.upper()}", MEASURES[error], _heldout_words(points, error)),
        Panel(f"Probe on codes: {label or 'no label'}", MEASURES["accuracy"], _probe_words(points)),
        Panel("Informativeness", informative, f"Mean {r2_words(protocol)}. Dotted: dense states.{in_sample}"),
        Panel(
            "Effective codes", effective,
            "exp(H) of |Lasso weights|: how many codes a factor takes. Dotted: dense states. Fewer is more compact."
            + in_sample,
        ),
    ]  # fmt: skip
    complete = MEASURES[f"completeness{end}"]
    for width, rows in points.groupby("n_features"):
        words = "Over all D features: a larger D or more dead ones raise it by themselves. Compare effective codes."
        words += f" {_undefined(rows, complete.column, protocol)}"
        panels.append(Panel(f"Completeness over D = {width}", complete, words.strip(), int(width)))
    return [
        *panels,
        Panel("Dead features", MEASURES["dead"], "Never active on a training clip. Warning above 20 %."),
        Panel(
            "Dense features", MEASURES["dense"],
            "Share of all activation held by features active in over half of the clips.",
        ),
        Panel("Measured sparsity", MEASURES["l0"], "Mean number of active features over k. Warning under 95 %."),
    ]  # fmt: skip


def _of_width(points: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    return points if panel.width is None else points[points["n_features"] == panel.width]


def _is_undefined(points: pd.DataFrame, panel: Panel) -> bool:
    return bool(_of_width(points, panel)[panel.measure.column].isna().all())


def _say_undefined(points: pd.DataFrame, panels: list[Panel]) -> None:
    """One box for what has no number for any SAE shown, in place of empty figures."""
    if not panels:
        return
    words = [f"{panel.title[:1].lower()}{panel.title[1:]}" for panel in panels]
    why = []
    if any(panel.measure is MEASURES["accuracy"] for panel in panels):
        why.append(_probe_words(points))
    if any(panel.measure is not MEASURES["accuracy"] for panel in panels):
        why.append("The Factors page names the reason for each factor.")
    empty_state(f"Undefined for every SAE shown: {', '.join(words)}.", " ".join(why))


def _draw(points: pd.DataFrame, styles: Styles, panel: Panel) -> None:
    measure, name = panel.measure, f"sparsity_{panel.measure.column}"
    if panel.width is not None:
        points, name = _of_width(points, panel), f"{name}_d{panel.width}"
    columns = ["sae_id", "encoder_id", "layer", "level", "method", "n_features", "k", "sparsity", "seed", "n_epochs"]
    columns += ["protocol", "n_heldout_clips", "probe_protocol", "probe_n_clips", "probe_n_groups", "ci_low", "ci_high"]
    columns += [measure.column, *([measure.control] if measure.control else [])]
    picked = chart(
        kept_figure(sparsity_panel, points, measure, is_dark(), styles=styles), f"panel-{panel.title}", points[columns],
        name, title=panel.title, caption=panel.caption, selectable=True,
    )  # fmt: skip
    if picked:
        go_to("features", sae=picked[0])


def _controlled(column: str, control: str, protocol: str) -> Measure:
    """The measure beside the dense states' own; its title says an in-sample R2."""
    measure = MEASURES[column]
    title = measure.title.replace("mean R²", f"mean {r2_words(protocol)}")
    return Measure(measure.column, title, control, "dense states of that layer", measure.low)


def _heldout_words(points: pd.DataFrame, error: str) -> str:
    words = f"On {count(points['n_heldout_clips'].max(), 'held-out clip')}."
    if error == "fvu":
        return f"{words} 1: no better than the training mean. Dotted: PCA with k components{_pca_words(points)}."
    return f"{words} In the units of the hidden states: not comparable between layers."


def _pca_words(points: pd.DataFrame) -> str:
    """How often PCA reconstructs better, in words that follow 'PCA with k components'."""
    compared = points.dropna(subset=["fvu_heldout", "pca_k_fvu_heldout"])
    n_better = int((compared["pca_k_fvu_heldout"] < compared["fvu_heldout"]).sum())
    return f", better than {n_better} of the {count(len(compared), 'SAE')} shown" if n_better else ""


def _probe_words(points: pd.DataFrame) -> str:
    if points["accuracy"].isna().all():
        reasons = points["probe_reason"].dropna()
        return f"{reasons.mode().iloc[0]}." if len(reasons) else "Not computed: no probe was fitted on these codes."
    scored = points[points["accuracy"].notna()]
    n_groups = scored["probe_n_groups"].max()
    few = f" {sentence(too_few(n_groups))}" if n_groups < MIN_GROUPS_FOR_INTERVAL else ""
    return f"{_scored_on(scored)}.{few} Dotted: dense states of the same layer."


def _scored_on(scored: pd.DataFrame) -> str:
    """Which clips the probes of these SAEs are scored on, '480 clips of 8 groups, protocol held-out'."""
    n_groups, protocol = scored["probe_n_groups"].max(), str(scored["probe_protocol"].iloc[0])
    n = f"{count(scored['probe_n_clips'].max(), 'clip')} of {count(n_groups, 'group')}"
    return f"{n}, protocol {protocol}{heard_words(protocol, scored['probe_is_blind'])}"


def _undefined(points: pd.DataFrame, column: str, protocol: str) -> str:
    if protocol == PAPER:
        return f"{IN_SAMPLE} Averaged over factors that need not beat permuted targets."
    n = int(points[column].isna().sum())
    return f"Undefined for {n} of {count(len(points), 'SAE')}: no factor predicted held out." if n else ""


def _table(store: Store, points: pd.DataFrame) -> None:
    opened = st.expander(f"All numbers of {count(len(points), 'SAE')}", key="so-numbers", on_change="rerun")
    if not opened.open:
        return  # a folded table is not sent
    rows = points.assign(
        encoder=points["display_name"],
        open=[link_to("features", sae=sae) for sae in points["sae_id"]],
    )
    with opened:
        three = {name: three_decimals for key, name in _TABLE.items() if key in rows and rows[key].dtype.kind == "f"}
        st.dataframe(
            as_read(rows[list(_TABLE)].rename(columns=_TABLE), {**three, "Sparsity": percent, "l0": one_decimal}),
            hide_index=True,
            column_config={"Open": st.column_config.LinkColumn(display_text="open")},
            placeholder=MISSING,
        )
        download_csv(points, "saes", about=store_columns(store))


main()
