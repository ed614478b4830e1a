"""What readers write about features: kept apart by reader, exported, brought back, shown where they look."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from explorer.annotations import FILE, Annotation, AnnotationError, Annotations
from explorer.recent import home_folder
from explorer.store import Store
from explorer.ui.reader import COOKIE, NOBODY, ReaderCookie
from tests.browser import Server, settle
from tests.test_pages import at, no_trouble, words

SAE = "0123456789ab"
WRITTEN = Annotation("onsets", "syllables", True, ("teaching", "to check"))


@pytest.fixture
def notes(tmp_path: Path) -> Annotations:
    return Annotations(tmp_path)


@pytest.fixture
def live(store: Store) -> tuple[str, int]:
    """The SAE of the store that is opened first, and a live feature of it."""
    row = store.query(
        "SELECT f.sae_id, f.feature FROM features f JOIN saes s USING (sae_id) WHERE s.is_reference AND NOT f.is_dead "
        "ORDER BY f.n_active DESC, f.sae_id, f.feature LIMIT 1"
    ).iloc[0]
    return str(row["sae_id"]), int(row["feature"])


def test_what_is_written_is_kept_for_its_reader_alone(notes: Annotations):
    assert notes.get("a", SAE, 3).is_empty and notes.of_owner("a").empty
    notes.put("a", SAE, 3, WRITTEN, about="HuBERT L3")
    assert notes.get("a", SAE, 3) == WRITTEN
    assert notes.get("b", SAE, 3).is_empty and notes.get("a", SAE, 4).is_empty and notes.get("a", "other", 3).is_empty
    notes.put("a", SAE, 3, Annotation(note="only this"))
    assert notes.get("a", SAE, 3) == Annotation(note="only this")
    notes.put("a", SAE, 3, Annotation())
    assert notes.of_owner("a").empty


def test_words_are_tidied_and_what_is_too_long_is_refused_whole(notes: Annotations):
    notes.put("a", SAE, 0, Annotation("  breathy \n tone ", " x ", lists=("one", " one ", "", "two")))
    assert notes.get("a", SAE, 0) == Annotation("breathy tone", "x", lists=("one", "two"))
    for long in (Annotation("x" * 81), Annotation(note="x" * 4001), Annotation(lists=("x" * 61,))):
        with pytest.raises(AnnotationError, match="at most"):
            notes.put("a", SAE, 0, long)
    with pytest.raises(AnnotationError, match="20 lists"):
        notes.put("a", SAE, 0, Annotation(lists=tuple(str(number) for number in range(21))))
    assert notes.get("a", SAE, 0).label == "breathy tone"


def test_an_export_read_elsewhere_is_the_same(notes: Annotations, tmp_path: Path):
    notes.put("a", SAE, 7, WRITTEN, about="HuBERT L3")
    notes.put("a", SAE, 1, Annotation(note="żółć <b>"))
    other = Annotations(tmp_path / "elsewhere")
    other.put("z", SAE, 7, Annotation("mine before"))
    other.put("z", SAE, 8, Annotation("stays"))
    assert other.restore("z", notes.export("a")) == 2
    assert other.get("z", SAE, 7) == WRITTEN and other.get("z", SAE, 8) == Annotation("stays")
    assert other.get("z", SAE, 1).note == "żółć <b>"
    assert list(other.of_owner("z")["about"]).count("HuBERT L3") == 1


def one_entry(feature: str) -> str:
    """A file with one entry of this feature."""
    return f'{{"format": "sonoscope-annotations-1", "annotations": [{{"sae_id": "x", "feature": {feature}}}]}}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "not JSON"),
        ('{"format": "else", "annotations": []}', "should say"),
        (json.dumps({"format": "sonoscope-annotations-1", "annotations": [{"sae_id": "x"}]}), "Entry 1.*feature"),
        (one_entry("true"), "Entry 1.*feature"),
        (one_entry("-1"), "Entry 1.*feature"),
        (
            json.dumps({"format": "sonoscope-annotations-1", "annotations": [
                {"sae_id": "x", "feature": 1}, {"sae_id": "x", "feature": 2, "label": "y" * 99}]}),
            "Entry 2.*at most 80",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_changes_nothing(notes: Annotations, text: str, complaint: str):
    notes.put("a", SAE, 7, WRITTEN)
    with pytest.raises(AnnotationError, match=complaint):
        notes.restore("a", text)
    assert len(notes.of_owner("a")) == 1


def test_many_readers_write_at_once(notes: Annotations):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: notes.put(f"r{number % 4}", SAE, number, Annotation(str(number))), range(80)))
    assert sum(len(notes.of_owner(f"r{number}")) for number in range(4)) == 80


def test_a_folder_that_cannot_hold_them_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(AnnotationError, match="SONOSCOPE_HOME"):
        Annotations(tmp_path / "file" / "below").put("a", SAE, 0, WRITTEN)
    (tmp_path / FILE).write_bytes(b"no database, but long enough to be looked into" * 40)
    with pytest.raises(AnnotationError, match="SONOSCOPE_HOME"):
        Annotations(tmp_path).get("a", SAE, 0)


def test_a_browser_gets_one_number_with_its_first_page_and_keeps_it():
    routes = [
        Route("/", lambda _: HTMLResponse("<p>page</p>")),
        Route("/text", lambda _: PlainTextResponse("text")),
    ]
    client = TestClient(Starlette(routes=routes, middleware=[Middleware(ReaderCookie)]))
    assert COOKIE not in client.get("/text").cookies
    first = client.get("/")
    number = first.cookies[COOKIE]
    assert len(number) == 32 and "HttpOnly" in first.headers["set-cookie"]
    assert client.get("/").cookies[COOKIE] == number
    client.cookies.set(COOKIE, "'; DROP TABLE")
    assert len(client.get("/").cookies.get(COOKIE, domain="testserver.local", path="/") or number) == 32


def test_a_feature_shows_what_was_written_and_the_table_finds_it(
    tiny_store: Path, live: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae_id, feature = live
    page = at("features", tiny_store, monkeypatch, sae=sae_id, feature=str(feature))
    no_trouble(page)
    page.button(key=f"bookmark-{sae_id}-{feature}").click().run()
    page.text_input(key=f"own-label-{sae_id}-{feature}").set_value("swells at the end").run()
    page.text_area(key=f"own-note-{sae_id}-{feature}").set_value("like a siren").run()
    no_trouble(page)
    assert "swells at the end" in words(page)
    kept = Annotations().get(NOBODY, sae_id, feature)
    assert kept == Annotation("swells at the end", "like a siren", True)
    table = at("features", tiny_store, monkeypatch, sae=sae_id, q="siren")
    (frame,) = [item.value for item in table.dataframe]
    assert list(frame["feature"]) == [feature] and list(frame["yours"]) == ["★ swells at the end"]
    mine = at("features", tiny_store, monkeypatch, sae=sae_id, labels="in my notebook")
    assert list(mine.dataframe[0].value["feature"]) == [feature]
    book = at("notebook", tiny_store, monkeypatch)
    no_trouble(book)
    assert list(book.dataframe[0].value["Your label"]) == ["swells at the end"]
    Annotations().put(NOBODY, sae_id, feature, Annotation())
    empty = at("notebook", tiny_store, monkeypatch)
    assert "Your notebook is empty" in words(empty)
    assert (home_folder() / FILE).is_file() and not list(tiny_store.rglob(FILE))


def test_keys_bookmark_and_go_on_and_a_reload_keeps_it(browser: Browser, app: Server, live: tuple[str, int]) -> None:
    sae_id, feature = live
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{app.url}/features?sae={sae_id}&feature={feature}")
    settle(page)
    page.wait_for_selector("section.clip")
    expect(page.get_by_role("button", name="Bookmark", exact=False).first).to_be_visible()  # who listens for the key
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="Bookmarked")).to_be_visible()
    page.reload()
    settle(page)
    expect(page.get_by_role("button", name="Bookmarked")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_function(f"() => new URL(location.href).searchParams.get('feature') !== '{feature}'")
    stranger = browser.new_context().new_page()
    stranger.goto(f"{app.url}/features?sae={sae_id}&feature={feature}")
    settle(stranger)
    expect(stranger.get_by_role("button", name="Bookmark", exact=False).first).to_be_visible()
    assert stranger.get_by_role("button", name="Bookmarked").count() == 0
    stranger.context.close()
    context.close()
