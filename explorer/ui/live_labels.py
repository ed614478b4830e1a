"""What the labels' probe says of a sound, which features speak for and against it, and what if one were weaker."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.inference import Heard
from explorer.inference.nearness import FAR
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.prediction import LabelProbe, scaled
from explorer.text import count, is_defined, number, percent, signed
from explorer.ui.choices import chart_title, section
from explorer.ui.explained import how_measured
from explorer.ui.live_features import heard_name
from explorer.ui.style import caption, empty_state, notice, plain_table, table_foot

N_CLASSES, N_FEATURES = 12, 6
EXPLAINED = r"""
The probe is a multinomial logistic regression on standardised activations, fitted on the corpus's training groups:
$\ell_k = \sum_f w_{kf}\,(x_f - \mu_f)/\sigma_f + b_k$ and $P_k = e^{\ell_k} / \sum_j e^{\ell_j}$. *Evidence for* is
$(w_{kf} - \bar w_f)(x_f - \mu_f)/\sigma_f$ with $\bar w_f$ the mean over classes: exact for the logit against the mean
of all logits, not for the probability. A silent feature can be evidence too, since 0 is below its mean. A weaker
feature changes what the probe sees; the encoder and the SAE are left as they are.
"""


def draw_labels(heard: Heard, focus: int | None, *, is_far: bool) -> None:
    """Probabilities, contributions to one class, and the switch that scales a feature."""
    probe = heard.probe
    section("Labels")
    if probe is None:
        empty_state(
            f"No probe of labels was fitted on {heard_name(heard)}.", "Run precompute with labelled recordings."
        )
        return
    if is_far:
        notice(
            f"This sound is farther from the corpus than {percent(1 - FAR)} of its own clips are from each other "
            "(see the nearest clips below): the probe still gives probabilities, but they mean little."
        )
    code = heard.code_f
    chances = probe.probabilities(code)
    order = chances.argsort()[::-1]
    rows = pd.DataFrame({probe.label_name: [probe.classes[k] for k in order], "probability": chances[order]})
    left, right = st.columns(2, gap="medium")
    with left:
        _probabilities(probe, rows, heard)
    with right:
        _speaking(probe, heard, [probe.classes[k] for k in order], focus)
    how_measured(EXPLAINED)


def _probabilities(probe: LabelProbe, rows: pd.DataFrame, heard: Heard) -> None:
    chart_title(f"{heard_name(heard)}: probability of each {probe.label_name}")
    shown = rows.head(N_CLASSES).assign(probability=100 * rows["probability"])
    bar = st.column_config.ProgressColumn("Probability", format="%.3g %%", min_value=0, max_value=100)
    st.dataframe(
        shown, hide_index=True, column_config={"probability": bar}, height="content",
        key=f"live-labels-{heard.sae['sae_id']}",
    )  # fmt: skip
    table_foot(
        f"{_how_right(probe)} Sounds unlike the corpus get probabilities all the same.",
        rows,
        f"live-labels-{heard.sae['sae_id']}",
        about=sae_columns(heard.sae),
    )


def _how_right(probe: LabelProbe) -> str:
    where = "In the published test part" if probe.protocol == "paper" else "On the corpus's held-out groups"
    if not is_defined(probe.accuracy):
        return f"{where} this probe could not be scored."
    of = f"{count(probe.n_clips, 'clip')} of {count(probe.n_groups, 'group')}"
    if probe.n_groups is not None and probe.n_groups < MIN_GROUPS_FOR_INTERVAL:
        of += f", too few groups to rely on ({probe.n_groups} of {MIN_GROUPS_FOR_INTERVAL})"
    guess = f"; one constant guess: {percent(probe.chance)}" if is_defined(probe.chance) else ""
    return f"{where} this probe is right in {percent(probe.accuracy)} of clips ({of}{guess})."


def _speaking(probe: LabelProbe, heard: Heard, classes: list[str], focus: int | None) -> None:
    chosen = st.selectbox("Evidence for and against", classes, key=f"live-class-{heard.sae['sae_id']}-{classes[0]}")
    k = probe.classes.index(chosen or classes[0])
    moves = pd.Series(probe.contrast(heard.code_f, k))
    labels = heard.known.set_index("feature")["label"]
    ends = pd.concat([moves[moves > 0].nlargest(N_FEATURES), moves[moves < 0].nsmallest(N_FEATURES)[::-1]])
    plain_table(
        pd.DataFrame(
            {
                "feature": [str(feature) for feature in ends.index],
                "label": [str(labels[f]) if is_defined(labels[f]) else "–" for f in ends.index],
                "activation": [number(float(heard.code_f[f])) for f in ends.index],
                "to the logit": [signed(float(value), 2) for value in ends],
            }
        ),
        right=("feature", "activation", "to the logit"),
    )
    _what_if(probe, heard, k, focus)


@st.fragment
def _what_if(probe: LabelProbe, heard: Heard, k: int, focus: int | None) -> None:
    active = [int(feature) for feature in heard.features["feature"]]
    if not active:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        start = active.index(focus) if focus in active else 0
        feature = st.selectbox(
            "What if feature", active, index=start, key=f"live-if-{heard.sae['sae_id']}-{focus}", width=130
        )
        by = st.slider(
            "times as active (0 removes it)", 0.0, 2.0, 1.0, 0.25, width=240,
            key=f"live-by-{heard.sae['sae_id']}-{feature}",
        )  # fmt: skip
    before = float(probe.probabilities(heard.code_f)[k])
    changed = scaled(heard.code_f, int(feature or active[0]), by)
    after = float(probe.probabilities(changed)[k])
    name = escape(probe.classes[k])
    by_logit = float(probe.contrast(changed, k).sum() - probe.contrast(heard.code_f, k).sum())
    moved = f"→ <b>{percent(after, 1)}</b> (logit {signed(by_logit)})" if by != 1.0 else "as it is; move the slider"
    st.html(f'<p role="status">P({name}): <b>{percent(before, 1)}</b> {moved}</p>')
    caption("Only the probe's input changes; encoder and SAE are untouched.")
