"""Every page but Features as Streamlit runs it: full, with nothing to show, and reached by wrong links."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from explorer.store import Store, open_store
from explorer.text import count, length_words
from explorer.ui.url import ABOUT_SAES, PAGES, page_file
from precompute.lock import locked
from precompute.pipeline import run
from tests.conftest import measured, tiny_config
from tests.hand_store import HAND_SAE, write_scored_store

MAIN = page_file("overview").with_name("main.py")
MY_PAGES = ("overview", "layers", "sparsity", "factors", "compare", "runs", "live")


@pytest.fixture(scope="module")
def scored_sae(store: Store) -> str:
    rows = store.query(
        "SELECT sae_id FROM saes WHERE sae_id IN (SELECT representation_id FROM factor_scores) ORDER BY 1"
    )
    assert len(rows), "the store under test scores no factor from codes"
    return str(rows["sae_id"][0])


def at(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **params: object) -> AppTest:
    """The app on `page` with these values in the address."""
    monkeypatch.setenv("SONOSCOPE_STORE", str(folder))
    test = AppTest.from_file(str(MAIN), default_timeout=60)
    test.switch_page(f"{page}.py")
    for name, value in params.items():
        test.query_params[name] = str(value)
    return test.run()


def words(test: AppTest) -> str:
    """All text of the page: markup, sentences, captions and expander titles."""
    markup = [body for e in test.get("html") if not (body := str(e.proto.body)).startswith("<style>")]
    said = [str(element.value) for element in (*test.markdown, *test.caption)]
    return "\n".join([*markup, *said, *(e.label for e in test.expander)])


def charts(test: AppTest) -> list[dict]:
    """The figures of the page as plotly's own dictionaries."""
    parts = [element.proto for element in test.get("bidi_component")]
    return [json.loads(json.loads(part.json)["figure"]) for part in parts if part.component_name == "sonoscope_figure"]


def plain_tables(test: AppTest) -> list[pd.DataFrame]:
    """The short tables that are sent as markup, as texts."""
    found = []
    for body in (str(e.proto.body) for e in test.get("html")):
        if body.startswith('<div class="so-table">'):
            lines = [["".join(cell.itertext()) for cell in line] for line in ElementTree.fromstring(body).iter("tr")]
            found.append(pd.DataFrame(lines[1:], columns=lines[0]))
    return found


def no_trouble(test: AppTest) -> None:
    """Neither an exception nor an error page."""
    assert [e.message for e in test.exception] == []
    assert "so-error" not in words(test)


@pytest.mark.parametrize("page", MY_PAGES)
def test_a_full_store_is_drawn(page: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at(page, tiny_store, monkeypatch)
    no_trouble(test)
    assert "so-head" in words(test)
    assert " nan" not in words(test).lower()


@pytest.mark.parametrize("page", MY_PAGES)
def test_an_empty_store_says_what_is_missing_and_what_to_do(
    page: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at(page, empty_folder, monkeypatch)
    assert [e.message for e in test.exception] == []
    assert charts(test) == []
    said = words(test)
    assert "so-empty" in said or "so-error" in said
    assert "precompute" in said or page == "runs"


@pytest.mark.parametrize(
    ("page", "params", "named"),
    [
        ("layers", {"protocol": "sideways"}, "held-out"),
        ("layers", {"encoder": "no-such-encoder", "layer": 3}, "Encoders with probes"),
        ("layers", {"encoder": "no-such-encoder", "layer": "deep"}, "layer deep"),
        ("sparsity", {"error": "rmse"}, "FVU, MSE"),
        ("factors", {"sae": "nosuchsae"}, "not in this store"),
        ("compare", {"a": "nosuchsae"}, "not in this store"),
        ("compare", {"b": "nosuchsae"}, "not in this store"),
        ("runs", {"run": "nosuchrun"}, "this store holds"),
    ],
)
def test_a_wrong_link_names_what_is_there(
    page: str, params: dict[str, object], named: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at(page, tiny_store, monkeypatch, **params)
    assert [e.message for e in test.exception] == []
    said = words(test)
    assert ("so-error" in said) == (named == "not in this store")  # without an SAE there is nothing to show
    assert named in said


def test_an_unknown_factor_of_a_link_names_one_that_is_there(
    scored_sae: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("factors", tiny_store, monkeypatch, sae=scored_sae, factor="loudness_of_dreams")
    no_trouble(test)
    assert "loudness_of_dreams" in words(test)


def test_overview_says_what_the_store_holds(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = words(at("overview", tiny_store, monkeypatch))
    n_clips = int(store.query("SELECT count(*) AS n FROM clips")["n"][0])
    assert f"<b>{n_clips}</b>" in said
    assert store.meta()["corpus_name"] in said
    verdicts = ("holds here", "does not hold here", "holds in part", "cannot tell here")
    assert sum(said.count(verdict) for verdict in verdicts) >= 5
    untrained = store.query("SELECT display_name FROM encoders WHERE NOT is_trained")
    if len(untrained):
        assert "Untrained weights" in said
    if store.meta().get("is_synthetic") == "true":
        assert "Generated sounds" in said


def test_layers_draw_every_encoder_and_the_linked_probe(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = store.meta()["label_name"]
    probes = store.query(
        "SELECT r.encoder_id, r.layer, p.probe_id, p.n_clips, e.display_name FROM probes p "
        "JOIN representations r USING (representation_id) JOIN encoders e USING (encoder_id) "
        "WHERE r.kind = 'dense' AND p.protocol = 'group-folds' AND p.label_name = ? ORDER BY p.probe_id",
        [label],
    )
    row = probes.iloc[0]
    link = {"encoder": row["encoder_id"], "layer": row["layer"], "protocol": "group-folds"}
    test = at("layers", tiny_store, monkeypatch, **link)
    no_trouble(test)
    marks = [trace for trace in charts(test)[0]["data"] if trace.get("customdata")]
    drawn = [trace for trace in marks if "one group" not in trace["hovertemplate"]]
    assert sorted(point[2] for trace in drawn for point in trace["customdata"]) == sorted(probes["probe_id"])
    said = words(test)
    assert f"{row['display_name']} L{row['layer']}: class by class" in said
    assert f"probe {row['probe_id']}" in said


def test_sparsity_draws_every_sae_of_the_protocol(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("sparsity", tiny_store, monkeypatch)
    no_trouble(test)
    saes = store.query("SELECT sae_id FROM saes WHERE protocol = 'held-out' AND fvu_heldout IS NOT NULL")
    drawn = [trace for trace in charts(test)[0]["data"] if trace.get("customdata")]
    assert sorted(point[0] for trace in drawn for point in trace["customdata"]) == sorted(saes["sae_id"])
    assert "Over all D features: a larger D or more dead ones raise it" in words(test)


def test_factors_without_any_score_or_weight_say_so(
    scored_sae: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("factors", tiny_store, monkeypatch, sae=scored_sae)
    no_trouble(test)
    opened = open_store(tiny_store)
    n = opened.query("SELECT count(*) AS n FROM lasso_weights WHERE representation_id = ?", [scored_sae])["n"][0]
    said = words(test)
    assert ("No Lasso weight differs from zero" in said or "has a score here" in said) == (n == 0)


def test_factors_draw_weights_and_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = write_scored_store(tmp_path / "hand")
    test = at("factors", hand, monkeypatch, sae=HAND_SAE, all="true")
    no_trouble(test)
    marks, scatter, predicted = (
        next(trace for trace in figure["data"] if trace.get("customdata")) for figure in charts(test)
    )
    assert sorted(map(tuple, marks["customdata"])) == [(1, 0), (2, 0)]
    assert scatter["customdata"] == [[0]]  # the factor under the permuted one has no completeness
    assert len(predicted["customdata"]) == 4
    said = words(test)
    assert "R² 0.80, within group 0.70, chance reaches 0.20; 4 clips of 2 groups, held-out" in said
    assert "1 of 2 scored factors are predictable on unseen groups" in said
    assert "2 factors undefined, for example: 12 distinct values" in said


def test_an_undefined_factor_shows_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_scored_store(tmp_path / "hand")
    rows = open_store(folder).query(
        "SELECT s.representation_id, s.reason, f.name FROM factor_scores s JOIN factors f USING (factor_index) "
        "JOIN saes t ON t.sae_id = s.representation_id WHERE s.r2 IS NULL ORDER BY ALL"
    )
    row = rows.iloc[0]
    test = at("factors", folder, monkeypatch, sae=row["representation_id"], factor=row["name"])
    no_trouble(test)
    assert "is undefined here" in words(test)
    assert str(row["reason"])[:30] in words(test).replace("&#x27;", "'")


def test_a_factor_says_whether_it_can_be_told_and_over_which_clips(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = store.query(
        "SELECT s.*, f.name FROM factor_scores s JOIN factors f USING (factor_index) "
        "JOIN saes t ON t.sae_id = s.representation_id WHERE s.protocol = 'held-out' AND s.r2_p IS NOT NULL "
        "ORDER BY s.r2_p, s.factor_index"
    )
    assert rows["r2_all"].notna().all() and (rows["n_all_clips"] > rows["n_clips"]).all()
    for place, told in ((0, "Predictable on unseen groups · p 0."), (-1, "Not beyond chance · p ")):
        row = rows.iloc[place]
        test = at("factors", tiny_store, monkeypatch, sae=row["representation_id"], factor=row["name"])
        no_trouble(test)
        said = words(test)
        assert told in said
        assert f"over {row['n_all_clips']} clips of {row['n_all_groups']} groups" in said
        assert "are predictable on unseen groups from this SAE" in said and "undefined" not in said


def test_compare_of_equal_widths_warns_of_nothing(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saes = store.query("SELECT sae_id, n_features FROM saes ORDER BY sae_id")
    assert saes["n_features"].nunique() == 1
    test = at("compare", tiny_store, monkeypatch, a=saes["sae_id"].iloc[0], b=saes["sae_id"].iloc[-1])
    no_trouble(test)
    assert "completeness is not comparable" not in words(test)
    assert not plain_tables(test)[0]["B − A"].str.contains("not comparable: different").any()


def test_compare_plays_the_same_clips_in_both(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match = store.query("SELECT sae_id, feature, other_sae_id, other_feature FROM feature_matches ORDER BY ALL").iloc[0]
    link = {"a": match["sae_id"], "b": match["other_sae_id"], "fa": match["feature"], "fb": match["other_feature"]}
    test = at("compare", tiny_store, monkeypatch, **link)
    no_trouble(test)
    assert test.get("bidi_component"), "no clip player on the page"
    assert "two SAEs have no common unit" in words(test)


def test_compare_of_an_sae_with_itself_says_so(
    scored_sae: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("compare", tiny_store, monkeypatch, a=scored_sae, b=scored_sae)
    assert "same SAE" in words(test)


def test_runs_show_the_command_and_every_skipped_file(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("runs", tiny_store, monkeypatch)
    no_trouble(test)
    run = store.query("SELECT * FROM runs ORDER BY started_at DESC").iloc[0]
    assert run["command"] in [text.value for text in test.text]
    skipped = store.query("SELECT path FROM skipped_files")
    shown = [frame.value for frame in test.dataframe if "Reason" in frame.value.columns]
    assert sorted(path for frame in shown for path in frame["Path"]) == sorted(skipped["path"])


def test_a_page_says_that_a_run_adds_to_the_store(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    assert "A run is writing" not in words(at("overview", store, monkeypatch))
    with locked(store):
        assert "A run is writing to this store." in words(at("overview", store, monkeypatch))


@pytest.fixture(scope="module")
def probed(tiny_sources: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a new store holds when its first encoder is probed and no SAE is trained yet."""
    store = measured(tiny_store, tmp_path_factory.mktemp("probed") / "store")

    def stop(_generation: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(tiny_config(tiny_sources, store), command="stopped at its first generation", on_published=stop)
    return store


@pytest.mark.parametrize("page", PAGES)
def test_a_new_store_can_be_browsed_before_its_first_sae(
    page: str, probed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(probed):
        test = at(page, probed, monkeypatch)
    no_trouble(test)
    said = words(test)
    assert "A run is writing" in said and "1 of 2 encoders" in said
    assert ("No SAE is here yet" in said) == (page in {*ABOUT_SAES, "overview"})
    assert bool(charts(test)) == (page == "layers")


def test_sparsity_shows_where_an_sae_stopped_and_why(
    tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = at("sparsity", tiny_store, monkeypatch)
    opened = at("sparsity", tiny_store, monkeypatch, trained="any")
    no_trouble(opened)
    assert len(charts(opened)) - len(charts(folded)) == 2
    chosen = opened.selectbox(key="trained").value
    row = store.query("SELECT n_epochs_trained, n_epochs, epochs_reason FROM saes WHERE sae_id = ?", [chosen]).iloc[0]
    assert length_words(row["n_epochs_trained"], row["n_epochs"], row["epochs_reason"]) in words(opened)
    assert row["epochs_reason"] not in words(folded)


def test_sparsity_scores_probes_where_they_tell_most_and_says_what_the_saes_heard(
    tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = store.query("SELECT count(DISTINCT group_id) AS n, count(*) AS c FROM clips").loc[0]
    heard = "of groups whose sound (never labels) the SAEs were trained on"
    said = words(at("sparsity", tiny_store, monkeypatch))
    assert f"{n['c']} clips of {n['n']} groups, protocol all-groups, {heard}." in said
    held_out = words(at("sparsity", tiny_store, monkeypatch, probed="held-out"))
    assert "protocol held-out. There are too few groups" in held_out and heard not in held_out


def test_sparsity_counts_the_saes_that_pca_beats(
    tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = store.query("SELECT count(*) AS n FROM saes WHERE pca_k_fvu_heldout < fvu_heldout")["n"][0]
    n_all = store.query("SELECT count(*) AS n FROM saes WHERE pca_k_fvu_heldout IS NOT NULL")["n"][0]
    said = words(at("sparsity", tiny_store, monkeypatch))
    assert (f"better than {n} of the {count(n_all, 'SAE')} shown" in said) == (n > 0)


def test_sparsity_says_which_classes_the_codes_still_tell_when_it_is_opened(
    tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe of the SAE that is chosen, by its stored confusion; folded, its charts are not sent."""
    folded = at("sparsity", tiny_store, monkeypatch)
    opened = at("sparsity", tiny_store, monkeypatch, classes="any")
    no_trouble(opened)
    assert "Probe on its codes: accuracy" in words(opened)
    extra = len(charts(opened)) - len(charts(folded))
    assert extra == 2 and "Probe on its codes" not in words(folded)
    (matrix,) = [spec for spec in charts(opened) if spec["data"][0]["type"] == "heatmap"]
    first = opened.selectbox(key="classes").value
    n = store.query(
        "SELECT sum(c.n) AS n FROM probe_confusion c JOIN probes p USING (probe_id) "
        "WHERE p.representation_id = ? AND p.protocol = 'all-groups'",
        [first],
    )["n"][0]
    drawn = [cell for line in matrix["data"][0]["text"] for cell in line if str(cell).isdigit()]
    assert sum(map(int, drawn)) == n
