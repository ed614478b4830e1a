"""The clip player in a real browser: the right sound, one at a time, and times that line up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from explorer.audio import load_waveform
from explorer.contours import clip_contours
from explorer.store import Store
from explorer.ui.player import QUIETEST_DB
from tests.browser import Complaints, Server, drag, settle

LISTEN = """() => {
  window.sounds = [];
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    if (!window.sounds.includes(this)) window.sounds.push(this);
    return play.call(this);
  };
}"""
PLAYING = """() => window.sounds.filter(a => !a.paused)
  .map(a => ({src: new URL(a.src).pathname, t: a.currentTime, d: a.duration}))"""


@pytest.fixture
def link(store: Store) -> str:
    """The address of the live feature with most listed top clips that have different groups."""
    row = store.query(
        "SELECT l.sae_id, l.feature FROM listed_clips l JOIN clips c USING (clip_index) JOIN saes s USING (sae_id) "
        "WHERE l.kind = 'top' AND s.traces_file IS NOT NULL GROUP BY ALL "
        "ORDER BY count(DISTINCT c.group_id) DESC, l.sae_id, l.feature LIMIT 1"
    ).iloc[0]
    return f"/features?sae={row['sae_id']}&feature={row['feature']}"


@pytest.fixture
def page(browser: Browser, app: Server, link: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    one = context.new_page()
    one.add_init_script(f"({LISTEN})()")
    complaints = Complaints(one)
    one.goto(app.url + link)
    settle(one)
    one.wait_for_selector("section.clip")
    yield one
    assert complaints.lines == []
    context.close()


def clip_ids(page: Page) -> list[str]:
    """The clips in the order in which they stand."""
    return page.locator("section.clip").evaluate_all("all => all.map(e => e.dataset.clipId)")


def wait_for_sound(page: Page) -> dict[str, Any]:
    """Wait until exactly one sound runs and has passed 0.1 s; return it."""
    page.wait_for_function(f"() => {{ const p = ({PLAYING})(); return p.length === 1 && p[0].t > 0.1; }}")
    sound: dict[str, Any] = page.evaluate(PLAYING)[0]
    return sound


def test_the_sound_that_plays_is_the_clip_that_was_clicked_and_only_one_plays(page: Page, store: Store) -> None:
    ids = clip_ids(page)
    assert len(ids) >= 2
    for clip_id in ids[:2]:
        page.locator(f'section.clip[data-clip-id="{clip_id}"] button.play').click()
        page.wait_for_function(
            f"() => ({PLAYING})().some(p => p.src === '/audio/{clip_id}' && p.t > 0.05)", timeout=10_000
        )
        sounds = page.evaluate(PLAYING)
        assert [sound["src"] for sound in sounds] == [f"/audio/{clip_id}"]
        stored = store.query("SELECT duration_s FROM clips WHERE clip_id = ?", [clip_id])["duration_s"][0]
        assert sounds[0]["d"] == pytest.approx(stored, abs=0.002)
    expect(page.locator("section.clip.playing")).to_have_count(1)


def test_space_and_j_and_k_drive_the_players(page: Page) -> None:
    ids = clip_ids(page)
    page.keyboard.press("Space")
    assert wait_for_sound(page)["src"] == f"/audio/{ids[0]}"
    page.keyboard.press("j")
    page.wait_for_function(f"() => ({PLAYING})().some(p => p.src === '/audio/{ids[1]}' && p.t > 0.02)")
    assert len(page.evaluate(PLAYING)) == 1
    page.keyboard.press("k")
    page.wait_for_function(f"() => ({PLAYING})().some(p => p.src === '/audio/{ids[0]}' && p.t > 0.02)")
    page.keyboard.press("Space")
    page.wait_for_function(f"() => ({PLAYING})().length === 0")


def test_a_click_seeks_to_its_place_and_the_playhead_stands_where_the_sound_is(page: Page) -> None:
    clip = page.locator("section.clip").first
    box = clip.locator(".pic").bounding_box()
    assert box is not None
    clip.locator(".pic").click(position={"x": box["width"] * 0.6, "y": 30})
    clip.locator("button.play").click()
    sound = page.wait_for_function(f"() => ({PLAYING})().find(p => p.t > 0)").json_value()
    assert sound["t"] / sound["d"] == pytest.approx(0.6, abs=0.15)
    clip.locator("button.play").click()
    page.wait_for_function(f"() => ({PLAYING})().length === 0")
    share = page.evaluate("() => window.sounds[0].currentTime / window.sounds[0].duration")
    left = clip.locator(".playhead").evaluate("e => parseFloat(e.style.left) / 100")
    assert left == pytest.approx(share, abs=0.01)


def test_the_trace_is_drawn_over_the_same_seconds_as_the_picture(page: Page, store: Store, link: str) -> None:
    clip_id = clip_ids(page)[0]
    sae_id, feature = link.split("sae=")[1].split("&feature=")
    file = store.query("SELECT traces_file FROM saes WHERE sae_id = ?", [sae_id])["traces_file"][0]
    clip = store.query("SELECT clip_index, duration_s FROM clips WHERE clip_id = ?", [clip_id]).iloc[0]
    trace = store.query(
        "SELECT * FROM read_parquet(?) WHERE feature = ? AND clip_index = ?",
        [str(store.file(file)), int(feature), int(clip["clip_index"])],
    ).iloc[0]
    values = trace["low"] + trace["step"] * np.frombuffer(bytes(trace["points"]), dtype=np.uint8)
    peak_s = trace["t0_s"] + trace["hop_s"] * int(values.argmax())
    root = page.locator(f'section.clip[data-clip-id="{clip_id}"]')
    assert root.locator(".peak").inner_text() == f"peak at {peak_s:.2f} s"
    drawn = root.locator("path.line").evaluate(
        "p => { const m = p.getScreenCTM(), b = p.closest('.pic').getBoundingClientRect(); "
        "const n = p.getAttribute('d').split(/[ML]/).slice(1).map(s => s.trim().split(' ').map(Number)); "
        "return n.map(([x]) => (m.a * x + m.e - b.left) / b.width); }"
    )
    expected = (trace["t0_s"] + trace["hop_s"] * np.arange(trace["n_points"])) / clip["duration_s"]
    np.testing.assert_allclose(drawn, expected, atol=0.004)


def test_the_loop_stays_around_the_peak(page: Page) -> None:
    page.keyboard.press("j")
    page.keyboard.press("l")
    wait = page.locator("section.clip").first
    region = wait.locator(".region")
    expect(region).to_be_visible()
    low = region.evaluate("e => parseFloat(e.style.left)")
    width = region.evaluate("e => parseFloat(e.style.width)")
    page.wait_for_function(f"() => ({PLAYING})().length === 1")
    for _ in range(8):
        page.wait_for_timeout(200)
        sound = page.evaluate(PLAYING)[0]
        assert low - 2 <= 100 * sound["t"] / sound["d"] <= low + width + 8


def test_a_drag_loops_the_part_it_marks_and_a_click_outside_ends_the_loop(page: Page) -> None:
    clip = page.locator("section.clip").first
    width = drag(page, clip.locator(".pic"), 0.3, 0.5)
    region = clip.locator(".region")
    expect(region).to_be_visible()
    assert region.evaluate("e => parseFloat(e.style.left)") == pytest.approx(30, abs=1)
    assert region.evaluate("e => parseFloat(e.style.width)") == pytest.approx(20, abs=1)
    page.wait_for_function(f"() => ({PLAYING})().length === 1")
    for _ in range(6):
        page.wait_for_timeout(200)
        sound = page.evaluate(PLAYING)[0]
        assert 28 <= 100 * sound["t"] / sound["d"] <= 58
    clip.locator(".pic").click(position={"x": width * 0.9, "y": 30})
    expect(region).to_be_hidden()
    expect(clip.locator("button.loop")).to_have_attribute("aria-pressed", "false")


def test_arrows_seek_in_the_clip_that_is_chosen(page: Page) -> None:
    page.keyboard.press("j")
    page.locator("section.clip").first.locator("button.play").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("section.clip").first.locator(".clock")).to_contain_text("0.20 /")


def test_contours_are_those_of_the_clip_and_lie_on_its_picture(app: Server, page: Page, store: Store) -> None:
    """The switch draws f0 as the server measured it, and the browser keeps the choice."""
    clip_id = clip_ids(page)[0]
    root = page.locator(f'section.clip[data-clip-id="{clip_id}"]')
    assert root.locator(".contours").count() == 0
    switch = page.locator(".views button.f0").first
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(root.locator(".contours .f0")).not_to_have_count(0)
    found = page.request.get(f"{app.url}/contours/{clip_id}").json()
    preview = store.query("SELECT preview FROM clips WHERE clip_id = ?", [clip_id])["preview"][0]
    contours = clip_contours(load_waveform(store.file(preview)))
    heard = [value for value in found["lines"]["f0"]["hz"] if value is not None]
    np.testing.assert_allclose(heard, contours.hz["f0"][np.isfinite(contours.hz["f0"])], atol=0.06)
    assert root.locator(".contours .outline").is_hidden()
    page.reload()
    settle(page)
    expect(page.locator(".views button.f0").first).to_have_attribute("aria-pressed", "true")


def test_level_matching_turns_the_louder_clips_down(page: Page, app: Server, store: Store) -> None:
    alike = store.query(  # a feature whose clips are all loud enough to be matched
        "SELECT l.sae_id, l.feature FROM listed_clips l JOIN clips c USING (clip_index) JOIN saes s USING (sae_id) "
        "WHERE l.kind = 'top' AND s.traces_file IS NOT NULL GROUP BY ALL HAVING min(c.rms) > 0.15 * max(c.rms) "
        "ORDER BY count(DISTINCT c.group_id) DESC, l.sae_id, l.feature LIMIT 1"
    ).iloc[0]
    page.goto(f"{app.url}/features?sae={alike['sae_id']}&feature={alike['feature']}")
    settle(page)
    page.wait_for_selector("section.clip")
    page.locator(".views button.level").first.click()
    rms = store.query("SELECT clip_id, rms FROM clips").set_index("clip_id")["rms"]
    loudest = max(rms[clip_id] for clip_id in clip_ids(page))
    ids = [clip_id for clip_id in clip_ids(page) if 20 * np.log10(rms[clip_id] / loudest) > -QUIETEST_DB][:2]
    volumes = {}
    for clip_id in ids:
        page.locator(f'section.clip[data-clip-id="{clip_id}"] button.play').click()
        page.wait_for_function(f"() => ({PLAYING})().some(p => p.src.endsWith('{clip_id}'))")
        volumes[clip_id] = page.evaluate("id => window.sounds.find(a => a.src.endsWith(id)).volume", clip_id)
    heard = [volumes[clip_id] * rms[clip_id] for clip_id in ids]
    assert len(heard) == 2 and heard[0] == pytest.approx(heard[1], rel=0.02) and max(volumes.values()) <= 1


def test_every_player_says_in_words_what_it_draws(page: Page) -> None:
    for root in page.locator("section.clip").all():
        assert root.get_attribute("aria-label")
        assert "seconds" in root.locator("p.sr").inner_text()
        slider = root.locator(".pic")
        assert slider.get_attribute("role") == "slider"
        assert slider.get_attribute("aria-valuenow") is not None
        assert (root.locator("button.play").get_attribute("aria-label") or "").startswith("Play ")


def test_a_sound_goes_on_when_the_list_is_drawn_again(page: Page) -> None:
    page.locator("section.clip button.play").first.click()
    page.keyboard.press("l")  # in a loop, so that a slow machine does not outlast the clip
    before = wait_for_sound(page)
    page.locator("section.clip button.title").first.click()
    page.wait_for_function("() => new URL(location.href).searchParams.has('clip')")
    settle(page)
    page.wait_for_timeout(300)
    after = page.evaluate(PLAYING)
    assert len(after) == 1
    assert after[0]["src"] == before["src"]
    page.go_back()
    page.wait_for_function("() => !new URL(location.href).searchParams.has('clip')")


def test_the_next_feature_is_a_new_step_of_the_history(page: Page) -> None:
    first = page.url
    page.get_by_role("button", name="→").click()
    page.wait_for_function("url => location.href !== url", arg=first)
    settle(page)
    second = page.url
    assert second.split("feature=")[0] == first.split("feature=")[0]
    page.go_back()
    page.wait_for_function("url => location.href === url", arg=first)
    settle(page)
    expect(page.get_by_role("heading", name=f"Feature {first.split('feature=')[1]}")).to_be_visible()


def test_an_unknown_clip_or_a_path_is_no_sound(app: Server, page: Page) -> None:
    for path, status in (("/audio/00000000ff", 404), ("/audio/..%2Fapp.py", 400), ("/audio/app.py", 404)):
        assert page.request.get(app.url + path).status == status
    clip_id = clip_ids(page)[0]
    answer = page.request.get(f"{app.url}/audio/{clip_id}", headers={"Range": "bytes=0-99"})
    assert answer.status == 206
    assert len(answer.body()) == 100
    assert answer.headers["content-type"] == "audio/flac"
    assert page.request.get(f"{app.url}/spectrogram/{clip_id}").body().startswith(b"\x89PNG")


def test_the_browser_hears_the_very_samples_of_the_store(app: Server, page: Page, store: Store) -> None:
    clip_id = clip_ids(page)[0]
    preview = store.query("SELECT preview FROM clips WHERE clip_id = ?", [clip_id])["preview"][0]
    wave = load_waveform(store.file(preview))
    heard = page.evaluate(
        """async ([id, rate]) => {
          const bytes = await (await fetch(`/audio/${id}`)).arrayBuffer();
          const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
          const x = sound.getChannelData(0);
          const loudest = x.reduce((b, v, i) => v > x[b] ? i : b, 0);
          return { n: x.length, samples: Array.from(x.slice(0, 4000)), loudest };
        }""",
        [clip_id, wave.sample_rate_hz],
    )
    assert heard["n"] == wave.samples.size
    assert heard["loudest"] == int(wave.samples.argmax())
    np.testing.assert_allclose(heard["samples"], wave.samples[:4000], atol=2e-4)


def test_a_row_of_the_table_opens_its_feature_and_back_returns(app: Server, page: Page, link: str) -> None:
    page.goto(app.url + link.split("&feature")[0])
    settle(page)
    grid = page.locator('[data-testid="stDataFrame"] .dvn-scroller').first
    grid.click(position={"x": 40, "y": 90})
    page.wait_for_function("() => location.search.includes('feature=')")
    settle(page)
    expect(page.locator("section.clip").first).to_be_visible()
    page.go_back()
    page.wait_for_function("() => !location.search.includes('feature=')")
    settle(page)
    expect(page.get_by_role("heading", name="Features")).to_be_visible()


def test_display_options_are_part_of_the_link_and_stay_on_the_next_feature(app: Server, page: Page, link: str) -> None:
    page.goto(app.url + link + "&clips=random&fold=false")
    settle(page)
    expect(page.locator('[data-testid="stButtonGroup"] button').last).to_have_attribute("aria-checked", "true")
    page.get_by_role("button", name="→").click()
    page.wait_for_function("f => !location.search.includes(f)", arg=link.split("?")[1])
    settle(page)
    assert "fold=false" in page.url
    assert "clips=random" in page.url


def test_what_the_server_fails_once_is_asked_for_again_and_what_is_wrong_is_said(
    browser: Browser, app: Server, link: str
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    asked: dict[str, int] = {}

    def once(route: Route) -> None:
        path = urlsplit(route.request.url).path
        asked[path] = asked.get(path, 0) + 1
        if asked[path] == 1:
            route.fulfill(status=500, body="a fault")
        else:
            route.continue_()

    page.route("**/spectrogram/*", once)
    page.route("**/spectrogram/*?again", lambda route: route.continue_())
    page.route("**/contours/*", once)
    page.route("**/audio/*", lambda route: route.fulfill(status=404, body="Not Found"))
    page.goto(app.url + link)
    settle(page)
    clip = page.locator("section.clip").first
    expect(clip.locator("img")).to_be_attached()
    handle = clip.locator("img").element_handle()
    page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=handle, timeout=20_000)
    page.locator(".views .f0").first.click()
    expect(clip.locator("svg.contours")).to_be_attached(timeout=30_000)
    clip.locator("button.play").click()
    broken = clip.locator(".broken")
    expect(broken).to_contain_text("This sound cannot be played: the server answers 404 at /audio/")
    expect(clip.get_by_role("button", name=re.compile("^Play "))).to_be_visible()
    page.unroute("**/audio/*")
    gone = {"X-Sonoscope": "not-in-store", "Content-Type": "text/plain"}
    page.route("**/audio/*", lambda route: route.fulfill(status=404, body="no such file", headers=gone))
    second = page.locator("section.clip").nth(1)
    second.locator("button.play").click()
    expect(second.locator(".broken")).to_contain_text("the store has no preview for this clip")
    context.close()
