"""pages/live.py: a sound through the page as a reader does it, in headless Chromium."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.audio import SoundBytes, Waveform, load_waveform
from explorer.inference import clip_sound
from explorer.store import Store
from tests.browser import FLAGS, Complaints, Server, chromium_path, drag, settle
from tests.test_live import a_clip, a_reference, wav_of

FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def test_a_file_is_dropped_played_marked_and_cut(page: Page, app: Server, store: Store) -> None:
    wave = clip_sound(store, a_clip(store)[1]).wave
    complaints = Complaints(page)
    page.goto(f"{app.url}/live?sae={a_reference(store)}")
    settle(page)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "mine.wav", "mimeType": "audio/wav", "buffer": wav_of(wave)}
    )
    clip = page.locator('section.clip[aria-label*="mine.wav"]')
    expect(clip).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name="Acoustic factors")).to_be_visible(timeout=60_000)
    name = str(clip.get_attribute("data-clip-id"))
    with urllib.request.urlopen(f"{app.url}/audio/{name}") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        heard = load_waveform(SoundBytes("answer", answer.read()))
    assert wave.sample_rate_hz <= 24_000 and np.abs(heard.samples - wave.samples).max() < 1e-4
    part = urllib.request.Request(f"{app.url}/audio/{name}", headers={"Range": "bytes=0-3"})
    with urllib.request.urlopen(part) as answer:
        assert answer.status == 206 and answer.read() == b"fLaC"
    clip.get_by_role("button", name="Play mine.wav").click()
    expect(clip.locator(".clock")).not_to_have_text(re.compile(r"^0\.0"))
    drag(page, clip.locator(".pic"), 0.25, 0.5)
    expect(page.get_by_role("heading", name=re.compile(r"Strongest features from \d"))).to_be_visible(timeout=20_000)
    settle(page)
    expect(clip.locator(".region")).to_be_visible()
    assert clip.locator(".region").evaluate("region => [region.style.left, region.style.width]") == ["25%", "25%"]
    page.get_by_role("button", name=re.compile("^Read only")).click()
    cut = page.locator('section.clip[aria-label*=" to "]').first
    expect(cut).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Whole sound again").click()
    expect(page.locator('section.clip[aria-label$="mine.wav"]')).to_be_visible(timeout=60_000)
    settle(page)
    near = page.locator("section.clip[aria-label^='Clip 1']").last
    title = str(near.locator("button.title").text_content())
    near.locator("button.title").click()
    expect(page.locator(f'section.clip[aria-label="Clip: {title}"]')).to_be_visible(timeout=60_000)
    assert complaints.lines == []


def test_a_mark_outlives_new_lines_and_is_taken_away_again(page: Page, app: Server, store: Store) -> None:
    beside = a_reference(store, "ast")
    page.goto(f"{app.url}/live?clip={a_clip(store)[0]}&sae={a_reference(store)}&with={beside}")
    expect(page.get_by_role("heading", name="Acoustic factors")).to_be_visible(timeout=60_000)
    settle(page)
    clip = page.locator("section.clip").first
    drawn = set()
    for start in (0.02, 0.45, 0.85):
        drag(page, clip.locator(".pic"), start, start + 0.1)
        page.wait_for_timeout(500)
        settle(page)
        drawn.add(clip.locator(".legend").inner_text())
        expect(clip.locator(".region")).to_be_visible()
        left = float(clip.locator(".region").evaluate("region => parseFloat(region.style.left)"))
        assert left == pytest.approx(100 * start, abs=1.0)
    assert len(drawn) > 1  # the strongest features of the parts differ, so that their lines were drawn anew
    clip.get_by_role("button", name=re.compile("^Loop")).click()
    expect(page.get_by_role("heading", name=re.compile("^Strongest features$"))).to_be_visible(timeout=20_000)
    expect(clip.locator(".region")).to_be_hidden()


def test_ticked_features_stay_ticked_over_a_mark(page: Page, app: Server, store: Store) -> None:
    page.goto(f"{app.url}/live?clip={a_clip(store)[0]}&sae={a_reference(store)}")
    expect(page.get_by_role("heading", name="Acoustic factors")).to_be_visible(timeout=60_000)
    settle(page)
    clip, table = page.locator("section.clip").first, page.get_by_test_id("stDataFrame").first
    for row in (1, 2):
        table.evaluate("table => table.scrollIntoView({block: 'center'})")
        box = table.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 16, box["y"] + 32 + 31 * row + 15)
        settle(page)
    expect(clip.locator(".legend span")).to_have_count(2, timeout=20_000)
    ticked = set(re.findall(r"feature (\d+)", clip.locator(".legend").inner_text()))
    drag(page, clip.locator(".pic"), 0.0, 0.95)
    expect(page.get_by_role("heading", name=re.compile(r"Strongest features from \d"))).to_be_visible(timeout=20_000)
    settle(page)
    assert set(re.findall(r"feature (\d+)", clip.locator(".legend").inner_text())) == ticked
    clip.get_by_role("button", name=re.compile("^Loop")).click()
    expect(page.get_by_role("heading", name=re.compile("^Strongest features$"))).to_be_visible(timeout=20_000)
    settle(page)
    assert set(re.findall(r"feature (\d+)", clip.locator(".legend").inner_text())) == ticked


def test_of_a_long_file_a_part_is_chosen(page: Page, app: Server, store: Store) -> None:
    complaints = Complaints(page)
    tone = clip_sound(store, a_clip(store)[1]).wave
    long = Waveform(np.resize(tone.samples, 70 * tone.sample_rate_hz), tone.sample_rate_hz)
    page.goto(f"{app.url}/live?sae={a_reference(store)}")
    settle(page)
    drop = page.get_by_test_id("stFileUploaderDropzoneInput")
    drop.set_input_files({"name": "long.wav", "mimeType": "audio/wav", "buffer": wav_of(long)})
    expect(page.locator(".so-notice", has_text="long.wav lasts 70.00 s: 60 s of it are analysed")).to_be_visible(
        timeout=60_000
    )
    clip = page.locator('section.clip[aria-label="Clip: long.wav · 0.00 to 60.00 s"]')
    expect(clip).to_be_visible(timeout=60_000)
    first = clip.get_attribute("data-clip-id")
    start = page.get_by_role("spinbutton", name="From (s)")
    start.fill("10")
    start.press("Enter")
    expect(page.locator(f'section.clip[data-clip-id="{first}"]')).to_have_count(0, timeout=60_000)
    settle(page)
    clip = page.locator('section.clip[aria-label="Clip: long.wav · 10.00 to 70.00 s"]')
    with urllib.request.urlopen(f"{app.url}/audio/{clip.get_attribute('data-clip-id')}") as answer:
        heard = load_waveform(SoundBytes("answer", answer.read()))
    rate_hz = tone.sample_rate_hz
    assert np.abs(heard.samples - long.samples[10 * rate_hz : 70 * rate_hz]).max() < 1e-4
    assert complaints.lines == []


def test_what_is_no_sound_is_a_sentence(page: Page, app: Server) -> None:
    page.goto(f"{app.url}/live")
    settle(page)
    drop = page.get_by_test_id("stFileUploaderDropzoneInput")
    for name, data, said in (
        ("half.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "'half.wav'"),
        ("notes.txt", b"these are only words " * 50, "'notes.txt' cannot be read as sound"),
        ("text.mp3", b"these are only words " * 50, "'text.mp3' cannot be read as sound"),
        ("still.wav", wav_of(Waveform(np.zeros(16_000, np.float32), 16_000)), "silent"),
        ("short.wav", wav_of(Waveform(np.ones(100, np.float32) / 2, 16_000)), "at least 0.1 s are needed"),
    ):
        drop.set_input_files({"name": name, "mimeType": "audio/wav", "buffer": data})
        expect(page.locator(".so-notice", has_text=said)).to_be_visible(timeout=30_000)
        assert page.get_by_test_id("stException").count() == 0


def test_two_encoders_on_one_playhead_and_where_one_listens(page: Page, app: Server, store: Store) -> None:
    clip_id, _, title = a_clip(store)
    one, other = a_reference(store), a_reference(store, "ast")
    page.goto(f"{app.url}/live?clip={clip_id}&sae={one}&with={other}")
    expect(page.locator("section.clip .legend").first).to_be_visible(timeout=60_000)
    assert page.locator("section.clip").first.get_attribute("aria-label") == f"Clip: {title}"
    expect(page.get_by_text("Details of")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Silence the tenth")).click()
    verdict = re.compile(r"with as much silence elsewhere\. Silencing this part (lowers|does not lower)")
    expect(page.get_by_text(verdict)).to_be_visible(timeout=60_000)


def test_the_microphone_is_read(browser: Browser, app: Server) -> None:
    own = browser.browser_type.launch(executable_path=chromium_path(), args=[*FLAGS, *FAKE_MICROPHONE])
    page = own.new_page(permissions=["microphone"])
    page.goto(f"{app.url}/live?sound=microphone")
    settle(page)
    page.get_by_test_id("stAudioInputActionButton").click()
    page.wait_for_timeout(2_500)
    page.get_by_role("button", name=re.compile("Stop")).first.click()
    expect(page.locator('section.clip[aria-label*="your recording"]')).to_be_visible(timeout=60_000)
    own.close()


def test_a_name_of_no_sound_is_not_found(app: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{app.url}/audio/{'0' * 32}")
