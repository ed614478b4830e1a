"""Figures in a real browser: drawn when seen, walked by keys, every kind of mark a link."""

from __future__ import annotations

import gzip
import urllib.request
from collections.abc import Iterator

import plotly.offline
import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.store import Store
from explorer.ui.plotly_route import PLOTLY_ADDRESS, PLOTLY_SCRIPT, PLOTLY_VERSION
from tests.browser import Complaints, Server, settle

# The middle of the first cell of the heatmap under `label` that carries something, on the page, and what it carries.
CELL = """label => {
  const plot = [...document.querySelectorAll('.so-figure')].find(p => p.getAttribute('aria-label').startsWith(label));
  const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout, trace = plot._fullData[0];
  for (let r = 0; r < trace.customdata.length; r++) for (let c = 0; c < trace.customdata[r].length; c++)
    if (trace.customdata[r][c]) return {
      x: box.left + xaxis._offset + xaxis.d2p(trace.x[c]), y: box.top + yaxis._offset + yaxis.d2p(trace.y[r]),
      carried: Array.from(trace.customdata[r][c])};
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    one = context.new_page()
    complaints = Complaints(one)
    yield one
    assert complaints.lines == []
    context.close()


def figure(page: Page, label: str):
    """The figure whose name begins with `label`, scrolled to and drawn."""
    found = page.locator(f'.so-figure[aria-label^="{label}"]')
    found.scroll_into_view_if_needed()
    page.wait_for_selector(f'.so-figure[data-drawn][aria-label^="{label}"]')
    return found


def test_plotlys_script_is_of_the_version_that_makes_the_figures_and_is_kept_by_browsers(app: Server) -> None:
    assert plotly.offline.get_plotlyjs_version() == PLOTLY_VERSION
    with urllib.request.urlopen(app.url + PLOTLY_ADDRESS) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert gzip.decompress(answer.read()) == PLOTLY_SCRIPT.read_bytes()


def test_no_page_loads_streamlits_own_plotly(app: Server, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{app.url}/layers")
    settle(page)
    figure(page, "Accuracy of probes")
    assert sum(PLOTLY_ADDRESS in url for url in asked) == 1
    assert not any("PlotlyChart" in url for url in asked)


def test_a_figure_out_of_sight_is_drawn_after_those_in_sight(app: Server, page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 500})
    page.add_init_script(
        "window.order = []; new MutationObserver(all => all.forEach(m => window.order.push(["
        "m.target.getAttribute('aria-label'), m.target.getBoundingClientRect().top > innerHeight])))"
        ".observe(document, {subtree: true, attributeFilter: ['data-drawn']})"
    )
    for _ in range(3):  # while a page is being built, a figure may be in sight for a moment that is not later
        page.goto(f"{app.url}/layers")
        settle(page)
        page.wait_for_selector(".so-figure")
        page.wait_for_function(
            "() => { const all = [...document.querySelectorAll('.so-figure')];"
            " return all.length > 1 && all.every(p => 'drawn' in p.dataset); }"
        )
        was_hidden = [hidden for _, hidden in page.evaluate("window.order")]
        if was_hidden == sorted(was_hidden):
            break
    assert was_hidden[0] is False and was_hidden == sorted(was_hidden)
    assert True in was_hidden


def test_marks_are_walked_by_keys_said_aloud_and_opened(app: Server, page: Page) -> None:
    page.goto(f"{app.url}/layers")
    settle(page)
    curves = figure(page, "Accuracy of probes")
    curves.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".so-figure-said").first).not_to_be_empty()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    last = page.evaluate(
        """() => { const traces = [...document.querySelectorAll('.so-figure')][0]._fullData;
           const marks = traces.filter(t => t.visible === true && t.customdata)
             .flatMap(t => Array.from(t.customdata, c => Array.from(c)));
           return marks[marks.length - 2]; }"""
    )
    page.keyboard.press("Enter")
    page.wait_for_function("() => new URL(location.href).searchParams.has('layer')")
    address = page.evaluate("() => Object.fromEntries(new URL(location.href).searchParams)")
    assert (address["encoder"], address["layer"]) == (last[0], str(last[1]))
    settle(page)
    expect(page.locator("h2", has_text=f"L{last[1]}: class by class")).to_be_visible()


def test_a_cell_of_a_confusion_is_a_link_to_its_clips_and_back_closes_them(
    app: Server, page: Page, store: Store
) -> None:
    page.goto(f"{app.url}/layers")
    settle(page)
    figure(page, "Confusion")
    cell = page.evaluate(CELL, "Confusion")
    page.mouse.click(cell["x"], cell["y"])
    page.wait_for_function("() => new URL(location.href).searchParams.has('said')")
    settle(page)
    page.wait_for_selector("section.clip")
    shown = page.eval_on_selector_all("section.clip", "all => all.map(s => s.dataset.clipId)")
    true = store.query("SELECT DISTINCT label FROM clips WHERE clip_id IN (SELECT unnest(?))", [shown])["label"]
    assert list(true) == [cell["carried"][0]]
    page.locator("section.clip button.play").first.click()
    expect(page.locator("section.clip.playing")).to_have_count(1)
    page.go_back()
    page.wait_for_function("() => !new URL(location.href).searchParams.has('said')")
    settle(page)
    expect(page.locator("section.clip")).to_have_count(0)


def test_a_figure_follows_the_width_of_the_page(app: Server, page: Page) -> None:
    page.goto(f"{app.url}/layers")
    settle(page)
    curves = figure(page, "Accuracy of probes")
    page.set_viewport_size({"width": 1000, "height": 900})
    page.wait_for_function(
        """() => { const p = document.querySelector('.so-figure');
           return Math.abs(p._fullLayout.width - p.clientWidth) < 2 && p.clientWidth < 800; }"""
    )
    box = curves.bounding_box()
    assert box is not None and box["width"] < 800


def test_a_script_that_does_not_come_is_said_in_words(app: Server, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route(f"**{PLOTLY_ADDRESS}", lambda route: route.abort())
    page.goto(f"{app.url}/layers")
    settle(page)
    expect(page.locator(".so-figure").first).to_contain_text("could not be drawn")
    context.close()
