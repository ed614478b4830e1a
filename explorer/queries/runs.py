"""Rows behind the Runs page: provenance, timings, skipped files, diagnostics, and the generation's files."""

from __future__ import annotations

import pandas as pd

from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store


def fetch_runs(store: Store) -> pd.DataFrame:
    """Every run that added to this store, newest first, with its configuration, versions and hardware as JSON text."""
    return store.query("SELECT * FROM runs ORDER BY started_at DESC NULLS LAST, run_id")


def fetch_unfinished(store: Store) -> int | None:
    """How many encoders the newest unfinished run asks for; None where every run has finished."""
    rows = store.query(
        """SELECT len(json_extract(config_json, '$.encoders')::JSON[])::INTEGER AS n FROM runs
           WHERE finished_at IS NULL ORDER BY started_at DESC LIMIT 1"""
    )
    return None if rows.empty or pd.isna(rows["n"].iloc[0]) else int(rows["n"].iloc[0])


def fetch_timings(store: Store, run_id: str) -> pd.DataFrame:
    """Stages of one run in the order they were stored: stage, seconds, n_done, n_reused."""
    return store.query(
        "SELECT stage, seconds, n_done, n_reused FROM run_timings WHERE run_id = $run ORDER BY rowid", {"run": run_id}
    )


def fetch_generation_files(store: Store) -> pd.DataFrame:
    """The files this generation stands on: path, kind, n_bytes, sha256."""
    return store.query("SELECT path, kind, n_bytes, sha256 FROM generation_files ORDER BY kind, path")


def fetch_generation_sizes(store: Store) -> pd.DataFrame:
    """Per kind of file: n_files and megabytes (10^6 bytes), largest first."""
    return store.query(
        """SELECT kind, count(*)::INTEGER AS n_files, sum(n_bytes)::DOUBLE / 1e6 AS megabytes
           FROM generation_files GROUP BY kind ORDER BY megabytes DESC, kind"""
    )


def fetch_diagnostics(store: Store) -> pd.DataFrame:
    """Diagnostics with the encoder's display name, warnings first: severity, code, value, limit, message."""
    return store.query(
        f"""SELECT d.severity, d.code, d.encoder_id, e.name, e.display_name, d.layer, d.sae_id, d.value,
                  d.limit_ AS "limit", d.message, d.run_id
           FROM diagnostics d LEFT JOIN {NAMED_ENCODERS} e USING (encoder_id)
           ORDER BY CASE d.severity WHEN 'warning' THEN 0 WHEN 'note' THEN 1 ELSE 2 END,
                    d.code, e.display_name, d.layer"""  # noqa: S608 - code
    )
