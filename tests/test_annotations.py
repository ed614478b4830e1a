"""What readers write about features: kept apart by reader, exported, brought back, shown where they look."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from explorer.annotations import FILE, Annotation, AnnotationError, Annotations, Written
from explorer.notes_exchange import FORMAT, MOST_BYTES, MOST_ENTRIES, exported, restore
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
    taken = restore(other, "z", exported(notes, "a"))
    assert taken.sentence() == (
        "2 features read: 1 new, 1 changed, 0 unchanged. 1 of them had another label or note before."
    )
    assert restore(other, "z", exported(notes, "a")).sentence() == "2 features read: 0 new, 0 changed, 2 unchanged."
    assert other.get("z", SAE, 7) == WRITTEN and other.get("z", SAE, 8) == Annotation("stays")
    assert other.get("z", SAE, 1).note == "żółć <b>"
    assert list(other.of_owner("z")["about"]).count("HuBERT L3") == 1


def a_file(*entries: object) -> str:
    """A file with these entries."""
    return json.dumps({"format": FORMAT, "annotations": list(entries)})


def one_entry(feature: str, more: str = "") -> str:
    """A file with one entry of this feature, as it is written."""
    return f'{{"format": "{FORMAT}", "annotations": [{{"sae_id": "x", "feature": {feature}{more}}}]}}'


GOOD = {"sae_id": "x", "feature": 1}
BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "no json": ("not json", "not JSON"),
    "another format": ('{"format": "else", "annotations": []}', "should say"),
    "a list": ("[]", "should say"),
    "a number": ("7", "should say"),
    "entries that are none": (f'{{"format": "{FORMAT}", "annotations": {{}}}}', "should say"),
    "an entry that is none": (a_file(GOOD, 3), "Entry 2 of the file is 3, not an object"),
    "no feature": (a_file({"sae_id": "x"}), "Entry 1 of the file has no feature"),
    "no sae": (a_file({"feature": 1}), "Entry 1 of the file has no sae_id"),
    "a truth value": (one_entry("true"), "Entry 1 of the file, feature: True is not a whole number"),
    "a negative feature": (one_entry("-1"), "feature: -1 is not"),
    "a feature of 2^63": (one_entry(str(2**63)), "feature: 9223372036854775808 is not a whole number from 0 to"),
    "a feature of 1000 digits": (one_entry("9" * 1000), "feature: a huge number is not"),
    "a feature of 9000 digits": (one_entry("9" * 9000), "not JSON"),
    "a float": (one_entry("3.0"), "feature: 3.0 is not"),
    "an infinite one": (one_entry("1e999"), "feature: inf is not"),
    "not a number": (one_entry("NaN"), "not JSON .NaN"),
    "null": (one_entry("null"), "feature: None is not"),
    "a label that is a list": (one_entry("1", ', "label": ["a"]'), "label: a list is not text"),
    "a bookmark of 1": (one_entry("1", ', "is_bookmarked": 1'), "is_bookmarked: 1 is not true or false"),
    "lists of numbers": (one_entry("1", ', "lists": ["a", 2]'), "lists: a list is not a list of texts"),
    "an id that is a path": (a_file({"sae_id": "../x", "feature": 1}), "Entry 1.*'../x' is no id"),
    "a lone surrogate": (one_entry("1", r', "label": "\ud800"'), "Entry 1.*lone surrogate"),
    "a lone surrogate as id": (one_entry("1").replace('"x"', r'"\ud800"'), "no id"),
    "one name twice": (one_entry("1", ', "feature": 2'), "says 'feature' twice"),
    "one feature twice": (a_file(GOOD, {"sae_id": "y", "feature": 1}, GOOD), "Entries 1 and 3 .* both of feature 1"),
    "a long label": (a_file(GOOD, {"sae_id": "x", "feature": 2, "label": "y" * 99}), "Entry 2.*at most 80"),
    "a long note": (a_file({**GOOD, "note": "y" * 4001}), "Entry 1.*at most 4,000"),
    "a long about": (a_file({**GOOD, "about": "y" * 5_000_000}), "Entry 1.*about has at most 200"),
    "many lists": (a_file({**GOOD, "lists": [str(n) for n in range(21)]}), "Entry 1.*20 lists"),
    "many entries": (a_file(*({"sae_id": "x", "feature": n} for n in range(MOST_ENTRIES + 1))), "20,000 is the limit"),
    "deep brackets": ("[" * 50_000, "nested too deeply"),
    "many bytes": (" " * (MOST_BYTES + 1), "at most 16 MB"),
    "bytes that are no text": (b'{"format": "\xff\xfe\xfa"}', "byte 13 is no utf-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_read_says_where_and_changes_nothing(notes: Annotations, kind: str):
    text, complaint = BAD_FILES[kind]
    notes.put("a", SAE, 7, WRITTEN)
    with pytest.raises(AnnotationError, match=complaint) as caught:
        restore(notes, "a", text)
    assert len(notes.of_owner("a")) == 1
    assert len(str(caught.value)) < 300


def test_an_entry_that_only_the_joined_feature_refuses_changes_nothing(notes: Annotations):
    notes.put("a", "x", 1, Annotation(lists=tuple(str(number) for number in range(20))))
    with pytest.raises(AnnotationError, match=r"Feature 1 of SAE x would be on 21 lists; 20 are the most"):
        restore(notes, "a", a_file({"sae_id": "x", "feature": 0, "label": "new"}, {**GOOD, "lists": ["one more"]}))
    assert list(notes.of_owner("a")["feature"]) == [1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_that_programs_write_are_read(notes: Annotations, encoding: str):
    restore(notes, "a", a_file({**GOOD, "label": "cafe\u0301 \x00\x07", "note": "one\r\ntwo\x1b"}).encode(encoding))
    assert notes.get("a", "x", 1) == Annotation("café", "one\ntwo")


def test_an_import_takes_nothing_away(notes: Annotations):
    notes.put("a", "x", 1, Annotation("mine", "my note", True, ("one",)))
    restore(notes, "a", a_file({**GOOD, "label": "theirs", "note": "", "is_bookmarked": False, "lists": ["two"]}))
    assert notes.get("a", "x", 1) == Annotation("theirs", "my note", True, ("one", "two"))


def test_a_full_file_is_written_in_one_short_transaction(notes: Annotations):
    rows = [{"sae_id": "x", "feature": n, "label": f"label {n}", "note": "n" * 200} for n in range(MOST_ENTRIES)]
    text = a_file(*rows)
    began = time.monotonic()
    assert restore(notes, "a", text).n_new == MOST_ENTRIES
    assert time.monotonic() - began < 10


def test_a_write_changes_what_its_writer_changed_and_nothing_else(notes: Annotations):
    seen = notes.get("a", SAE, 3)  # two tabs of one feature, both opened now
    notes.change("a", SAE, 3, seen, replace(seen, label="onsets"), about="HuBERT L3")
    notes.change("a", SAE, 3, replace(seen, label="onsets"), replace(seen, label="onsets", note="syllables"))
    after = notes.change("a", SAE, 3, seen, replace(seen, is_bookmarked=True))
    assert after == Written(Annotation("onsets", "syllables", True))
    assert notes.get("a", SAE, 3) == after.now and notes.of_owner("a")["about"].iloc[0] == "HuBERT L3"
    both = Annotation("onsets", "syllables", True, ("one", "two"))
    notes.put("a", SAE, 3, both)
    notes.change("a", SAE, 3, both, replace(both, lists=("two",)))
    assert notes.change("a", SAE, 3, both, replace(both, lists=("one", "two", "three"))).now.lists == ("two", "three")
    cleared = notes.get("a", SAE, 3)
    notes.put("a", SAE, 3, Annotation())
    assert notes.change("a", SAE, 3, cleared, replace(cleared, is_bookmarked=False)).now.is_empty
    assert notes.of_owner("a").empty


def test_of_two_texts_for_one_field_the_last_wins_and_the_other_is_said(notes: Annotations):
    seen = Annotation("first")
    notes.put("a", SAE, 3, seen)
    assert notes.change("a", SAE, 3, seen, Annotation("second")).replaced == ()
    assert notes.change("a", SAE, 3, seen, Annotation("third")) == Written(Annotation("third"), (("label", "second"),))
    assert notes.change("a", SAE, 3, seen, Annotation("third")).replaced == ()


def test_many_readers_write_at_once(notes: Annotations):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: notes.put(f"r{number % 4}", SAE, number, Annotation(str(number))), range(80)))
    assert sum(len(notes.of_owner(f"r{number}")) for number in range(4)) == 80


WRITERS = """
import os, sys
from pathlib import Path
from explorer.annotations import Annotation, Annotations
notes, children = Annotations(Path(sys.argv[1])), []
for child in range(20):
    children.append(os.fork())
    if not children[-1]:
        for number in range(60):
            words = Annotation(note=f"{number}", lists=(f"list {number // 20}",))
            notes.change(f"r{child % 5}", "sae", number % 20, Annotation(), words)
        os._exit(0)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_twenty_processes_write_at_once_and_none_fails(tmp_path: Path):
    said = subprocess.run([sys.executable, "-c", WRITERS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    for reader in range(5):
        rows = Annotations(tmp_path).of_owner(f"r{reader}")
        assert len(rows) == 20
        assert all(set(lists) == {"list 0", "list 1", "list 2"} for lists in rows["lists"])


def test_a_folder_that_cannot_hold_them_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(AnnotationError, match="SONOSCOPE_HOME"):
        Annotations(tmp_path / "file" / "below").put("a", SAE, 0, WRITTEN)
    (tmp_path / FILE).write_bytes(b"no database, but long enough to be looked into" * 40)
    with pytest.raises(AnnotationError, match=r"not a file of notes.*SONOSCOPE_HOME"):
        Annotations(tmp_path).get("a", SAE, 0)
    monkeypatch.setattr("explorer.notes_file.PATIENCE_S", 0.3)
    notes = Annotations(tmp_path / "held")
    notes.put("a", SAE, 0, WRITTEN)
    with closing(sqlite3.connect(notes.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE annotations SET label = 'x'")
        monkeypatch.setattr("explorer.notes_file.WAIT_S", 0.1)
        with pytest.raises(
            AnnotationError, match=r"has kept the file locked for .* Close it, then try again"
        ) as caught:
            notes.put("a", SAE, 1, WRITTEN)
        assert "SONOSCOPE_HOME" not in str(caught.value)
        assert notes.get("a", SAE, 0) == WRITTEN  # who reads does not wait


def test_a_read_only_folder_can_be_read_and_says_that_it_cannot_be_written():
    with TemporaryDirectory() as folder:
        notes = Annotations(Path(folder))
        notes.put("a", SAE, 0, WRITTEN)
        notes.path.chmod(0o444)
        Path(folder).chmod(0o555)
        me = os.geteuid()
        try:
            os.seteuid(me or 65534)  # root may write everywhere
            assert notes.get("a", SAE, 0) == WRITTEN
            with pytest.raises(AnnotationError, match=r"read-only.*SONOSCOPE_HOME"):
                notes.put("a", SAE, 1, WRITTEN)
        finally:
            os.seteuid(me)
            Path(folder).chmod(0o755)


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


def test_two_tabs_of_one_feature_keep_what_each_wrote(
    tiny_store: Path, live: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae_id, feature = live
    place = f"{sae_id}-{feature}"
    first, second = (at("features", tiny_store, monkeypatch, sae=sae_id, feature=str(feature)) for _ in range(2))
    first.text_input(key=f"own-label-{place}").set_value("onsets").run()
    first.text_area(key=f"own-note-{place}").set_value("like a siren").run()
    second.button(key=f"bookmark-{place}").click().run()
    assert Annotations().get(NOBODY, sae_id, feature) == Annotation("onsets", "like a siren", True)
    assert second.text_input(key=f"own-label-{place}").value == "onsets"
    assert second.text_area(key=f"own-note-{place}").value == "like a siren"
    second.text_input(key=f"own-label-{place}").set_value("swells").run()
    first.text_input(key=f"own-label-{place}").set_value("attacks").run()
    assert Annotations().get(NOBODY, sae_id, feature).label == "attacks"
    assert "changed elsewhere" in first.toast[0].value and "swells" in words(first)
    first.button(key=f"so-replaced-{place}-label").click().run()
    assert Annotations().get(NOBODY, sae_id, feature) == Annotation("swells", "like a siren", True)
    assert first.text_input(key=f"own-label-{place}").value == "swells"
    no_trouble(first)
    Annotations().put(NOBODY, sae_id, feature, Annotation())


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
