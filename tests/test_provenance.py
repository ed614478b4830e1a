"""What a run says about itself, over all the times that it was started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import explorer
from precompute.artefacts import Artefacts
from precompute.provenance import Sittings, code_version, merged, versions
from precompute.reporting import Reporter, StageTime


def test_the_versions_name_the_code() -> None:
    assert versions()["sonoscope"].startswith(explorer.__version__)


def test_the_code_version_is_the_commit_where_there_is_one(tmp_path: Path) -> None:
    assert code_version(tmp_path) == explorer.__version__

    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "first")
    assert code_version(tmp_path) == f"{explorer.__version__}+{git('rev-parse', '--short=12', 'HEAD')}"
    (tmp_path / "a").write_text("2")
    assert code_version(tmp_path).endswith("-dirty")


def test_timings_of_sittings_add_up() -> None:
    first = [StageTime("encode", 10.0, 3, 0), StageTime("publish", 1.0, 1, 0)]
    second = [StageTime("encode", 20.0, 7, 3), StageTime("train", 5.0, 2, 4), StageTime("publish", 1.0, 1, 0)]
    assert merged(first, second) == [
        StageTime("encode", 30.0, 10, 0),  # the three found finished are this run's own
        StageTime("publish", 2.0, 2, 0),
        StageTime("train", 5.0, 2, 4),  # the four are of another run
    ]
    assert merged([], [first[0], first[0]]) == [StageTime("encode", 20.0, 6, 0)]


def test_a_sitting_that_was_killed_is_remembered(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    reporter = Reporter()
    killed = Sittings.of(artefacts, "run", reporter)
    with reporter.stage("encode", 1, "s") as stage:
        stage.made()
    with pytest.raises(KeyboardInterrupt), reporter.stage("train", 2, "SAEs") as stage:
        stage.made()
        raise KeyboardInterrupt
    later = Reporter()
    resumed = Sittings.of(artefacts, "run", later)
    with later.stage("train", 2, "SAEs") as stage:
        stage.found()
        stage.made()
    assert resumed.started_at == killed.started_at
    assert [(item.stage, item.n_done, item.n_reused) for item in resumed.timings()] == [
        ("encode", 1, 0), ("train", 2, 0),
    ]  # fmt: skip
    assert not Sittings.of(artefacts, "another run", Reporter()).timings()
