"""What an SAE that leaves its store takes along: where it came from and how it was made."""

from __future__ import annotations

from explorer.errors import NotInStoreError
from explorer.sae_card import Fact
from explorer.store import Store
from explorer.store.names import printable
from explorer.text import is_defined

_SQL = """
    SELECT s.sae_id, s.weights_file, e.encoder_id, e.name AS encoder_name, e.display_name AS encoder_display_name,
        e.family AS encoder_family, e.source AS encoder_source,
        CASE WHEN e.revision IS NOT NULL THEN e.source END AS hub_id, e.revision AS encoder_revision,
        e.loader AS encoder_loader, e.fingerprint AS encoder_fingerprint,
        e.weights_sha256 AS encoder_weights_sha256, e.licence AS encoder_licence, e.is_trained, e.is_published,
        e.sample_rate_hz, e.frame_rate_hz, s.layer, e.n_layers, s.level, s.pooling, s.d_model AS d_in, s.n_features,
        s.k, s.method, s.protocol, s.seed, s.n_epochs, s.n_epochs_trained, s.epochs_reason,
        s.n_train_clips AS n_training_clips, s.n_dead, s.fvu_heldout,
        (SELECT value FROM meta WHERE key = 'corpus_name') AS corpus,
        (SELECT value FROM meta WHERE key = 'corpus_id') AS corpus_id
    FROM saes s JOIN encoders e USING (encoder_id) WHERE s.sae_id = ?"""


def fetch_sae_facts(store: Store, sae_id: str) -> tuple[str, dict[str, Fact]]:
    """(the file of its weights in the store, facts by name). Raises NotInStoreError for an SAE that is not there."""
    rows = store.query(_SQL, [sae_id])
    if rows.empty:
        known = store.query("SELECT sae_id FROM saes ORDER BY is_reference DESC, sae_id LIMIT 5")["sae_id"]
        there = f"there are {', '.join(map(printable, known))} and others" if len(known) else "it holds none"
        raise NotInStoreError(f"There is no SAE {sae_id!r} in {store.folder}; {there}.")
    row = rows.astype(object).iloc[0].to_dict()
    facts = {str(name): _plain(value) for name, value in row.items()}
    return str(facts.pop("weights_file")), facts


def _plain(value: object) -> Fact:
    """A Python value that JSON knows; None where undefined."""
    if not is_defined(value):
        return None
    taken = value.item() if hasattr(value, "item") else value
    return taken if isinstance(taken, bool | int | float | str) else str(taken)
