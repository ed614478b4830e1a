"""Whether the features of the reference SAEs return when they are trained again from another start."""

from __future__ import annotations

from typing import Any

import pandas as pd

from explorer.naming import sae_title
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store
from explorer.text import count, is_defined, number, percent


def fetch_returning(store: Store) -> pd.DataFrame:
    """A row a reference SAE: sae_id, encoder_display, is_trained, layer, k, n_features, seed, share_returning,
    returns_above_r (both NULL where it was trained from one seed), n_seeds (others), n_features_compared."""
    return store.query(
        f"""SELECT s.sae_id, e.display_name AS encoder_display, e.is_trained, s.layer, s.k, s.n_features, s.seed,
                  s.level, s.protocol, s.share_returning, s.returns_above_r,
                  max(f.stability_n_seeds)::INTEGER AS n_seeds, count(f.n_returns)::INTEGER AS n_features_compared
           FROM saes s JOIN {NAMED_ENCODERS} e USING (encoder_id) LEFT JOIN features f USING (sae_id)
           WHERE s.is_reference GROUP BY ALL ORDER BY e.display_name, s.layer, s.sae_id"""  # noqa: S608 - the names are code
    )


def returning_words(row: dict[str, Any]) -> str:
    """One sentence about one SAE of `fetch_returning`, with what chance reaches."""
    name = sae_title(row)
    others = int(row["n_seeds"]) if is_defined(row["n_seeds"]) else 0
    if not others:
        return f"{name}: not measured, since there is one seed."
    if not is_defined(row["share_returning"]):
        return f"{name}: not measured, since no feature varies over the held-out clips."
    seeds = {1: "the other seed", 2: "both other seeds"}.get(others, f"most of the {others} other seeds")
    return (
        f"{name}: {percent(row['share_returning'])} of {count(row['n_features_compared'], 'feature')} return in "
        f"{seeds} (held-out r over {number(row['returns_above_r'])}; of shuffled clips at most 5 % reach it)."
    )
