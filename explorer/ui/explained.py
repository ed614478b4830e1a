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
    """An expander with these measures. Raises KeyError for one that has no sentence."""
    said = sentences()
    with st.expander("What these measures are"):
        st.markdown("\n".join(f"- **{name[:1].upper()}{name[1:]}**: {said[name]}" for name in names))
