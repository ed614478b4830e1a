"""The package: everything that runs from the repository is in it, and it works outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.environment import BROWSE, direct_dependencies
from tests.browser import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy without what a working folder gathers."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in (name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()):
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(ROOT / name, target)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*words, str(folder / "source")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("sonoscope-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a process that finds the installed package, and works in a folder without the repository."""
    folder = tmp_path_factory.mktemp("installed")
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder / "lib"),
    ]
    subprocess.run([*words, str(wheel)], check=True, timeout=300)
    yield {**os.environ, "PYTHONPATH": str(folder / "lib"), "SONOSCOPE_HOME": str(folder / "home")}


def test_every_module_and_every_file_beside_one_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    library = {name for name in listed if name.startswith(("explorer/", "precompute/")) and (ROOT / name).is_file()}
    app = {f"sonoscope/{name}" for name in listed if name == "app.py" or name.startswith(("pages/", ".streamlit/"))}
    assert library - packed == set()
    assert app - packed == set()
    assert not {name for name in packed if name.startswith(("tests/", "tools/", "benchmarks/"))}


def test_it_is_imported_and_run_from_anywhere(installed: dict[str, str], tmp_path: Path) -> None:
    code = """
from pathlib import Path
import precompute
from explorer.audio import Waveform
from explorer.environment import BROWSE, FULL, app_script, browse_command, check_environment, direct_dependencies
print(precompute.__file__)
print(check_environment(FULL), check_environment(BROWSE))
print(sorted(direct_dependencies(BROWSE)))
print(app_script().is_file())
print(browse_command(Path("a b")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=installed, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    path, complaints, of_browsing, has_app, command = done.stdout.splitlines()
    assert path.startswith(installed["PYTHONPATH"]) and complaints == "[] []" and has_app == "True"
    assert of_browsing == str(sorted(direct_dependencies(BROWSE)))
    assert command == "sonoscope browse --store 'a b'"


def test_its_command_is_that_of_the_repository(installed: dict[str, str], tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["scripts"] == {"sonoscope": "precompute.__main__:main"}
    script = Path(installed["PYTHONPATH"]) / "bin" / "sonoscope"
    done = subprocess.run(
        [sys.executable, str(script), "list", "presets"], cwd=tmp_path, env=installed, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "quick" in done.stdout
