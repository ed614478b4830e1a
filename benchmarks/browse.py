"""How quickly the app answers on a store of full size: clicks of one reader, first loads in a browser, thirty readers.

    python -m benchmarks.browse [--store DIR] [--readers 30] [--seconds 60] [--skip-browser]

Without --store a full store is generated first (minutes; see full_size_store). Server time is what passes between a
click and the end of the script's run, over the app's own websocket, with nobody else there. Prints each figure beside
its limit. Exit code 1 when one is missed. First clicks after the start are shown apart: nothing is cached there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NotDrawn

from benchmarks._generated_scale import SCALES
from benchmarks._served import BARE_PAGE, CHROMIUM_FLAGS, chromium, served
from benchmarks._session import Action, Run, Session, possible_actions
from benchmarks.full_size_store import write_store
from explorer.store import open_store
from explorer.ui.url import PAGES

MEDIAN_S, P95_S = 0.3, 1.0
FIRST_LOAD_S = 2.0
BESIDE_P95_S = 2.0
EVERY_S = 5.0
MAX_ROWS = 200
N_LOADS = 3
PATIENCE_S = 30.0
CHARTS_DRAWN = """() => [...document.querySelectorAll(".so-figure")].every(
  place => "drawn" in place.dataset || place.getBoundingClientRect().top > innerHeight)"""
DRAWN = '[data-testid="stApp"][data-test-script-state="notRunning"]'


@dataclass
class Report:
    """Figures beside their limits, and which were missed."""

    missed: list[str] = field(default_factory=list)

    def figure(self, name: str, value: float, limit: float, unit: str = "s") -> None:
        """Print one figure beside its limit."""
        is_missed = not value <= limit
        print(f"  {name:<44} {value:9.3f} {unit:<5} limit {limit:g}{'   MISSED' if is_missed else ''}", flush=True)
        if is_missed:
            self.missed.append(name)


def machine_s() -> float:
    """Seconds of ten million additions in Python, the best of three: what other readings are to be compared by."""

    def once() -> float:
        started, total = time.perf_counter(), 0
        for number in range(10_000_000):
            total += number
        return time.perf_counter() - started

    return min(once() for _ in range(3))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` per cent of `values` do not exceed; NaN without values."""
    return float(np.percentile(values, share, method="higher")) if len(values) else float("nan")


async def one_reader(url: str, groups: Iterable[Sequence[Action]]) -> list[Run]:
    """Every action of every group, one after the other, in one session."""
    session = await Session.open(url)
    runs = [await session.act(action) for actions in groups for action in actions]
    await session.close()
    return runs


async def many_readers(url: str, actions: Sequence[Action], n: int, seconds: float, seed: int = 0) -> list[Run]:
    """`n` sessions that each make one of `actions` every EVERY_S seconds, none at the same moment."""

    async def read(number: int) -> list[Run]:
        rng = np.random.default_rng([seed, number])
        await asyncio.sleep(EVERY_S * number / n)
        session = await Session.open(url)
        await session.act(Action("arrive", "overview"))
        runs, started = [], time.monotonic()
        for turn in range(int(seconds / EVERY_S)):
            await asyncio.sleep(max(0.0, started + turn * EVERY_S - time.monotonic()))
            runs.append(await session.act(actions[int(rng.integers(len(actions)))]))
        await session.close()
        return runs

    found = await asyncio.gather(*(read(number) for number in range(n)))
    return [run for runs in found for run in runs]


def print_runs(title: str, runs: Sequence[Run]) -> None:
    """A table of runs by name."""
    print(f"{title}\n  {'':<26}{'n':>4}{'median s':>10}{'p95 s':>8}{'largest s':>11}{'most kB':>10}{'rows':>6}")
    for name in dict.fromkeys(run.name for run in runs):
        mine = [run for run in runs if run.name == name]
        took = [run.seconds for run in mine]
        print(
            f"  {name:<26}{len(mine):4d}{percentile(took, 50):10.3f}{percentile(took, 95):8.3f}{max(took):11.3f}"
            f"{max(run.n_bytes for run in mine) / 1e3:10.0f}{max(run.n_rows for run in mine):6d}"
        )
    for run in runs:
        for error in run.errors:
            print(f"  {run.name}: {error[:300]}")


def page_of(name: str, actions: dict[str, list[Action]]) -> str:
    """The page that the action of this name opens; its own name where it is no such action."""
    return actions[name][0].page if name in actions else name


def wait_until_drawn(page: Page, what: str) -> None:
    """Wait until the page's head is there, its script is done, and every chart in sight is drawn."""
    page.wait_for_selector(what)
    page.wait_for_selector(DRAWN)
    page.wait_for_function(CHARTS_DRAWN)


def first_loads(url: str, addresses: dict[str, str], executable: str) -> dict[str, list[float]]:
    """Seconds until each address is drawn in a Chromium that has never been here, several times each."""
    found: dict[str, list[float]] = {name: [] for name in addresses}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        for _ in range(N_LOADS):
            for name, address in addresses.items():
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                page = context.new_page()
                page.set_default_timeout(1000 * PATIENCE_S)
                started = time.perf_counter()
                page.goto(url + address, wait_until="commit")
                wait_until_drawn(page, ".so-head, .so-title")
                found[name].append(time.perf_counter() - started)
                context.close()
        browser.close()
    return found


def clicks_beside(url: str, executable: str, until: threading.Event) -> list[tuple[str, float]]:
    """Seconds until each page is drawn after a click in the sidebar of one Chromium, a click every EVERY_S seconds."""
    took: list[tuple[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(url)
        wait_until_drawn(page, ".so-head")
        turn = 0
        while not until.is_set():
            turn += 1
            title = PAGES[turn % len(PAGES)].capitalize()
            started = time.perf_counter()
            with suppress(NotDrawn):  # it counts as what it took until then
                page.get_by_test_id("stSidebar").get_by_role("link", name=title, exact=True).click()
                wait_until_drawn(page, _head(title))
            took.append((title, time.perf_counter() - started))
            until.wait(max(0.0, EVERY_S - took[-1][1]))
        browser.close()
    return took


def _head(title: str) -> str:
    """The head of a page by its title; the Overview's is the name of the corpus."""
    return '.so-head h1:text-is("random numbers")' if title == "Overview" else f'.so-head h1:text-is("{title}")'


def measure_alone(report: Report, url: str, actions: dict[str, list[Action]]) -> None:
    """Cold clicks, then every click of every kind, by page."""
    cold = asyncio.run(one_reader(url, [[group[0]] for group in actions.values()]))
    print_runs("First clicks after the start, one reader", cold)
    warm = asyncio.run(one_reader(url, list(actions.values())))
    print_runs("Clicks, one reader", warm)
    print("Server time of a click, by page")
    for page in PAGES:
        took = [run.seconds for run in warm if page_of(run.name, actions) == page]
        report.figure(f"{page}, median", percentile(took, 50), MEDIAN_S)
        report.figure(f"{page}, p95", percentile(took, 95), P95_S)
    report.figure("errors", sum(len(run.errors) for run in [*cold, *warm]), 0, "")
    report.figure("longest table sent", max(run.n_rows for run in [*cold, *warm]), MAX_ROWS, "rows")
    print(f"  most sent for a click: {max(run.n_bytes for run in [*cold, *warm]) / 1e6:.2f} MB")


def measure_together(
    report: Report, url: str, actions: dict[str, list[Action]], n: int, seconds: float, executable: str | None
) -> None:
    """Many readers at once, and one Chromium beside them."""
    everything = [action for group in actions.values() for action in group if action.button is None]
    found: list[Run] = []
    done = threading.Event()

    def read() -> None:
        try:
            found.extend(asyncio.run(many_readers(url, everything, n, seconds)))
        finally:
            done.set()

    thread = threading.Thread(target=read)
    thread.start()
    beside = clicks_beside(url, executable, done) if executable else []
    thread.join()
    print_runs(f"{n} readers, each a click every {EVERY_S:g} s", found)
    report.figure("all readers, p95", percentile([run.seconds for run in found], 95), BESIDE_P95_S)
    report.figure("clicks that failed", sum(bool(run.errors) for run in found), 0, "")
    if executable:
        print("  Chromium beside them: " + ", ".join(f"{title} {seconds:.2f}" for title, seconds in beside))
        report.figure("Chromium beside them, p95", percentile([seconds for _, seconds in beside], 95), BESIDE_P95_S)


def measure_first_loads(report: Report, url: str, feature: Mapping[str, object], executable: str, folder: Path) -> None:
    """Each page in a browser that was never here, and a bare page with one small chart of Streamlit's own."""
    addresses = {name: "/" if name == PAGES[0] else f"/{name}" for name in PAGES}
    addresses["one feature"] = f"/features?sae={feature['sae']}&feature={feature['feature']}"
    print("First load in a browser that was never here, median of several")
    (folder / "bare.py").write_text(BARE_PAGE)
    with served(folder, folder / "bare.py") as bare:
        took = first_loads(bare, {"bare": "/"}, executable)["bare"]
        print(f"  a bare Streamlit page with one small st.plotly_chart: {percentile(took, 50):.3f} s")
    for name, seconds in first_loads(url, addresses, executable).items():
        report.figure(name, percentile(seconds, 50), FIRST_LOAD_S)


def main() -> int:
    """Measure and print. Exit code 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--readers", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--skip-browser", action="store_true")
    options = parser.parse_args()
    report = Report()
    print(f"this machine, now: {machine_s():.2f} s for ten million additions in Python")
    executable = None if options.skip_browser else chromium()
    if executable is None:
        print("no Chromium: first loads are not measured")
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store
        if store is None:
            store = Path(scratch) / "store"
            write_store(store, SCALES["full"])
        opened = open_store(store)
        actions = possible_actions(opened, np.random.default_rng(0))
        opened.close()
        feature = actions["one reference feature"][0].params
        with served(Path(scratch), "app.py", "--store", str(store.resolve())) as url:
            measure_alone(report, url, actions)
            if executable:
                measure_first_loads(report, url, feature, executable, Path(scratch))
            measure_together(report, url, actions, options.readers, options.seconds, executable)
    print(f"{len(report.missed)} limits missed" + (f": {', '.join(report.missed)}" if report.missed else ""))
    return int(bool(report.missed))


if __name__ == "__main__":
    sys.exit(main())
