"""How queries call an encoder: no two of a store have the same name."""

from __future__ import annotations

# `encoders` with display names that tell them apart: where several have the same one (two checkpoints of a family), the
# digits at the end of the encoder_id follow it, as in 'HuBERT (1051c7ab)'. Stands where the table's name would.
NAMED_ENCODERS = """(
    SELECT * REPLACE (
        CASE WHEN count(*) OVER (PARTITION BY display_name) > 1
             THEN display_name || ' (' || regexp_extract(encoder_id, '[^-]*$') || ')'
             ELSE display_name END AS display_name)
    FROM encoders)"""
