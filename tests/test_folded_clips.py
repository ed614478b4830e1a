"""Lists of clips folded by group: nobody fills them, and few groups do not empty them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from explorer.queries.corpus import fetch_corpus
from explorer.store import Store
from explorer.ui.feature_clips import ENOUGH_CLIPS, folded_rows, one_per_group


@pytest.mark.parametrize(
    ("n_groups", "words"), [(1, "at most 6"), (2, "at most 3"), (4, "at most 2"), (6, "one"), (40, "one")]
)
def test_few_groups_show_several_clips_each(store: Store, n_groups: int, words: str) -> None:
    facts = replace(fetch_corpus(store), n_groups=n_groups, group_name="fold")
    rows = pd.DataFrame({"group_id": [f"g{i % n_groups}" for i in range(80)], "rank": range(80)})
    shown = folded_rows(rows, facts)
    assert len(shown) >= ENOUGH_CLIPS and shown["rank"].is_monotonic_increasing
    assert shown.groupby("group_id").size().nunique() == 1
    assert one_per_group(facts) == f"{words} per fold"
    mostly_one = pd.DataFrame({"group_id": ["g0"] * 30 + ["g1"]})
    assert len(folded_rows(mostly_one, facts)) < 30
