"""What the store is about: its corpus, encoders, clips, skipped files, and the names that links may carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from explorer.errors import NotInStoreError
from explorer.queries.labels import shown_label
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store
from explorer.text import count


@dataclass(frozen=True)
class CorpusFacts:
    """One line about the corpus. Counts are of clips, files, groups and labels; names come from the data set."""

    name: str
    kind: str
    label_name: str
    group_name: str
    is_synthetic: bool
    demo_note: str | None
    dataset_note: str | None
    n_clips: int
    n_files: int
    n_groups: int
    n_labels: int
    n_skipped: int
    duration_s: float
    generation: int
    created_at: str | None


@lru_cache(maxsize=2)
def fetch_corpus(store: Store) -> CorpusFacts:
    """The corpus's facts and counts, counted once per generation: every part of a page asks for them."""
    meta = store.meta()
    row = store.query(
        "SELECT count(*) AS n_clips, count(DISTINCT file_id) AS n_files, count(DISTINCT group_id) AS n_groups, "
        "count(DISTINCT label) AS n_labels, coalesce(sum(duration_s), 0) AS duration_s, "
        "(SELECT count(*) FROM skipped_files) AS n_skipped FROM clips"
    ).iloc[0]
    return CorpusFacts(
        name=meta.get("corpus_name") or "unnamed corpus",
        kind=meta.get("dataset_kind") or "unknown",
        label_name=meta.get("label_name") or "label",
        group_name=meta.get("group_name") or "group",
        is_synthetic=meta.get("is_synthetic") == "true",
        demo_note=meta.get("demo_note") or None,
        dataset_note=meta.get("dataset_note") or None,
        n_clips=int(row["n_clips"]),
        n_files=int(row["n_files"]),
        n_groups=int(row["n_groups"]),
        n_labels=int(row["n_labels"]),
        n_skipped=int(row["n_skipped"]),
        duration_s=float(row["duration_s"]),
        generation=store.generation,
        created_at=meta.get("created_at") or None,
    )


def fetch_encoders(store: Store) -> pd.DataFrame:
    """All columns of every encoder, in the order of display names, which differ. `is_trained` may be None: unknown."""
    return store.query(f"SELECT * FROM {NAMED_ENCODERS} ORDER BY display_name, encoder_id")  # noqa: S608 - code


def fetch_saes(store: Store, sae_id: str | None = None) -> pd.DataFrame:
    """All SAEs (or one) with their encoder's `encoder_name`, `encoder_display`, `is_trained`; reference SAEs first."""
    return store.query(
        "SELECT s.*, e.name AS encoder_name, e.display_name AS encoder_display, e.is_trained, e.n_layers "  # noqa: S608
        f"FROM saes s JOIN {NAMED_ENCODERS} e USING (encoder_id) WHERE $sae IS NULL OR s.sae_id = $sae "
        "ORDER BY e.display_name, s.encoder_id, s.layer, s.is_reference DESC, s.protocol, s.sparsity, s.n_features, "
        "s.seed, s.sae_id",
        {"sae": sae_id},
    )


def fetch_clips(store: Store) -> pd.DataFrame:
    """Every clip with its file's path, in the order of clip_index."""
    return store.query("SELECT c.*, f.path FROM clips c LEFT JOIN files f USING (file_id) ORDER BY c.clip_index")


def fetch_clips_by_index(store: Store, clip_indices: Sequence[int]) -> pd.DataFrame:
    """The clips of these indices (any order in, index order out), with their file's path."""
    return store.query(
        "SELECT c.*, f.path FROM clips c LEFT JOIN files f USING (file_id) "
        "WHERE c.clip_index IN (SELECT unnest(?::INTEGER[])) ORDER BY c.clip_index",
        [[int(index) for index in clip_indices]],
    )


def fetch_clip_columns(store: Store, clip_indices: Sequence[int]) -> pd.DataFrame:
    """role, name and value of these clips' labels, groups and attributes."""
    return store.query(
        "SELECT * FROM clip_columns WHERE clip_index IN (SELECT unnest(?::INTEGER[])) ORDER BY clip_index, role, name",
        [[int(index) for index in clip_indices]],
    )


def fetch_skipped_files(store: Store) -> pd.DataFrame:
    """path, reason and kind ('rejected' first) of every file that was not read."""
    return store.query("SELECT path, reason, kind FROM skipped_files ORDER BY kind DESC, path")


def fetch_preview(store: Store, clip_id: str) -> tuple[str, float]:
    """The preview's path inside the store folder and the clip's duration in seconds.

    Raises NotInStoreError for a clip that the store does not hold or that has no preview.
    """
    rows = store.query("SELECT preview, duration_s FROM clips WHERE clip_id = ?", [clip_id])
    if rows.empty:
        raise NotInStoreError(f"This store has no clip {clip_id!r}. Clips are listed on the Features page.")
    preview = rows["preview"].iloc[0]
    if preview is None or pd.isna(preview):
        raise NotInStoreError(f"Clip {clip_id} has no preview in this store. Run precompute again to make it.")
    return str(preview), float(rows["duration_s"].iloc[0])


def resolve_clip(store: Store, clip_id: str) -> dict[str, Any]:
    """The clip of a link, as a row. Raises NotInStoreError that names what is there instead."""
    rows = store.query("SELECT * FROM clips WHERE clip_id = ?", [clip_id])
    if rows.empty:
        total = store.query("SELECT count(*) AS n, min(clip_id) AS first FROM clips").iloc[0]
        raise NotInStoreError(
            f"The link asks for clip {clip_id!r}, which is not in this store. It has {count(total['n'], 'clip')}, "
            f"such as {total['first']}."
        )
    return record(rows)


def resolve_sae(store: Store, sae_id: str) -> dict[str, Any]:
    """The SAE of a link, as a row of `fetch_saes`. Raises NotInStoreError that names what is there instead."""
    rows = fetch_saes(store, sae_id)
    if rows.empty:
        saes = fetch_saes(store)
        there = "; ".join(f"{row.encoder_display} layer {row.layer}: {row.sae_id}" for row in saes.head(4).itertuples())
        rest = f" and {len(saes) - 4} more" if len(saes) > 4 else ""
        raise NotInStoreError(
            f"SAE {sae_id!r} was asked for, which is not in this store. It holds "
            + (f"{there}{rest}." if there else "no SAE yet: run precompute with an encoder first.")
        )
    return record(rows)


def resolve_feature(store: Store, sae_id: str, feature: int) -> dict[str, Any]:
    """The feature of a link: its row of `features` and `shown_label`. Raises NotInStoreError that names the range."""
    sql = f"SELECT f.*, {shown_label('f')} AS shown_label FROM features f WHERE f.sae_id = ? AND f.feature = ?"  # noqa: S608
    rows = store.query(sql, [sae_id, int(feature)])
    if rows.empty:
        span = store.query(
            "SELECT count(*) AS n, min(feature) AS low, max(feature) AS high FROM features WHERE sae_id = ?", [sae_id]
        ).iloc[0]
        there = f"features {int(span['low'])} to {int(span['high'])}" if int(span["n"]) else "no features"
        raise NotInStoreError(f"The link asks for feature {feature}, but SAE {sae_id} has {there} in this store.")
    return record(rows)


def record(rows: pd.DataFrame) -> dict[str, Any]:
    """The first row as plain Python values, with None for anything missing."""
    return {str(key): plain(value) for key, value in rows.iloc[0].items()}


def plain(value: Any) -> Any:
    """A cell as a plain Python value: numpy scalars unwrapped, NaN, NaT and NA as None, arrays untouched."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    return value
