"""A run that is killed, stopped, or loses a worker: nothing lives on, and the same command ends with the same store."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from explorer.errors import WorkerError
from precompute.artefacts import PARTIAL
from precompute.factor_worker import FACTOR_STAGE
from precompute.pipeline import run
from precompute.processes import at_work
from tests.conftest import tiny_config
from tests.test_pipeline import snapshot
from tests.worker_functions import divide_or_wait, square

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
SMALL: dict[str, Any] = {"sparsities": [0.8], "seeds": [0], "epochs": 2, "label-permutations": 2, "shard-clips": 2}


def words_for(sources: Path, store: Path) -> list[str]:
    words = [sys.executable, "-m", "precompute", "run", "--dataset", "synthetic", "--root", str(sources / "singing")]
    words += ["--store", str(store), "--encoder", f"hubert={sources / 'random-hubert'}", "--preset", "quick"]
    words += ["--device", "cpu", "--n-workers", "2", "--layers", "2"]
    for name, value in SMALL.items():
        words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


@pytest.fixture(scope="module")
def whole(tiny_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """What the run leaves when nothing disturbs it."""
    store = tmp_path_factory.mktemp("whole") / "store"
    options = {name.replace("-", "_"): value for name, value in SMALL.items()}
    encoders = [f"hubert={tiny_sources / 'random-hubert'}"]
    run(tiny_config(tiny_sources, store, encoders=encoders, layers="2", **options), command="whole")
    return snapshot(store)


def children_of(pid: int) -> set[int]:
    """The processes that a process started, and theirs."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found |= {int(stat.parent.name), *children_of(int(stat.parent.name))}
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


@NEEDS_PROC
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_whose_own_process_alone_is_ended_goes_on_at_once(
    tiny_sources: Path, whole: dict[str, pd.DataFrame], tmp_path: Path, number: int
) -> None:
    store, words = tmp_path / "store", words_for(tiny_sources, tmp_path / "store")
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    begun = lambda: [path for path in store.glob(f"artefacts/{FACTOR_STAGE}/*") if PARTIAL not in path.name]  # noqa: E731
    assert wait_for(lambda: len(begun()) >= 2 and len(begun()) < 40, 300), process.poll()
    workers = children_of(process.pid)
    assert len(workers) >= 2
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert wait_for(lambda: not any(map(is_alive, workers)), 5), "a worker outlived its run"
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert said.splitlines()[-1].startswith("Interrupted.") and "Traceback" not in said
        assert not list(store.glob(f"artefacts/*/{PARTIAL}*"))
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    again = snapshot(store)
    for name, rows in whole.items():
        columns = [column for column in rows if column not in ("run_id", "summary", "preset", "versions_json")]
        pd.testing.assert_frame_equal(again[name][columns], rows[columns], obj=name)
    assert not list(store.glob(f"artefacts/*/{PARTIAL}*"))


@NEEDS_PROC
def test_the_models_end_with_the_app_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "import numpy as np\nfrom explorer.audio import Waveform\n"
        "from explorer.inference.model_process import ModelProcess\n"
        "from explorer.inference.requests import FactorRequest\n"
        "noise = (0.1 * np.random.default_rng(0).standard_normal(300 * 16_000)).astype('f4')\n"
        "models = ModelProcess()\nmodels.ask(FactorRequest(Waveform(noise[:16_000], 16_000)))\n"
        "print(models.pid, flush=True)\nmodels.ask(FactorRequest(Waveform(noise, 16_000)))\nprint('done', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    time.sleep(0.5)
    assert is_alive(worker) and process.poll() is None
    process.kill()
    assert wait_for(lambda: not is_alive(worker), 3)
    assert process.stdout.read() == ""  # it was in the middle
    process.wait()


def test_a_worker_that_the_system_ends_is_replaced_once_and_then_explained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(partial(square, tmp_path, 1), range(6), 2) as squares:
        assert list(squares) == [0, 1, 4, 9, 16, 25]
    assert "ended by the system" in caplog.text
    for path in tmp_path.iterdir():
        path.unlink()
    explained = pytest.raises(WorkerError, match=r"ended by the system twice.*--n-workers.*finished work is kept")
    with explained, at_work(partial(square, tmp_path, 9), range(6), 4) as squares:
        list(squares)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_worker_raises_is_raised_and_stops_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), at_work(divide_or_wait, [0, 600], 2) as results:
        next(results)
    with pytest.raises(KeyError), at_work(divide_or_wait, [600, 600], 2):
        raise KeyError
    assert time.monotonic() - started < 300
