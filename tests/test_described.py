"""What a store says of encoders and corpus is what they say now; what a run says it did is what it did."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import precompute.targets as targets
from explorer.encoders import MARKER
from explorer.factors import FACTORS
from explorer.store import Store, open_store
from precompute.pipeline import run
from precompute.reporting import Reporter
from tests.conftest import tiny_config

pytestmark = pytest.mark.slow

OPTIONS: dict[str, Any] = {"sparsities": (0.8, 0.95), "seeds": (0, 1), "layers": "2", "epochs": 2}
OPTIONS |= {"label_permutations": 2, "n_playable_clips": 5}


def timings(opened: Store) -> pd.DataFrame:
    return opened.query("SELECT stage, n_done, n_reused FROM run_timings").set_index("stage")


def test_words_that_changed_are_in_the_store_after_the_same_command(
    tiny_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every descriptive field of an encoder, a factor's text, the corpus' name; and each thing counted as it was."""
    caplog.set_level("INFO", "precompute")
    store, checkpoint, root = tmp_path / "store", tmp_path / "hubert", tmp_path / "singing"
    shutil.copytree(tiny_sources / "random-hubert", checkpoint)
    shutil.copytree(tiny_sources / "singing", root)
    config = tiny_config(tiny_sources, store, root=root, encoders=[f"hubert={checkpoint}"], **OPTIONS)
    run(config, command="first")
    first = timings(open_store(store))
    assert first.loc["train SAEs on hubert", "n_done"] == first.loc["analyse SAEs of hubert", "n_done"] == 3
    assert first.loc["traces of hubert", "n_done"] == 3 and first.loc["Lasso on hubert", "n_done"] == 4
    assert first.loc["encode with hubert", "n_done"] == first.loc["openSMILE factors and previews", "n_done"] == 80
    assert (first["n_reused"] == 0).all(), first[first["n_reused"] > 0]
    run(
        tiny_config(tiny_sources, store, root=root, encoders=config.encoders, **{**OPTIONS, "n_top_clips": 4}),
        command="later",
    )
    said: dict[str, Any] = {
        "licence": "CC-BY-4.0",
        "display_name": "Renamed",
        "note": "Another note.",
        "is_trained": True,
    }
    said |= {"is_published": False, "teacher_carries": ["f0_st"]}
    (checkpoint / MARKER).write_text(json.dumps(said))
    root = root.rename(tmp_path / "sung")
    described = [*FACTORS]
    described[0] = dataclasses.replace(described[0], description="in other words")
    monkeypatch.setattr(targets, "FACTORS", tuple(described))
    caplog.clear()
    run(tiny_config(tiny_sources, store, root=root, encoders=config.encoders, **OPTIONS), command="first")
    opened = open_store(store)
    row = opened.query("SELECT * FROM encoders").iloc[0]
    assert {name: row[name] for name in said if name in row} == {n: v for n, v in said.items() if n in row}
    assert opened.query("SELECT count(*) AS n FROM planted_scores WHERE in_teacher")["n"].iloc[0] > 0
    assert opened.query("SELECT description AS d FROM factors WHERE factor_index = 0")["d"].iloc[0] == "in other words"
    assert opened.meta()["corpus_name"] == "sung"
    for stage, n in (("read the recordings", 80), ("encode with hubert", 80), ("train SAEs on hubert", 3),
                     ("analyse SAEs of hubert", 3), ("traces of hubert", 3), ("Lasso on hubert", 3)):  # fmt: skip
        assert f"{stage}: 0 done, {n} found finished" in caplog.text, caplog.text
    again = opened.query(
        "SELECT stage, n_done, n_reused FROM run_timings JOIN runs USING (run_id) WHERE command = 'first'"
    )
    again = again.set_index("stage").drop(index=["publish", "planted in hubert"])
    assert (again["n_done"] <= first["n_done"].reindex(again.index, fill_value=0)).all(), again


def test_a_thing_is_counted_once_however_often_it_is_asked_for() -> None:
    reporter = Reporter()
    with reporter.stage("match", 3, "pairs") as stage:
        stage.made(name="a")
        stage.found(name="b")
        stage.made(2)
    with reporter.stage("match", 3, "pairs") as stage:
        stage.found(name="a")
        stage.found(name="b")
        stage.found(name="c")
    assert [(item.n_done, item.n_reused) for item in reporter.times] == [(3, 1), (0, 1)]
