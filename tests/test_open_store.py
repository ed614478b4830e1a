"""Which store a running app shows: one made again in its place, and one whose first run is still at work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from explorer.errors import StoreError
from explorer.queries.corpus import fetch_clips, fetch_saes
from explorer.store import current_generation, open_store
from explorer.store.lock import LOCK, is_locked
from explorer.ui.context import cached, get_store
from precompute.pipeline import locked
from tests.hand_features import SAE, write_feature_store
from tests.test_app_features import at_features, texts


def test_a_store_made_again_in_its_place_is_shown_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_feature_store(tmp_path / "store", corpus="the first", title="sound")
    test = at_features(folder, monkeypatch, sae=SAE)
    assert "the first" in texts(test)
    old = get_store()
    assert cached(fetch_clips, old)["title"][0] == "sound 0"
    shutil.rmtree(folder)
    write_feature_store(folder, corpus="the second", title="noise")
    assert current_generation(folder) == old.generation
    new = get_store()
    assert (new.folder, new.generation) == (old.folder, old.generation)
    assert new.edition != old.edition
    assert cached(fetch_clips, new)["title"][0] == "noise 0"
    again = test.run()
    assert not again.exception
    assert "the second" in texts(again)
    assert "the first" not in texts(again)


def test_an_opened_store_stays_the_same_one_until_its_file_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONOSCOPE_STORE", str(write_feature_store(tmp_path / "store")))
    assert get_store() is get_store()
    assert len(cached(fetch_saes, get_store())) == 9


def test_a_first_run_at_work_is_said_and_no_other_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    with locked(folder):
        assert is_locked(folder)
        with pytest.raises(StoreError, match="is running") as error:
            open_store(folder)
        assert "python -m precompute run" not in str(error.value)
        assert f"python -m precompute status --store {folder}" in str(error.value)
        assert "is running" in texts(at_features(folder, monkeypatch))
    assert not is_locked(folder)
    with pytest.raises(StoreError, match="python -m precompute run"):
        open_store(folder)


def test_asking_for_the_lock_writes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "nowhere")
    assert os.listdir(tmp_path) == []
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text(encoding="utf-8") == str(os.getpid())
        is_locked(tmp_path)
        assert (tmp_path / LOCK).read_text(encoding="utf-8") == str(os.getpid())
