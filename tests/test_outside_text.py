"""What a data set, a file or an address says is shown letter by letter: Streamlit reads most of its texts as Markdown.

`as_written` is the one way for labels, tooltips and toasts; sentences go through `st.html` with escapes (`caption`,
`notice`, `empty_state`, `error_page`). The rule is read off the source; a browser shows that it suffices.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import running_app

ROOT = Path(__file__).resolve().parents[1]
# What reads its first text as Markdown, and which of its options it reads so too.
READ_AS_MARKDOWN = frozenset(
    (
        "markdown",
        "write",
        "error",
        "warning",
        "info",
        "success",
        "exception",
        "toast",
        "title",
        "header",
        "subheader",
        "metric",
        "badge",
        "status",
        "spinner",
        "button",
        "download_button",
        "link_button",
        "page_link",
        "selectbox",
        "multiselect",
        "segmented_control",
        "pills",
        "radio",
        "checkbox",
        "toggle",
        "text_input",
        "text_area",
        "number_input",
        "slider",
        "select_slider",
        "expander",
        "popover",
        "file_uploader",
        "audio_input",
        "feedback",
        "form_submit_button",
    )
)
NEVER = frozenset(("caption", "error", "warning", "info", "success", "exception"))  # ours take any text: style.py
OPTIONS_AS_MARKDOWN = frozenset(("segmented_control", "pills", "radio"))
# The app's own words, whose text is not a constant where it is drawn.
OURS = frozenset(
    (
        "titles[name]", "title", "label", "side.upper()", "help_text", "markdown", "field", "claim.page.capitalize()",
        "near.previous", "near.following", "feature", "options", "verdict",
    )
)  # fmt: skip
SAFE = frozenset(
    ("as_written", "number", "percent", "whole", "signed", "seconds", "quantity", "len", "int", "as_options")
)


def _is_safe(node: ast.expr | None) -> bool:
    """Whether a text is ours alone: constants, numbers, and what `as_written` returns."""
    text = "" if node is None else ast.unparse(node)
    if node is None or isinstance(node, ast.Constant) or text.lower() in OURS:
        return True
    if isinstance(node, ast.JoinedStr):
        return all(_is_safe(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values)
    if isinstance(node, ast.IfExp):
        return _is_safe(node.body) and _is_safe(node.orelse)
    if isinstance(node, ast.BinOp):
        return _is_safe(node.left) and _is_safe(node.right)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in SAFE or (name == "count" and len(node.args) > 1 and all(_is_safe(a) for a in node.args[1:]))
    return text.startswith("n_") or text.isupper()


def unsafe_texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what may carry somebody else's words into Markdown."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        if name not in READ_AS_MARKDOWN | NEVER or owner.startswith(
            ("np", "pd", "logging", "self", "parser", "column.")
        ):
            continue
        named = {each.arg: each.value for each in node.keywords}
        first = () if name in ("page_link", "metric") else node.args[:1]
        texts = [*first, named.get("label"), named.get("body"), named.get("help")]
        if name in NEVER or not all(_is_safe(text) for text in texts):
            yield node.lineno, ast.unparse(node)[:120]
        if name in OPTIONS_AS_MARKDOWN and not _shows_options_safely(node, named.get("format_func")):
            yield node.lineno, ast.unparse(node)[:120]


def _shows_options_safely(node: ast.Call, format_func: ast.expr | None) -> bool:
    if format_func is None:
        options = node.args[1] if len(node.args) > 1 else None
        return isinstance(options, ast.List | ast.Tuple) and all(_is_safe(each) for each in options.elts)
    shown = ast.unparse(format_func)  # explorer.ui.options writes the texts of its buttons itself
    return "as_written" in shown or shown == "_text_of(texts)"


@pytest.mark.parametrize("place", ["pages", "explorer/ui"])
def test_no_page_hands_somebody_elses_words_to_markdown(place: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, text in unsafe_texts(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "st.write(row['label'])", "st.error(str(error))", "st.toast(f'{name} is read.')", "st.button('x', help=words)",
        "left.expander(f'Which {label_name}')", "st.pills('x', names)", "st.radio('x', names, format_func=names.get)",
        "st.toggle(f'one per {facts.group_name}')", "st.page_link(page, label=str(row['name']))", "st.caption('x')",
    ],
)  # fmt: skip
def test_the_rule_finds_what_it_forbids(source: str) -> None:
    assert list(unsafe_texts(source))


def test_the_rule_lets_pass_what_is_safe() -> None:
    assert not list(unsafe_texts("st.toggle(f'one per {as_written(name)}'); st.button(f'{n_clips} clips'); st.html(x)"))


HOSTILE = "![x](http://127.0.0.1:9/x.png) $\\alpha$ :red[x] <b>b</b> `c` :material/home: **B** _i_\n\n# h\n- x\n1. y"


def _drawn() -> None:
    """A page of one hostile text in everything that Streamlit reads as Markdown, by our ways to draw it."""
    import streamlit as st

    from explorer.ui.markup import as_written
    from explorer.ui.style import caption, empty_state, error_page, notice
    from tests.test_outside_text import HOSTILE as text

    for draw in (notice, empty_state, caption, error_page):
        draw(text)
    st.toggle(as_written(text), help=as_written(text))
    st.segmented_control("x", [text], format_func=as_written)
    st.pills("x", [text], format_func=as_written)
    st.expander(as_written(text))
    st.write(as_written(text))
    st.page_link("https://sonoscope.invalid", label=as_written(text))
    st.selectbox("x", [text])
    st.multiselect("x", [text], [text])
    st.button(as_written(text))
    st.toast(as_written(text), duration="infinite")
    st.html("<b id='all-drawn'>drawn</b>")


def test_a_hostile_text_reads_letter_by_letter_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    script = tmp_path / "hostile.py"
    script.write_text("from tests.test_outside_text import _drawn\n_drawn()\n")
    with running_app(None, tmp_path, script=str(script)) as server:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.wait_for_selector("#all-drawn")
        page.get_by_test_id("stToast").wait_for()
        shown = page.get_by_test_id("stApp")
        assert not [url for url in asked if ":9/" in url]
        for made in ("img", ".katex", "em", "li", "code:not(.so-error code)"):
            assert shown.locator(made).count() == 0, made
        said = shown.inner_text().replace("\u2060", "")
        assert said.count("![x](http://127.0.0.1:9/x.png) $\\alpha$ :red[x] <b>b</b> ") >= 11
        page.close()
