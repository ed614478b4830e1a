"""pages/live.py and what it is made of; in AppTest. In Chromium: test_live_browser."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from streamlit.testing.v1 import AppTest

from explorer.audio import Excerpt, SoundBytes, Waveform, load_excerpt
from explorer.inference import clip_sound, listen, own_encoder
from explorer.inference.model_process import ModelProcess, ReaderQueue
from explorer.queries.corpus import fetch_saes
from explorer.queries.live import fetch_live_features
from explorer.store import Store
from explorer.text import seconds
from explorer.ui import live_source
from explorer.ui.live_sounds import GRACE_S, N_KEPT, LiveSound, clipping, forget, forget_left, live_sound, silence
from tests.test_pages import at, charts, no_trouble, plain_tables, words


def wav_of(wave: Waveform) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, wave.samples, wave.sample_rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def figure_values(data: object) -> list[float]:
    """Numbers of a figure's trace: plotly packs arrays."""
    if isinstance(data, dict):
        return [float(value) for value in np.frombuffer(base64.b64decode(data["bdata"]), data["dtype"])]
    return [float(value) for value in data]  # type: ignore[attr-defined]


def player_clips(page: AppTest) -> list[dict[str, Any]]:
    """The clips of the page's first player."""
    parts = [part.proto for part in page.get("bidi_component") if "player" in part.proto.component_name]
    clips: list[dict[str, Any]] = json.loads(parts[0].json)["clips"]
    return clips


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
    assert len(factors) == 88 + 7 and factors["value"].notna().sum() > 60  # and what was planted
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
    (trace,) = player_clips(page)[0]["traces"]
    mean = float(fetch_live_features(store, sae_id)["preactivation_mean"].iloc[silent])
    assert np.allclose(trace["values"], heard.reading.trace(silent) - mean, atol=1e-3)
    assert "has features 0 to" in words(at("live", tiny_store, monkeypatch, clip=clip_id, sae=sae_id, feature=9999))


def test_one_sae_twice_in_a_link_is_one(store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = a_reference(store, "ast")
    twice = {"with": f"{other},{other}"}
    page = at("live", tiny_store, monkeypatch, clip=a_clip(store)[0], sae=a_reference(store), **twice)
    no_trouble(page)
    assert sum("percentile" in table.value for table in page.dataframe) == 2


def test_of_a_clip_too_long_for_one_reading_a_part_is_chosen(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip_id, index, title = a_clip(store)
    whole = clip_sound(store, index).wave
    monkeypatch.setattr("explorer.ui.live_source.MAX_LIVE_S", 1.0)
    page = at("live", tiny_store, monkeypatch, clip=clip_id, sae=a_reference(store))
    no_trouble(page)
    assert f"{title} lasts {seconds(whole.duration_s)}: 1 s of it are analysed" in words(page)
    assert player_clips(page)[0]["duration_s"] == pytest.approx(1.0)
    page.number_input[0].set_value(0.5).run()
    no_trouble(page)
    (heard,) = listen(store, whole.between(0.5, 1.5), [a_reference(store)], own_encoder(store, device="cpu"))
    ranking = next(table.value for table in page.dataframe if "percentile" in table.value)
    assert ranking["activation"].iloc[0] == pytest.approx(
        heard.features[~heard.features["is_dense"].astype(bool)]["activation"].iloc[0], rel=1e-4
    )


def test_what_speaks_has_its_label_though_it_is_silent(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip_id, index, _ = a_clip(store)
    sae_id = a_reference(store)
    (heard,) = listen(store, clip_sound(store, index).wave, [sae_id], own_encoder(store, device="cpu"))
    named = heard.known.assign(label=[f"label {feature}" for feature in heard.known["feature"]])
    monkeypatch.setattr("explorer.inference.listening.fetch_live_features", lambda *_: named)
    page = at("live", tiny_store, monkeypatch, clip=clip_id, sae=sae_id)
    (speaking,) = (table for table in plain_tables(page) if "to the logit" in table)
    assert (speaking["activation"] == "0.00").any()
    assert list(speaking["label"]) == [f"label {feature}" for feature in speaking["feature"]]
    assert not speaking["to the logit"].isin(["0.00", "0"]).any()


def test_an_m4a_is_read(store: Store, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av", reason="the optional package av is not installed")
    wave = clip_sound(store, a_clip(store)[1]).wave
    with av.open(str(tmp_path / "mine.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=wave.sample_rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave.samples[None].copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = wave.sample_rate_hz, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    page = at("live", tiny_store, monkeypatch, sae=a_reference(store))
    page.file_uploader[0].set_value(("mine.m4a", (tmp_path / "mine.m4a").read_bytes(), "audio/mp4")).run()
    no_trouble(page)
    (clip,) = player_clips(page)
    assert clip["title"] == "mine.m4a" and clip["duration_s"] == pytest.approx(wave.duration_s, abs=0.05)


def test_wrong_links_say_what_is_there(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not in this store" in words(at("live", tiny_store, monkeypatch, **{"with": "nosuch"}))


def test_without_a_checkpoint_it_says_how_to_get_it(
    store: Store, tiny_store: Path, tiny_sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.ui.live_models.places_of", lambda *_: [f"ast={tiny_sources / 'random-ast'}"])
    queue = ReaderQueue(ModelProcess())  # one that has not found it before
    monkeypatch.setattr("explorer.ui.live_models.queue", lambda: queue)
    page = at("live", tiny_store, monkeypatch, clip=a_clip(store)[0], sae=a_reference(store))
    no_trouble(page)
    assert "is not available" in words(page) and "--checkpoint hubert=DIR" in words(page)
    offered = [link.proto.query_string for link in page.main.get("page_link") if "clip=" in link.proto.query_string]
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


def test_the_sounds_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader cuts part after part from one sound, which must not be lost over it."""
    monkeypatch.setattr("explorer.ui.live_sounds._SOUNDS", {})
    whole = LiveSound(Waveform(np.full(24_000, 0.1, np.float32), 24_000), "mine", clip_index=7, session_id="anna")
    parts = []
    for _ in range(2 * N_KEPT):
        assert live_sound(whole.sound_id) is whole
        parts.append(whole.between(0.1, 0.6))
    assert live_sound(parts[0].sound_id) is None and live_sound(parts[-1].sound_id) is parts[-1]
    assert parts[-1].clip_index == 7 and parts[-1].wave.duration_s == pytest.approx(0.5)
    assert whole.title == "mine" and parts[-1].title == "mine · 0.10 to 0.60 s"
    assert parts[-1].between(0.2, 0.3).title == "mine · 0.30 to 0.40 s"
    forget(whole.sound_id)
    assert live_sound(whole.sound_id) is None


def test_remarks_are_of_the_part_that_is_heard() -> None:
    samples = np.full(24_000, 0.1, np.float32)
    samples[:6_000] = 1.0
    sound = LiveSound(Waveform(samples, 24_000), "mine", ("over full scale, kept as it is",))
    assert sound.remarks.startswith("Over full scale, kept as it is. 25.0 % of the samples")
    assert sound.between(0.5, 1.0).remarks == "Over full scale, kept as it is."


def test_silence_and_hiss_are_said() -> None:
    tone = 0.1 * np.sin(np.arange(48_000) / 9).astype(np.float32)
    assert silence(Waveform(tone, 24_000)) == ""
    padded = np.concatenate([tone, np.zeros(16_000, np.float32)])
    assert silence(Waveform(padded, 24_000)) == "24.8 % of it is digital silence, to which features may respond."
    assert "very quiet (−83 dB" in silence(Waveform(tone / 1000, 24_000))


def test_a_file_stays_while_the_reader_looks_elsewhere(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at("live", tiny_store, monkeypatch, sae=a_reference(store))
    data = wav_of(clip_sound(store, a_clip(store)[1]).wave)
    page.file_uploader[0].set_value(("mine.wav", data, "audio/wav")).run()
    assert player_clips(page)[0]["title"] == "mine.wav"
    page.segmented_control(key="sound").set_value("clip").run()
    assert "mine.wav" not in json.dumps([part.proto.json for part in page.get("bidi_component")])
    page.segmented_control(key="sound").set_value("file").run()
    no_trouble(page)
    assert player_clips(page)[0]["title"] == "mine.wav" and "mine.wav, from before." in words(page)
    page.button(key="live-forget").click().run()
    assert "No sound yet." in words(page)


def test_a_link_to_no_clip_can_be_mended_on_the_page(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at("live", tiny_store, monkeypatch, clip="abcdef123456", sae=a_reference(store))
    no_trouble(page)
    assert "It has 80 clips, such as" in words(page)
    next(box for box in page.selectbox if box.label == "Clip").set_value(a_clip(store)[0]).run()
    no_trouble(page)
    assert player_clips(page)[0]["title"] == a_clip(store)[2] and "one of them is" not in words(page)


def test_every_encoder_that_is_heard_through_is_named_above(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at("live", tiny_store, monkeypatch, sae=a_reference(store), **{"with": a_reference(store, "ast")})
    assert re.search("Untrained weights: (AST, HuBERT|HuBERT, AST)", words(page))


def test_clipping_is_said() -> None:
    tone = np.sin(np.arange(24_000) / 9).astype(np.float32)
    assert clipping(Waveform(0.5 * tone, 24_000)) == ""
    assert "recorded too loud" in clipping(Waveform(np.clip(3 * tone, -1, 1), 24_000))


def test_a_file_that_was_refused_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def page_of_one_file() -> None:
        import streamlit as st

        from explorer.audio import SoundBytes
        from explorer.errors import AudioError
        from explorer.ui.live_source import _from_bytes

        name = st.session_state["file"]
        try:
            _from_bytes(SoundBytes(f"{name}.wav", b"only words " * 50), name, "file")
        except AudioError as error:
            st.write(str(error))

    read = []

    def decode(sound: SoundBytes, start_s: float, duration_s: float) -> Excerpt:
        read.append(sound.name)
        return load_excerpt(sound, start_s=start_s, duration_s=duration_s)

    monkeypatch.setattr(live_source, "decoded", decode)
    page = AppTest.from_function(page_of_one_file)
    for name in ("a", "a", "b", "b", "a"):
        page.session_state["file"] = name
        page.run()
        assert f"'{name}.wav' cannot be read as sound" in page.markdown[0].value
    assert read == ["a.wav", "b.wav", "a.wav"]
