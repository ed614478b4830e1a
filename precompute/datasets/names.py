"""Text from outside: made NFC once, where it is read; values that look alike; and how a note lists names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from explorer.text import count

_FINAL_ZERO = re.compile(r"(?<=\d)\.0+$")
_SEPARATORS = "_-\u2010\u2011\u2012\u2013\u2014'\u2018\u2019`\u00b4"
_PIECES = re.compile(r"\d+|[^\W\d_]+|[^\s]")
_JOINERS = "\u200c\u200d"  # they belong to words and emoji: left out in comparisons only


def clean(text: str) -> str:
    """NFC, without blanks and invisible characters at the ends (no-break and zero-width spaces, byte-order marks)."""
    text = unicodedata.normalize("NFC", text)
    low, high = 0, len(text)
    while low < high and _is_blank(text[low]):
        low += 1
    while high > low and _is_blank(text[high - 1]):
        high -= 1
    return text[low:high]


def look(text: str) -> str:
    """What a person compares: without case, width (full or half), blanks, invisible characters, and a final '.0' behind
    a digit."""
    folded = unicodedata.normalize("NFC", _one_width(clean(text)).casefold())
    return _FINAL_ZERO.sub("", "".join(sign for sign in folded if not _is_blank(sign) and sign not in _JOINERS))


def resemblance(text: str) -> str:
    """What people write alike without meaning a difference: `look`, without separators (not in front) and zeros before
    a number: 'S1' and 's01', 'Singer 1' and 'singer_1', "O'Brien" and 'O\u2019Brien'."""
    pieces = _PIECES.findall(look(text))
    kept = [piece for place, piece in enumerate(pieces) if place == 0 or piece not in _SEPARATORS]
    return " ".join(piece.lstrip("0") or "0" if piece.isdigit() else piece for piece in kept)


def look_alikes(values: Iterable[str], key: Callable[[str], str] = look) -> list[tuple[str, ...]]:
    """The spellings that look alike but differ, the commonest first, then by name; sorted by the first."""
    counts = Counter(values)
    spellings: dict[str, list[str]] = defaultdict(list)
    for value in counts:
        spellings[key(value)].append(value)
    alike = [tuple(sorted(same, key=lambda value: (-counts[value], value))) for same in spellings.values()]
    return sorted(same for same in alike if len(same) > 1)


def one_spelling(values: Iterable[str]) -> Mapping[str, str]:
    """By each spelling that looks like a commoner one: that one."""
    return {value: first for first, *others in look_alikes(values) for value in others}


def quoted(text: str, longest: int = 50) -> str:
    """A value in a note: in quotes, without its middle where it is long; what cannot be seen is written out."""
    shown = "".join(f"\\u{ord(sign):04x}" if _is_hidden(sign) else sign for sign in text)
    half = longest // 2
    return f"'{shown if len(shown) <= longest else f'{shown[:half]}…{shown[-half:]}'}'"


def some(names: Iterable[str], most: int = 3) -> str:
    """'a, b, c and 5 others'."""
    listed = list(names)
    shown = listed if len(listed) <= most + 1 else listed[:most]
    rest = len(listed) - len(shown)
    return ", ".join(shown) + (f" and {count(rest, 'other')}" if rest else "")


def spelt(alike: Iterable[tuple[str, ...]]) -> str:
    """Look-alikes in a note: "'Zoe' = 'zoe', 'A 1' = 'A1' and 3 others"."""
    return some(" = ".join(quoted(value) for value in same[:4]) for same in alike)


def _one_width(text: str) -> str:
    return "".join(
        unicodedata.normalize("NFKC", sign)
        if unicodedata.decomposition(sign).startswith(("<wide>", "<narrow>"))
        else sign
        for sign in text
    )


def _is_blank(sign: str) -> bool:
    return sign.isspace() or (unicodedata.category(sign) in ("Cf", "Cc") and sign not in _JOINERS)


def _is_hidden(sign: str) -> bool:
    return sign != " " and (_is_blank(sign) or unicodedata.category(sign) == "Zs")
