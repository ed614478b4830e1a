"""Install a lock into the environment of the Python that runs this.  Usage: install.py LOCK [--torch cpu]

Exact releases, checked against their hashes. `--torch cpu` takes a CPU build of torch where the package index offers
one, over 3 GB less, and leaves out what only CUDA needs. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from explorer.environment import TORCH_BELOW, TORCH_FROM

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
ONLY_WITH_CUDA = re.compile(r"(torch|torchaudio|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
CPU_BUILD = re.compile(r"\b((\d+)\.(\d+)\.\d+)\+cpu\b")


def without_cuda(lock: str) -> str:
    """The lock's lines without torch and what only its CUDA builds need. A package's lines begin at column 0."""
    kept, is_left_out = [], False
    for line in lock.splitlines():
        if line[:1].isalnum():
            is_left_out = ONLY_WITH_CUDA.match(line) is not None
        if not is_left_out or line.startswith("#"):
            kept.append(line)
    return "\n".join(kept) + "\n"


def newest_cpu_build(listing: str) -> str | None:
    """The newest release in pip's list of torch's versions that is a CPU build and that Sonoscope works with."""
    builds = {
        tuple(int(part) for part in match[1].split(".")): match[0]
        for match in CPU_BUILD.finditer(listing)
        if (int(match[2]), int(match[3])) >= TORCH_FROM and (int(match[2]),) < TORCH_BELOW
    }
    return builds[max(builds)] if builds else None


def find_cpu_build() -> str | None:
    """Ask pip, with the indexes that it is set up with. None where every build is one already, or none is offered."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        print("torch's ordinary build for this machine needs no GPU: installing it")
        return None
    listed = subprocess.run([*PIP, "index", "versions", "torch"], capture_output=True, text=True, check=False)
    build = newest_cpu_build(listed.stdout)
    if build is None:
        print(
            "The package index offers no CPU build of torch for this Python: installing the locked CUDA build.\n"
            "PyTorch keeps CPU builds in an index of its own (see 'Get started' on its site): name that in "
            "PIP_EXTRA_INDEX_URL and run make again."
        )
    return build


def install(lock: Path, *, torch: str) -> int:
    """Install `lock`. Returns pip's exit status."""
    build = find_cpu_build() if torch == "cpu" else None
    command = [*PIP, "install", "--progress-bar", "off", "--no-deps", "--quiet"]
    if build is None:
        return subprocess.run([*command, "--require-hashes", "-r", str(lock)], check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder) / lock.name
        rest.write_text(without_cuda(lock.read_text(encoding="utf-8")), encoding="utf-8")
        status = subprocess.run([*command, "--require-hashes", "-r", str(rest)], check=False).returncode
    if status:
        return status
    print(f"torch {build}: a CPU build, as the index offers it (the lock holds no hash of it)")
    return subprocess.run([*command, f"torch=={build}"], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Install a lock into this Python's environment.")
    parser.add_argument("lock", type=Path)
    parser.add_argument("--torch", choices=["", "cpu", "locked"], default="", help="cpu: a CPU build of torch")
    options = parser.parse_args()
    return install(options.lock, torch=options.torch)


if __name__ == "__main__":
    sys.exit(main())
