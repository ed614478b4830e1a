"""The label of a feature as people read it: only where it may be shown, with "not" where the rule is turned round."""

from __future__ import annotations


def shown_label(alias: str) -> str:
    """The SQL of the shown label of a row of `features` named `alias` (code, never data); NULL where none is shown.

    A rule of direction 'below' gives the label to clips on which the feature is silent or weak: an active feature then
    speaks against the label, so it reads 'not vibrato'.
    """
    return (
        f"CASE WHEN {alias}.label_is_shown AND {alias}.label_direction = 'below' THEN 'not ' || {alias}.label "
        f"WHEN {alias}.label_is_shown THEN {alias}.label END"
    )
