"""Each measure in a sentence, with its formula: what stands one click under the numbers of a page.

The sentences are in explained.md. docs/measures.md says more: what each measure says and what it does not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st


@cache
def sentences() -> dict[str, str]:
    """Every measure's sentence by its name, in Markdown with formulas."""
    text = Path(__file__).with_name("explained.md").read_text(encoding="utf-8")
    parts = (part.split("\n", 1) for part in text.split("## ")[1:])
    return {name.strip(): " ".join(words.split()) for name, words in parts}


def explain(*names: str) -> None:
    """A fold with these measures. Raises KeyError for one that has no sentence."""
    said = sentences()
    folded_text("What these measures are", "\n".join(f"- **{n[:1].upper()}{n[1:]}**: {said[n]}" for n in names))


def how_measured(markdown: str) -> None:
    """A fold with how the numbers above it came about."""
    folded_text("How this is measured", markdown)


@st.fragment
def folded_text(title: str, markdown: str) -> None:
    """A fold whose text, formulas and all, is sent when it is opened; opening draws nothing else anew."""
    fold = st.expander(title, key=f"so-fold-{title}", on_change="rerun")
    if fold.open:
        with fold:
            st.markdown(markdown)
