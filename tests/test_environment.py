"""What is said about packages that are missing, too old, refused by others, or that do not load; and the locks."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.environment import (
    BROWSE,
    FULL,
    check_environment,
    direct_dependencies,
    explained_imports,
    import_failure,
    missing_for_models,
    require,
)
from explorer.errors import InstallError, MissingPackageError
from tests.browser import ROOT
from tools.canary import lifted, locked_versions, newer_than, requirement_lines
from tools.install import newest_cpu_build, without_cuda

LIST, APP = ("-m", "precompute", "list", "presets"), ("app.py",)
LOCKS = ("requirements.lock", "requirements-browse.lock", "requirements-dev.lock")


def write_package(folder: Path, name: str, code: str, *, version: str = "1.0", needs: str = "") -> None:
    """An installed package in a folder named site-packages: its code and its metadata."""
    package = folder / "site-packages" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code, encoding="utf-8")
    info = folder / "site-packages" / f"{name}-{version}.dist-info"
    info.mkdir()
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}", "utf-8")


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python that finds the packages of `folder` first."""
    path = os.pathsep.join([str(folder / "site-packages"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "SONOSCOPE_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_this_environment_fits() -> None:
    assert check_environment(FULL) == []
    assert check_environment(BROWSE) == []
    assert missing_for_models() == []


def test_a_torchaudio_that_does_not_fit_is_no_complaint(tmp_path: Path) -> None:
    write_package(tmp_path, "torchaudio", "raise OSError('undefined symbol')", version="0.13", needs="torch==1.13")
    done = started(tmp_path, *LIST)
    assert done.returncode == 0 and done.stderr == ""


def test_direct_dependencies_are_named() -> None:
    assert {"torch", "duckdb", "streamlit"} <= set(direct_dependencies())


@pytest.mark.parametrize(
    ("command", "package", "version", "needs", "said"),
    [
        (command, *case)
        for command in (LIST, APP)
        for case in (
            ("duckdb", "1.4.0", "", "duckdb 1.4.0 is installed, Sonoscope needs duckdb<3,>=2"),
            ("torch", "2.9.1", "", "torch 2.9.1 is installed, Sonoscope needs torch<3,>=2.11"),
            ("plotly", "7.1.0", "pandas<2", "plotly 7.1.0 needs pandas<2, and pandas"),
        )
        if (command, case[0]) != (APP, "torch")  # which the app does not need
    ],
)
def test_a_release_that_does_not_fit_is_one_sentence_at_start(
    command: tuple[str, ...], package: str, version: str, needs: str, said: str, tmp_path: Path
) -> None:
    write_package(tmp_path, package, "", version=version, needs=needs)
    done = started(tmp_path, *command)
    assert done.returncode != 0
    assert said in done.stderr and "make install" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", [("-m", "precompute", "status", "--store", "nowhere"), ("app.py",)])
@pytest.mark.parametrize(
    "code", ["import nothing_of_this_name", "raise OSError('undefined symbol: torch_x')", "import os; os.no_such_name"]
)
def test_a_package_that_does_not_load_is_one_sentence(command: tuple[str, ...], code: str, tmp_path: Path) -> None:
    write_package(tmp_path, "duckdb", code, version="2.0.1")
    done = started(tmp_path, *command)
    assert done.returncode != 0
    assert "duckdb" in done.stderr and "make install" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_chain_of_packages_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "outer_x", "import middle_x", version="5.24")
    write_package(tmp_path, "middle_x", "import inner_x", version="2.11.1")
    write_package(tmp_path, "inner_x", "raise OSError('undefined symbol: abc')", version="2.11.0")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    with pytest.raises(InstallError) as refused, explained_imports(FULL):
        importlib.import_module("outer_x")
    assert str(refused.value) == (
        "outer_x 5.24 does not load, since middle_x 2.11.1 and inner_x 2.11.0 do not fit together: "
        "undefined symbol: abc. Run `make install`, or `pip install -r requirements.txt`."
    )
    with pytest.raises(MissingPackageError, match=r"need it. Install it with: pip install -r requirements.txt"):
        require("no_such_package_x", "tests")


def test_other_errors_are_no_matter_of_packages() -> None:
    assert import_failure(OSError("no space")) is None
    with pytest.raises(ZeroDivisionError), explained_imports(FULL):
        _ = 1 / 0


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_are_whole_and_agree(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    versions = locked_versions(text)
    source = (ROOT / lock.replace(".lock", ".txt")).read_text(encoding="utf-8")
    named = {match.group().lower() for line in requirement_lines(source) if (match := re.match(r"[\w.-]+", line))}
    assert {name.replace("_", "-") for name in named} <= set(versions)
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks and all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    whole = locked_versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert {name: whole[name] for name in versions if name in whole} == {
        n: v for n, v in versions.items() if n in whole
    }


def test_the_compiled_pair_is_exact_and_locked_as_listed() -> None:
    locked = locked_versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    pinned = dict(
        line.split("==") for line in requirement_lines((ROOT / FULL).read_text(encoding="utf-8")) if "==" in line
    )
    assert set(pinned) == {"torch", "torchaudio"}
    assert {name: {version} for name, version in pinned.items()} == {name: locked[name] for name in pinned}


def test_a_cpu_build_leaves_out_what_only_cuda_needs() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    kept, all_of_it = locked_versions(without_cuda(lock)), locked_versions(lock)
    left_out = set(all_of_it) - set(kept)
    assert {"torch", "torchaudio", "triton"} <= left_out
    assert all(re.match(r"torch|triton|nvidia-|cuda-", name) for name in left_out)
    assert {"numpy", "transformers", "sympy"} <= set(kept)
    assert without_cuda(lock).count("--hash") < lock.count("--hash")


def test_the_newest_cpu_build_that_fits_is_taken() -> None:
    listing = "torch (2.15.0)\nAvailable versions: 3.0.0+cpu, 2.15.0, 2.13.0+cpu, 2.13.0, 2.9.1+cpu, 2.12.1+cpu\n"
    assert newest_cpu_build(listing) == "2.13.0+cpu"
    assert newest_cpu_build("torch (2.15.0)\nAvailable versions: 2.15.0, 2.14.1\n") is None
    assert newest_cpu_build("") is None


def test_the_canary_lifts_upper_bounds_and_pins() -> None:
    assert [lifted(line) for line in ("torch==2.15.0", "duckdb>=2,<3", "packaging>=26", "six")] == [
        "torch>=2.15.0", "duckdb>=2", "packaging>=26", "six",
    ]  # fmt: skip
    assert requirement_lines("# a\n-r b.txt\nc>=1 # d\n\n") == ["c>=1"]
    assert locked_versions("a==1 ; python_version < '3.12' \\\na==2 \\\n    --hash=x\n") == {"a": {"1", "2"}}
    assert newer_than({"a": {"1.0"}, "b": {"1", "2"}}, {"a": "1.1", "b": "2", "c": "3"}) == ["a 1.0 -> 1.1"]
