"""One shard's factors and previews, as a worker process makes them. Imports no model library: workers start quickly."""

from __future__ import annotations

import pandas as pd

from explorer.audio import load_waveform, write_preview
from explorer.factors import factor_row
from precompute.artefacts import Artefacts, explained, key_of
from precompute.shards import Shard

FACTOR_STAGE = "factors"
VERSION = 2


def factor_key(shard: Shard) -> str:
    """The name of a shard's factors and previews."""
    return key_of(version=VERSION, shard=shard.name)


def preview_name(clip_id: str) -> str:
    """The file name of a clip's preview."""
    return f"preview-{clip_id}.flac"


def factor_shard(artefacts: Artefacts, shard: Shard) -> None:
    """Measure every clip of the shard at its file's own rate, and keep the values beside the previews."""
    if artefacts.find(FACTOR_STAGE, factor_key(shard)) is not None:  # made by one that was ended before it said so
        return
    rows: list[tuple[str, int, float | None, str | None]] = []
    with artefacts.writing(FACTOR_STAGE, factor_key(shard)) as bundle, explained(artefacts.store):
        for clip in shard.clips:
            wave = load_waveform(clip.path, start_s=clip.start_s, duration_s=clip.duration_s)
            row = factor_row(wave)
            rows.extend(
                (clip.clip_id, index, float(value) if reason is None else None, reason)
                for index, (value, reason) in enumerate(zip(row.values, row.reasons, strict=True))
            )
            write_preview(wave, bundle.path(preview_name(clip.clip_id)))
        columns = ["clip_id", "factor_index", "value", "reason"]
        bundle.add_table("factor_values", pd.DataFrame(rows, columns=columns))
