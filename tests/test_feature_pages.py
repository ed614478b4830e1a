"""The Features page on a store written by hand: what it says of labels, missing numbers, long lists and odd names."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.ui.markup import as_written
from tests.hand_features import SAE, write_feature_store
from tests.test_app_features import at_features, texts
from tests.test_pages import at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_feature_store(tmp_path_factory.mktemp("hand_features"))


def test_the_page_of_a_feature_reads_its_label_the_right_way_round(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at_features(folder, monkeypatch, sae=SAE, feature=0)
    assert not test.exception
    assert "<strong>not clean</strong>" in texts(test)
    assert "36 %" in texts(test)  # vibrato: 5 of the 14 labelled clips


def test_a_missing_regression_is_stated_without_a_guess_at_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at_features(folder, monkeypatch, sae=SAE, feature=1)
    assert not test.exception
    assert "No Lasso was fitted on this SAE's codes in this store.</p>" in texts(test)


def test_a_factor_without_a_group_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = texts(at_features(folder, monkeypatch, sae=SAE, feature=0))
    assert "Factor &lt;0&gt; <span class='q'></span>" in text


def test_a_list_longer_than_the_players_says_how_many_are_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.ui.feature_clips.MAX_PLAYERS", 12)
    test = at_features(folder, monkeypatch, sae=SAE, feature=0)
    assert "8 more clips of these singers." in texts(test)
    assert "are drawn" not in texts(test)
    unfolded = test.toggle(key="fold").set_value(False).run()
    assert "The first 12 of 16 are drawn." in texts(unfolded)


def test_names_of_a_data_set_are_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"corpus": "<i>*one*</i>", "group": "<b>*s*inger", "title": "<u>t</u>", "group_id": "<s>g"}
    store = write_feature_store(tmp_path / "odd", **odd)
    for page, params in (("features", {"sae": SAE, "feature": 0}), ("runs", {})):
        test = at(page, store, monkeypatch, **params)
        assert not test.exception
        for tag in ("<i>*one", "<b>*s", "<u>t", "<s>g"):
            assert tag not in texts(test), (page, tag)
        assert "&lt;i&gt;*one*&lt;/i&gt;" in texts(test)
        markdown = [*(str(e.value) for e in test.caption), *(e.label for e in test.toggle)]
        assert not [text for text in markdown if "*one*" in text or "*s*inger" in text.replace("\\*", "")], page


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("held-out", "held-out"),
        ("snake_case 10 dB (f1)", "snake_case 10 dB (f1)"),
        ("*a* _b_ `c`", r"\*a\* \_b\_ \`c\`"),
        (":red[x] $y$ <b>", r"\:red\[x\] \$y\$ \<b>"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("&amp; & b", r"\&amp; & b"),
        (":smile: a -> b", ":\u2060smile: a -\u2060> b"),
        ("a@b.org www.x.org http://y", "a\u2060@b.org www\u2060.x.org http:\u2060//y"),
    ],
)
def test_a_label_reads_as_it_is_written(text: str, label: str) -> None:
    assert as_written(text) == label


@pytest.mark.parametrize("page", ["features", "factors", "compare"])
def test_a_link_to_an_sae_that_is_not_there_leads_on_to_those_that_are(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at(page, folder, monkeypatch, sae="nosuch")
    assert 'role="alert"' in texts(test)
    links = [element.proto for element in test.get("page_link")]
    assert not [link.label for link in links if "nosuch" in link.query_string]
    offered = [link for link in links if link.query_string]
    assert len(offered) == 8
    assert "1 more can be chosen" in texts(test)
    assert {link.query_string: link.label for link in offered}[f"sae={SAE}"].startswith("HuBERT L3 · k = ")


def test_the_sidebar_carries_an_sae_that_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at("runs", folder, monkeypatch, sae=SAE)
    assert {e.proto.query_string for e in test.get("page_link")} == {f"sae={SAE}"}
