"""Numbers as people read them. Undefined says so; nothing is rounded to a zero that is not one."""

from __future__ import annotations

import math

import pandas as pd

UNDEFINED = "undefined"
_ROUNDING = 1e-12  # of float64 around 1, with room


def is_defined(value: object) -> bool:
    """Whether `value` is a number, text or truth value (not None, NaN or NA)."""
    if isinstance(value, float | int | str):  # most are, and pandas takes long to look
        return value == value
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


def number(value: object, digits: int = 2) -> str:
    """`value` with `digits` decimals, small ones with two significant digits; 'undefined' when it is None or NaN.

    The minus is a true minus sign. What rounding leaves of a zero is a zero.
    """
    if not is_defined(value):
        return UNDEFINED
    amount = float(value)  # type: ignore[arg-type]
    if math.isinf(amount):
        return "∞" if amount > 0 else "−∞"
    text = f"{amount:.{digits}f}"
    if float(text) == 0:
        text = f"{0.0:.{digits}f}" if abs(amount) < _ROUNDING else f"{amount:.1e}"
    return text.replace("-", "−")


def percent(value: object, digits: int = 0) -> str:
    """A share in 0..1 as per cent ('95 %'); 'undefined' when it is None or NaN. 0.995 stays 99.5 %."""
    if not is_defined(value):
        return UNDEFINED
    amount = 100.0 * float(value)  # type: ignore[arg-type]
    text = f"{amount:.{digits}f}"
    if digits == 0 and abs(amount - round(amount)) > 0.049:
        text = f"{amount:.1f}"
    return f"{text} %".replace("-", "−")


def count(value: object, noun: str, plural: str | None = None) -> str:
    """'1 clip', '12 clips', or 'an unknown number of clips' when it is None or NaN."""
    words = plural or f"{noun}s"
    if not is_defined(value):
        return f"an unknown number of {words}"
    amount = int(value)  # type: ignore[call-overload]
    return f"{amount:,} {noun if amount == 1 else words}"


def signed(value: object, digits: int = 2) -> str:
    """Like `number`, with a plus in front of what is above 0."""
    text = number(value, digits)
    return f"+{text}" if is_defined(value) and float(value) > 0 else text  # type: ignore[arg-type]


def series_name(display_name: str, layer: object) -> str:
    """'HuBERT L3'."""
    return f"{display_name} L{int(layer)}" if is_defined(layer) else display_name  # type: ignore[call-overload]


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


def sae_name(display_name: str, layer: object, sparsity: object, seed: object) -> str:
    """'HuBERT L3 · 95 % · seed 0'."""
    return f"{series_name(display_name, layer)} · {percent(sparsity)} · seed {int(seed)}"  # type: ignore[call-overload]
