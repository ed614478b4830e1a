"""What may be said of a claim: holds, does not hold, in part, or cannot tell.

Every comparison has margins that were fixed before anything was computed; docs/measures.md has the same table. A
verdict needs an interval over MIN_GROUPS_FOR_INTERVAL groups: what an interval leaves open cannot be told, and a tie is
counted neither way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from explorer.intervals import MIN_GROUPS_FOR_INTERVAL, Estimate
from explorer.text import capitalised, count, number, plural_of

HOLDS, FAILS, MIXED, UNSAID = "holds here", "does not hold here", "holds in part", "cannot tell here"
ALPHA = 0.05


@dataclass(frozen=True)
class Margin:
    """When an interval settles a comparison: it holds where the whole interval is above `holds_above`, it does not
    where the whole interval is below `fails_below` (a difference that would matter is excluded)."""

    holds_above: float
    fails_below: float


MARGINS: Mapping[str, Margin] = MappingProxyType(
    {
        "best layer": Margin(0.0, 0.02),  # accuracy above the last layer's
        "beyond chance": Margin(0.0, 0.0),  # accuracy above one constant guess's
        "codes keep accuracy": Margin(-0.10, -0.10),  # accuracy on codes above that on dense states
        "something to keep": Margin(0.10, 0.10),  # accuracy on dense states above one constant guess's
        "completeness rises": Margin(0.0, 0.02),  # completeness at the highest sparsity above that at the lowest
        "reconstruction": Margin(0.0, 0.01),  # FVU of PCA with k components above the SAE's
    }
)


@dataclass(frozen=True)
class Claim:
    """One claim: what is asked, the verdict (one of four), why, with its numbers and n, lines of detail, a page."""

    title: str
    verdict: str
    sentence: str
    details: tuple[str, ...] = ()
    page: str = "sparsity"
    params: Mapping[str, str] = field(default_factory=dict)


def level_of(n_looks: int) -> float:
    """The level of each interval where `n_looks` of them are read together, so that all hold at 95 % (Bonferroni)."""
    return 1.0 - ALPHA / max(1, n_looks)


def judge(found: Estimate, margin: Margin) -> str:
    """HOLDS, FAILS or UNSAID. Differences that are 0 in every group are a tie: UNSAID. An interval that is both above
    `holds_above` and below `fails_below` excludes what would matter: FAILS."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)) or found.low == found.high == 0:
        return UNSAID
    if found.high < margin.fails_below:
        return FAILS
    return HOLDS if found.low > margin.holds_above else UNSAID


def together(verdicts: Iterable[str]) -> str:
    """The verdict over several encoders or SAEs: HOLDS where each holds, MIXED where some do, FAILS where none does and
    for most it is told that it does not, else UNSAID."""
    said = list(verdicts)
    n_holds, n_fails = said.count(HOLDS), said.count(FAILS)
    if n_holds:
        return HOLDS if n_holds == len(said) else MIXED
    return FAILS if n_fails > len(said) / 2 else UNSAID


def counted(verdicts: Iterable[str], noun: str) -> str:
    """'It holds for 1 of 4 encoders, does not hold for 1 and is open for 2': for how many what was told, as a sentence
    without its full stop. `noun` is what one of them is."""
    said = list(verdicts)
    n_holds, n_fails, n_open = said.count(HOLDS), said.count(FAILS), said.count(UNSAID)
    every, none = _every_and_none(len(said), noun)
    if n_holds == len(said):
        return f"It holds for {every}"
    if n_fails == len(said):
        return f"It does not hold for {every}" if n_fails == 1 else f"It holds for {none}"
    if n_open == len(said):
        return f"{capitalised(every)} does not settle it" if n_open == 1 else f"{capitalised(none)} settles it"
    told = [("holds for", n_holds), ("does not hold for", n_fails), ("is open for", n_open)]
    parts = [f"{words} {n}" for words, n in told if n]
    parts[0] += f" of {count(len(said), noun)}"
    return f"It {', '.join(parts[:-1])} and {parts[-1]}"


def _every_and_none(n: int, noun: str) -> tuple[str, str]:
    many = plural_of(noun)
    if n == 1:
        return f"the one {noun}", ""
    if n == 2:
        return f"both {many}", f"neither of the two {many}"
    return f"all {n} {many}", f"none of the {n} {many}"


def too_few(n_groups: object) -> str:
    """Why nothing is judged on so few groups."""
    return f"there are too few groups to judge by: {number(n_groups, 0)}, where {MIN_GROUPS_FOR_INTERVAL} are needed"
