"""Which rows a figure shows first."""

from __future__ import annotations

import pandas as pd

from explorer.queries.selection import telling_layers

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
