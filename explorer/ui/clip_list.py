"""Clips to hear where no feature is chosen: titles and sounds, no traces."""

from __future__ import annotations

import pandas as pd

from explorer.store import Store
from explorer.ui.player import PlayerClip, player


def draw_clips(store: Store, rows: pd.DataFrame, key: str) -> None:
    """A player of `rows`: clip_id, title, group_id, split, duration_s."""
    clips = [
        PlayerClip(
            clip_id=str(row["clip_id"]), title=str(row["title"]), duration_s=float(row["duration_s"]),
            detail=f"{row['group_id']} · {row['split']}",
        )
        for row in rows.to_dict("records")
    ]  # fmt: skip
    player(store, clips, key, can_open=False)
