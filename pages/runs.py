"""Runs: where every number comes from, what was skipped, and what this generation stands on."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from explorer.queries.corpus import fetch_corpus, fetch_encoders, fetch_skipped_files
from explorer.queries.runs import (
    fetch_diagnostics,
    fetch_generation_files,
    fetch_generation_sizes,
    fetch_runs,
    fetch_timings,
)
from explorer.store import Store
from explorer.text import MISSING, count, is_defined, number, percent
from explorer.ui.choices import section
from explorer.ui.context import cached, get_store
from explorer.ui.history import name_view
from explorer.ui.style import caption, download_csv, empty_state, page_header, store_columns
from explorer.ui.tables import as_read
from explorer.ui.url import drop, get_param, write_option


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    facts = fetch_corpus(store)
    words = "Where every number comes from: configurations, versions, timings, skipped files, and files."
    page_header("Runs", words, store=store)
    made = facts.created_at or "at an unknown time"
    caption(f"Corpus {facts.name} ({facts.kind}) · generation {facts.generation}, made {made}")
    runs = cached(fetch_runs, store)
    if runs.empty:
        empty_state("No run is recorded in this store.")
    else:
        _run(store, _chosen(runs), runs)
    _encoders(store)
    _skipped(store)
    _files(store)


def _chosen(runs: pd.DataFrame) -> dict[str, Any]:
    asked = get_param("run")
    if asked is not None and asked not in set(runs["run_id"]):
        drop("run", f"The link asks for run {asked!r}; this store holds {', '.join(runs['run_id'])}.")
        asked = None
    return runs[runs["run_id"] == (asked or runs["run_id"].iloc[0])].iloc[0].to_dict()


def _run(store: Store, run: dict[str, Any], runs: pd.DataFrame) -> None:
    if len(runs) > 1:
        st.session_state["so-run"] = run["run_id"]
        started = runs.set_index("run_id")["started_at"].to_dict()
        st.selectbox(
            "Run", list(started), key="so-run", format_func=lambda key: f"{key} · {started[key]}",
            on_change=lambda: write_option("run", st.session_state["so-run"]),
        )  # fmt: skip
    name_view("Runs", run["run_id"])
    section(f"Run {run['run_id']}")
    finished = run["finished_at"] if is_defined(run["finished_at"]) else "not recorded as finished"
    caption(f"Preset {run['preset']} · {count(run['n_clips'], 'clip')} · {run['started_at']} to {finished}")
    if is_defined(run["command"]):
        caption("Command, as this store recorded it:")
        st.text(str(run["command"]))  # a store may be anybody's: nothing to copy with a click
    if is_defined(run["summary"]):
        st.text(str(run["summary"]))
    with st.container(key="so-split"):
        left, right = st.columns(2, gap="large")
    with left:
        _timings(store, run["run_id"])
    with right:
        _provenance(run)


def _timings(store: Store, run_id: str) -> None:
    st.markdown("**Where the time went**")
    rows = cached(fetch_timings, store, run_id)
    if rows.empty:
        empty_state("No timings were stored for this run.")
        return
    total = float(rows["seconds"].sum())
    share = (rows["seconds"] / total).round(3) if total > 0 else float("nan")
    shown = rows.assign(share=share, seconds=rows["seconds"].round(2))
    longest = max(float(rows["seconds"].max()), 1e-9)
    st.dataframe(
        as_read(shown[["stage", "seconds", "share", "n_done", "n_reused"]], {"share": percent}), hide_index=True,
        column_config={
            "stage": st.column_config.TextColumn("Stage", width="medium"),
            "seconds": st.column_config.ProgressColumn("Seconds", format="%.4g", min_value=0, max_value=longest),
            "share": st.column_config.NumberColumn("Share", width="small"),
            "n_done": st.column_config.NumberColumn("Done", width="small"),
            "n_reused": st.column_config.NumberColumn("Reused", width="small"),
        },
    )  # fmt: skip
    caption(f"{number(total, 1)} s in all. Reused: finished by an earlier run and not done again.")
    download_csv(rows, f"timings_{run_id}", about={"run_id": run_id})


def _provenance(run: dict[str, Any]) -> None:
    st.markdown("**Provenance**")
    everything: dict[str, object] = {}
    for title, column in {"Configuration": "config", "Versions": "versions", "Hardware": "hardware"}.items():
        value = _parsed(run[f"{column}_json"])
        everything[title.lower()] = value
        with st.expander(title):
            if value is None:
                empty_state("Not stored.")
            else:
                st.json(value, expanded=2)
    record = {key: value for key, value in run.items() if not key.endswith("_json") and is_defined(value)}
    st.download_button(
        "JSON", json.dumps({**record, **everything}, indent=2, default=str), file_name=f"run_{run['run_id']}.json",
        mime="application/json", icon=":material/download:", type="tertiary", on_click="ignore",
    )  # fmt: skip


def _parsed(text: object) -> object:
    if not is_defined(text):
        return None
    try:
        return json.loads(str(text))
    except json.JSONDecodeError:
        return str(text)


def _encoders(store: Store) -> None:
    section("Encoders")
    rows = cached(fetch_encoders, store)
    if rows.empty:
        empty_state("No encoder has run.")
        return
    names = {
        "display_name": "Encoder", "encoder_id": "Id", "family": "Family", "source": "Source",
        "revision": "Revision", "loader": "Loader", "is_trained": "Trained", "sample_rate_hz": "Sample rate (Hz)",
        "frame_rate_hz": "Frames / s",
        "n_layers": "Layers", "d_model": "Width", "licence": "Licence of the weights", "note": "Note",
        "weights_sha256": "SHA-256 of the weights", "preprocessor_sha256": "SHA-256 of the preprocessor",
    }  # fmt: skip
    st.dataframe(as_read(rows[list(names)].rename(columns=names)), hide_index=True, placeholder=MISSING)
    download_csv(rows, "encoders", about=store_columns(store))


def _skipped(store: Store) -> None:
    section("Skipped files")
    rows = cached(fetch_skipped_files, store)
    if rows.empty:
        caption("None: every file that was found is in the corpus.")
        return
    caption(f"{count(len(rows), 'file')} found and not used, each with its reason.")
    st.dataframe(
        rows[["path", "kind", "reason"]].rename(columns=str.capitalize), hide_index=True,
        column_config={"Path": st.column_config.TextColumn(width="medium"),
                       "Kind": st.column_config.TextColumn(width="small")},
    )  # fmt: skip
    download_csv(rows, "skipped_files", about=store_columns(store))


def _files(store: Store) -> None:
    section("Files of this generation")
    sizes = cached(fetch_generation_sizes, store)
    if sizes.empty:
        empty_state("This generation lists no file other than its database.")
        return
    st.dataframe(
        as_read(sizes.rename(columns={"kind": "Kind", "n_files": "Files", "megabytes": "MB"}), {"MB": number}),
        hide_index=True, width="content",
    )  # fmt: skip
    download_csv(cached(fetch_generation_files, store), "generation_files", about=store_columns(store))
    diagnostics = cached(fetch_diagnostics, store)
    if len(diagnostics):
        section("Diagnostics")
        caption(f"{count(len(diagnostics), 'check')}, also on the Overview.")
        download_csv(diagnostics, "diagnostics", about=store_columns(store))


main()
