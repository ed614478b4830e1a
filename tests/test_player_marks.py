"""The part that a player marks: what its page knows, and what its reader did last."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

from explorer.ui.player import FRAME, player_script
from tests.browser import drag

MOUNT = """([script, frame]) => {
  document.body.innerHTML = "<main id='here'></main>";
  const clip = {clip_id: "a", title: "a.wav", duration_s: 2, detail: "", note: "", value: null, value_max: null,
                rank: null, volume: 1, traces: []};
  window.sent = [];
  window.mount = async () => {
    document.getElementById("here").innerHTML = frame;
    const module = await import(URL.createObjectURL(new Blob([script], {type: "text/javascript"})));
    window.run = (marked, peak) => void module.default({
      parentElement: document.getElementById("here"),
      setTriggerValue: (_, event) => window.sent.push(event.range),
      data: {low: 0, high: 1, height_px: 80, can_open: false, can_mark: true, marked,
             clips: [{...clip, traces: peak === undefined ? [] :
               [{name: "n", values: [0, peak, 0], t0_s: 0, hop_s: 0.5, color: "#000", baseline: null, mark: "",
                 dashed: false, giants: []}]}]},
    });
  };
  return window.mount();
}"""
REGION = """() => { const region = document.querySelector("#here .region");
                    return region.hidden ? null : [region.style.left, region.style.width]; }"""


def drag_over(page: Page, start: float, end: float) -> None:
    drag(page, page.locator("#here .pic"), start, end)


def test_the_mark_that_the_page_knows_is_drawn_whatever_came_between(browser: Browser) -> None:
    page = browser.new_page()
    page.route("**/*", lambda route: route.fulfill(content_type="text/html", body="<!doctype html><body>"))
    page.goto("http://player.test/")
    page.evaluate(MOUNT, [player_script(), FRAME])
    page.evaluate("run(null)")
    assert page.evaluate(REGION) is None
    drag_over(page, 0.25, 0.5)
    assert page.evaluate(REGION) == ["25%", "25%"]
    page.evaluate("run(null, 0.5)")  # lines that were on their way when the part was marked
    assert page.evaluate(REGION) == ["25%", "25%"]
    (marked,) = page.evaluate("sent")
    page.evaluate("marked => run(marked, 0.5)", marked)
    assert page.evaluate(REGION) == ["25%", "25%"]
    page.evaluate("mount()")  # the page's frame is drawn anew, first from what was known before the mark
    page.evaluate("run(null, 0.5)")
    page.evaluate("marked => run(marked, 0.5)", marked)
    assert page.evaluate(REGION) == ["25%", "25%"]
    drag_over(page, 0.6, 0.8)  # a second mark, before the answer to which a late one to the first comes
    page.evaluate("marked => run(marked, 0.7)", marked)
    assert page.evaluate(REGION) == ["60%", "20%"]
    page.evaluate("run(sent.at(-1), 0.8)")
    assert page.evaluate(REGION) == ["60%", "20%"]
    page.locator("#here .loop").click()
    assert page.evaluate("sent.at(-1)") is None
    page.evaluate("run(sent.at(-2), 0.9)")  # the page does not know yet
    assert page.evaluate(REGION) is None
    page.evaluate("run(null, 0.9)")
    assert page.evaluate(REGION) is None
    page.close()
