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
from explorer.store import POINTER, current_generation, open_store

LIMIT_S = 300.0
BARE = ("openSMILE", "encode with")


def built(store: Path) -> dict[int, float]:
    """Seconds until each generation of a build from nothing: 1 has the first encoder's layers, 2 its SAEs too."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "precompute", "demo", "--store", str(store)])
    seconds: dict[int, float] = {}
    is_running = True
    while is_running:
        is_running = process.poll() is None
        if (store / POINTER).is_file():
            seconds.setdefault(current_generation(store), time.monotonic() - started)
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the demo failed with {process.returncode}")
    return seconds


def main() -> None:
    """Build, build again, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = asked.store or Path(scratch) / "demo"
        seconds = built(store)
        again = time.monotonic()
        subprocess.run([sys.executable, "-m", "precompute", "demo", "--store", str(store)], check=True)
        again = time.monotonic() - again
        opened = open_store(store)
        timings = fetch_timings(opened, str(fetch_runs(opened)["run_id"].iloc[0]))
        bare = timings.loc[timings["stage"].str.startswith(BARE), "seconds"].sum()
    whole = max(seconds.values())
    steps = ", ".join(f"{generation}: {at:.0f} s" for generation, at in sorted(seconds.items()))
    print(f"generations after {steps} (limit for the first, installation included: {LIMIT_S:.0f} s)")
    print(f"openSMILE and four encoder passes alone: {bare:.0f} s, so whole / bare = {whole / bare:.2f}")
    print(f"found built in {again:.1f} s")


if __name__ == "__main__":
    main()
