"""Which rows a figure shows first."""

from __future__ import annotations

import pandas as pd

from explorer.queries.curves import fetch_codes_protocols
from explorer.queries.selection import heard_words, most_telling, telling_layers
from explorer.store import Store

NAN = float("nan")


def points(scores: dict[tuple[str, int], float]) -> pd.DataFrame:
    """Two SAEs of each (encoder, layer), both with that accuracy."""
    rows = [{"encoder_id": e, "layer": n, "accuracy": a} for (e, n), a in scores.items() for _ in range(2)]
    return pd.DataFrame(rows)


def layers(rows: pd.DataFrame) -> set[tuple[str, int]]:
    assert len(rows) == 2 * len(rows.drop_duplicates(["encoder_id", "layer"]))
    return set(rows[["encoder_id", "layer"]].itertuples(index=False, name=None))


def test_the_best_layers_of_each_encoder_are_kept_with_all_their_saes() -> None:
    found = telling_layers(points({("a", 0): 0.1, ("a", 1): 0.5, ("a", 2): 0.4, ("b", 7): 0.2}))
    assert layers(found) == {("a", 1), ("a", 2), ("b", 7)}


def test_layers_without_a_score_come_last_and_in_order() -> None:
    found = telling_layers(points({("a", 0): NAN, ("a", 1): 0.5, ("b", 2): NAN, ("b", 0): NAN, ("b", 1): NAN}), n=1)
    assert layers(found) == {("a", 1), ("b", 0)}


def test_groups_decide_which_probes_on_codes_speak(store: Store) -> None:
    label = str(store.query("SELECT label_name FROM probes ORDER BY label_name")["label_name"][0])
    told = fetch_codes_protocols(store, label).set_index("protocol")["n_groups"]
    n_groups = store.query("SELECT count(DISTINCT group_id) AS n FROM clips").loc[0, "n"]
    assert told["all-groups"] == n_groups and 0 < told["held-out"] < n_groups
    assert most_telling({"held-out": 3, "all-groups": 8}) == "all-groups"
    assert most_telling({"held-out": 8, "all-groups": 20}) == "held-out"
    assert most_telling({"held-out": 2, "all-groups": 7}) == "all-groups"


def test_what_the_saes_heard_is_said_unless_they_were_refitted() -> None:
    blind, not_blind = pd.Series([True, True]), pd.Series([True, False])
    assert "trained on" in heard_words("all-groups", not_blind)
    assert heard_words("all-groups", blind) == heard_words("held-out", not_blind) == ""
