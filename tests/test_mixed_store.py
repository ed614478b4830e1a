"""Every page on stores that mix what one run alone does not: recipes, widths, protocols, equal names, one group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.io
import pytest

import explorer.ui.choices
from explorer.audio import Waveform
from explorer.errors import NotInStoreError
from explorer.inference import listen, own_encoder
from explorer.store import open_store
from tests.mixed_store import (
    D_WIDE,
    ENCODER_A,
    N_MATCHES,
    NEW_75,
    OLD_75,
    ONE_GROUP,
    OTHER_75,
    OTHER_95,
    PAPER_75,
    WIDE_75,
    D,
    mixed_tables,
    one_group,
    paper_only,
    write_tables,
)
from tests.test_pages import at, charts, no_trouble, plain_tables, words

PAGES = ("overview", "layers", "sparsity", "factors", "compare", "features", "runs", "live")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("mixed"), mixed_tables())


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("paper"), paper_only(mixed_tables()))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("single"), one_group(mixed_tables()))


def click(monkeypatch: pytest.MonkeyPatch, key: str, is_hit: Callable[[Any], bool]) -> None:
    """From now on the figures whose key starts with `key` report a click on the first mark of the first trace hit."""
    draw = explorer.ui.choices.show_figure

    def show(figure: str, figure_key: str, **options: Any) -> list[Any] | None:
        carried = draw(figure, figure_key, **options)
        if not figure_key.startswith(key):
            return carried
        trace = next(trace for trace in plotly.io.from_json(figure).data if is_hit(trace))
        return None if trace.customdata is None else list(trace.customdata[0])

    monkeypatch.setattr(explorer.ui.choices, "show_figure", show)


@pytest.mark.parametrize("kind", ["mixed", "paper", "single"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_every_cut(
    page: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at(page, request.getfixturevalue(kind), monkeypatch)
    no_trouble(test)
    assert " nan" not in words(test).lower()


def test_live_says_what_such_a_store_cannot_do(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips without a sound file, SAEs without weights."""
    store = open_store(mixed)
    clips = store.query("SELECT clip_id FROM clips ORDER BY clip_index LIMIT 1")
    test = at("live", mixed, monkeypatch, clip=clips["clip_id"].iloc[0])
    assert [e.message for e in test.exception] == []
    assert "Neither the original recording of this clip nor a preview of it is available." in words(test)
    sound = Waveform(np.full(16_000, 0.1, np.float32), 16_000)
    with pytest.raises(NotInStoreError, match=f"holds no weights of SAE {NEW_75}"):
        listen(store, sound, [NEW_75], own_encoder(store))
    store.close()


def test_completeness_of_each_width_is_a_file_of_its_own(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("sparsity", mixed, monkeypatch)
    no_trouble(test)
    keys = [button.proto.id for button in test.get("download_button")]
    for width in (D, D_WIDE):
        assert sum(f"csv-sparsity_completeness_d{width}.csv" in key for key in keys) == 1


def test_every_sae_can_be_chosen(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch)
    options = test.selectbox(key="so-compare-a").options
    assert len(options) == len(set(options)) == 9
    test = at("factors", mixed, monkeypatch, sae=OLD_75)
    options = test.selectbox(key=f"so-sae_id-{OLD_75}").options
    assert len(options) == len(set(options)) == 7


def test_overview_calls_no_group_held_out_where_there_is_one(
    mixed: Path, single: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Numbers are of groups that nothing scored was fitted on" in words(at("overview", mixed, monkeypatch))
    said = words(at("overview", single, monkeypatch))
    assert "Numbers are of groups" not in said
    assert "clips held out by file (there is one group" in said


# Layers --------------------------------------------------------------------------------------------------------------


def test_a_click_on_a_groups_dot_opens_its_probe(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    click(monkeypatch, "layers", lambda trace: "one group" in str(trace.hovertemplate))
    test = at("layers", mixed, monkeypatch)
    no_trouble(test)
    assert "HuBERT (aaaaaaaa) L0: class by class" in words(test)
    assert test.query_params["encoder"] == ENCODER_A


def test_a_click_on_what_carries_nothing_opens_nothing(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    click(monkeypatch, "layers", lambda trace: trace.name == "shown below")
    no_trouble(at("layers", mixed, monkeypatch))


def test_a_click_on_an_sae_opens_it(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    click(monkeypatch, "panel-Reconstruction", lambda trace: trace.customdata is not None)
    test = at("sparsity", mixed, monkeypatch)
    no_trouble(test)
    assert test.query_params["sae"] == OLD_75


def test_a_click_on_a_weight_opens_its_feature(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    click(monkeypatch, "lasso", lambda trace: trace.customdata is not None)
    test = at("factors", mixed, monkeypatch, sae=NEW_75)
    no_trouble(test)
    assert test.query_params["sae"] == NEW_75
    assert test.query_params["feature"] in ("0", "1")


def test_one_group_shows_the_protocol_that_has_scores(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("layers", single, monkeypatch)
    no_trouble(test)
    assert "Random-folds: " in words(test)
    assert charts(test)


def test_a_protocol_without_scores_says_why_and_draws_no_axes(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("layers", single, monkeypatch, protocol="held-out")
    no_trouble(test)
    said = words(test)
    assert f"No layer has a score for technique under held-out: {ONE_GROUP}." in said
    assert "Protocols with scores: random-folds, paper." in said
    assert not any("layer (0 is" in str(chart["layout"].get("xaxis")) for chart in charts(test))
    assert ONE_GROUP in words(at("sparsity", single, monkeypatch))


def test_factor_groups_of_a_paper_store_are_shown_as_in_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("layers", write_tables(tmp_path / "paper", paper_only(mixed_tables())), monkeypatch)
    no_trouble(test)
    said = words(test)
    assert "Median in-sample R² of the factors of each group" in said
    assert "2 layers scored, under paper" in said
    assert "Not computed" not in said


# Factors -------------------------------------------------------------------------------------------------------------


def test_factors_not_above_permuted_are_marked(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("factors", mixed, monkeypatch, sae=NEW_75)
    assert list(charts(test)[0]["layout"]["yaxis"]["ticktext"]) == ["F0 mean  0.82"]
    assert "1 of 3 scored factors are predictable on unseen groups" in words(test)
    test = at("factors", mixed, monkeypatch, sae=NEW_75, all="true")
    no_trouble(test)
    figure = charts(test)[0]
    assert list(figure["layout"]["yaxis"]["ticktext"]) == ["F0 mean  0.82", "jitter  0.20 †"]
    assert figure["data"][0]["marker"]["opacity"] == [1.0, 1.0, 0.35]
    assert "† not beyond chance (to exceed: 0.40)" in figure["data"][0]["text"][2]
    assert "†, faint: 1 factor not beyond chance or under R² 0.05." in words(test)


def test_weights_of_no_sound_factor_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = mixed_tables()
    tables["factor_scores"]["r2_permuted"] = tables["factor_scores"]["r2"]
    test = at("factors", write_tables(tmp_path / "noise", tables), monkeypatch, sae=NEW_75)
    no_trouble(test)
    assert "No factor is predicted. Lasso weights: 2 factors" in words(test)


def test_scores_of_paper_are_called_in_sample(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("factors", mixed, monkeypatch, sae=PAPER_75)
    no_trouble(test)
    said = words(test)
    assert "unseen" not in said
    assert "paper (in-sample: scored on the clips it was fitted on" in said
    assert "Counted as complete (1), as the published code does: 1 factor without any weight." in said
    scatter, predicted = charts(test)[1:]
    marks = next(trace for trace in scatter["data"] if trace.get("customdata"))
    assert marks["marker"]["symbol"] == ["circle", "circle-open", "circle-open"]
    assert predicted["layout"]["xaxis"]["title"]["text"] == "measured F0 mean (Hz)"
    sparse = at("sparsity", mixed, monkeypatch, protocol="paper")
    no_trouble(sparse)
    said = words(sparse)
    assert "Mean in-sample R²" in said
    assert "held-out R²" not in said
    assert "no factor predicted held out" not in said


def test_measured_values_say_that_they_are_clipped(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("factors", mixed, monkeypatch, sae=NEW_75)
    assert charts(test)[-1]["layout"]["xaxis"]["title"]["text"] == "measured F0 mean, clipped (Hz)"
    assert "clipped to the training part's 0.5 to 99.5 percentiles" in words(test)


def test_an_sae_without_scores_links_those_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = mixed_tables()
    scores = tables["factor_scores"]
    tables["factor_scores"] = scores[scores["representation_id"].isin([OLD_75, OTHER_75])]
    test = at("factors", write_tables(tmp_path / "few", tables), monkeypatch, sae=NEW_75)
    no_trouble(test)
    assert "2 other SAEs of this store have factor scores." in words(test)
    assert "preset" not in words(test).lower()
    links = [link.proto.label for link in test.get("page_link")]
    assert "HuBERT (bbbbbbbb) L1 · k = 60 of 240 · seed 0" in links


# Compare -------------------------------------------------------------------------------------------------------------


def test_every_match_is_drawn_and_counted(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch, a=NEW_75, b=OTHER_75)
    no_trouble(test)
    said = words(test)
    assert f"{N_MATCHES - 10} features of A with their best match in B" in said
    assert "Not drawn: 10 without a held-out r" in said
    assert f"The first 100 of {N_MATCHES} matches" in said
    scatter = charts(test)[-1]["data"]
    assert sum(len(trace.get("customdata") or []) for trace in scatter) == N_MATCHES - 10


def test_two_protocols_have_no_difference_and_an_n_each(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch, a=NEW_75, b=PAPER_75)
    no_trouble(test)
    table = plain_tables(test)[0].set_index("Measure")
    assert set(table["B − A"]) == {"not comparable: different protocol"}
    assert "informativeness, top 10 (A: held-out R², B: in-sample R²)" in table.index
    said = words(test)
    assert "Reconstruction on 10 held-out clips; probe for technique on 30 clips of 4 groups." in said
    assert "Reconstruction on 5 held-out clips; probe for technique on 5 clips of 4 groups." in said
    assert "Protocols scored: A: held-out; B: paper." in said


def test_two_widths_have_no_difference_of_completeness(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch, a=NEW_75, b=WIDE_75)
    no_trouble(test)
    table = plain_tables(test)[0].set_index("Measure")["B − A"]
    assert table[f"completeness, top 10 (A: D = {D}, B: D = {D_WIDE})"] == "not comparable: different D"
    assert table["FVU, held out"] == "0.000"
    assert "completeness is not comparable between them" in words(test)


def test_compared_curves_show_their_few_groups(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch, a=NEW_75, b=OTHER_95)
    assert "Too few groups to compare layers (4 of 8): no line and no interval" in words(test)
    curves = charts(test)[0]["data"]
    assert any("one group" in str(trace.get("hovertemplate")) for trace in curves)


def test_factors_not_above_permuted_do_not_count_as_won(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("compare", mixed, monkeypatch, a=NEW_75, b=OTHER_75)
    said = words(test)
    assert "Of 1 factor predicted from A or B, none is higher from A." in said
    assert "Hollow: 2 not predictable from either" in said
    pairs = charts(test)[1]["data"][1]
    assert pairs["marker"]["symbol"] == ["circle", "circle-open", "circle-open"]


def test_a_paper_store_compares_in_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = paper_only(mixed_tables())
    twin = tables["saes"].assign(sae_id="twin", sparsity=0.95)
    tables["saes"] = pd.concat([tables["saes"], twin], ignore_index=True)
    scores = tables["factor_scores"]
    mine = scores[scores["representation_id"] == PAPER_75].assign(representation_id="twin")
    tables["factor_scores"] = pd.concat([scores, mine], ignore_index=True)
    test = at("compare", write_tables(tmp_path / "pair", tables), monkeypatch, a=PAPER_75, b="twin")
    no_trouble(test)
    assert "In-sample R² of each acoustic factor" in words(test)
    assert "Paper, where noise alone scores well, 40 clips." in words(test)
