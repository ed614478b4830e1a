"""Features to hear first where nothing could be tested: what their strongest clips are, and no claim beyond that."""

from __future__ import annotations

import pandas as pd

from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store

N_STRONGEST = 5


def fetch_first_hearing(store: Store, limit: int = 6) -> pd.DataFrame:
    """Live features of reference SAEs (of all, where none is), those whose strongest clips are most alike first.

    display_name, layer, sae_id, feature, label (the commonest of its N_STRONGEST strongest clips, NULL where they have
    none), n_alike (of these clips that have it), n_listed (of how many). At most two of one SAE, no dense ones.
    """
    return store.query(
        f"""WITH asked AS (
                SELECT sae_id FROM saes WHERE is_reference OR NOT EXISTS (SELECT 1 FROM saes WHERE is_reference)),
            strongest AS (
                SELECT l.sae_id, l.feature, c.label, c.group_id FROM listed_clips l JOIN clips c USING (clip_index)
                WHERE l.kind = 'top' AND NOT c.is_silent AND l.sae_id IN (SELECT sae_id FROM asked)
                QUALIFY row_number() OVER (PARTITION BY l.sae_id, l.feature ORDER BY l.rank) <= {N_STRONGEST}),
            alike AS (
                SELECT sae_id, feature, mode(label) AS label, count(*) AS n_listed,
                       count(DISTINCT group_id) AS n_groups FROM strongest GROUP BY ALL),
            counted AS (
                SELECT a.*, (SELECT count(*) FROM strongest s WHERE s.sae_id = a.sae_id AND s.feature = a.feature
                             AND s.label = a.label) AS n_alike FROM alike a),
            ranked AS (
                SELECT c.*, row_number() OVER (PARTITION BY c.sae_id ORDER BY n_alike DESC, n_groups DESC,
                                               f.n_active DESC, c.feature) AS turn
                FROM counted c JOIN features f USING (sae_id, feature)
                WHERE NOT f.is_dead AND NOT coalesce(f.is_dense, false))
            SELECT e.display_name, t.layer, r.sae_id, r.feature, r.label, r.n_alike, r.n_listed
            FROM ranked r JOIN saes t USING (sae_id) JOIN {NAMED_ENCODERS} e USING (encoder_id)
            WHERE turn <= 2
            ORDER BY coalesce(e.is_trained, true) DESC, turn, n_alike DESC, r.sae_id LIMIT {int(limit)}""",  # noqa: S608
    )
