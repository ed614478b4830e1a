"""How long the demo takes on this machine: until it can be browsed, until it is whole, and until it opens again.

    python -m benchmarks.demo_build [--store DIR]

Installation is not counted. Beside the times stand those of what no demo could do without on the same clips: singing,
openSMILE, and one pass of each encoder, from the run's own record.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from explorer.queries.runs import fetch_runs, fetch_timings
from explorer.store import POINTER, open_store

LIMIT_S = 300.0
BARE = ("openSMILE", "encode with")


def built(store: Path) -> tuple[float, float]:
    """(seconds to the first generation, seconds to the last) of a build from nothing."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "precompute", "demo", "--store", str(store)])
    first = float("nan")
    while process.poll() is None:
        if first != first and (store / POINTER).is_file():
            first = time.monotonic() - started
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the demo failed with {process.returncode}")
    return first, time.monotonic() - started


def main() -> None:
    """Build, build again, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = asked.store or Path(scratch) / "demo"
        first, whole = built(store)
        again = time.monotonic()
        subprocess.run([sys.executable, "-m", "precompute", "demo", "--store", str(store)], check=True)
        again = time.monotonic() - again
        opened = open_store(store)
        timings = fetch_timings(opened, str(fetch_runs(opened)["run_id"].iloc[0]))
        bare = timings.loc[timings["stage"].str.startswith(BARE), "seconds"].sum()
    print(
        f"can be browsed after {first:.0f} s, whole after {whole:.0f} s (limit {LIMIT_S:.0f} s, installation included)"
    )
    print(f"openSMILE and four encoder passes alone: {bare:.0f} s, so whole / bare = {whole / bare:.2f}")
    print(f"found built in {again:.1f} s")


if __name__ == "__main__":
    main()
