"""What is seen and reached: contrast, targets, and what a phone shows first, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from explorer.store import Store
from tests.browser import Complaints, Server, settle

# Contrast of a colour against what lies behind an element, both as the browser computed them.
CONTRAST = """(element, [name, behind]) => {
  const parse = text => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith('color(') ? [255 * n[0], 255 * n[1], 255 * n[2], n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
  const layers = [];
  let opacity = 1;
  for (let at = element; at; at = at.parentElement ?? at.getRootNode().host ?? null) {
    const of = getComputedStyle(at);
    if (!behind || at !== element) layers.push(parse(of.backgroundColor));
    opacity *= Number(of.opacity);
  }
  const back = layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  const front = parse(getComputedStyle(element)[name]);
  front[3] *= opacity;
  const a = light(over(front, back)), b = light(back);
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}"""
# Targets under 24 px and their sizes; a link inside a sentence may be as small as its words.
SMALL = """() => [document, ...[...document.querySelectorAll('*')].map(e => e.shadowRoot).filter(Boolean)]
  .flatMap(root => [...root.querySelectorAll(
    'button,a[href],input,select,summary,[role="button"],[role="switch"],[role="radio"]')])
  .filter(e => e.checkVisibility({opacityProperty: true, visibilityProperty: true}) && !e.closest('p,canvas'))
  .map(e => [e, (['checkbox', 'radio'].includes(e.type) ? e.closest('label') ?? e : e).getBoundingClientRect()])
  .filter(([e, r]) => r.width > 1 && r.height > 1 && (r.width < 23.5 || r.height < 23.5))
  .map(([e, r]) => `${e.outerHTML.slice(0, 140)} ${r.width.toFixed(0)}x${r.height.toFixed(0)}`)"""
# Choosers whose text has more width than room.
CUT = """all => all.filter(e => e.clientWidth > 20 && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.outerHTML.slice(0, 200))"""


def feature_address(store: Store) -> str:
    """A feature with many listed clips."""
    row = store.query(
        "SELECT l.sae_id, l.feature FROM listed_clips l JOIN saes s USING (sae_id) WHERE l.kind = 'top' "
        "AND s.is_reference GROUP BY ALL ORDER BY count(*) DESC, l.sae_id, l.feature LIMIT 1"
    ).iloc[0]
    return f"features?sae={row['sae_id']}&feature={row['feature']}"


def contrast(page: Page, selector: str, name: str = "color", *, behind: bool = False) -> float:
    """The contrast of one of an element's colours; `behind`: against what lies around it, not its own background."""
    return float(page.locator(selector).first.evaluate(CONTRAST, [name, behind]))


def open_at(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("h1")
    settle(page)


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    complaints = Complaints(page)
    yield page
    context.close()
    assert complaints.lines == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_named_parts_have_enough_contrast(browser: Browser, app: Server, store: Store, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    open_at(page, f"{app.url}/{feature_address(store)}")
    page.wait_for_selector("section.clip")
    for selector in (".so-chip", ".so-hint", ".so-card small", "[data-testid='stSidebar'] .so-brand span", ".clock"):
        assert contrast(page, selector) >= 4.5, selector
    link = "[data-testid='stSidebar'] [data-testid='stPageLink'] a"
    page.locator(link).nth(1).focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    ring = f"{link}:focus-visible"
    assert page.locator(ring).first.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert contrast(page, ring, "outlineColor", behind=True) >= 3
    open_at(page, f"{app.url}/runs")
    page.get_by_text("Configuration", exact=True).click()
    values = page.locator("[data-testid='stJson'] .string-value, [data-testid='stJson'] .variable-value")
    values.first.wait_for()
    for place in range(min(values.count(), 8)):
        assert float(values.nth(place).evaluate(CONTRAST, ["color", False])) >= 4.5
    one, other = store.query("SELECT sae_id FROM saes ORDER BY NOT is_reference, sae_id")["sae_id"].head(2)
    open_at(page, f"{app.url}/live?sae={one}&with={other}")
    for part in ("span", "button"):
        assert contrast(page, f"[data-testid='stMultiSelect'] [data-tag] {part}:visible") >= 4.5, part
    context.close()


def test_a_phone_shows_the_player_first_and_nothing_lies_over_it(phone: Page, app: Server, store: Store) -> None:
    open_at(phone, f"{app.url}/{feature_address(store)}")
    play = phone.locator("section.clip button.play").first
    play.wait_for()
    phone.wait_for_timeout(300)
    clip = phone.locator("section.clip").first.bounding_box()
    assert clip is not None and clip["y"] + clip["height"] <= 844, "the first clip is on the first screen"
    menu = phone.locator("[data-testid='stMainMenu'] button, [data-testid='stExpandSidebarButton']")
    heads = phone.locator("h1:visible, .st-key-to-table button:visible")
    assert menu.count() >= 1 and heads.count() >= 2
    for over in menu.all():
        for under in heads.all():
            assert not overlap(over.bounding_box(), under.bounding_box())
    assert phone.evaluate(SMALL) == []
    title = phone.locator("section.clip .title").first
    assert title.evaluate("e => e.scrollWidth <= e.clientWidth"), "the name of a clip has room"
    for path in ("", "features", "find", "layers", "compare"):
        open_at(phone, f"{app.url}/{path}")
        assert phone.evaluate(SMALL) == [], path
        wide = phone.evaluate("(m => m.scrollWidth - m.clientWidth)(document.querySelector('[data-testid=stMain]'))")
        assert wide <= 0, path


def overlap(a: Any, b: Any) -> bool:
    """Whether two bounding boxes share a point."""
    return bool(
        a and b
        and a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]
    )  # fmt: skip


def test_the_choosers_of_the_sidebar_show_whole_names(browser: Browser, app: Server, store: Store) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    open_at(page, f"{app.url}/features")
    choosers = page.locator("[data-testid='stSidebar'] [data-testid='stSelectbox'] input")
    choosers.nth(2).wait_for()
    choosers.last.evaluate("(input, text) => { input.value = text; }", "k = 17 of 341 · seed 0")
    cut = choosers.evaluate_all(CUT)
    choosers.last.evaluate("input => { input.value = 'x'.repeat(60); }")
    assert len(choosers.evaluate_all(CUT)) == 1, "a name that is cut is seen to be"
    context.close()
    assert cut == []
