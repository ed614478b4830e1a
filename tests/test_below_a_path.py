"""The whole app in a browser: at the root, below a base path, and behind proxies that take a path away or leave it."""

from __future__ import annotations

import re
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from explorer.inference import clip_sound
from explorer.store import Store
from tests.browser import Complaints, running_app, settle
from tests.proxy import proxied
from tests.test_live import a_clip, a_reference, wav_of

BASE = "/x/lab"
DURATION = "audio => audio.duration"


@pytest.fixture(scope="module", params=["root", "base", "strips", "keeps"])
def place(request: pytest.FixtureRequest, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, however it is served."""
    base = BASE if request.param in ("base", "keeps") else ""
    with running_app(tiny_store, tmp_path_factory.mktemp("below"), base=base) as server:
        if request.param in ("root", "base"):
            yield server.url
        else:
            with proxied(server.url, BASE, strips=request.param == "strips") as url:
                yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    # every sound of the page, so that what it really plays can be looked at
    context.add_init_script(
        "window.sounds = []; const Sound = window.Audio; window.Audio = function (...given) {"
        " const made = new Sound(...given); window.sounds.push(made); return made; };"
    )
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def a_feature(store: Store) -> dict[str, object]:
    rows = store.query("SELECT sae_id, feature FROM features WHERE NOT is_dead AND label IS NOT NULL LIMIT 1")
    if rows.empty:
        rows = store.query("SELECT sae_id, feature FROM features WHERE NOT is_dead ORDER BY max_value DESC LIMIT 1")
    return dict(rows.iloc[0])


def test_sounds_pictures_charts_links_and_back(page: Page, place: str, store: Store) -> None:
    complaints = Complaints(page)
    row = a_feature(store)
    page.goto(f"{place}/features?sae={row['sae_id']}&feature={row['feature']}")
    settle(page)
    clip = page.locator("section.clip").first
    clip.get_by_role("button", name=re.compile("^Play ")).click()
    page.wait_for_function("() => window.sounds.some((sound) => sound.currentTime > 0.1)", timeout=60_000)
    told_s = float(str(clip.locator(".clock").text_content()).rpartition("/")[2].split()[0])
    heard_s = page.evaluate("() => window.sounds.find((sound) => sound.currentTime > 0.1).duration")
    assert heard_s == pytest.approx(told_s, abs=0.02)
    assert clip.locator("img").evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") > 100
    page.locator(".views .f0").first.click()
    expect(clip.locator("svg.contours")).to_be_attached(timeout=30_000)
    page.locator("section[data-testid=stSidebar] a", has_text="Layers").click()
    page.wait_for_function("path => location.pathname === path", arg=f"{place_path(place)}/layers")
    page.wait_for_selector(".so-figure[data-drawn]", timeout=60_000)
    page.go_back()
    page.wait_for_function("path => location.pathname === path", arg=f"{place_path(place)}/features")
    settle(page)
    expect(page.locator("section.clip").first).to_be_visible()
    link = page.locator(".card a").first
    target = str(link.evaluate("link => link.href"))
    assert target.startswith(f"{place}/features?sae=")
    page.goto(target)
    settle(page)
    expect(page.locator("section.clip").first).to_be_visible()
    assert complaints.lines == []


def place_path(place: str) -> str:
    return "/" + "/".join(place.split("/")[3:]) if place.count("/") > 2 else ""


def test_the_root_opens_with_and_without_a_slash(page: Page, place: str) -> None:
    for address in (place, f"{place}/", f"{place}/runs/"):
        page.goto(address)
        settle(page)
        assert page.get_by_test_id("stException").count() == 0


def drop_on(place: Locator, name: str, content: bytes) -> None:
    """Drag a file onto a place and let it go."""
    place.evaluate(
        """async (place, [name, text]) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name, { type: "audio/wav" }));
          for (const kind of ["dragenter", "dragover", "drop"])
            place.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [name, b64encode(content).decode()],
    )


def test_a_file_is_read_and_downloads_work(page: Page, place: str, store: Store) -> None:
    page.goto(f"{place}/live?sae={a_reference(store)}")
    settle(page)
    wave = clip_sound(store, a_clip(store)[1]).wave
    assert page.locator(".so-empty").count() == 0  # nothing beside the box that takes a file looks like it
    drop_on(page.get_by_test_id("stFileUploaderDropzone"), "mine.wav", wav_of(wave))
    clip = page.locator('section.clip[aria-label*="mine.wav"]')
    expect(clip).to_be_visible(timeout=60_000)
    with urllib.request.urlopen(f"{place}/audio/{clip.get_attribute('data-clip-id')}") as answer:
        assert answer.headers["Content-Type"] == "audio/flac"
    page.goto(f"{place}/features?sae={a_reference(store)}")
    settle(page)
    with page.expect_download() as downloading:
        page.get_by_role("button", name="CSV", exact=True).first.click()
    assert Path(downloading.value.path()).stat().st_size > 100
