"""Columns of numbers and planted values as measures: which count, how they are tested, and what counts leave them out.

The corpus of the run is made by hand: three singers, steady tones whose MIDI note the table gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from explorer.figures.compare import factor_pairs
from explorer.inference import clip_sound, listen, measure, own_encoder, with_predictions
from explorer.measures import are_acoustic, kind_and_own_name, kinds_counted, measure_name, numeric_columns
from explorer.queries.against import fetch_against, fetch_measures
from explorer.queries.compare import fetch_factor_pairs
from explorer.queries.corpus import fetch_saes
from explorer.queries.factor_claims import fetch_recovery
from explorer.queries.factors import fetch_factor_predictions, fetch_factor_scores, fetch_lasso_weights
from explorer.queries.features import fetch_factor_groups
from explorer.queries.live import fetch_factor_spread
from explorer.queries.search import fetch_features_for_measure, fetch_measured_elsewhere
from explorer.store import Store, open_store
from explorer.ui.factor_said import extra_words
from explorer.ui.live_factors import extra_words as live_words
from precompute.attribution import LassoSettings, fit_factors
from precompute.pipeline import run
from tests.conftest import tiny_config
from tests.test_pages import at, charts, no_trouble, words

N = 12
GROUPS = ["anna", "ben", "cleo"] * 4
LABELS = {"label": ["a", "b", "c", "d"] * 3}
FILES = [f"f{at}" for at in range(N)]
FOLDS = [at % 3 for at in range(N)]
NOTES = [48.0 + 3 * at for at in range(N)]


def test_a_measure_is_a_quantity_and_no_name() -> None:
    attributes: dict[str, list[object]] = {
        "note": [str(note) for note in NOTES],
        "snr": ["12.5", "-3", None, "1e2", "", *["7"] * 7],
        "age": ["31", "44", "27"] * 4,  # each singer's own, and still a quantity
        "word": ["12", "x", *["3"] * 10],
        "endless": ["inf", "1", "2", *["3"] * 9],
        "two": ["0", "1"] * 6,
        "same": ["4"] * N,
        "empty": [None] * N,
        "target": ["0", "10", "20", "35"] * 3,  # the label under another name
        "row": [str(at + 1) for at in range(N)],
        "scale": [str(at + 48) for at in range(N)],  # semitones in order: row numbers start at 0 or 1
    }
    found = numeric_columns(attributes, LABELS, GROUPS, FILES, FOLDS)
    assert list(found) == ["age", "note", "scale", "snr"]
    np.testing.assert_array_equal(found["note"], NOTES)
    np.testing.assert_array_equal(found["snr"][:5], [12.5, -3, np.nan, 100, np.nan])


def test_a_label_of_numbers_is_a_measure_unless_it_names_the_group() -> None:
    by_speaker = {"label": [{"anna": "1034", "ben": "61", "cleo": "7"}[group] for group in GROUPS]}
    assert not numeric_columns({}, by_speaker, GROUPS, FILES, FOLDS)
    assert list(numeric_columns({}, {"label": ["60", "62", "64", "65"] * 3}, GROUPS, FILES, FOLDS)) == ["label"]


def test_a_data_sets_own_folds_are_no_measure() -> None:
    fold = {"fold": [str(at % 3 + 1) for at in range(N)]}
    assert not numeric_columns(fold, {}, FILES, FILES, FOLDS)
    assert list(numeric_columns(fold, {}, GROUPS, FILES, FOLDS)) == ["fold"], "with as many groups a quantity may"


def test_row_numbers_are_known_where_recordings_were_cut() -> None:
    files = [f"f{at // 3}" for at in range(N)]
    assert not numeric_columns({"row": [str(at // 3) for at in range(N)]}, {}, GROUPS, files, FOLDS)


def test_names_and_counts_in_words() -> None:
    assert measure_name("column", "age") == "column.age" and measure_name("pitch", "F0") == "F0"
    assert kind_and_own_name("column", "column.age") == ("column", "age")
    assert kind_and_own_name("pitch", "F0semitoneFrom27.5Hz") == ("pitch", "F0semitoneFrom27.5Hz")
    kinds = ["pitch", "mfcc", "column", "planted", "planted"]
    assert kinds_counted(kinds) == "2 factors, 1 column and 2 planted values"
    assert kinds_counted(["column"]) == "1 column" and kinds_counted([]) == "no factors"


def test_what_is_said_of_the_factors_does_not_depend_on_the_columns() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(160) % 8
    x = np.maximum(rng.normal(size=(160, 20)), 0)
    factors = np.stack([x[:, 0] + 0.3 * rng.normal(size=160), *rng.normal(size=(5, 160))], axis=1)
    columns = np.stack([x[:, 3] + 0.3 * rng.normal(size=160), *rng.normal(size=(3, 160))], axis=1)
    heldout = group < 3
    given: dict[str, Any] = {
        "train_mask": ~heldout,
        "heldout_mask": heldout,
        "folds_c": np.where(heldout, -1, group % 4),
        "settings": LassoSettings(alphas=5, eps=0.05, n_permutations=199),
    }
    groups = np.array([f"g{one}" for one in group], object)
    alone = fit_factors(x, factors, groups, **given)
    only = fit_factors(x, columns, groups, **given)
    families = ["factor"] * 6 + ["column"] * 4
    both = fit_factors(x, np.concatenate([factors, columns], axis=1), groups, families_g=families, **given)
    told = [(fit.r2, fit.r2_p, fit.r2_permuted, fit.is_predicted, fit.n_weights) for fit in [*alone, *only]]
    assert told == [(fit.r2, fit.r2_p, fit.r2_permuted, fit.is_predicted, fit.n_weights) for fit in both]
    assert [fit.factor_index for fit in both] == list(range(10))
    assert both[0].is_predicted and both[6].is_predicted


@pytest.fixture(scope="module")
def notes(tiny_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Store]]:
    """A store of 48 steady tones of three singers whose MIDI note a column gives; another column is noise."""
    root, rng, rows = tmp_path_factory.mktemp("solfege"), np.random.default_rng(0), []
    for place in range(48):
        note, time_s = 50 + int(rng.integers(0, 25)), np.arange(8000) / 16000
        tone = sum(np.sin(2 * np.pi * k * 440 * 2 ** ((note - 69) / 12) * time_s) / k for k in range(1, 6))
        sf.write(root / f"{place:02d}.wav", 0.2 * tone + 0.002 * rng.normal(size=8000), 16000)
        rows.append((f"{place:02d}.wav", "ab"[place % 2], GROUPS[place % 3], note, place, rng.integers(0, 9)))
    table = pd.DataFrame(rows, columns=["file", "label", "group", "note", "row", "luck"])
    table.to_csv(root / "metadata.csv", index=False)
    folder = tmp_path_factory.mktemp("notes") / "store"
    hubert = f"hubert={tiny_sources / 'random-hubert'}"
    run(tiny_config(tiny_sources, folder, dataset="folder", root=root, encoders=[hubert]), command="notes")
    store = open_store(folder)
    yield folder, store
    store.close()


def reference(store: Store) -> dict[str, Any]:
    rows = fetch_saes(store)
    return dict(rows[rows["is_reference"]].iloc[-1].to_dict())


def test_a_column_is_scored_like_a_factor_and_tested_apart(notes: tuple[Path, Store]) -> None:
    store = notes[1]
    assert fetch_measures(store).query("kind == 'column'")["name"].tolist() == ["luck", "note"]
    names = store.query("SELECT name FROM factors WHERE factor_index >= 88 ORDER BY factor_index")["name"]
    assert list(names) == ["column.luck", "column.note"]
    scored = store.query("SELECT DISTINCT representation_id FROM factor_scores")["representation_id"]
    assert len(scored) > 3
    for representation in scored:
        scores = fetch_factor_scores(store, representation, "held-out").set_index("name")
        assert len(scores) == 90
        note = scores.loc["column.note"]
        assert note["tested_by"] == "clips" and note["is_predicted"] and note["n_all_clips"] == 48
        assert not scores.loc["column.luck", "is_predicted"]
        predicted = fetch_factor_predictions(store, representation, "held-out", int(note["factor_index"]))
        assert len(predicted) == note["n_clips"] and predicted["measured"].between(50, 75).all()


def test_averages_are_over_acoustic_factors_alone(notes: tuple[Path, Store], store: Store) -> None:
    for one in (notes[1], store):
        fixed = one.query("SELECT DISTINCT factor_index FROM factor_scores WHERE is_fixed_set")["factor_index"]
        assert len(fixed) and (fixed < 88).all()
        saes = one.query("SELECT * FROM saes").set_index("sae_id")
        acoustic = one.query("SELECT * FROM factor_scores WHERE factor_index < 88")
        for sae_id, rows in acoustic.groupby("representation_id"):
            if sae_id not in saes.index:
                continue
            top = rows.dropna(subset=["r2"]).sort_values("r2_folds", ascending=False, kind="stable").head(10)
            assert saes.loc[sae_id, "informativeness"] == pytest.approx(top["r2"].mean(), nan_ok=True)
            assert saes.loc[sae_id, "n_predicted"] == rows["is_predicted"].fillna(False).sum()
        named = one.query("SELECT DISTINCT best_factor FROM features WHERE best_factor IS NOT NULL")["best_factor"]
        assert not named.str.startswith(("column.", "planted.")).any()
        assert not set(fetch_factor_groups(one)["factor_group"]) & {"column", "planted"}
        recovery = fetch_recovery(one)
        assert (recovery["n_scored"] + recovery["n_undefined"] == 88).all()


def test_find_against_and_compare_know_the_column(notes: tuple[Path, Store]) -> None:
    store, sae = notes[1], reference(notes[1])
    weights = fetch_lasso_weights(store, str(sae["sae_id"]), "held-out").query("factor_index == 89")
    rows = fetch_features_for_measure(store, sae, "column", "note").set_index("feature")
    assert rows["weight"].notna().sum() == len(weights) > 3
    for found in weights.to_dict("records"):
        assert rows.loc[found["feature"], "weight"] == pytest.approx(found["weight"])
    measured = fetch_against(store, sae, 0, "column", "note")["measured"]
    assert measured.between(50, 75).all()
    ids = fetch_saes(store)["sae_id"]
    pairs = fetch_factor_pairs(store, ids.iloc[0], ids.iloc[-1], "held-out")
    assert set(pairs.loc[~are_acoustic(pairs), "name"]) == {"column.luck", "column.note"}
    elsewhere = fetch_measured_elsewhere(store, str(sae["sae_id"]), "column", "note")
    assert len(elsewhere) == 5 and (elsewhere["sae_id"] != sae["sae_id"]).all()


def test_live_reads_the_column_from_the_code_and_measures_it_nowhere(notes: tuple[Path, Store]) -> None:
    store, sae = notes[1], reference(notes[1])
    spread = fetch_factor_spread(store).set_index("name").loc["column.note"]
    assert spread["n"] == 48 and 50 <= spread["low"] < spread["high"] <= 74
    sound = clip_sound(store, 5).wave
    (heard,) = listen(store, sound, [str(sae["sae_id"])], own_encoder(store, device="cpu"))
    rows = with_predictions(measure(store, sound), heard).set_index("name")
    note = rows.loc["column.note"]
    assert np.isnan(note["value"]) and note["reason"] == "not measured" and 40 < note["predicted"] < 85
    frame = rows.reset_index()
    said = live_words(frame)
    assert said.startswith(f"The code predicts note {note['predicted']:.2f} (R² ") and "Not predictable" in said
    assert "luck" in said.split("Not predictable")[1]
    assert "Could not be tested: luck." in live_words(frame.assign(is_tested=False))
    assert live_words(rows.reset_index()[lambda of: are_acoustic(of)]) == ""


def test_the_summary_counts_columns_apart(notes: tuple[Path, Store]) -> None:
    scores = fetch_factor_scores(notes[1], str(reference(notes[1])["sae_id"]), "held-out")
    assert extra_words(scores[are_acoustic(scores)]) == ""
    scores = scores.assign(r2_shown=0.93)
    assert extra_words(scores) == "Of the corpus's own columns of numbers, 1 of 2 (R²: note 0.93)."
    said = extra_words(scores.assign(untested="too few groups"))
    assert said.startswith("Whether the corpus's own columns of numbers are predictable cannot be tested here (R²: ")


def test_the_pages_draw_a_column(notes: tuple[Path, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    sae_id = str(reference(notes[1])["sae_id"])
    page = at("factors", notes[0], monkeypatch, sae=sae_id, factor="column.note")
    no_trouble(page)
    assert "own columns of numbers, 1 of 2 (R²: note 0." in words(page)
    axes = [figure["layout"]["xaxis"].get("title", {}).get("text") for figure in charts(page)]
    assert "measured note, clipped" in axes
    for name in ("layers", "compare"):
        no_trouble(at(name, notes[0], monkeypatch))


def test_what_was_planted_is_predicted_too(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = reference(store)
    scores = fetch_factor_scores(store, str(sae["sae_id"]), "held-out").set_index("name")
    assert scores.loc["planted.f0_st", "display_name"] == "planted pitch" and len(scores) == 88 + 7
    assert [kind for kind in fetch_measures(store)["kind"] if kind == "planted"] == ["planted"] * 7, "each once"
    page = at("factors", tiny_store, monkeypatch, sae=str(sae["sae_id"]), factor="planted.f0_st")
    no_trouble(page)
    assert "planted pitch" in words(page)


def test_one_very_bad_score_leaves_the_others_room_and_other_measures_are_diamonds() -> None:
    same = {"r2_permuted_a": 0.0, "r2_permuted_b": 0.0, "effective_codes_a": 2.0, "effective_codes_b": 2.0,
            "n_clips_a": 40, "n_clips_b": 40, "is_predicted_a": True, "is_predicted_b": False}  # fmt: skip
    rows = pd.DataFrame([
        {**same, "factor_index": 0, "display_name": "F0 mean", "factor_group": "pitch", "r2_a": -12.0, "r2_b": 0.7},
        {**same, "factor_index": 88, "display_name": "age", "factor_group": "column", "r2_a": 0.5, "r2_b": 0.4},
    ])  # fmt: skip
    fig = factor_pairs(rows, False, name_a="A", name_b="B")
    marks = next(trace for trace in fig.data if trace.customdata is not None)
    assert list(marks.x) == [-1.0, 0.5] and "R² −12.00" in marks.text[0]
    assert list(marks.marker.symbol) == ["circle", "diamond"] and fig.layout.xaxis.range[0] > -1.1
