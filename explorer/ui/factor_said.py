"""What the Factors page says of an SAE's factors: the answer, what it stands on, and one factor in words."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from explorer.factor_words import NOT_PREDICTED, are_predicted, p_words, verdict
from explorer.figures.factors import COMPLETENESS_THRESHOLD, R2_THRESHOLD
from explorer.measures import COLUMN, PLANTED, are_acoustic
from explorer.naming import sae_title
from explorer.text import count, is_defined, number, or_none_stored, scored_on, sentence
from explorer.ui.style import caption

N_NAMED = 4


def draw_summary(scores: pd.DataFrame, sae: dict[str, Any], protocol: str) -> None:
    """The answer for the acoustic factors, then for other measures, then what it stands on."""
    every, scores = scores, scores[are_acoustic(scores)]
    found, scored = are_predicted(scores), scores["r2_shown"].notna()
    n_found, untested = int(found.sum()), int((scored & scores["untested"].notna()).sum())
    of, ranked = count(scored.sum(), "scored factor"), int(scores["transform"].notna().sum())
    if protocol == "paper":
        answer = f"{n_found} of {of} beat shuffled factors, in sample."
    elif untested == scored.sum() > 0:
        answer = f"Whether the {of} are predictable on unseen groups cannot be tested here."
    else:
        answer = f"{n_found} of {of} are predictable on unseen groups from this SAE's codes."
    st.html(f"<p><strong>{escape(' '.join(part for part in (answer, extra_words(every)) if part))}</strong></p>")
    passing = (scores["r2_shown"] >= R2_THRESHOLD) & (scores["completeness"] >= COMPLETENESS_THRESHOLD)
    words = [
        f"{sae_title(sae)} · {protocol} ({scored_on(protocol)}).",
        _stands_on(scores, protocol),
        f"{int((passing & found).sum())} of the {n_found} pass R² {R2_THRESHOLD} and completeness "
        f"{COMPLETENESS_THRESHOLD}.",
        f"{count(untested, 'factor')} cannot be tested." if untested else "",
        f"{count(ranked, 'factor')} ranked, since one clip holds most of what varies." if ranked else "",
        f"{count((~scored).sum(), 'factor')} without a value to score." if not scored.all() else "",
        f"SAE {sae['sae_id']} · run {sae['run_id']}.",
    ]
    caption(" ".join(part for part in words if part))


def extra_words(scores: pd.DataFrame) -> str:
    """What is told of the measures that are no acoustic factors, each with its R2; empty for none."""
    words = []
    for kind, named in ((COLUMN, "the corpus's own columns of numbers"), (PLANTED, "the planted values")):
        rows = scores[scores["factor_group"] == kind]
        scored, untested = rows["r2_shown"].notna(), rows["untested"].notna()
        if scored.any() and untested[scored].all():
            best = rows.sort_values("r2_shown", ascending=False)
            words.append(f"Whether {named} are predictable cannot be tested here{_each_r2(best)}.")
        elif len(rows):
            found = rows[are_predicted(rows)].sort_values("r2_shown", ascending=False)
            words.append(f"Of {named}, {len(found)} of {len(rows)}{_each_r2(found)}.")
    return " ".join(words)


def _each_r2(found: pd.DataFrame) -> str:
    """' (R²: age 0.97, note 0.81)' of the first N_NAMED; empty for none."""
    first = found.head(N_NAMED).to_dict("records")
    best = ", ".join(f"{row['display_name']} {number(row['r2_shown'])}" for row in first)
    more = f" and {len(found) - N_NAMED} more" if len(found) > N_NAMED else ""
    return f" (R²: {best}{more})" if best else ""


def _stands_on(scores: pd.DataFrame, protocol: str) -> str:
    """Over which clips R2 is, and on which it was tested."""
    over = f"{count(scores['n_shown_clips'].max(), 'clip')} of {count(scores['n_shown_groups'].max(), 'group')}"
    if protocol == "paper" or scores["r2_all"].isna().all():
        return f"R² over {over}."
    held = f"{count(scores['n_clips'].max(), 'clip')} of {count(scores['n_groups'].max(), 'group')}"
    return f"R² over all groups, each predicted without itself: {over}; tested on the {held} that were held out."


def undefined_words(chosen: dict[str, Any]) -> str:
    """What there is to say of a factor without held-out predictions."""
    if is_defined(chosen["r2_shown"]):
        over = f"{count(chosen['n_shown_clips'], 'clip')} of {count(chosen['n_shown_groups'], 'group')}"
        return (
            f"{chosen['display_name']}: R² {number(chosen['r2_shown'])} over {over}; "
            f"{or_none_stored(chosen['untested'])}."
        )
    return f"{chosen['display_name']} is undefined here: {or_none_stored(chosen['reason'])}."


def chosen_words(chosen: dict[str, Any], protocol: str) -> str:
    """The verdict on one factor, then its numbers."""
    held = f"{count(chosen['n_clips'], 'clip')} of {count(chosen['n_groups'], 'group')}, {protocol}"
    if is_defined(chosen["r2_all"]):
        numbers = (
            f"R² {number(chosen['r2_all'])} over {count(chosen['n_all_clips'], 'clip')} of "
            f"{count(chosen['n_all_groups'], 'group')}, within group {number(chosen['r2_all_within'])}; drawn: "
            f"R² {number(chosen['r2'])}, {held}, chance reaches {number(chosen['r2_permuted'])}"
        )
    else:
        numbers = (
            f"R² {number(chosen['r2'])}, within group {number(chosen['r2_within_group'])}, chance reaches "
            f"{number(chosen['r2_permuted'])}; {held}"
        )
    told = " · ".join(part for part in (verdict(chosen), p_words(chosen)) if part)
    how = sentence(str(chosen["transform"])) if is_defined(chosen["transform"]) else _scored_words(protocol)
    about = str(chosen["description"]) if is_defined(chosen["description"]) else ""
    return (
        f"{sentence(told)} {numbers}; alpha {number(chosen['alpha'], 4)} ({chosen['alpha_source']}), "
        f"{count(chosen['n_weights'], 'weight')}. {how} {about}"
    )


def completeness_words(scores: pd.DataFrame) -> str:
    """Which scored factors are not drawn, and what is drawn that would not hold up."""
    has_r2, known = scores["r2_shown"].notna(), scores["completeness"].notna()
    words = []
    if n := int((has_r2 & ~known).sum()):
        words.append(f"Not drawn: {count(n, 'scored factor')} without a completeness (not predicted, or no weight).")
    if n := int((has_r2 & known & ~are_predicted(scores)).sum()):
        words.append(f"Hollow: {count(n, 'factor')} {NOT_PREDICTED}.")
    if n := int((known & (scores["n_weights"] == 0)).sum()):
        words.append(f"Counted as complete (1), as the published code does: {count(n, 'factor')} without any weight.")
    return " ".join(words)


def _scored_words(protocol: str) -> str:
    if protocol == "paper":
        return sentence(scored_on(protocol))
    return "Measured values are clipped to the training part's 0.5 to 99.5 percentiles, as the score takes them."
