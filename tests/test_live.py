"""pages/live.py: a sound through the page as a reader does it, in AppTest and in headless Chromium."""

from __future__ import annotations

import base64
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from playwright.sync_api import Browser, Page, expect

from explorer.audio import SoundBytes, Waveform, load_waveform
from explorer.inference import clip_sound, listen, own_encoder
from explorer.inference.model_process import ModelProcess, ReaderQueue
from explorer.inference.occlusion import Occlusion, occlude, peak_mask, silenced
from explorer.inference.reading import Reading, read_states
from explorer.queries.corpus import fetch_saes
from explorer.queries.live import fetch_live_features
from explorer.sae import SAE
from explorer.store import Store
from explorer.ui.live_sounds import GRACE_S, N_KEPT, LiveSound, clipping, forget_left, live_sound
from tests.browser import FLAGS, Complaints, Server, chromium_path, drag, settle
from tests.test_pages import at, charts, no_trouble, words

FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def wav_of(wave: Waveform) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, wave.samples, wave.sample_rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def figure_values(data: object) -> list[float]:
    """Numbers of a figure's trace: plotly packs arrays."""
    if isinstance(data, dict):
        return [float(value) for value in np.frombuffer(base64.b64decode(data["bdata"]), data["dtype"])]
    return [float(value) for value in data]  # type: ignore[attr-defined]


def a_clip(store: Store) -> tuple[str, int, str]:
    row = store.query("SELECT clip_id, clip_index, title FROM clips WHERE NOT is_silent ORDER BY clip_index").iloc[3]
    return str(row["clip_id"]), int(row["clip_index"]), str(row["title"])


def a_reference(store: Store, name: str = "hubert") -> str:
    saes = fetch_saes(store)
    return str(saes[saes["is_reference"].astype(bool) & (saes["encoder_name"] == name)]["sae_id"].iloc[0])


def test_a_corpus_clip_is_read(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip_id, index, _ = a_clip(store)
    sae_id = a_reference(store)
    page = at("live", tiny_store, monkeypatch, clip=clip_id, sae=sae_id)
    no_trouble(page)
    (heard,) = listen(store, clip_sound(store, index).wave, [sae_id], own_encoder(store, device="cpu"))
    live = heard.features[~heard.features["is_dense"].astype(bool)]
    tables = [table.value for table in page.dataframe]
    ranking = next(table for table in tables if "percentile" in table)
    assert list(ranking["feature"]) == list(live["feature"].head(25))
    assert np.allclose(ranking["activation"], live["activation"].head(25), rtol=1e-4)
    chances = next(table for table in tables if "probability" in table)
    assert heard.probe is not None
    assert chances["probability"].iloc[0] == pytest.approx(100 * heard.probe.probabilities(heard.code_f).max(), abs=0.1)
    factors = next(table for table in tables if "predicted" in table)
    assert len(factors) == 88 and factors["value"].notna().sum() > 60
    assert "original recording" in words(page) and "on cpu" in words(page)
    (drawn,) = (figure for figure in charts(page) if any(trace["type"] == "bar" for trace in figure["data"]))
    bars = [trace for trace in drawn["data"] if trace["type"] == "bar"]
    lines = [trace for trace in drawn["data"] if trace["type"] == "scatter"]
    best = factors[factors["value"].notna()].head(6)
    assert len(bars) == 6 and len(lines) == 12 and len(drawn["layout"]["annotations"]) == 6
    corpus = store.query("SELECT value FROM factor_values WHERE factor_index = ?", [int(best["factor_index"].iloc[0])])
    low, high = corpus["value"].quantile([0.01, 0.99])
    n_within = int(corpus["value"].between(low, high).sum())
    assert sum(figure_values(bars[0]["y"])) == n_within > 0.9 * len(corpus)
    assert [line["x"][0] for line in lines[::2]] == pytest.approx(list(best["value"]))
    assert [line["x"][0] for line in lines[1::2]] == pytest.approx(list(best["predicted"]))


def test_any_feature_of_the_link_is_drawn(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip_id, index, _ = a_clip(store)
    sae_id = a_reference(store)
    (heard,) = listen(store, clip_sound(store, index).wave, [sae_id], own_encoder(store, device="cpu"))
    silent = int(np.flatnonzero((heard.code_f == 0) & (heard.reading.preactivations_f < 0))[0])
    page = at("live", tiny_store, monkeypatch, clip=clip_id, sae=sae_id, feature=silent)
    no_trouble(page)
    assert f"Feature {silent}" in words(page) and "is not positive" in words(page)
    players = [
        json.loads(part.proto.json) for part in page.get("bidi_component") if "player" in part.proto.component_name
    ]
    (trace,) = players[0]["clips"][0]["traces"]
    mean = float(fetch_live_features(store, sae_id)["preactivation_mean"].iloc[silent])
    assert np.allclose(trace["values"], heard.reading.trace(silent) - mean, atol=1e-3)
    assert "has features 0 to" in words(at("live", tiny_store, monkeypatch, clip=clip_id, sae=sae_id, feature=9999))


def test_wrong_links_say_what_is_there(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "80 clips (one of them is" in words(at("live", tiny_store, monkeypatch, clip="abcdef123456"))
    assert "not in this store" in words(at("live", tiny_store, monkeypatch, **{"with": "nosuch"}))


def test_without_a_checkpoint_it_says_how_to_get_it(
    store: Store, tiny_store: Path, tiny_sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.ui.live_models.places_of", lambda *_: [f"ast={tiny_sources / 'random-ast'}"])
    queue = ReaderQueue(ModelProcess())  # one that has not found it before
    monkeypatch.setattr("explorer.ui.live_models.queue", lambda: queue)
    page = at("live", tiny_store, monkeypatch, clip=a_clip(store)[0], sae=a_reference(store))
    no_trouble(page)
    assert "is not at hand" in words(page) and "--checkpoint hubert=DIR" in words(page)
    offered = [link.proto.query_string for link in page.get("page_link") if "clip=" in link.proto.query_string]
    saes = fetch_saes(store).set_index("sae_id")["encoder_name"]
    assert [saes[re.findall(r"sae=(\w+)", query)[0]] for query in offered] == ["ast"]


def test_a_sound_lives_as_long_as_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.ui.live_sounds._SOUNDS", {})
    sound = LiveSound(Waveform(np.ones(2400, np.float32), 24_000), "mine", session_id="anna")
    other = LiveSound(Waveform(np.ones(2400, np.float32), 24_000), "yours", session_id="ben")
    part = LiveSound(sound.between(0.02, 0.05).wave, "part", session_id="anna")
    assert len(part.wave.samples) == 720 and len({sound.sound_id, other.sound_id, part.sound_id}) == 3
    here = {"anna", "ben", ""}
    assert forget_left(here.__contains__, 0.0) == [] and live_sound(sound.sound_id) is sound
    here.remove("anna")
    assert forget_left(here.__contains__, 10.0) == []  # a browser may come back
    here.add("anna")
    assert forget_left(here.__contains__, 20.0) == []
    here.remove("anna")
    assert forget_left(here.__contains__, 30.0) == [] and forget_left(here.__contains__, 29.0 + GRACE_S) == []
    assert forget_left(here.__contains__, 30.0 + GRACE_S) == ["anna"]
    assert live_sound(sound.sound_id) is None and live_sound(part.sound_id) is None
    assert live_sound(other.sound_id) is other
    many = [LiveSound(other.wave, str(number), session_id="ben") for number in range(N_KEPT)]
    assert live_sound(other.sound_id) is None and all(live_sound(one.sound_id) for one in many)


def test_clipping_is_said() -> None:
    tone = np.sin(np.arange(24_000) / 9).astype(np.float32)
    assert clipping(Waveform(0.5 * tone, 24_000)) == ""
    assert "recorded too loud" in clipping(Waveform(np.clip(3 * tone, -1, 1), 24_000))


def of_energy(wave: Waveform) -> Reading:
    """An 'encoder' of one number a frame of 20 ms, its energy, and an SAE of one feature that passes it on."""
    frames = wave.samples[: len(wave.samples) // 320 * 320].reshape(-1, 320)
    states = np.square(frames, dtype=np.float64).mean(axis=1).astype(np.float32)[:, None]
    one = np.ones((1, 1), np.float32)
    sae = SAE(one, np.zeros(1, np.float32), one, np.zeros(1, np.float32), 1, {})
    return read_states(states, 0.01 + 0.02 * np.arange(len(states)), sae)


def test_where_a_feature_listens() -> None:
    samples = np.full(16_000, 0.1, np.float32)
    samples[8_000:9_600] = 0.9
    burst = Waveform(samples, 16_000)
    found = occlude(burst, of_energy(burst), 0, of_energy)
    assert found.is_beyond_chance and found.share == pytest.approx(0.1, abs=0.01)
    assert found.without_peak < 0.2 * found.whole
    rng = np.random.default_rng(0)
    everywhere = Waveform(rng.choice([-0.3, 0.3], 16_000).astype(np.float32), 16_000)
    assert not occlude(everywhere, of_energy(everywhere), 0, of_energy).is_beyond_chance
    mask = peak_mask(np.array([0, 3, 1]), np.array([0.1, 0.3, 0.5]), 0.2, 6, 10)
    assert list(mask) == [False, False, True, True, False, False]
    quiet = silenced(burst, np.arange(16_000) < 100)
    assert not quiet.samples[:100].any() and np.array_equal(quiet.samples[300:], burst.samples[300:])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def test_what_rises_without_its_peak_is_not_said_to_need_it() -> None:
    assert Occlusion(0.59, 0.50, (0.70, 0.77), 0.1).is_beyond_chance
    assert not Occlusion(0.59, 0.64, (0.70, 0.77), 0.1).is_beyond_chance
    assert not Occlusion(0.59, 0.50, (0.40, 0.77), 0.1).is_beyond_chance


def test_silence_is_tried_only_where_the_network_listens() -> None:
    """A network that hears the first second of three: silence behind it would be a control that changes nothing."""
    rng = np.random.default_rng(1)
    sound = Waveform(rng.choice([-0.3, 0.3], 48_000).astype(np.float32), 16_000)
    silenced_at: list[np.ndarray] = []

    def first_second(wave: Waveform) -> Reading:
        silenced_at.append(np.flatnonzero(wave.samples == 0))
        return of_energy(Waveform(wave.samples[:16_000], 16_000))

    whole = first_second(sound)
    occlude(sound, whole, 0, first_second)
    assert whole.heard_s == pytest.approx(1.0) and len(silenced_at) == 21
    assert all(1_500 < len(at) < 1_700 and at.max() < 16_000 for at in silenced_at[1:])


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


def test_of_a_long_file_a_part_is_chosen(page: Page, app: Server, store: Store) -> None:
    complaints = Complaints(page)
    tone = clip_sound(store, a_clip(store)[1]).wave
    long = Waveform(np.resize(tone.samples, 70 * tone.sample_rate_hz), tone.sample_rate_hz)
    page.goto(f"{app.url}/live?sae={a_reference(store)}")
    settle(page)
    drop = page.get_by_test_id("stFileUploaderDropzoneInput")
    drop.set_input_files({"name": "long.wav", "mimeType": "audio/wav", "buffer": wav_of(long)})
    expect(page.locator(".so-notice", has_text="long.wav lasts 70.0 s: 60 s of it are read at once.")).to_be_visible(
        timeout=60_000
    )
    clip = page.locator('section.clip[aria-label*="long.wav"]')
    expect(clip).to_be_visible(timeout=60_000)
    first = clip.get_attribute("data-clip-id")
    start = page.get_by_role("spinbutton", name="From (s)")
    start.fill("10")
    start.press("Enter")
    expect(clip).not_to_have_attribute("data-clip-id", str(first), timeout=60_000)
    settle(page)
    with urllib.request.urlopen(f"{app.url}/audio/{clip.get_attribute('data-clip-id')}") as answer:
        heard = load_waveform(SoundBytes("answer", answer.read()))
    rate_hz = tone.sample_rate_hz
    assert np.abs(heard.samples - long.samples[10 * rate_hz : 70 * rate_hz]).max() < 1e-4
    assert complaints.lines == []


def test_an_m4a_is_read(page: Page, app: Server, store: Store, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the optional package av is not installed")
    wave = clip_sound(store, a_clip(store)[1]).wave
    with av.open(str(tmp_path / "mine.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=wave.sample_rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave.samples[None].copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = wave.sample_rate_hz, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    page.goto(f"{app.url}/live?sae={a_reference(store)}")
    settle(page)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(tmp_path / "mine.m4a")
    expect(page.locator('section.clip[aria-label*="mine.m4a"]')).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name="Acoustic factors")).to_be_visible(timeout=60_000)


def test_what_is_no_sound_is_a_sentence(page: Page, app: Server) -> None:
    page.goto(f"{app.url}/live")
    settle(page)
    drop = page.get_by_test_id("stFileUploaderDropzoneInput")
    for name, data, said in (
        ("half.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "'half.wav'"),
        ("text.mp3", b"these are only words " * 50, "'text.mp3' cannot be read as sound"),
        ("still.wav", wav_of(Waveform(np.zeros(16_000, np.float32), 16_000)), "silent"),
        ("short.wav", wav_of(Waveform(np.ones(100, np.float32) / 2, 16_000)), "short.wav"),
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
    expect(page.get_by_text(re.compile(r"without as much elsewhere\. It (falls|does not fall)"))).to_be_visible(
        timeout=60_000
    )


def test_the_microphone_is_read(browser: Browser, app: Server) -> None:
    own = browser.browser_type.launch(executable_path=chromium_path(), args=[*FLAGS, *FAKE_MICROPHONE])
    page = own.new_page(permissions=["microphone"])
    page.goto(f"{app.url}/live?sound=the+microphone")
    settle(page)
    page.get_by_test_id("stAudioInputActionButton").click()
    page.wait_for_timeout(2_500)
    page.get_by_role("button", name=re.compile("Stop")).first.click()
    expect(page.locator('section.clip[aria-label*="your recording"]')).to_be_visible(timeout=60_000)
    own.close()


def test_a_name_of_no_sound_is_not_found(app: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{app.url}/audio/{'0' * 32}")
