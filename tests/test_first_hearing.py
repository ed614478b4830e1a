"""Where nothing was tested there is still something to hear: by what the strongest clips are."""

from __future__ import annotations

import pandas as pd

from explorer.queries.first_hearing import N_STRONGEST, fetch_first_hearing
from explorer.store import Store
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


def test_short_ends_of_recordings_do_not_lead() -> None:
    rows = pd.DataFrame({"start_s": [10.0, 0.0, 5.0, 0.0], "duration_s": [0.3, 4.0, 5.0, 0.2], "clip": list("abcd")})
    assert list(tails_last(rows)["clip"]) == ["b", "c", "d", "a"], "a whole short recording keeps its place"
    assert tails_last(rows.head(0)).empty
