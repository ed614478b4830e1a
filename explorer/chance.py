"""A score against what chance reaches."""

from __future__ import annotations

import math


def above_chance(score: float, control: float) -> float:
    """How much of what chance leaves is recovered: (score - chance) / (1 - chance), at most 1; NaN where undefined.

    Both are R2, accuracy or F1, with 1 the perfect score. Chance is the control where that is above 0: an R2 that is
    negative for permuted values takes nothing off. Undefined: no score, or a control that is perfect itself.
    """
    chance = max(control, 0.0) if math.isfinite(control) else 0.0
    if not math.isfinite(score) or chance >= 1:
        return math.nan
    return (score - chance) / (1 - chance)
