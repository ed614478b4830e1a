"""Every page on stores that mix what one run alone does not: recipes, widths, protocols, equal names, one group."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mixed_store import D_WIDE, OLD_75, D, mixed_tables, write_tables
from tests.test_pages import at, no_trouble, words

PAGES = ("overview", "layers", "sparsity", "factors", "compare", "features", "runs")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("mixed"), mixed_tables())


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_a_store_of_many_runs(page: str, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at(page, mixed, monkeypatch)
    no_trouble(test)
    assert " nan" not in words(test).lower()


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
