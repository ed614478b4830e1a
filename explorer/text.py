"""Numbers, counts and names as people read them, written once: every page, figure, table and message uses these.

Missing is one sign, minus is one sign, thousands are apart, and nothing is rounded to a zero that is not one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"
MINUS = "−"
_ROUNDING = 1e-12  # of float64 around 1, with room
_HIGHEST = 1e15  # float64 has no whole numbers from about there on


def is_defined(value: object) -> bool:
    """Whether `value` is a number, text or truth value (not None, NaN or NA)."""
    if isinstance(value, float | int | str):  # most are, and pandas takes long to look
        return value == value
    import pandas as pd  # here, so that reading a sound loads no pandas

    return value is not None and not bool(pd.isna(value))


def is_false(value: object) -> bool:
    """Whether `value` is a truth value and false; unknown (None, NA) is not."""
    return is_defined(value) and not bool(value)


def or_none_stored(value: object) -> str:
    """A stored reason, or that none is stored."""
    return str(value) if is_defined(value) and value != "" else "no reason stored"


def commonest(reasons: pd.Series) -> str:
    """The commonest of stored reasons, or that none is stored."""
    found = reasons.dropna()
    return str(found.mode().iloc[0]) if len(found) else or_none_stored(None)


def number(value: object, digits: int = 2, *, signed: bool = False, unit: str = "") -> str:
    """`value` as it is written everywhere: `digits` decimals, '1,234.50', a true minus sign; MISSING for None, NaN.

    What `digits` decimals would round to a zero that it is not has up to two significant digits: '0.0004', '4e−7'.
    What rounding errors leave of a zero is a zero, without a sign. `unit` follows after a space.
    """
    if not is_defined(value):
        return MISSING
    amount = float(value)  # type: ignore[arg-type]
    if math.isinf(amount):
        text = "∞"
    elif abs(amount) >= _HIGHEST:
        text = f"{abs(amount):.{digits}e}".replace("e+", "e")
    else:
        text = _decimals(abs(amount), digits)
    is_zero = not any(sign in text for sign in "123456789∞")
    sign = "" if is_zero else MINUS if amount < 0 else "+" if signed else ""
    return f"{sign}{text}{f' {unit}' if unit else ''}"


def _decimals(amount: float, digits: int) -> str:
    text = f"{amount:,.{digits}f}"
    if amount < _ROUNDING or any(sign in text for sign in "123456789"):
        return text
    if amount >= 0.0001:
        places = 1 - math.floor(math.log10(amount))
        return f"{amount:.{places}f}".rstrip("0")
    mantissa, _, exponent = f"{amount:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{MINUS}{-int(exponent)}"


def quantity(value: object, digits: int = 4) -> str:
    """A measured value of any size with `digits` significant digits and no more decimals than these: '0.08214', '311'.

    As `number` else: whole digits are never rounded away, missing is MISSING.
    """
    if not is_defined(value) or math.isinf(float(value)) or float(value) == 0:  # type: ignore[arg-type]
        return number(value, 0)
    size = math.floor(math.log10(abs(float(value))))  # type: ignore[arg-type]
    text = number(value, max(0, digits - 1 - size) if size >= -4 else 0)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def percent(value: object, digits: int | None = None, *, signed: bool = False) -> str:
    """A share in 0..1 as per cent ('95 %'); MISSING when it is None or NaN. 0.995 stays 99.5 %, 0.0004 is 0.04 %.

    Without `digits` it has one decimal where that says something.
    What they would round to 0 or to 100 without being it has more decimals.
    """
    if not is_defined(value):
        return MISSING
    amount = 100.0 * float(value)  # type: ignore[arg-type]
    if digits is None:
        digits = int(math.isfinite(amount) and abs(amount - round(amount)) > 0.049)
    while digits < 4 and abs(amount - 100) > _ROUNDING * 100 and round(amount, digits) == 100:
        digits += 1
    return number(amount, digits, signed=signed, unit="%")


def whole(value: object) -> str:
    """A count or another whole number with its thousands apart: '1,234'; MISSING when it is None or NaN."""
    return number(value, 0) if is_defined(value) else MISSING


def seconds(value: object) -> str:
    """A duration or a time in a sound: '2.50 s'."""
    return number(value, 2, unit="s")


def count(value: object, noun: str, plural: str | None = None) -> str:
    """'1 clip', '12 clips', 'no clips', or 'an unknown number of clips' when it is None or NaN.

    `noun` is English, or the data set's own word for it; `plural` is for those that `plural_of` does not get right.
    """
    words = plural or plural_of(noun)
    if not is_defined(value):
        return f"an unknown number of {words}"
    amount = int(value)  # type: ignore[call-overload]
    if amount == 0:
        return f"no {words}"
    return f"{whole(amount)} {noun if amount == 1 else words}"


def plural_of(noun: str) -> str:
    """The word for several: 'singers', 'studies', 'classes'; one that ends in 's' as a plural does stays as it is."""
    if noun.endswith(("ss", "x", "sh", "tch")):
        return f"{noun}es"
    if noun.endswith("s"):
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou") else f"{noun}s"


def size(n_bytes: float) -> str:
    """'640 bytes', '1.2 MB', '83 GB': in the unit that shows the number, powers of 1000."""
    amount, unit = max(0.0, float(n_bytes)), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(amount) < 1000:
            break
        amount, unit = amount / 1000, larger
    digits = 1 if unit != "bytes" and amount < 9.95 else 0
    text = f"{amount:.{digits}f}"
    return "1 byte" if text == "1" and unit == "bytes" else f"{text} {unit}"


def signed(value: object, digits: int = 2) -> str:
    """Like `number`, with a plus in front of what is above 0."""
    return number(value, digits, signed=True)


LONGEST_NAME = 28  # of a label, group, column, corpus or encoder in a tick, a title or the head of a table


def shortened(text: object, longest: int = LONGEST_NAME, *, n_last: int = 0) -> str:
    """`text` for a place that holds `longest` characters: what is longer has '…' before its last `n_last` characters.

    The whole belongs on hover.
    """
    whole_text = " ".join(str(text).split())
    if len(whole_text) <= longest:
        return whole_text
    end = whole_text[len(whole_text) - n_last :].lstrip() if n_last else ""
    return f"{whole_text[: longest - 1 - n_last].rstrip()}…{end}"


def series_name(display_name: str, layer: object, *, is_whole: bool = False) -> str:
    """'HuBERT L3'. A long name is cut in its middle, unless `is_whole`: what tells two apart may be at the end."""
    name = display_name if is_whole else shortened(display_name, n_last=10)
    return f"{name} L{int(layer)}" if is_defined(layer) else name  # type: ignore[call-overload]


def r2_words(protocol: str) -> str:
    """What an R2 of that protocol is: protocol paper scores factors on the clips it was fitted on."""
    return "in-sample R²" if protocol == "paper" else "held-out R²"


def scored_on(protocol: str) -> str:
    """Which clips factors are scored on under that protocol, in words."""
    if protocol == "paper":
        return "in-sample: scored on the clips it was fitted on, where noise alone scores well"
    return "scored on clips it was not fitted on"


def capitalised(words: str) -> str:
    """`words` with a capital at the start and all else as it is."""
    return words[:1].upper() + words[1:]


def sentence(words: str) -> str:
    """`words` with a capital and a full stop, so that they can stand beside others."""
    words = words.strip()
    return capitalised(words) + ("" if words.endswith((".", "!", "?")) else ".")


def recipe_name(n_epochs: object) -> str:
    """How an SAE was trained, in short: '40 epochs'."""
    return count(n_epochs, "epoch") if is_defined(n_epochs) else "epochs not stored"


def length_words(n_trained: object, n_epochs: object, reason: object) -> str:
    """How long an SAE was trained and why: 'Stopped after 20 of 100 epochs: ...'; '' where the store does not say."""
    if not (is_defined(n_trained) and is_defined(n_epochs) and is_defined(reason)):
        return ""
    if n_trained == n_epochs:
        return f"Trained for the whole {count(n_epochs, 'epoch')}: {reason}."
    return f"Stopped after {number(n_trained, 0)} of {count(n_epochs, 'epoch')}: {reason}."
