"""The Features page, the frame and the queries behind them, on a store made by the real publisher."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from explorer.audio import Waveform
from explorer.encoders import ENCODERS
from explorer.errors import NotInStoreError, StoreError
from explorer.figures.theme import encoder_color, on_picture
from explorer.queries.corpus import fetch_corpus, fetch_saes, resolve_clip, resolve_feature, resolve_sae
from explorer.queries.features import (
    SORTS,
    FeatureFilter,
    count_features,
    fetch_activation,
    fetch_factor_weights,
    fetch_feature_map,
    fetch_feature_table,
    fetch_listed_clips,
    fetch_neighbourhood,
)
from explorer.queries.traces import fetch_traces
from explorer.recent import last_store, recent_stores, remember_store
from explorer.store import Store, current_generation, generation_path, open_store
from explorer.text import number, percent, plural_of
from explorer.ui.audio_route import clip_routes
from explorer.ui.context import get_store
from explorer.ui.feature_clips import clip_lists, inactive_note
from explorer.ui.player import PlayerClip, PlayerTrace, player_data
from explorer.ui.selectors import default_sae
from explorer.ui.spectrogram import mel_picture, picture_png
from explorer.ui.url import PAGES, link_to, page_file

MAIN = page_file("features").with_name("main.py")


@pytest.fixture(scope="module")
def sae(store: Store) -> dict[str, object]:
    return default_sae(fetch_saes(store))


def at_features(store: Path | None, monkeypatch: pytest.MonkeyPatch, **params: object) -> AppTest:
    """The app on the Features page with these values in the address."""
    if store is None:
        monkeypatch.delenv("SONOSCOPE_STORE", raising=False)
    else:
        monkeypatch.setenv("SONOSCOPE_STORE", str(store))
    test = AppTest.from_file(str(MAIN), default_timeout=30)
    for name, value in params.items():
        test.query_params[name] = str(value)
    test.switch_page("features.py")
    for name, value in params.items():
        test.query_params[name] = str(value)
    return test.run()


def texts(test: AppTest) -> str:
    """All markup on the page, one string."""
    return "\n".join(str(element.proto.body) for element in test.get("html"))


def first_live(store: Store, sae_id: object) -> int:
    """The first live feature of an SAE."""
    rows = store.query("SELECT min(feature) AS f FROM features WHERE sae_id = ? AND NOT is_dead", [sae_id])
    return int(rows["f"][0])


def test_the_browser_lists_live_features_and_says_what_they_are_of(
    tiny_store: Path, store: Store, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at_features(tiny_store, monkeypatch, sae=sae["sae_id"])
    assert not test.exception
    shown = test.dataframe[0].value
    live = store.query("SELECT count(*) AS n FROM features WHERE sae_id = ? AND NOT is_dead", [sae["sae_id"]])["n"][0]
    assert len(shown) == min(50, live)
    assert list(shown["density"]) == sorted(shown["density"], reverse=True)
    assert f"{sae['n_live']:,} of {sae['n_features']:,} features used" in texts(test)


def test_an_untrained_encoder_and_a_generated_corpus_are_said(
    tiny_store: Path, store: Store, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    saes = fetch_saes(store)
    untrained = saes[saes["is_trained"].map(lambda value: value is not None and not value)]
    assert not untrained.empty
    test = at_features(tiny_store, monkeypatch, sae=untrained["sae_id"].iloc[0])
    assert "Untrained weights" in texts(test)
    assert ("Generated sounds" in texts(test)) == fetch_corpus(store).is_synthetic


def test_the_page_of_a_feature_shows_its_numbers_and_its_clips(
    tiny_store: Path, store: Store, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = first_live(store, sae["sae_id"])
    test = at_features(tiny_store, monkeypatch, sae=sae["sae_id"], feature=feature)
    assert not test.exception
    row = resolve_feature(store, str(sae["sae_id"]), feature)
    text = texts(test)
    assert f"Feature {feature}</h1>" in text
    assert number(row["max_value"]) in text
    assert percent(row["density"], 1) in text
    assert len(test.get("bidi_component")) >= 3  # the players and the two cards of links


def test_a_dead_feature_says_so(tiny_store: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = store.query("SELECT sae_id, feature FROM features WHERE is_dead ORDER BY ALL LIMIT 1")
    if rows.empty:
        pytest.skip("no feature of this store is dead")
    test = at_features(tiny_store, monkeypatch, sae=rows["sae_id"][0], feature=rows["feature"][0])
    assert "is dead" in texts(test)
    assert not test.exception


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"sae": "nosuch"}, "which is not in this store"),
        ({"feature": 10**6}, "has features 0 to"),
        ({"feature": "seven"}, "not a whole number"),
    ],
)
def test_a_wrong_link_says_what_is_there_instead(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, object], words: str
) -> None:
    test = at_features(tiny_store, monkeypatch, **params)
    assert not test.exception
    assert words in texts(test)
    assert 'role="alert"' in texts(test)


def test_a_link_to_a_clip_that_is_not_there_is_a_sentence(
    tiny_store: Path, store: Store, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = first_live(store, sae["sae_id"])
    test = at_features(tiny_store, monkeypatch, sae=sae["sae_id"], feature=feature, clip="00000000ff")
    assert "which is not in this store" in texts(test)


def test_readers_move_to_a_new_generation(
    tiny_store: Path, tmp_path: Path, sae: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(tiny_store, copy, ignore=shutil.ignore_patterns("artefacts"))
    number_now, only = current_generation(copy), first_live(open_store(tiny_store), sae["sae_id"])
    test = at_features(copy, monkeypatch, sae=sae["sae_id"])
    assert not test.exception
    shutil.copy(generation_path(copy, number_now), generation_path(copy, number_now + 1))
    with duckdb.connect(str(generation_path(copy, number_now + 1))) as newer:
        newer.execute("UPDATE meta SET value = 'the newer corpus' WHERE key = 'corpus_name'")
        newer.execute("UPDATE features SET is_dead = true WHERE sae_id = ? AND feature <> ?", [sae["sae_id"], only])
    (copy / "CURRENT").write_text(generation_path(copy, number_now + 1).name + "\n", encoding="utf-8")
    generation_path(copy, number_now).unlink()
    assert get_store().generation == number_now + 1
    assert not test.run().exception
    assert "Features</h1>" in texts(test)
    assert "the newer corpus" in texts(test)
    assert list(test.dataframe[0].value["feature"]) == [only]


def test_without_a_store_the_page_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOSCOPE_HOME", str(tmp_path))
    test = at_features(None, monkeypatch)
    assert "python -m precompute demo" in texts(test)
    assert not test.exception


def test_the_last_store_made_is_opened_when_none_is_named(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONOSCOPE_HOME", str(tmp_path / "home"))
    assert last_store() is None
    remember_store(tmp_path / "gone")
    remember_store(tiny_store)
    remember_store(tmp_path / "gone")
    assert recent_stores() == [tmp_path / "gone", tiny_store.resolve()]
    assert last_store() == tiny_store.resolve()
    assert json.loads((tmp_path / "home" / "recent_stores.json").read_text(encoding="utf-8"))
    assert not at_features(None, monkeypatch).exception


def test_a_data_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("SONOSCOPE_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="SONOSCOPE_HOME"):
        remember_store(tmp_path)
    assert recent_stores() == []


@pytest.mark.parametrize("sort", list(SORTS))
def test_the_table_is_sorted_paged_and_counted_alike(store: Store, sae: dict[str, object], sort: str) -> None:
    sae_id = str(sae["sae_id"])
    chosen = FeatureFilter(sort=sort)
    total = count_features(store, sae_id, chosen)
    pages = [fetch_feature_table(store, sae_id, chosen, limit=7, offset=start) for start in range(0, total, 7)]
    listed = [feature for rows in pages for feature in rows["feature"]]
    assert len(listed) == total == len(set(listed)) == sae["n_live"]
    if sort == "largest":
        values = np.concatenate([rows["max_value"] for rows in pages])
        assert (np.diff(values) <= 0).all()


def test_filters_bind_what_a_reader_types(store: Store, sae: dict[str, object]) -> None:
    sae_id = str(sae["sae_id"])
    assert count_features(store, sae_id, FeatureFilter(text="'; DROP TABLE features; --")) == 0
    both = [count_features(store, sae_id, FeatureFilter(labels=kind)) for kind in ("any", "labelled", "unlabelled")]
    assert both[0] == both[1] + both[2] == sae["n_live"]
    with pytest.raises(NotInStoreError, match="density"):
        fetch_feature_table(store, sae_id, FeatureFilter(sort="rowid; --"))


def test_previous_and_next_are_live_features(store: Store, sae: dict[str, object]) -> None:
    sae_id = str(sae["sae_id"])
    live = list(
        store.query("SELECT feature FROM features WHERE sae_id = ? AND NOT is_dead ORDER BY 1", [sae_id])["feature"]
    )
    near = fetch_neighbourhood(store, sae_id, live[1])
    assert (near.previous, near.following) == (live[0], live[2])
    assert fetch_neighbourhood(store, sae_id, live[0]).previous is None
    assert fetch_neighbourhood(store, sae_id, live[-1]).following is None


def test_a_trace_has_its_clips_pre_activation_as_mean(store: Store, sae: dict[str, object]) -> None:
    feature = first_live(store, sae["sae_id"])
    listed = fetch_listed_clips(store, str(sae["sae_id"]), feature).drop_duplicates("clip_index")
    traces = fetch_traces(store, sae, feature, list(listed["clip_index"]))
    assert traces
    for row in listed.itertuples():
        trace = traces[row.clip_index]
        if not trace.padded_share:
            assert trace.values.mean() == pytest.approx(row.preactivation, abs=trace.step)
        assert trace.t0_s + trace.hop_s * (len(trace.values) - 1) <= row.duration_s + trace.hop_s


def test_playable_clips_have_a_trace_of_any_feature(store: Store, sae: dict[str, object]) -> None:
    """Computed from the stored states, it equals a listed clip's stored one, and is there for other clips too."""
    feature = first_live(store, sae["sae_id"])
    listed = set(fetch_listed_clips(store, str(sae["sae_id"]), feature)["clip_index"])
    playable = store.query("SELECT clip_index FROM clips WHERE is_playable ORDER BY 1")["clip_index"].tolist()
    stored = fetch_traces(store, sae, feature, sorted(listed & set(playable)))
    computed = fetch_traces(store, {**sae, "traces_file": None}, feature, playable)
    assert set(computed) == set(playable) > listed & set(playable) == set(stored)
    for index, trace in stored.items():
        assert (trace.t0_s, trace.hop_s) == (computed[index].t0_s, computed[index].hop_s)
        np.testing.assert_allclose(trace.values, computed[index].values, atol=0.51 * trace.step + 1e-4)
    other = next(index for index in playable if index not in listed)
    assert fetch_traces(store, sae, feature, [other])[other].padded_share == 0.0


def test_no_traces_file_means_no_traces(store: Store) -> None:
    assert fetch_traces(store, {"traces_file": None, "weights_file": None}, 0, [0]) == {}
    assert fetch_activation(store, None, 0, 0) is None


def test_lists_are_strongest_then_intervals_from_high_to_low_then_random(store: Store, sae: dict[str, object]) -> None:
    lists = clip_lists(fetch_listed_clips(store, str(sae["sae_id"]), first_live(store, sae["sae_id"])))
    assert lists[0].key == "top"
    assert list(lists[0].rows["value"]) == sorted(lists[0].rows["value"], reverse=True)
    intervals = [item.interval for item in lists if item.key.startswith("i") and item.interval]
    assert intervals == sorted(intervals, reverse=True)
    for item in lists:
        if item.key.startswith("i") and item.interval:
            assert item.rows["value"].between(item.interval[0] - 1e-6, item.interval[1] + 1e-6).all()


def test_weights_come_largest_first_and_never_zero(store: Store, sae: dict[str, object]) -> None:
    most = store.query(
        "SELECT representation_id, dim, count(*) AS n FROM lasso_weights w JOIN saes s ON s.sae_id = representation_id "
        "WHERE weight <> 0 AND w.protocol = 'held-out' GROUP BY ALL ORDER BY n DESC, representation_id, dim LIMIT 1"
    ).iloc[0]
    rows = fetch_factor_weights(store, most["representation_id"], int(most["dim"]))
    assert len(rows) == min(8, most["n"]) >= 2
    assert (rows["weight"] != 0).all()
    assert list(rows["weight"].abs()) == sorted(rows["weight"].abs(), reverse=True)


def test_the_map_holds_only_live_features(store: Store, sae: dict[str, object]) -> None:
    rows = fetch_feature_map(store, str(sae["sae_id"]))
    dead = set(store.query("SELECT feature FROM features WHERE sae_id = ? AND is_dead", [sae["sae_id"]])["feature"])
    assert not dead & set(rows["feature"])


def test_wrong_names_are_errors_that_name_what_is_there(store: Store, sae: dict[str, object]) -> None:
    with pytest.raises(NotInStoreError, match=str(fetch_saes(store)["sae_id"].iloc[0])):
        resolve_sae(store, "nosuch")
    with pytest.raises(NotInStoreError, match=f"0 to {int(str(sae['n_features'])) - 1}"):
        resolve_feature(store, str(sae["sae_id"]), 10**6)
    with pytest.raises(NotInStoreError, match="clips"):
        resolve_clip(store, "00000000ff")
    with pytest.raises(NotInStoreError, match="overview"):
        page_file("nosuch")


def test_why_a_clip_is_not_active_is_said_in_words() -> None:
    assert "not positive" in inactive_note(-0.5, 0.2)
    assert "below 0.300" in inactive_note(0.1, 0.3)
    assert inactive_note(None, None) == "Not active here."
    assert "k largest" in inactive_note(0.1, float("nan"))


def test_all_lines_of_a_list_share_one_scale(store: Store) -> None:
    def clip(values: list[float]) -> PlayerClip:
        trace = PlayerTrace("p", np.array(values, dtype=np.float32), 0.0, 0.1, "#00FF00", baseline=-1.0)
        return PlayerClip("ab", "t", 1.0, traces=(trace,))

    data = player_data(store, [clip([0.0, 2.0]), clip([5.0, float("nan")])], 80)
    assert (data["low"], data["high"]) == (-1.0, 5.0)
    assert data["clips"][1]["traces"][0]["values"] == [5.0, None]
    json.dumps(data, allow_nan=False)
    wide = player_data(store, [clip([0.0, 2.0])], 80, scale=(-3.0, 9.0))
    assert (wide["low"], wide["high"]) == (-3.0, 9.0)
    level = player_data(store, [PlayerClip("ab", "t", 1.0)], 80)
    assert level["high"] > level["low"]


def test_the_picture_spans_the_clip_exactly() -> None:
    rate, duration_s, click_s = 16_000, 2.0, 1.25
    samples = np.zeros(int(rate * duration_s), dtype=np.float32)
    samples[int(rate * click_s)] = 1.0
    picture = mel_picture(Waveform(samples, rate))
    n_columns = picture.levels_db.shape[1]
    loud = np.flatnonzero(picture.levels_db.max(axis=0) > -3)
    centre_s = (loud.mean() + 0.5) * duration_s / n_columns
    assert centre_s == pytest.approx(click_s, abs=duration_s / n_columns)


def test_the_picture_puts_a_tone_in_its_band_and_silence_at_the_floor() -> None:
    rate = 24_000
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    picture = mel_picture(Waveform(tone, rate))
    band = int(picture.levels_db.mean(axis=1).argmax())
    assert picture.band_centres_hz[band] == pytest.approx(1000, rel=0.03)
    silent = mel_picture(Waveform(np.zeros(rate, dtype=np.float32), rate))
    assert np.unique(silent.levels_db).tolist() == [silent.levels_db.min()]
    assert picture_png(silent).startswith(b"\x89PNG")


def test_routes_answer_by_id_only(store: Store) -> None:
    client = TestClient(Starlette(routes=clip_routes(lambda: store)))
    clip = store.query("SELECT clip_id, preview FROM clips ORDER BY clip_index LIMIT 1").iloc[0]
    whole = client.get(f"/audio/{clip['clip_id']}")
    assert whole.content == store.file(clip["preview"]).read_bytes()
    part = client.get(f"/audio/{clip['clip_id']}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    for wrong in ("00000000ff", "app.py", "..%2f..%2fapp.py", clip["preview"].replace("/", "%2F")):
        assert client.get(f"/audio/{wrong}").status_code == 404
    assert client.get(f"/spectrogram/{clip['clip_id']}").headers["content-type"] == "image/png"


def test_encoders_keep_one_colour_each() -> None:
    colors = [encoder_color(name) for name in ENCODERS]
    assert len(set(colors)) == 5
    assert encoder_color("HuBERT") == encoder_color("hubert-1a2b3c4d") == colors[2]
    assert encoder_color("Whisper (last layer normed)") == encoder_color("whisper") == colors[4]
    assert encoder_color("mine") == encoder_color("mine")
    assert on_picture("hubert", 0.0) == colors[2]


def test_numbers_for_people() -> None:
    assert number(None) == number(float("nan")) == "–"
    assert number(-1.5) == "−1.50"
    assert number(0.25, signed=True) == "+0.25"
    assert percent(0.0001) == "0.01 %"
    assert percent(0.0, 1) == "0.0 %"
    assert [plural_of(word) for word in ("singer", "class", "category", "day")] == [
        "singers",
        "classes",
        "categories",
        "days",
    ]


def test_links_carry_their_state() -> None:
    assert link_to("features", sae="a b", feature=7, clip=None) == "features?sae=a+b&feature=7"
    assert link_to("runs") == "runs"
    assert link_to("overview") == "./"
    assert all(os.path.basename(page_file(page)) == f"{page}.py" for page in PAGES)
