"""What addresses hold: keys, each of which leads back to the same view, and what every way to move keeps of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.queries.against import fetch_measures
from explorer.queries.corpus import fetch_saes
from explorer.queries.features import MIN_DRAWN, fetch_label_errors, fetch_live_feature_at
from explorer.store import Store
from explorer.ui import options
from explorer.ui.measures import measure_key
from explorer.ui.params import CROSSING, EVERYWHERE, OPTIONS, PAGES, READ_BY, moved, reads
from explorer.ui.selectors import default_sae
from tests.browser import Server, settle
from tests.test_pages import at, no_trouble, words

ROOT = Path(__file__).resolve().parents[1]
VIEW = {
    "view": "against",
    "measure": "planted.f0_st",
    "color": "label",
    "fold": "false",
    "clips": "random",
    "sort": "f1",
}


@pytest.fixture(scope="module")
def labelled(store: Store) -> dict[str, Any]:
    """A feature that has neighbours on both sides: sae, feature."""
    sae_id = default_sae(fetch_saes(store))["sae_id"]
    rows = store.query("SELECT feature FROM features WHERE sae_id = ? AND NOT is_dead ORDER BY feature", [sae_id])
    return {"sae": str(sae_id), "feature": int(rows["feature"][1])}


def test_the_registry_names_what_pages_read_and_nothing_else() -> None:
    assert set(READ_BY) == set(PAGES)
    every = {name for page in PAGES for name in reads(page)}
    assert every >= OPTIONS and every >= CROSSING
    for page, params in READ_BY.items():
        for name, ends in params.items():
            assert {*ends} <= reads(page), (page, name)
    source = "\n".join(
        path.read_text(encoding="utf-8") for folder in ("pages", "explorer/ui") for path in (ROOT / folder).glob("*.py")
    )
    asked = set(re.findall(r'get_(?:param|int)\("(\w+)"\)', source))
    asked |= {
        name
        for call in re.findall(r"(?:choose_\w+|write_text|asked_key)\((?:[^()]|\([^()]*\))*\)", source)
        for name in re.findall(r'(?<!=)"([a-z]+)"(?=[,)])', call)
        if name in every
    }
    assert asked <= every
    assert "query-params" not in source, "a bound widget writes the text of its option into the address"


def test_a_move_keeps_what_the_page_reads_and_ends_what_belongs_to_what_changes() -> None:
    now = {"sae": "s", "feature": "3", "clip": "c", **VIEW, "junk": "x"}
    assert moved(now, "features", "features", {"feature": 4}) == {"sae": "s", **VIEW, "feature": "4"}
    assert moved(now, "features", "features", {"feature": 3}) == {k: v for k, v in now.items() if k != "junk"}
    assert moved(now, "features", "features", {"sae": "t"}) == {"sae": "t", **VIEW}
    assert moved(now, "features", "live", {"clip": "c"}) == {"sae": "s", "clip": "c"}
    assert moved(now, "features", "find", {})["measure"] == "planted.f0_st"
    live = {"sae": "s", "clip": "c", "sound": "clip", "feature": "3"}
    assert moved(live, "live", "live", {"sae": "t"}) == {"sae": "t", "clip": "c", "sound": "clip"}
    pair = {"sae": "s", "way": "pairs", "differ": "vowel", "one": "a", "other": "e", "pair": "x.y"}
    assert moved(pair, "find", "find", {"sae": "t"}) == {**pair, "sae": "t"}
    assert moved(pair, "find", "find", {"one": "i"}) == {k: v for k, v in pair.items() if k != "pair"} | {"one": "i"}
    assert moved(pair, "find", "find", {"differ": "singer"}) == {"sae": "s", "way": "pairs", "differ": "singer"}


@pytest.mark.parametrize("page", PAGES)
def test_every_parameter_of_a_page_survives_a_move_within_it(page: str) -> None:
    now = {name: "x" for name in reads(page)}
    for name in reads(page):
        after = moved(now, page, page, {name: "y"})
        ended = {other for other, ends in READ_BY[page].items() if name in ends}
        assert after[name] == "y"
        for other in now.keys() - {name} - ended:
            again = any({*READ_BY[page][other]} & ended for _ in (0,)) if other in READ_BY[page] else False
            assert other in after or again, (name, other)


BUTTONS = [
    ("layers", {}, "score", "macro_f1"), ("sparsity", {}, "error", "mse"), ("sparsity", {}, "over", "fixed"),
    ("factors", {}, "order", "r2"), ("find", {}, "way", "pairs"), ("overview", {}, "planted", "feature"),
    ("features", {"feature": 1}, "view", "against"), ("features", {"feature": 1}, "clips", "random"),
    ("features", {"feature": 1, "view": "against"}, "color", "split"), ("live", {}, "sound", "microphone"),
]  # fmt: skip
LISTS = [
    ("features", {}, "sort"), ("features", {}, "labels"), ("features", {}, "mapcolor"), ("find", {}, "by"),
    ("find", {}, "value"), ("find", {"by": "measure"}, "measure"), ("find", {"way": "pairs"}, "other"),
    ("features", {"feature": 1, "view": "against"}, "measure"),
]  # fmt: skip


@pytest.mark.parametrize(("page", "params", "name", "key"), BUTTONS)
def test_a_button_writes_its_key_and_comes_back_from_it(
    page: str, params: dict[str, Any], name: str, key: str, tiny_store: Path, labelled: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    params = {**params, **labelled} if "feature" in params else params
    test = at(page, tiny_store, monkeypatch, **params)
    test = test.segmented_control(key=name).set_value(key).run()
    no_trouble(test)
    assert test.query_params[name] == key
    again = at(page, tiny_store, monkeypatch, **test.query_params)
    no_trouble(again)
    assert again.segmented_control(key=name).value == key
    assert "which is not here" not in words(again)


@pytest.mark.parametrize(("page", "params", "name"), LISTS)
def test_a_list_writes_a_key_and_comes_back_from_it(
    page: str, params: dict[str, Any], name: str, tiny_store: Path, labelled: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    params = {**params, **labelled} if "feature" in params else params
    test = at(page, tiny_store, monkeypatch, **params)
    chooser = test.selectbox(key=name)
    shown = chooser.options[chooser.index or 0]
    test = chooser.select_index(next(i for i, text in reversed([*enumerate(chooser.options)]) if text != shown)).run()
    no_trouble(test)
    value = test.selectbox(key=name).value
    assert test.query_params[name] == value
    again = at(page, tiny_store, monkeypatch, **test.query_params)
    no_trouble(again)
    assert again.selectbox(key=name).value == value
    assert "which is not here" not in words(again)


def test_no_key_is_the_text_of_a_chooser(store: Store) -> None:
    for row in fetch_measures(store).to_dict("records"):
        key = measure_key(row["kind"], row["name"])
        assert re.fullmatch(r"(planted|factor)\.\S+", key)


@pytest.mark.parametrize(
    ("asked", "is_known"),
    [
        ({"view": "against a measure"}, True), ({"view": "against", "measure": "planted: pitch"}, True),
        ({"view": "against", "measure": " pitch"}, False), ({"clips": "Random"}, True),
        ({"clips": "Sideways (17)"}, False),
        ({"view": "upside down"}, False), ({"clip": "no-such-clip"}, False), ({"color": "nothing"}, True),
    ],
)  # fmt: skip
def test_old_addresses_are_understood_and_strange_ones_are_said(
    asked: dict[str, str], is_known: bool, tiny_store: Path, labelled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("features", tiny_store, monkeypatch, **labelled, **asked)
    no_trouble(test)
    strange = next(iter(reversed(asked.values())))
    said = "\n".join(str(e.proto.body) for e in test.get("html") if "so-notice" in str(e.proto.body))
    assert (strange in said) != is_known
    if "measure" in asked and is_known:
        assert test.selectbox(key="measure").value == "planted.f0_st"


def test_a_list_that_this_feature_lacks_is_said_and_stays_in_the_address(
    tiny_store: Path, store: Store, labelled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = fetch_saes(store, labelled["sae"]).iloc[0].to_dict()
    rows = store.query("SELECT * FROM features WHERE sae_id = ? AND NOT is_dead", [labelled["sae"]]).to_dict("records")
    none = next(row for row in rows if fetch_label_errors(store, sae, row).empty)
    test = at(
        "features", tiny_store, monkeypatch, sae=labelled["sae"], feature=none["feature"], clips="False alarms (17)"
    )
    no_trouble(test)
    assert "There is no list “false alarms” here" in words(test)
    test = test.button(key="next").click().run()
    assert "clips" in test.query_params


@pytest.mark.parametrize("button", ["next", "previous", "random-feature"])
def test_the_next_feature_is_seen_the_same_way(
    button: str, tiny_store: Path, labelled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = {"view": "against", "measure": "planted.f0_st", "color": "label", "sort": "f1"}
    test = at("features", tiny_store, monkeypatch, **labelled, **view)
    no_trouble(test)
    test = test.button(key=button).click().run()
    no_trouble(test)
    after = dict(test.query_params)
    assert {key: after.get(key) for key in view} == view
    assert after["sae"] == labelled["sae"]
    if button != "random-feature":
        assert after["feature"] != str(labelled["feature"])
    test = test.button(key="to-table").click().run()
    after = dict(test.query_params)
    assert "feature" not in after and {key: after.get(key) for key in view} == view
    assert test.selectbox(key="sort").value == "f1"


def test_another_sae_keeps_the_way_to_look(
    tiny_store: Path, labelled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = at("features", tiny_store, monkeypatch, **labelled, view="against", sort="f1")
    chooser = test.selectbox(key=f"so-sae_id-{labelled['sae']}")
    other = next(i for i, name in enumerate(chooser.options) if name != chooser.options[chooser.index or 0])
    test = chooser.select_index(other).run()
    after = dict(test.query_params)
    assert after["sae"] != labelled["sae"]
    assert (after.get("view"), after.get("sort"), after.get("feature")) == ("against", "f1", None)


def test_a_text_from_a_list_that_is_gone_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that is a step behind sends the text of an option of another list: nothing is taken from it."""
    written: list[tuple[str, object]] = []
    monkeypatch.setattr(options, "write_option", lambda name, value: written.append((name, value)))
    for came, kept in (("planted: pitch", []), (" pitch", []), ("planted.f0", [("measure", "planted.f0")])):
        written.clear()
        monkeypatch.setattr(options.st, "session_state", {"measure": came})
        options._chosen("measure", ("planted.f0", "factor.loudness"), None)
        assert written == kept


@pytest.fixture
def page(browser: Browser) -> Any:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    yield context.new_page()
    context.close()


def test_keys_keep_the_view_and_say_where_they_lead(app: Server, page: Page, labelled: dict[str, Any]) -> None:
    """N, P, X and Back in a browser: the rest of the address stays, the tab is named, and the change is announced."""
    link = f"{app.url}/features?sae={labelled['sae']}&feature={labelled['feature']}&view=against&measure=planted.f0_st"
    page.goto(link)
    settle(page)
    expect(page).to_have_title(re.compile(rf"Feature {labelled['feature']} · .+ · Sonoscope"))
    for key in "NPX":
        now = page.url
        page.keyboard.press(key.lower())
        page.wait_for_function("now => location.href !== now || true", arg=now)
        page.wait_for_timeout(600)
        settle(page)
        assert "view=against" in page.url and "measure=planted.f0_st" in page.url
        feature = re.search(r"feature=(\d+)", page.url)
        assert feature is not None
        expect(page).to_have_title(re.compile(rf"Feature {feature[1]} · "))
        if page.url != now:
            expect(page.locator("#sonoscope-said")).to_contain_text(f"Feature {feature[1]}")
    entries = page.evaluate("history.length")
    page.get_by_role("radio", name="split").click()
    page.wait_for_function("() => location.search.includes('color=split')")
    settle(page)
    assert page.evaluate("history.length") == entries, "a way to look makes no entry of its own"
    page.goto(f"{link}&color=sideways")
    settle(page)
    expect(page.get_by_text("which is not here")).to_be_visible()
    page.wait_for_function("() => !location.search.includes('color')")


def test_every_page_names_its_tab(app: Server, page: Page) -> None:
    seen = set()
    for name in PAGES:
        page.goto(f"{app.url}/{name if name != PAGES[0] else ''}")
        settle(page)
        expect(page).to_have_title(re.compile(r".+ · Sonoscope$"))
        seen.add(page.title())
    assert len(seen) == len(PAGES)
    assert EVERYWHERE == "sae"


def test_a_random_feature_is_drawn_by_its_use(store: Store, labelled: dict[str, Any]) -> None:
    sae_id = labelled["sae"]
    rows = store.query(
        "SELECT feature, n_active, is_dense FROM features WHERE sae_id = ? AND NOT is_dead ORDER BY 1", [sae_id]
    ).set_index("feature")
    used = rows[(rows["n_active"] >= MIN_DRAWN) & ~rows["is_dense"].astype(bool)]["n_active"]
    drawn = [fetch_live_feature_at(store, sae_id, (i + 0.5) / 500) for i in range(500)]
    assert set(drawn) <= set(used.index), "a feature of fewer clips than others, or of most clips, is not drawn"
    for feature, n_active in used.items():
        assert drawn.count(feature) / 500 == pytest.approx(n_active / used.sum(), abs=0.004)
    assert fetch_live_feature_at(store, sae_id, 1.0) == used.index[-1]
