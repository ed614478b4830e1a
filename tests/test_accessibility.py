"""Every page under axe-core, WCAG 2 A and AA, in light and dark: players, map and tables included."""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import Browser

from explorer.store import Store
from explorer.ui.url import PAGES
from tests.browser import Server, settle

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = """async () => (await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa']})).violations.flatMap(
  v => v.nodes.map(n => [v.id, n.target.flat().join(' '), n.html.slice(0, 160)]))"""
# Streamlit's own: the cells of two tables on one page share ids.
NOT_OURS = {"duplicate-id-active": ("glide-cell",)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_violation(browser: Browser, app: Server, store: Store, scheme: str) -> None:
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
    for path in (*PAGES, feature, f"{feature}&view=against", "find?way=pairs", live):
        page.goto(f"{app.url}/{'' if path == PAGES[0] else path}")
        page.wait_for_selector("h1")
        settle(page)
        page.wait_for_timeout(400)
        page.evaluate(AXE)
        for rule, target, html in page.evaluate(RUN):
            if not any(part in f"{target} {html}" for part in NOT_OURS.get(rule, ())):
                found.append((path, rule, target, html))
    context.close()
    assert found == []
