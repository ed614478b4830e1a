"""What a data set says, kept as it is written where Streamlit would read it as Markdown."""

from __future__ import annotations

import re
from html import escape

from explorer.text import shortened

_SIGNS = re.compile(
    r"[\\`*\[\]<~$]"  # code, emphasis, links, tags, formulas
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis by underscores; inside a word they are none
    r"|:(?=[\w+-])"  # colours and emoji
    r"|&(?=[#\w]+;)"
    r"|^(?:[#>+-]|(?<!\d)\d+(?=[.)]))"  # headings, quotations and lists
)
# icons, emoji, addresses and arrows, which no backslash stops
_REPLACED = re.compile(r"(?<=:)(?=material/|[\w+-]+:|//)|(?<=www)(?=\.)|(?=@)|(?<=[-<>~])(?=[->=])")
_WORD_JOINER = "\u2060"  # has no width


def as_written(text: object) -> str:
    """`text` as a label (of a link, a switch, a button) that reads exactly so: no emphasis, links, colours or icons.

    Streamlit reads as Markdown: labels of widgets, links and folds, options of buttons in a row, tooltips and toasts.
    It does not read so what a selectbox or a multiselect offers, and cells of tables. Sentences belong into `caption`,
    `notice` and `empty_state`, which take any text. Line ends become blanks. A name of
    letters, digits, spaces, hyphens and underscores between letters is its own label.
    """
    return _SIGNS.sub(_escaped, _REPLACED.sub(_WORD_JOINER, " ".join(str(text).split())))


def brief(text: object, longest: int) -> str:
    """`text` as HTML of at most `longest` characters; what is longer ends in '…' and is whole on hover."""
    short = shortened(text, longest)
    if short == " ".join(str(text).split()):
        return escape(str(text))
    return f'<span title="{escape(str(text))}">{escape(short)}</span>'


def _escaped(sign: re.Match[str]) -> str:
    found = sign.group()
    return f"{found}\\" if found.isdigit() else f"\\{found}"
