"""Reading a generated singing corpus: VocalSet's layout, no real voice, and it says so wherever it is shown."""

from __future__ import annotations

from pathlib import Path

from explorer.errors import DatasetError
from precompute.datasets import vocalset
from precompute.datasets.base import Listing
from precompute.datasets.singing.corpus import MARKER, NOTE


def read(root: Path) -> Listing:
    """List a generated corpus with VocalSet's reader. Raises DatasetError when it is not there or not complete."""
    if not (root / MARKER).is_file():
        raise DatasetError(
            f"{str(root)!r} holds no finished generated corpus ({MARKER} is missing). "
            "`python -m precompute generate` makes one."
        )
    listing = vocalset.read(root)
    return Listing(
        listing.entries,
        listing.skipped,
        listing.label_name,
        listing.group_name,
        (NOTE, *listing.notes),
        is_synthetic=True,
    )
