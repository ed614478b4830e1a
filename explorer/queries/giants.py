"""Giant frames in a store: where they are, what they hold of each layer, and what they change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from explorer.giants import Span, UsualFrames
from explorer.queries.factors import acoustic
from explorer.store import Store

MOST_SPANS = 100_000


def fetch_giant_spans(store: Store, encoder_id: str, layer: int, clip_indices: Sequence[int]) -> dict[int, list[Span]]:
    """Of these clips, those with giant frames at a layer: (start, end) in s of each run of them, in order."""
    if not len(clip_indices):
        return {}
    rows = store.query(
        "SELECT clip_index, start_s, end_s FROM giant_spans WHERE encoder_id = ? AND layer = ? "
        "AND clip_index IN (SELECT unnest(?::INTEGER[])) ORDER BY clip_index, start_s LIMIT ?",
        [encoder_id, int(layer), [int(index) for index in clip_indices], MOST_SPANS],
    )
    spans: dict[int, list[Span]] = {}
    for index, start_s, end_s in rows.itertuples(index=False):
        spans.setdefault(int(index), []).append((float(start_s), float(end_s)))
    return spans


def fetch_usual_frames(store: Store, encoder_id: str, layer: int) -> UsualFrames | None:
    """Where the frames of a layer usually lie; None where the store does not say (an older one)."""
    rows = store.query(
        "SELECT center, median_distance FROM layer_frames WHERE encoder_id = ? AND layer = ?", [encoder_id, int(layer)]
    )
    if rows.empty:
        return None
    return UsualFrames(np.asarray(rows["center"].iloc[0], np.float32), float(rows["median_distance"].iloc[0]))


def fetch_layer_frames(store: Store) -> pd.DataFrame:
    """A row a layer of each encoder: its `layer_frames` without the centre, with display_name, name and is_chosen."""
    return store.query(
        """SELECT e.encoder_id, e.display_name, e.name, f.* EXCLUDE (encoder_id, center),
                  coalesce((SELECT bool_or(is_chosen) FROM layer_choices c
                            WHERE c.encoder_id = f.encoder_id AND c.layer = f.layer), false) AS is_chosen
           FROM layer_frames f JOIN encoders e USING (encoder_id) ORDER BY e.display_name, e.encoder_id, f.layer"""
    )


def fetch_giant_effects(store: Store, label_name: str | None, protocol: str) -> pd.DataFrame:
    """What giant frames change, a row a layer that has some: encoder_id, layer, pools_giants (whether SAEs stand on
    states with them), accuracy and accuracy_other (of the probe of `label_name`; other: pooled the other way), r2 and
    r2_other (median over factors that have one both ways, from the pooled states), fvu and fvu_other (held out, of the
    reference SAE). NULL where there is none."""
    return store.query(
        f"""WITH other AS (
               SELECT representation_id, encoder_id, layer, kind = 'without giants' AS pools_giants
               FROM representations WHERE kind IN ('with giants', 'without giants')),
           dense AS (SELECT representation_id, encoder_id, layer FROM representations WHERE kind = 'dense'),
           factors AS (
               SELECT o.encoder_id, o.layer, median(a.r2) AS r2, median(b.r2) AS r2_other,
                      count(*)::INTEGER AS n_factors
               FROM other o JOIN dense d USING (encoder_id, layer)
               JOIN factor_scores a ON a.representation_id = d.representation_id
               JOIN factors n ON n.factor_index = a.factor_index AND {acoustic("n")}
               JOIN factor_scores b ON b.representation_id = o.representation_id
                    AND b.factor_index = a.factor_index AND b.protocol = a.protocol
               WHERE a.protocol IN ('held-out', 'paper') AND a.r2 IS NOT NULL AND b.r2 IS NOT NULL
               GROUP BY ALL)
           SELECT o.encoder_id, o.layer, o.pools_giants, p.accuracy, q.accuracy AS accuracy_other, p.n_clips,
                  f.r2, f.r2_other, f.n_factors, s.fvu_heldout AS fvu, s.fvu_heldout_other AS fvu_other
           FROM other o JOIN dense d USING (encoder_id, layer)
           LEFT JOIN probes p ON p.representation_id = d.representation_id AND p.label_name = $label
                AND p.protocol = $protocol
           LEFT JOIN probes q ON q.representation_id = o.representation_id AND q.label_name = $label
                AND q.protocol = $protocol
           LEFT JOIN factors f ON f.encoder_id = o.encoder_id AND f.layer = o.layer
           LEFT JOIN saes s ON s.encoder_id = o.encoder_id AND s.layer = o.layer AND s.is_reference
           ORDER BY o.encoder_id, o.layer""",  # noqa: S608 - the names are code
        {"label": label_name, "protocol": protocol},
    )
