"""The strongest corpus clips of one feature, one a group, to hear on any page."""

from __future__ import annotations

from typing import Any

from explorer.queries.corpus import CorpusFacts
from explorer.queries.features import fetch_listed_clips
from explorer.queries.traces import fetch_traces
from explorer.store import Store
from explorer.text import count
from explorer.ui.choices import section
from explorer.ui.feature_clips import folded_rows, one_per_group, player_clip, tails_last, trace_scale
from explorer.ui.player import player
from explorer.ui.style import caption, empty_state
from explorer.ui.url import go_to

N_PLAYED = 3


def draw_top_clips(store: Store, sae: dict[str, Any], facts: CorpusFacts, feature: int, key: str) -> None:
    """Draw them; a click on a title opens the feature's page at that clip. `key` names the player on its page."""
    row = store.query("SELECT * FROM features WHERE sae_id = ? AND feature = ?", [sae["sae_id"], feature]).iloc[0]
    listed = fetch_listed_clips(store, str(sae["sae_id"]), feature)
    top = folded_rows(tails_last(listed[listed["kind"] == "top"]), facts).head(N_PLAYED)
    section(f"Feature {feature}: strongest clips, {one_per_group(facts)}")
    if top.empty:
        empty_state("No clips are listed for this feature.")
        return
    traces = fetch_traces(store, sae, feature, list(top["clip_index"]))
    clips = [
        player_clip(clip, row.to_dict(), sae, traces.get(int(clip["clip_index"])), rank=rank)
        for rank, clip in enumerate(top.to_dict("records"), start=1)
    ]
    event = player(store, clips, f"{key}-{sae['sae_id']}-{feature}", scale=trace_scale(traces))
    if event and event.get("action") == "open":
        go_to("features", sae=sae["sae_id"], feature=feature, clip=event["clip_id"])
    if len(top) < len(listed[listed["kind"] == "top"]):
        caption(f"{count(len(listed[listed['kind'] == 'top']), 'clip')} are listed on the feature's own page.")
