"""Overview: what is in this store, what it says about the paper's claims, and where to start."""

from html import escape

import pandas as pd
import streamlit as st

from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.queries.claims import fetch_claims
from explorer.queries.corpus import CorpusFacts, fetch_corpus, fetch_encoders, fetch_saes
from explorer.queries.curves import fetch_probe_choices
from explorer.queries.first_hearing import fetch_first_hearing
from explorer.queries.first_looks import fetch_first_looks
from explorer.queries.returning import fetch_returning, returning_words
from explorer.queries.runs import fetch_diagnostics, fetch_runs
from explorer.store import Store
from explorer.text import count, is_defined, number, sentence, series_name, whole
from explorer.ui.choices import section
from explorer.ui.context import cached, get_store
from explorer.ui.history import name_view
from explorer.ui.markup import as_written
from explorer.ui.notes import notebook
from explorer.ui.planted import planted_section
from explorer.ui.reader import reader_id
from explorer.ui.style import (
    caption,
    download_csv,
    empty_state,
    no_sae_yet,
    page_header,
    plain_table,
    stat_cards,
    store_columns,
)
from explorer.ui.url import page_file
from explorer.verdicts import FAILS, HOLDS, MIXED, UNSAID, Claim

_SIGNS = {HOLDS: "✓", FAILS: "✕", MIXED: "◐", UNSAID: "–"}


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    facts = fetch_corpus(store)
    words = "What this store holds, what it says about the paper's claims, and where to start."
    name_view("Overview", facts.name)
    page_header(facts.name, words, store=store)
    encoders, saes = cached(fetch_encoders, store), cached(fetch_saes, store)
    runs = cached(fetch_runs, store)
    _counts(facts, len(encoders), len(saes), len(runs))
    _first_steps(store, saes["encoder_id"].nunique())
    with st.container(key="so-split"):
        left, right = st.columns([0.62, 0.38], gap="large")
        with left:
            _claims(store, facts)
        with right:
            _first_looks(store)
            _encoders(encoders, saes)
            _returning(store)
            _diagnostics(store)
    planted_section(store)


def _counts(facts: CorpusFacts, n_encoders: int, n_saes: int, n_runs: int) -> None:
    stat_cards([
        (whole(facts.n_clips), f"clips of {count(facts.n_files, 'file')}"),
        (number(facts.duration_s / 60, 1, unit="min"), "of sound"),
        (whole(facts.n_groups), f"groups ({facts.group_name})"),
        (whole(facts.n_labels), f"labels ({facts.label_name})"),
        (f"{n_encoders}", "encoder" if n_encoders == 1 else "encoders"),
        (f"{n_saes}", "SAE" if n_saes == 1 else "SAEs"),
        (f"{n_runs}", "run" if n_runs == 1 else "runs"),
    ])  # fmt: skip
    words = [facts.dataset_note] if facts.dataset_note and not facts.is_synthetic else []
    if facts.n_skipped:
        words.append(f"{count(facts.n_skipped, 'file')} found and not used; the Runs page says why.")
    if words:
        caption(" ".join(sentence(text) for text in words))


def _first_steps(store: Store, n_encoders: int) -> None:
    """Steps for somebody who is new here, three where two encoders can be compared; gone once they
    are hidden, or something is in the notebook."""
    looks = cached(fetch_first_looks, store)
    looks = looks if len(looks) else cached(fetch_first_hearing, store)
    if looks.empty or st.session_state.get("steps-hidden") or len(notebook().of_owner(reader_id())):
        return
    first = looks.iloc[0]
    feature = {"sae": str(first["sae_id"]), "feature": str(first["feature"])}
    steps: tuple[tuple[str, str, dict[str, str], str], ...] = (
        ("1. Hear one feature", "features", feature, "The clips that drive it most, and when in them it is active."),
        ("2. See where it comes from", "layers", {}, "How well each layer of each encoder predicts the label."),
        ("3. Compare two encoders", "compare", {}, "Scores side by side, and one clip through both."),
    )
    if n_encoders < 2:
        steps = steps[:2]
    with st.container(key="so-steps"):
        for column, (title, page, params, words) in zip(st.columns(len(steps)), steps, strict=True):
            with column, st.container(border=True, height="stretch"):
                st.page_link(page_file(page), label=title, query_params=params or None)
                caption(words)
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button(
                "Hide these steps", type="tertiary", key="hide-steps",
                on_click=lambda: st.session_state.update({"steps-hidden": True}),
            )  # fmt: skip


def _claims(store: Store, facts: CorpusFacts) -> None:
    section("The paper's claims, tested on this data")
    labels = list(cached(fetch_probe_choices, store)["label_name"])
    label = facts.label_name if facts.label_name in labels or not labels else labels[0]
    unseen = "groups that nothing scored was fitted on"
    if facts.n_groups == 1:
        unseen = "clips held out by file (there is one group, so they say nothing about new ones)"
    caption(
        f"Claims of arXiv 2509.24793. Label: {label}. Numbers are of {unseen} unless a line says otherwise; each "
        f"verdict is about this store only, by margins fixed beforehand, and needs {MIN_GROUPS_FOR_INTERVAL} groups. "
        "Untrained encoders are left out where there are others."
    )
    for place, claim in enumerate(_cached_claims(str(store.folder), store.edition, label, store)):
        _claim(claim, place)


@st.cache_data(max_entries=20, show_spinner=False)
def _cached_claims(folder: str, edition: str, label: str, _store: Store) -> list[Claim]:
    return fetch_claims(_store, label)


def _claim(claim: Claim, place: int) -> None:
    with st.container(border=True):
        st.html(
            f'<div style="display:flex;gap:.7em;justify-content:space-between;align-items:baseline">'
            f"<b>{escape(claim.title)}</b>"
            f'<span style="white-space:nowrap;opacity:.85">{_SIGNS[claim.verdict]} {escape(claim.verdict)}</span></div>'
            f'<div style="margin-top:.3em">{escape(claim.sentence)}</div>'
        )
        if claim.details:
            with st.expander("By encoder and layer"):
                st.html("<br>".join(escape(line) for line in claim.details))
        st.page_link(
            page_file(claim.page),
            label=f"See {claim.page.capitalize()}",
            icon=":material/arrow_forward:",
            query_params=dict(claim.params) or None,
        )


def _first_looks(store: Store) -> None:
    section("Where to start")
    rows = cached(fetch_first_looks, store)
    if rows.empty:
        if cached(fetch_saes, store).empty:
            empty_state(*no_sae_yet(store))
        else:
            _first_hearing(store)
        return
    for row in rows.to_dict("records"):
        name = series_name(row["display_name"], row["layer"])
        if row["why"] == "label":
            words = f"{name} · feature {row['feature']}: {row['label']} · F1 {number(row['score'])}"
        else:
            words = (
                f"{name} · feature {row['feature']}: {row['label']} · Lasso weight {number(row['score'])}, "
                f"factor R² {number(row['r2'])}"
            )
        st.page_link(
            page_file("features"),
            label=as_written(words),
            icon=":material/graphic_eq:",
            query_params={"sae": str(row["sae_id"]), "feature": str(row["feature"])},
        )


def _first_hearing(store: Store) -> None:
    """Features to hear where none has a label or factor that holds up."""
    rows = cached(fetch_first_hearing, store)
    if rows.empty:
        empty_state("No feature has listed clips.", "Precompute lists clips for live features.")
        return
    caption("No label or factor holds up on held-out clips here. These are named by their strongest clips; not tested.")
    for row in rows.to_dict("records"):
        name = f"{series_name(row['display_name'], row['layer'])} · feature {row['feature']}"
        named = is_defined(row["label"])
        what = (
            f"{row['label']} in {row['n_alike']} of its {count(row['n_listed'], 'strongest clip')}"
            if named
            else "hear it"
        )
        st.page_link(
            page_file("features"), label=as_written(f"{name}: {what}"), icon=":material/graphic_eq:",
            query_params={"sae": str(row["sae_id"]), "feature": str(row["feature"])},
        )  # fmt: skip


def _encoders(encoders: pd.DataFrame, saes: pd.DataFrame) -> None:
    section("Encoders")
    if encoders.empty:
        empty_state("No encoder has run.", "Run precompute with --encoder hubert, for example.")
        return
    trained = {True: "trained", False: "untrained (random)"}
    by_encoder = saes.groupby("encoder_id")
    rows = encoders.assign(
        weights=[trained.get(v, "unknown") if not pd.isna(v) else "unknown" for v in encoders["is_trained"]],
        chosen=[
            ", ".join(str(x) for x in sorted(set(by_encoder.get_group(e)["layer"]))) if e in by_encoder.groups else "–"
            for e in encoders["encoder_id"]
        ],
        n_saes=[int((saes["encoder_id"] == e).sum()) for e in encoders["encoder_id"]],
    )
    names = {
        "display_name": "Encoder",
        "weights": "Weights",
        "n_layers": "Layers",
        "chosen": "SAEs at layers",
        "n_saes": "SAEs",
    }
    plain_table(rows[list(names)].rename(columns=names), right=("Layers", "SAEs"))


def _returning(store: Store) -> None:
    """Whether the reference SAEs' features return from other starts; nothing where there is no SAE."""
    rows = cached(fetch_returning, store)
    if rows.empty:
        return
    section("Do features return?")
    if not (rows["n_seeds"].fillna(0) > 0).any():
        caption("Not measured: one seed.")
        return
    for row in rows.to_dict("records"):
        caption(returning_words(row))


def _diagnostics(store: Store) -> None:
    section("Diagnostics")
    rows = cached(fetch_diagnostics, store)
    if rows.empty:
        empty_state("None were stored by the runs of this store.")
        return
    warned = rows[rows["severity"] != "ok"]
    n_ok = len(rows) - len(warned)
    if warned.empty:
        caption(f"All {count(n_ok, 'check')} passed.")
        return
    caption(f"{count(len(warned), 'finding')}, {count(n_ok, 'check')} passed.")
    groups = warned.groupby(["severity", "code"], sort=False)
    for (severity, code), part in list(groups)[:12]:
        where = sorted({series_name(r.display_name, r.layer) for r in part.itertuples() if not pd.isna(r.display_name)})
        head = f"{'▲' if severity == 'warning' else '·'} {code} · {count(len(part), 'case')}"
        with st.expander(as_written(head)):
            if where:
                caption(", ".join(where))
            for row in part.head(6).to_dict("records"):
                st.html(f'<div style="font-size:.9rem">{escape(str(row["message"]))}</div>')
            if len(part) > 6:
                caption(f"and {len(part) - 6} more in the CSV")
    download_csv(rows, "diagnostics", about=store_columns(store))


main()
