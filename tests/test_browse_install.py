"""The browse-only installation: every page opens, sounds play, and what needs a model says what to install.

SONOSCOPE_BROWSE_PYTHON names a Python with the packages of requirements-browse.txt alone; `make test` makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from explorer.environment import BROWSE, FULL, direct_dependencies
from explorer.store import Store
from tests.browser import ROOT, running_app

MODELS = ("torch", "torchaudio", "transformers", "opensmile", "umap", "numba")


@pytest.fixture(scope="module")
def browse_python() -> str:
    python = os.environ.get("SONOSCOPE_BROWSE_PYTHON", "")
    if not python or not Path(python).is_file():
        pytest.skip("no browse-only environment: `make test` makes one and names it in SONOSCOPE_BROWSE_PYTHON")
    return python


def test_its_list_stands_word_for_word_in_the_whole_list() -> None:
    whole = (ROOT / FULL).read_text(encoding="utf-8").splitlines()
    part = [line for line in (ROOT / BROWSE).read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    assert part and set(part) <= set(whole)
    assert not set(direct_dependencies(BROWSE)) & set(MODELS)


def test_it_holds_what_it_lists_and_no_model_library(browse_python: str) -> None:
    checked = subprocess.run(
        [browse_python, "tools/check_install.py", "--browse"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    code = f"import importlib.util as u; print([n for n in {MODELS!r} if u.find_spec(n)])"
    found = subprocess.run([browse_python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_every_page_opens(browse_python: str, tiny_store: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [browse_python, str(ROOT / "tests" / "browse_pages.py"), str(tiny_store)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env={**os.environ, "SONOSCOPE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert len(result["pages"]) >= 10
    for page, said in result["pages"].items():
        assert said["exceptions"] == [], page
        assert "so-head" in said["html"], page
        assert "so-error" not in said["html"], page
    assert not set(result["loaded"]) & set(MODELS)
    assert "pip install -r requirements.txt" in result["pages"]["live"]["html"]


def test_sounds_play_and_what_is_missing_is_named(
    browse_python: str, tiny_store: Path, store: Store, tmp_path: Path
) -> None:
    clip_id = str(store.query("SELECT clip_id FROM clips ORDER BY clip_index LIMIT 1")["clip_id"][0])
    with running_app(tiny_store, tmp_path, python=browse_python) as server:
        with urllib.request.urlopen(f"{server.url}/audio/{clip_id}", timeout=60) as answer:
            assert answer.read(4) == b"fLaC"
        with urllib.request.urlopen(f"{server.url}/spectrogram/{clip_id}", timeout=60) as answer:
            assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/contours/{clip_id}", timeout=60)
        sentence = refused.value.read().decode()
        assert "opensmile" in sentence and "pip install -r requirements.txt" in sentence
        assert "Traceback" not in server.log.read_text(encoding="utf-8")
