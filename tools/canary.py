"""What today's releases would do: resolve requirements.txt afresh in throw-away environments and try them out.

Usage: canary.py [--python PYTHON]. Three answers, each with the checks of tools/check_install.py:

  the ranges     the newest releases that requirements.txt allows: what `pip install -r requirements.txt` gives today
  the newest     the same without upper bounds and without the pins: what is to come
  one at a time  where the newest fail: the ranges, and one package's newest beside them, to name the one that breaks

It downloads several gigabytes and is no part of `make test`. Exit status 1 where the ranges themselves fail.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LOWEST = re.compile(r"(?:==|>=)\s*([0-9](?:[0-9A-Za-z.]*[0-9A-Za-z])?)")


@dataclass(frozen=True)
class Outcome:
    """One environment: its packages by name, the lines of failed checks, and what the installer said if it refused."""

    packages: dict[str, str]
    failed: tuple[str, ...]
    refused: str = ""

    @property
    def is_good(self) -> bool:
        return not self.failed and not self.refused


def requirement_lines(text: str) -> list[str]:
    """The requirements of a requirements file, without comments and options."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def lifted(line: str) -> str:
    """A requirement with its lower bound alone: `duckdb>=2,<3` and `torch==2.15.0` become `>=2` and `>=2.15.0`."""
    name = _NAME.match(line)
    lowest = _LOWEST.search(line)
    return (name.group() if name else line) + (f">={lowest[1]}" if lowest else "")


def locked_versions(lock: str) -> dict[str, set[str]]:
    """Releases by package name in the text of a lock: one, or one for each Python that needs another."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", lock, flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def newer_than(locked: dict[str, set[str]], packages: dict[str, str]) -> list[str]:
    """Lines 'name 1.0 -> 1.1' for what differs from the lock."""
    return [
        f"{name} {' or '.join(sorted(locked[name]))} -> {version}"
        for name, version in sorted(packages.items())
        if name in locked and version not in locked[name]
    ]


class Yard:
    """Throw-away environments below one folder, made with uv, which keeps what it has downloaded."""

    def __init__(self, folder: Path, python: str) -> None:
        self._folder, self._python, self._n = folder, python, 0
        subprocess.run([sys.executable, "-m", "venv", str(folder / "uv")], check=True)
        pip = [str(folder / "uv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "uv>=0.13,<1"], check=True)
        self._uv = str(folder / "uv" / "bin" / "uv")

    def try_out(self, lines: Sequence[str]) -> Outcome:
        """Install `lines` into a new environment and run the checks there."""
        self._n += 1
        home = self._folder / str(self._n)
        subprocess.run([self._uv, "venv", "--quiet", "--python", self._python, str(home)], check=True)
        python = str(home / "bin" / "python")
        pip = [self._uv, "pip"]
        done = subprocess.run(
            [*pip, "install", "--quiet", "--python", python, *lines], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return Outcome({}, (), done.stderr.strip())
        listed = subprocess.run(
            [*pip, "list", "--format", "json", "--python", python], capture_output=True, text=True, check=True
        )
        packages = {row["name"].lower(): row["version"] for row in json.loads(listed.stdout)}
        checked = subprocess.run(
            [python, str(ROOT / "tools" / "check_install.py")], capture_output=True, text=True, check=False, cwd=ROOT
        )
        failed = tuple(line for line in checked.stdout.splitlines() if line.startswith("FAILED"))
        if checked.returncode and not failed:
            failed = (f"the checks themselves ended with {checked.returncode}: {checked.stderr.strip()[-500:]}",)
        return Outcome(packages, failed)


def say(title: str, outcome: Outcome, locked: dict[str, set[str]]) -> None:
    """Print what came out."""
    print(f"\n{title}: {'all checks pass' if outcome.is_good else 'FAILS'}")
    for line in newer_than(locked, outcome.packages):
        print(f"  {line}")
    for line in (*outcome.failed, *([f"cannot be resolved: {outcome.refused}"] if outcome.refused else [])):
        print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Try today's releases in throw-away environments.")
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments")
    options = parser.parse_args()
    ranges = requirement_lines((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    locked = locked_versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        yard = Yard(Path(folder), options.python)
        within = yard.try_out(ranges)
        say("the ranges of requirements.txt, resolved today", within, locked)
        newest = yard.try_out([lifted(line) for line in ranges])
        say("the newest of everything", newest, locked)
        if newest.is_good or not within.is_good:
            return 0 if within.is_good else 1
        print("\nOne at a time, beside the ranges:")
        for line in ranges:
            name = _NAME.match(line)
            if name is None or newest.packages.get(name.group().lower()) == within.packages.get(name.group().lower()):
                continue
            alone = yard.try_out([*(other for other in ranges if other != line), lifted(line)])
            say(f"  {lifted(line)}", alone, {package: {version} for package, version in within.packages.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
