"""The demo: its options, its being built once, and the app beside it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from explorer.errors import StoreError
from precompute import demo
from precompute.config import PAPER_SPARSITIES
from precompute.datasets.singing.parts import crossed
from precompute.random_checkpoints import write_random_checkpoint
from tests.browser import ROOT


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small untrained stand-ins where the demo looks for its encoders."""
    folder = tmp_path / "encoders"
    for name in demo.NAMES:
        write_random_checkpoint(name, folder / name, size="small")
    monkeypatch.setattr(demo, "ENCODERS", folder)
    return folder


def test_the_demo_is_as_large_as_promised(encoders: Path, tmp_path: Path):
    config = demo.demo_config(tmp_path / "store")
    assert [encoder.split("=")[0] for encoder in config.encoders] == list(demo.NAMES)
    assert sorted(demo.NAMES) == ["ast", "hubert", "mert", "wavlm"]
    assert config.sparsities == PAPER_SPARSITIES and config.seeds_at(0.95) == (0, 1, 2) and config.layers == "best2"
    part = crossed()
    assert len(part.cells) >= 1200
    n_train = sum(cell.singer not in part.test_singers for cell in part.cells)
    assert n_train > 341, "more training clips than features of width 128"


def test_a_demo_without_its_encoders_says_how_to_make_them(encoders: Path, tmp_path: Path):
    shutil.rmtree(encoders / "mert")
    with pytest.raises(StoreError, match=r"mert are missing .*precompute.pretraining train"):
        demo.demo_config(tmp_path / "store")


def test_a_built_demo_is_known_until_an_encoder_changes(encoders: Path, tiny_store: Path, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    config = demo.demo_config(store)
    assert not demo.is_built(config)
    (store / demo.DEMO_SOURCES).mkdir()
    demo.remember_built(config)
    assert demo.is_built(config) and demo.is_built(demo.demo_config(store, n_workers=1))
    gone = (next((store / "files").glob("preview-*")), next((store / "artefacts" / "lasso").iterdir()))
    for path in gone:
        path.rename(tmp_path / "away")
        assert not demo.is_built(config), path
        (tmp_path / "away").rename(path)
    assert demo.is_built(config)
    write_random_checkpoint("hubert", encoders / "hubert", size="small", seed=5)
    assert not demo.is_built(demo.demo_config(store))


@pytest.mark.parametrize("victim", ["artefacts/factors/*/factor_values.parquet", "files/sae-*", "store-*.duckdb"])
def test_a_built_demo_that_was_damaged_is_computed_again(encoders: Path, tiny_store: Path, tmp_path: Path, victim: str):
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    config = demo.demo_config(store)
    (store / demo.DEMO_SOURCES).mkdir()
    demo.remember_built(config)
    damaged = sorted(store.glob(victim))[-1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert not demo.is_built(config)


def test_a_stopped_demo_can_be_looked_at_once_it_has_a_generation(tiny_store: Path, tmp_path: Path):
    assert demo.is_readable(tiny_store)
    assert not demo.is_readable(tmp_path)
    shutil.copytree(tiny_store, tmp_path / "torn")
    for path in (tmp_path / "torn").glob("store-*.duckdb"):
        path.write_bytes(b"half")
    assert not demo.is_readable(tmp_path / "torn")


def test_a_built_demo_opens_at_once_and_closes_with_its_command(tiny_store: Path, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    (store / demo.DEMO_SOURCES).mkdir()
    demo.remember_built(demo.demo_config(store))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "STREAMLIT_SERVER_PORT": str(port), "STREAMLIT_SERVER_HEADLESS": "true"}
    command = [sys.executable, "-m", "precompute", "demo", "--store", str(store), "--open"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        assert is_up(port), (tmp_path / "log").read_text()
    finally:
        os.killpg(process.pid, 2)  # as Ctrl-C in a terminal does: to both
        process.wait(20)
    assert not is_up(port, tries=1)
    assert "Browse it with" in (tmp_path / "log").read_text()


def is_up(port: int, *, tries: int = 120) -> bool:
    """Whether the app answers."""
    for _ in range(tries):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.25)
    return False


def test_a_failure_leaves_the_app_open_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Nothing wanted to open here: the error goes on to the caller after it was said."""
    with pytest.raises(StoreError), demo.opened_app(tmp_path, is_wanted=False) as app:
        app.open()
        raise StoreError("the disk is full")
    assert "the disk is full" in caplog.text
