"""Rows behind "what we planted, what was found": generated corpora only."""

from __future__ import annotations

import pandas as pd

from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store

KINDS = {"dense": "all dimensions of a layer", "lasso": "an SAE's codes", "feature": "one feature"}


def fetch_planted(store: Store, kind: str) -> pd.DataFrame:
    """One row a parameter, encoder and layer: names, unit, score, control, told, n, is_found, is_beyond, in_teacher,
    feature; the SAE (NULL for 'dense'): sae_id, sparsity, seed. linked_sae is that SAE, else the layer's reference one.

    kind: one of KINDS. Parameters in the order they are planted in, nuisances of the recording last; empty where the
    corpus is not a generated one.
    """
    return store.query(
        f"""SELECT p.display_name AS parameter_name, p.unit, p.description, p.is_nuisance, s.*,
                   e.name AS encoder_name, e.display_name AS encoder_display, e.is_trained,
                   saes.sae_id, saes.sparsity, saes.seed, saes.k, saes.n_features, saes.level, saes.method,
                   coalesce(saes.sae_id, (SELECT min(a.sae_id) FROM saes a WHERE a.encoder_id = s.encoder_id
                                          AND a.layer = s.layer AND a.is_reference)) AS linked_sae
            FROM planted_scores s JOIN planted_parameters p ON p.name = s.parameter
            JOIN {NAMED_ENCODERS} e USING (encoder_id)
            LEFT JOIN saes ON saes.sae_id = s.representation_id
            WHERE s.kind = $kind ORDER BY p.is_nuisance, p.rowid, e.display_name, s.layer""",  # noqa: S608
        {"kind": kind},
    )


def fetch_planted_baseline(store: Store) -> pd.DataFrame:
    """One row a parameter: what openSMILE's measured factors say of it, which no encoder made."""
    return store.query(
        """SELECT p.display_name AS parameter_name, s.* FROM planted_scores s
           JOIN planted_parameters p ON p.name = s.parameter
           WHERE s.kind = 'factors' ORDER BY p.is_nuisance, p.rowid"""
    )
