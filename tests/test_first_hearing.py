"""Where nothing was tested there is still something to hear: by what the strongest clips are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pandas as pd

from explorer.queries.features import fetch_listed_clips
from explorer.queries.first_hearing import N_STRONGEST, fetch_first_hearing
from explorer.store import SCHEMA_VERSION, Store, new_generation, open_store
from explorer.ui.feature_clips import tails_last


def test_the_count_is_of_the_strongest_clips(store: Store) -> None:
    rows = fetch_first_hearing(store)
    assert len(rows) and rows["sae_id"].value_counts().max() <= 2
    for row in rows.to_dict("records"):
        clips = store.query(
            "SELECT c.label FROM listed_clips l JOIN clips c USING (clip_index) WHERE sae_id = ? AND feature = ? "
            "AND kind = 'top' AND NOT c.is_silent ORDER BY rank",
            [row["sae_id"], row["feature"]],
        )["label"].head(N_STRONGEST)
        assert row["n_listed"] == len(clips)
        assert row["n_alike"] == (clips == row["label"]).sum() == clips.value_counts().max()


def test_short_ends_of_recordings_do_not_lead(tmp_path: Path) -> None:
    """Clips of 10 s at most: 0.3 s from 10 s on is an end, 0.2 s from the start is a whole short recording."""
    clips = [("a", 10.0, 0.3), ("b", 0.0, 10.0), ("c", 10.0, 6.0), ("d", 0.0, 0.2)]
    with new_generation(tmp_path) as writer:
        writer.insert("meta", pd.DataFrame([("schema_version", str(SCHEMA_VERSION))], columns=["key", "value"]))
        writer.insert("clips", pd.DataFrame([
            {"clip_index": i, "clip_id": name, "file_id": name, "start_s": start, "duration_s": length, "title": name,
             "group_id": name, "split": "train", "is_silent": False}
            for i, (name, start, length) in enumerate(clips)
        ]))  # fmt: skip
        writer.insert("listed_clips", pd.DataFrame([
            {"sae_id": "s", "feature": 0, "kind": "top", "rank": i, "clip_index": i, "value": 1.0} for i in range(4)
        ]))  # fmt: skip
    with closing(open_store(tmp_path)) as store:
        rows = fetch_listed_clips(store, "s", 0)
    assert list(rows["clip_id"]) == ["a", "b", "c", "d"]
    assert list(tails_last(rows)["clip_id"]) == ["b", "c", "d", "a"]
    assert tails_last(rows.head(0)).empty
