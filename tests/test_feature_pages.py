"""The Features page on a store written by hand: what it says of labels, missing numbers, long lists and odd names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hand_features import SAE, write_feature_store
from tests.test_app_features import at_features, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_feature_store(tmp_path_factory.mktemp("hand_features"))


def test_the_page_of_a_feature_reads_its_label_the_right_way_round(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at_features(folder, monkeypatch, sae=SAE, feature=0)
    assert not test.exception
    assert "<strong>not clean</strong>" in texts(test)
    assert "36\u202f%" in texts(test)  # vibrato: 5 of the 14 labelled clips


def test_a_missing_regression_is_stated_without_a_guess_at_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = at_features(folder, monkeypatch, sae=SAE, feature=1)
    assert not test.exception
    assert "No Lasso was fitted on this SAE's codes in this store.</p>" in texts(test)
