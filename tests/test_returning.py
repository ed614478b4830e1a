"""What Overview says of features that return from other starts, and Compare of matches that hold up."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from explorer.queries.compare import held_words
from explorer.queries.corpus import fetch_saes
from explorer.queries.curves import fetch_layer_probes
from explorer.queries.returning import fetch_returning, returning_words
from explorer.store import Store
from explorer.ui.selectors import default_sae
from tests.test_pages import at, no_trouble, words

SAE = {"encoder_display": "HuBERT", "layer": 3, "k": 4, "n_features": 100, "seed": 0, "share_returning": 0.42,
       "returns_above_r": 0.55, "n_seeds": 2, "n_features_compared": 90, "level": "clip"}  # fmt: skip


def test_a_share_that_returns_stands_beside_what_chance_reaches() -> None:
    said = returning_words(SAE)
    assert said.startswith("HuBERT L3 · k = 4 of 100 · seed 0: 42 % of 90 features return in both other seeds")
    assert said.endswith(" (held-out r over 0.55; of shuffled clips at most 5 % reach it).")
    assert "return in the other seed (" in returning_words(SAE | {"n_seeds": 1})
    assert "return in most of the 4 other seeds (" in returning_words(SAE | {"n_seeds": 4})
    unmeasured = SAE | {"share_returning": None, "returns_above_r": None}
    assert returning_words(unmeasured | {"n_seeds": None}).endswith("not measured, since there is one seed.")
    assert returning_words(unmeasured).endswith("no feature varies over the held-out clips.")


def test_overview_says_it_for_each_reference_sae(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fetch_returning(store)
    assert set(rows["sae_id"]) == set(fetch_saes(store).query("is_reference")["sae_id"])
    assert (rows["n_seeds"] == 1).all() and rows["share_returning"].between(0, 1).all()
    page = at("overview", tiny_store, monkeypatch)
    no_trouble(page)
    assert words(page).count("return in the other seed") == len(rows)


def matches(*pairs: tuple[float, float | None], is_rare: bool = False) -> pd.DataFrame:
    return pd.DataFrame([{"r_train": a, "r_heldout": b, "is_rare": is_rare} for a, b in pairs]).astype(
        {"r_heldout": float}
    )


def test_a_match_that_does_not_hold_up_is_said_to() -> None:
    none = held_words(matches((0.7, 0.0), (0.9, 0.3), (0.2, 0.8), (-0.8, 0.6)), 40)
    assert none == (
        "No match holds up: of 3 matches of r 0.5 or more on the training clips, none reaches that on the "
        "40 held-out clips."
    )
    one = held_words(matches((0.7, 0.6), (0.9, 0.3), (-0.8, -0.1)), 40, 0)
    of = "of r 0.5 or more on the training clips"
    assert one == f"1 of 3 matches {of} holds up on the 40 held-out clips (chance reaches 0)."
    both = held_words(matches((0.7, 0.6), (-0.8, -0.7)), 40, 1)
    assert both == f"2 of 2 matches {of} hold up on the 40 held-out clips (chance reaches 1)."
    no_more = held_words(matches((0.7, 0.6), (-0.8, -0.7)), 40, 2)
    assert no_more == (
        f"No more matches hold up than by chance: 2 of 2 matches {of} reach that on the 40 held-out clips, and 2 would "
        "with clips exchanged."
    )
    unknown = held_words(matches((0.7, 0.6), (0.9, 0.3)), 4, why="there are too few of them to exchange")
    assert unknown == (
        "Whether matches hold up cannot be told from chance (there are too few of them to exchange): 1 of 2 matches "
        f"{of} reaches that on the 4 held-out clips."
    )
    assert "cannot be told" in held_words(matches((0.9, None)), 40)
    assert "none reaches r 0.5" in held_words(matches((0.4, 0.4)), 40)
    assert "none reaches r 0.5" in held_words(matches((1.0, 1.0), is_rare=True), 40), "one clip in common"


def test_compare_begins_with_the_best_layers_and_says_first_what_holds_up(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at("compare", tiny_store, monkeypatch)
    no_trouble(page)
    saes = fetch_saes(store).set_index("sae_id")
    probes = fetch_layer_probes(store, store.meta()["label_name"], "all-groups")
    chosen = [page.selectbox(key=f"so-compare-{side}").value for side in "ab"]
    assert saes.loc[chosen, "encoder_id"].nunique() == 2 and saes.loc[chosen, "is_reference"].all()
    for sae_id in chosen:
        mine = saes[saes["encoder_id"] == saes.loc[sae_id, "encoder_id"]]
        here = probes[(probes["encoder_id"] == saes.loc[sae_id, "encoder_id"]) & probes["layer"].isin(mine["layer"])]
        best = here.sort_values(["accuracy", "layer"], ascending=[False, True])["layer"].iloc[0]
        assert saes.loc[sae_id, "layer"] == best
    assert "on the training clips" in words(page)


def test_the_best_layer_of_an_encoder_comes_before_its_first(store: Store) -> None:
    saes = fetch_saes(store)
    first = default_sae(saes)
    other = saes[(saes["encoder_id"] == first["encoder_id"]) & (saes["layer"] != first["layer"])]
    layer = int(other["layer"].iloc[0])
    assert default_sae(saes, {(first["encoder_id"], layer): 0.9})["layer"] == layer
    assert default_sae(saes, {})["sae_id"] == first["sae_id"]
