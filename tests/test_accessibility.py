"""Every page under axe-core, WCAG 2 A and AA, in light and dark: players, map and tables included; headings, titles."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise

import pytest
from playwright.sync_api import Browser

from explorer.store import Store
from explorer.ui.url import PAGES
from tests.browser import Server, settle

pytestmark = pytest.mark.slow

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = """async () => (await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa']})).violations.flatMap(
  v => v.nodes.map(n => [v.id, n.target.flat().join(' '), n.html.slice(0, 160)]))"""
HEADINGS = """() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].filter(e => e.checkVisibility())
  .map(e => [Number(e.tagName[1]), e.innerText, e.textContent])"""
# Streamlit's own: the cells of two tables on one page share ids.
NOT_OURS = {"duplicate-id-active": ("glide-cell",)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_violation_and_each_has_headings_in_order_and_a_title_of_its_own(
    browser: Browser, app: Server, store: Store, scheme: str
) -> None:
    row = store.query(
        "SELECT l.sae_id, l.feature FROM listed_clips l JOIN saes s USING (sae_id) WHERE l.kind = 'top' "
        "AND s.is_reference GROUP BY ALL ORDER BY count(*) DESC, l.sae_id, l.feature LIMIT 1"
    ).iloc[0]
    feature = f"features?sae={row['sae_id']}&feature={row['feature']}"
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    found = []
    clip_id = store.query("SELECT min(clip_id) AS id FROM clips WHERE NOT is_silent")["id"].iloc[0]
    live = f"live?clip={clip_id}&sae={row['sae_id']}"
    titles: dict[str, str] = {}
    for path in (*PAGES, feature, f"{feature}&view=against", "find?by=measure", "find?way=pairs", live):
        page.goto(f"{app.url}/{'' if path == PAGES[0] else path}")
        page.wait_for_selector("h1")
        settle(page)
        page.wait_for_timeout(400)
        check_headings(page.evaluate(HEADINGS), path)
        assert page.title().endswith(" · Sonoscope") and page.title() not in titles, (path, titles)
        titles[page.title()] = path
        page.evaluate(AXE)
        for rule, target, html in page.evaluate(RUN):
            if not any(part in f"{target} {html}" for part in NOT_OURS.get(rule, ())):
                found.append((path, rule, target, html))
    context.close()
    assert found == []


def check_headings(found: list[tuple[int, str, str]], path: str) -> None:
    """One first heading, which comes first; none skips a level; words that stand apart are read apart."""
    levels = [level for level, *_ in found]
    assert levels.count(1) == 1 and levels[0] == 1, (path, found)
    for (before, *_), (after, seen, read) in pairwise(found):
        assert after <= before + 1, (path, found)
        assert " ".join(seen.split()) == " ".join(read.split()), (path, seen)
