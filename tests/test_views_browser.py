"""Views that hold several players or charts, in a real browser: one sound in all, loops, links and Back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.figures.features import map_colors
from explorer.queries.features import fetch_feature_map
from explorer.store import Store
from explorer.ui.feature_map import map_data
from tests.browser import Complaints, Server, settle
from tests.test_player_browser import LISTEN, PLAYING

# Where the loneliest point of a chart's first trace stands on the page: a click there means no other.
POINT = """() => {
  const plot = document.querySelector('.js-plotly-plot'), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout, trace = plot._fullData[0];
  const places = [...plot._fullData].flatMap(t => Array.from(t.x, (x, i) => [xaxis.d2p(x), yaxis.d2p(t.y[i])]));
  const room = at => Math.min(...places.map(p => Math.hypot(p[0] - at[0], p[1] - at[1])).filter(d => d > 0));
  const own = Array.from(trace.x, (x, i) => [xaxis.d2p(x), yaxis.d2p(trace.y[i])]);
  const best = own.map((at, i) => [room(at), i]).sort((a, b) => b[0] - a[0])[0][1];
  return {x: box.left + xaxis._offset + own[best][0], y: box.top + yaxis._offset + own[best][1],
          carried: String(trace.customdata[best][0])};
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    one = context.new_page()
    one.add_init_script(f"({LISTEN})()")
    complaints = Complaints(one)
    yield one
    assert complaints.lines == []
    context.close()


def open_players(page: Page, address: str) -> None:
    """Open a view and wait for its players."""
    page.goto(address)
    settle(page)
    page.wait_for_selector("section.clip")


def top_clip(store: Store) -> dict[str, Any]:
    """The strongest clip of some live feature whose SAE has traces: sae_id, feature, clip_id."""
    rows = store.query(
        "SELECT l.sae_id, l.feature, c.clip_id FROM listed_clips l JOIN clips c USING (clip_index) "
        "JOIN saes s USING (sae_id) JOIN features f USING (sae_id, feature) WHERE l.kind = 'top' AND NOT f.is_dead "
        "AND s.traces_file IS NOT NULL ORDER BY l.sae_id, l.feature, l.rank LIMIT 1"
    )
    return dict(rows.iloc[0])


def test_a_loop_goes_on_where_the_peak_is_near_the_end_of_the_clip(app: Server, page: Page, store: Store) -> None:
    row = _clip_with_its_peak_at_the_end(store)
    page.add_init_script("window.requestAnimationFrame = (f) => setTimeout(() => f(performance.now()), 600)")
    open_players(page, f"{app.url}/features?sae={row['sae_id']}&feature={row['feature']}&clip={row['clip_id']}")
    clip = page.locator("section.clip").first
    assert clip.get_attribute("data-clip-id") == row["clip_id"]
    clip.get_by_role("button", name="Loop around the peak").click()
    page.wait_for_function(f"() => ({PLAYING})().length === 1")
    page.evaluate("() => { window.ends = 0; window.sounds[0].addEventListener('ended', () => window.ends++); }")
    page.wait_for_function("() => window.ends >= 2", timeout=15_000)
    page.wait_for_function(f"() => ({PLAYING})().length === 1")
    sound = page.evaluate(PLAYING)[0]
    assert sound["t"] >= row["peak_s"] - 0.6
    clip.get_by_role("button", name="Loop around the peak").click()
    page.wait_for_function(f"() => ({PLAYING})().length === 0")


def _clip_with_its_peak_at_the_end(store: Store) -> dict[str, Any]:
    """A top clip whose trace is largest in its last half second, and that time as peak_s."""
    for sae_id, file in store.query("SELECT sae_id, traces_file FROM saes ORDER BY 1").itertuples(index=False):
        rows = store.query(
            "SELECT t.*, c.clip_id, c.duration_s FROM read_parquet(?) t JOIN clips c USING (clip_index) "
            "JOIN listed_clips l ON l.sae_id = ? AND l.feature = t.feature AND l.clip_index = t.clip_index "
            "WHERE l.kind = 'top' ORDER BY t.feature, l.rank",
            [str(store.file(file)), sae_id],
        )
        for row in rows.to_dict("records"):
            points = np.frombuffer(bytes(row["points"]), dtype=np.uint8)
            peak_s = row["t0_s"] + row["hop_s"] * int(points.argmax())
            if row["duration_s"] - 0.4 < peak_s:
                return {**row, "sae_id": sae_id, "peak_s": peak_s}
    raise AssertionError("no stored trace of a top clip has its peak near the end")


def test_one_sound_plays_in_all_the_players_of_a_page(app: Server, page: Page, store: Store) -> None:
    row = top_clip(store)
    open_players(page, f"{app.url}/features?sae={row['sae_id']}&feature={row['feature']}&clip={row['clip_id']}")
    expect(page.locator("section.clip").nth(1)).to_be_visible()
    first, last = page.locator("section.clip").first, page.locator("section.clip").last
    for clip in (first, last, first):
        clip.locator("button.play").click()
        path = f"/audio/{clip.get_attribute('data-clip-id')}"
        page.wait_for_function(f"() => ({PLAYING})().some(p => p.src === '{path}' && p.t > 0.02)")
        assert len(page.evaluate(PLAYING)) == 1
        expect(page.locator("section.clip.playing")).to_have_count(1)


@pytest.mark.parametrize("same_encoder", [True, False])
def test_a_pair_of_features_says_which_line_is_which(app: Server, page: Page, store: Store, same_encoder: bool) -> None:
    row = _pair(store, same_encoder=same_encoder)
    link = f"a={row['sae_id']}&b={row['other_sae_id']}&fa={row['feature']}&fb={row['other_feature']}"
    open_players(page, f"{app.url}/compare?{link}")
    clip = page.locator("section.clip").filter(has=page.locator(".legend span + span")).first
    assert [text.split(":")[0] for text in clip.locator(".legend span").all_inner_texts()] == ["A", "B"]
    assert f"feature {row['other_feature']}" in clip.locator(".legend span").last.inner_text()
    drawn = clip.locator("path.line").evaluate_all("all => all.map(e => getComputedStyle(e).stroke)")
    keys = clip.locator(".legend i").evaluate_all("all => all.map(e => getComputedStyle(e).borderTopColor)")
    assert drawn == keys
    assert len(set(drawn)) == 2
    assert clip.locator("path.line.dashed").count() == clip.locator(".legend i.dashed").count() == int(same_encoder)
    assert clip.locator(".peak").inner_text().startswith("peak of A at ")
    expect(clip.get_by_role("button", name="Loop around the peak of A")).to_be_visible()
    for place in (0, -1):
        page.locator("section.clip").nth(place).locator("button.play").click()
        page.wait_for_function(f"() => ({PLAYING})().some(p => p.t > 0.02)")
        assert len(page.evaluate(PLAYING)) == 1


def _pair(store: Store, *, same_encoder: bool) -> dict[str, Any]:
    """A stored match of one encoder or of two, with at least two clips that both features list."""
    rows = store.query(
        "SELECT m.sae_id, m.feature, m.other_sae_id, m.other_feature, count(DISTINCT x.clip_index) AS n_shared "
        "FROM feature_matches m JOIN saes a USING (sae_id) JOIN saes b ON b.sae_id = m.other_sae_id "
        "JOIN listed_clips x ON x.sae_id = m.sae_id AND x.feature = m.feature AND x.kind = 'top' "
        "JOIN listed_clips y ON y.sae_id = m.other_sae_id AND y.feature = m.other_feature AND y.kind = 'top' "
        "AND y.clip_index = x.clip_index WHERE (a.encoder_id = b.encoder_id) = ? AND a.traces_file IS NOT NULL "
        "AND b.traces_file IS NOT NULL GROUP BY ALL ORDER BY n_shared DESC, m.sae_id, m.feature LIMIT 1",
        [same_encoder],
    )
    assert len(rows) and rows["n_shared"][0] >= 2, "the store under test has no such match"
    return dict(rows.iloc[0])


def test_the_next_feature_leaves_the_linked_clip_behind_and_keeps_the_options(
    app: Server, page: Page, store: Store
) -> None:
    row = top_clip(store)
    linked = f"{app.url}/features?sae={row['sae_id']}&feature={row['feature']}&clip={row['clip_id']}&fold=false"
    open_players(page, linked)
    expect(page.get_by_text("The clip of this link")).to_be_visible()
    n_steps = page.evaluate("history.length")
    page.get_by_role("button", name="→").click()
    page.wait_for_function("() => !location.search.includes('clip=')")
    settle(page)
    assert "fold=false" in page.url
    assert f"feature={row['feature']}&" not in page.url
    expect(page.get_by_text("The clip of this link")).to_have_count(0)
    assert page.evaluate("history.length") == n_steps + 1
    page.go_back()
    page.wait_for_function("url => location.href === url", arg=linked)
    settle(page)
    page.get_by_role("button", name="Close").click()
    page.wait_for_function("() => !location.search.includes('clip=')")
    settle(page)
    assert page.url.endswith(f"feature={row['feature']}&fold=false")


def _where_it_stays(page: Page) -> dict[str, Any]:
    """POINT, once the chart has stopped moving."""
    last: dict[str, Any] = {}
    for _ in range(40):
        page.wait_for_timeout(400)
        point = page.evaluate(POINT)
        if point == last:
            return point
        last = point
    raise AssertionError("the chart does not come to rest")


def test_a_point_of_the_map_opens_its_feature_and_back_returns(app: Server, page: Page, store: Store) -> None:
    mapped = store.query("SELECT min(sae_id) AS sae_id FROM features WHERE map_x IS NOT NULL AND NOT is_dead")
    sae_id = str(mapped["sae_id"][0])
    rows = fetch_feature_map(store, sae_id)
    data = map_data(rows, map_colors(rows, "density", False), 460)
    page.goto(f"{app.url}/features?sae={sae_id}")
    settle(page)
    canvas = page.locator("canvas[role=application]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    side = min(box["width"], box["height"]) - 2 * 14
    x, y = (np.array(data[axis]) for axis in "xy")
    far = np.hypot(x[:, None] - x, y[:, None] - y) + 9 * np.eye(len(x))
    alone = int(far.min(axis=1).argmax())  # a point that no other one hides
    left = (box["width"] - side) / 2 + x[alone] * side
    top = box["height"] - ((box["height"] - side) / 2 + y[alone] * side)
    feature = data["feature"][alone]
    canvas.hover(position={"x": left, "y": top})
    expect(page.locator(".tip")).to_contain_text(f"Feature {feature}")
    canvas.click(position={"x": left, "y": top})
    page.wait_for_function("() => location.search.includes('feature=')")
    settle(page)
    expect(page.get_by_role("heading", name=f"Feature {feature}", exact=True)).to_be_visible()
    page.go_back()
    page.wait_for_function("() => !location.search.includes('feature=')")
    settle(page)
    page.wait_for_timeout(1000)
    assert "feature=" not in page.url  # the point that was clicked does not open its feature once more
    expect(page.get_by_role("heading", name="Features")).to_be_visible()


def test_a_dot_against_a_measure_opens_its_clip(app: Server, page: Page, store: Store) -> None:
    top = top_clip(store)
    page.goto(f"{app.url}/features?sae={top['sae_id']}&feature={top['feature']}&view=against")
    settle(page)
    page.wait_for_selector(".js-plotly-plot .point")
    point = _where_it_stays(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function("() => new URL(location.href).searchParams.has('clip')")
    settle(page)
    linked = page.locator(f'section.clip[data-clip-id="{point["carried"]}"]')
    expect(linked).to_be_visible()
    assert page.evaluate("() => new URL(location.href).searchParams.get('clip')") == point["carried"]
    page.go_back()
    page.wait_for_function("() => !new URL(location.href).searchParams.has('clip')")
    expect(linked).to_have_count(0)


def test_a_square_of_the_factor_map_opens_its_feature_and_back_returns(app: Server, page: Page, store: Store) -> None:
    scored = store.query(
        "SELECT representation_id AS sae_id FROM lasso_weights JOIN saes ON sae_id = representation_id "
        "GROUP BY ALL ORDER BY count(*) DESC, sae_id LIMIT 1"
    )
    page.goto(f"{app.url}/factors?sae={scored['sae_id'][0]}")
    settle(page)
    page.wait_for_selector(".js-plotly-plot .point")
    before = page.url
    point = _where_it_stays(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function("() => location.pathname.endsWith('/features')")
    settle(page)
    expect(page.get_by_role("heading", name=f"Feature {point['carried']}", exact=True)).to_be_visible()
    page.go_back()
    page.wait_for_function("() => location.pathname.endsWith('/factors')")
    settle(page)
    assert page.url == before, "one step back, to the view that was left"
    expect(page.get_by_role("heading", name="Factors", exact=True)).to_be_visible()


def test_the_map_plays_what_it_points_at_and_can_be_walked_by_keys(app: Server, page: Page, store: Store) -> None:
    mapped = store.query("SELECT min(sae_id) AS sae_id FROM features WHERE map_x IS NOT NULL AND NOT is_dead")
    sae_id = str(mapped["sae_id"][0])
    rows = fetch_feature_map(store, sae_id).set_index("feature")
    page.goto(f"{app.url}/features?sae={sae_id}")
    settle(page)
    page.get_by_role("button", name="hear on hover").click()
    page.locator("canvas[role=application]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    said = page.locator(".tip b").inner_text()
    clip_id = rows.loc[int(said.removeprefix("Feature ")), "clip_id"]
    page.wait_for_function("id => window.sounds.some(a => !a.paused && a.src.endsWith(id))", arg=clip_id)
    page.keyboard.press("Escape")
    page.wait_for_function("() => window.sounds.every(a => a.paused)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('feature=')")
