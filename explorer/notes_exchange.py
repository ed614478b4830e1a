"""Notes as a file: JSON that Export writes and Import reads, here or on another machine.

A file comes from anywhere. It is checked whole before anything is written, and either all of it is taken or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from explorer.annotations import (
    HIGHEST_FEATURE,
    LONGEST_ABOUT,
    Annotation,
    AnnotationError,
    Annotations,
    Entry,
    Taken,
    checked_id,
    one_line,
)
from explorer.text import count, whole

FORMAT = "sonoscope-annotations-1"
MOST_BYTES, MOST_ENTRIES = 16 * 2**20, 20_000
_KINDS: dict[str, tuple[type, str]] = {
    "sae_id": (str, "text"),
    "feature": (int, f"a whole number from 0 to {HIGHEST_FEATURE}"),
    "label": (str, "text"),
    "note": (str, "text"),
    "about": (str, "text"),
    "is_bookmarked": (bool, "true or false"),
    "lists": (list, "a list of texts"),
}
_NEEDED = ("sae_id", "feature")


def exported(notes: Annotations, owner: str) -> str:
    """Everything that `owner` wrote as JSON, to be read by `restore`. Raises AnnotationError when it cannot be read."""
    rows = [
        {**row, "lists": list(row["lists"]), "is_bookmarked": bool(row["is_bookmarked"])}
        for row in notes.of_owner(owner).sort_values(["sae_id", "feature"]).to_dict("records")
    ]
    return json.dumps({"format": FORMAT, "annotations": rows}, indent=1, ensure_ascii=False) + "\n"


def restore(notes: Annotations, owner: str, data: bytes | str) -> Taken:
    """Take over an exported file: UTF-8, UTF-16 or UTF-32 with or without a mark, or text. Returns what was taken.

    Labels and notes of the file replace the reader's, lists and bookmarks are added, and what the file leaves empty
    stays. Raises AnnotationError, and changes nothing, for a file that is none, is over MOST_BYTES or MOST_ENTRIES, or
    has an entry that cannot be kept; the message names the entry and the field.
    """
    size = len(data)
    if size > MOST_BYTES:
        raise AnnotationError(
            f"The file has {size / 2**20:,.1f} MB; notes have at most {MOST_BYTES // 2**20} MB. Split it in two."
        )
    return notes.take(owner, entries_of(data))


def entries_of(data: bytes | str) -> list[Entry]:
    """The checked entries of a file. Raises AnnotationError as `restore`."""
    content = _json(data)
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(rows, list):
        raise AnnotationError(
            f'This is not a file of notes: it should say "format": "{FORMAT}". Choose one from Export.'
        )
    if len(rows) > MOST_ENTRIES:
        raise AnnotationError(
            f"The file has {count(len(rows), 'entry')}; {whole(MOST_ENTRIES)} is the limit. Split it."
        )
    entries = [_entry(number, row) for number, row in enumerate(rows, start=1)]
    _refuse_doubles(entries)
    return entries


def _json(data: bytes | str) -> object:
    text = data.removeprefix("\ufeff") if isinstance(data, str) else data
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise AnnotationError("This is not a file of notes: its brackets are nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"This is not a file of notes: byte {whole(error.start + 1)} is no {error.encoding} text."
        ) from error
    except ValueError as error:
        raise AnnotationError(f"This is not a file of notes: it is not JSON ({error}).") from error


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise AnnotationError(f"An entry of the file says {_quoted(twice)} twice. Remove one of them.")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _entry(number: int, row: object) -> Entry:
    if not isinstance(row, dict):
        raise AnnotationError(
            f"Entry {whole(number)} of the file is {_quoted(row)}, not an object with sae_id and feature."
        )
    for name, (kind, words) in _KINDS.items():
        if name not in row and name not in _NEEDED:
            continue
        if name not in row:
            raise AnnotationError(f"Entry {whole(number)} of the file has no {name}.")
        value = row[name]
        is_kind = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if name == "feature":
            is_kind = is_kind and 0 <= value <= HIGHEST_FEATURE
        if name == "lists":
            is_kind = is_kind and all(isinstance(each, str) for each in value)
        if not is_kind:
            raise AnnotationError(f"Entry {whole(number)} of the file, {name}: {_quoted(value)} is not {words}.")
    try:
        words_ = Annotation(
            row.get("label", ""), row.get("note", ""), row.get("is_bookmarked", False), tuple(row.get("lists", ()))
        ).checked()
        about = one_line(row.get("about", ""), "about")
        if len(about) > LONGEST_ABOUT:
            raise AnnotationError(f"about has at most {count(LONGEST_ABOUT, 'character')}, not {whole(len(about))}.")
        return Entry(checked_id(row["sae_id"]), row["feature"], words_, frozenset(row), about)
    except AnnotationError as error:
        raise AnnotationError(f"Entry {whole(number)} of the file cannot be kept. {error}") from error


def _refuse_doubles(entries: Sequence[Entry]) -> None:
    first: dict[tuple[str, int], int] = {}
    for number, entry in enumerate(entries, start=1):
        before = first.setdefault((entry.sae_id, entry.feature), number)
        if before != number:
            raise AnnotationError(
                f"Entries {whole(before)} and {whole(number)} of the file are both of feature {entry.feature} of SAE "
                f"{entry.sae_id}. Remove one of them."
            )


def _quoted(value: object) -> str:
    """A value of the file in a sentence, in ASCII and cut where it is long."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = ascii(value[:60] if isinstance(value, str) else value) if not _is_huge(value) else "a huge number"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and abs(value) >= 2**200
