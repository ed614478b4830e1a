"""Whom the server answers and what every answer says; addresses below a path; readers without a cookie."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from explorer.errors import ExplorerError
from explorer.store import Store
from explorer.ui import reader
from explorer.ui.audio_route import clip_routes
from explorer.ui.below import BelowAnyPath, relative
from explorer.ui.guard import Guard, frame_ancestors_of_server
from explorer.ui.hosts import Hosts, hosts_of_server
from explorer.ui.plotly_route import plotly_route
from explorer.ui.reader import COOKIE, ReaderCookie
from explorer.ui.routes import below_base
from tests.browser import ROOT, Server, running_app
from tests.proxy import proxied
from tests.test_pages import at, words

LOCAL = Hosts(frozenset({"localhost", "127.0.0.1"}))
EVERYWHERE = Hosts(frozenset({"localhost", "gpu1.lab.example", "*.hub.example"}), any_address=True)
HARD = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
}


@pytest.mark.parametrize(
    ("name", "is_ours", "is_ours_everywhere"),
    [
        ("localhost", True, True),
        ("LOCALHOST:8501", True, True),
        ("localhost.:8501", True, True),
        ("127.0.0.1:1", True, True),
        ("127.8.8.8", True, True),
        ("[::1]:8501", True, True),
        ("[::ffff:127.0.0.1]", True, True),
        ("192.168.1.7:8501", False, True),
        ("[2001:db8::1]", False, True),
        ("gpu1.lab.example", False, True),
        ("a.b.hub.example:443", False, True),
        ("hub.example", False, False),
        ("evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("evilhub.example", False, False),
        ("localhost@evil.example", False, False),
        ("localhost:8501:80", False, False),
        ("localhost:x", False, False),
        ("localhost/x", False, False),
        ("l\u043ecalhost", False, False),
        ("", False, False),
        (":8501", False, False),
        ("[::1", False, False),
    ],
)
def test_a_name_is_ours_or_not(name: str, is_ours: bool, is_ours_everywhere: bool) -> None:
    assert (LOCAL.has(name), EVERYWHERE.has(name)) == (is_ours, is_ours_everywhere)
    assert Hosts(frozenset({"*"})).has("whatever.example:1")


def test_an_origin_counts_by_name_not_because_every_name_does() -> None:
    assert LOCAL.has_origin("http://localhost:8501", "127.0.0.1:8501")
    assert EVERYWHERE.has_origin("https://10.0.0.7:8501", "10.0.0.7:8501")
    assert not EVERYWHERE.has_origin("https://10.0.0.8:8501", "10.0.0.7:8501")
    assert EVERYWHERE.has_origin("https://a.hub.example", "10.0.0.7")
    anyone = Hosts(frozenset({"*"}))
    assert anyone.has_origin("https://lab.example", "lab.example:8501")
    for foreign in ("https://evil.example", "null", "file://", "http://localhost:8501/x y", "javascript:1", ""):
        assert not anyone.has_origin(foreign, "lab.example") and not LOCAL.has_origin(foreign, "localhost")


def test_names_of_the_server_are_read_from_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOSCOPE_HOSTS", "lab.example, *.hub.example\nMünchen.example")
    monkeypatch.setattr(sys, "argv", ["app.py", "--host", "other.example"])
    found = hosts_of_server()
    assert {"localhost", "lab.example", "*.hub.example", "xn--mnchen-3ya.example", "other.example"} <= found.names
    for wrong in ("https://lab.example", "lab.example/x", "a b;c"):
        monkeypatch.setenv("SONOSCOPE_HOSTS", wrong)
        with pytest.raises(ExplorerError, match="no host name"):
            hosts_of_server()
    monkeypatch.setenv("SONOSCOPE_FRAME_ANCESTORS", "https://lms.example; script-src *")
    with pytest.raises(ExplorerError, match="no site"):
        frame_ancestors_of_server()
    monkeypatch.setenv("SONOSCOPE_FRAME_ANCESTORS", "https://lms.example *.hub.example")
    assert frame_ancestors_of_server() == ("https://lms.example", "*.hub.example")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(str(socket.headers.get("host")))
    await socket.close()


def fails(_: object) -> PlainTextResponse:
    raise ValueError("a fault of ours")


def guarded(hosts: Hosts = LOCAL, frames: tuple[str, ...] = ()) -> TestClient:
    routes = [
        Route("/", lambda _: HTMLResponse("<head></head>")),
        Route("/fails", fails),
        WebSocketRoute("/stream", echo),
    ]
    guard = Middleware(Guard, hosts=hosts, frame_ancestors=frames)
    made = Starlette(routes=routes, middleware=[guard])
    return TestClient(made, base_url="http://localhost:8501", raise_server_exceptions=False)


def test_a_foreign_name_is_refused_in_a_sentence_and_nothing_of_it_is_markup() -> None:
    client = guarded()
    assert client.get("/").status_code == 200
    refused = client.get("/", headers={"host": "evil.example:8501"})
    assert refused.status_code == 403 and refused.headers["content-type"].startswith("text/plain")
    assert "does not accept the name evil.example" in refused.text and "SONOSCOPE_HOSTS=evil.example" in refused.text
    odd = client.get("/", headers={"host": "$(reboot).example"})
    assert odd.status_code == 403 and "--host" not in odd.text
    assert client.get("/", headers={"host": "a b"}).status_code == 400
    other = client.get("/", headers={"origin": "https://evil.example"})
    assert other.status_code == 403 and "pages of evil.example" in other.text
    assert client.post("/", headers={"origin": "null"}).status_code == 403
    twice = client.build_request("GET", "/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert client.send(twice).status_code == 400
    assert all(refused.headers[name] == value for name, value in HARD.items())


def test_a_socket_is_refused_like_a_page_and_a_named_page_may_come_through_a_proxy() -> None:
    client = guarded(Hosts(frozenset({"localhost", "lab.example"})))
    for headers in ({"host": "evil.example"}, {"host": "localhost", "origin": "https://evil.example"}):
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/stream", headers=headers):
            pass
        assert denied.value.status_code == 403 and "evil.example" in denied.value.text
    with client.websocket_connect("/stream", headers={"host": "localhost", "origin": "https://lab.example"}) as socket:
        assert socket.receive_text() == "lab.example"  # for Streamlit, which asks that both be one


def test_every_answer_forbids_frames_and_guessing() -> None:
    client = guarded()
    for path in ("/", "/nowhere", "/fails"):
        headers = client.get(path).headers
        assert {name: headers.get(name) for name in HARD} == HARD, path
    assert client.get("/fails").status_code == 500 and "failed at this request" in client.get("/fails").text
    framed = guarded(frames=("https://lms.example",)).get("/").headers
    assert framed["Content-Security-Policy"] == "frame-ancestors 'self' https://lms.example"
    assert "X-Frame-Options" not in framed


@pytest.fixture(scope="module")
def served(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app itself below a path."""
    with running_app(
        tiny_store,
        tmp_path_factory.mktemp("door"),
        base="/x/lab",
        variables={"SONOSCOPE_HOSTS": "lab.example", "SONOSCOPE_FRAME_ANCESTORS": ""},
    ) as one:
        yield one


def asked(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with connection.getresponse() as answer:
        found = answer.status, dict(answer.getheaders()), answer.read().decode("utf-8", "replace")
    connection.close()
    return found


def test_the_app_refuses_foreign_names_everywhere(served: Server, store: Store) -> None:
    clip_id = store.query("SELECT clip_id FROM clips LIMIT 1")["clip_id"].iloc[0]
    paths = ["/x/lab/", "/x/lab/features", "/x/lab/_stcore/health", "/x/lab/_stcore/host-config", "/x/lab/favicon.png",
             "/x/lab/_stcore/upload_file/a/b", f"/x/lab/audio/{clip_id}", f"/audio/{clip_id}", "/x/lab/media/a.csv",
             f"/x/lab/scripts/{plotly_route().path.rpartition('/')[2]}", "/"]  # fmt: skip
    for path in paths:
        assert asked(served.url, path, Host="evil.example")[0] == 403, path
        assert asked(served.url, path, Origin="http://evil.example:8501")[0] == 403, path
        headers = asked(served.url, path)[1]
        assert {name.lower(): headers.get(name.lower()) for name in HARD} == {k.lower(): v for k, v in HARD.items()}
    stream = served.url.replace("http", "ws") + "/_stcore/stream"
    for given in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(InvalidStatus) as refused, connect(stream, additional_headers=given, compression=None):
            pass
        assert refused.value.response.status_code in (400, 403)  # 400: two hosts
    with connect(stream, additional_headers={"Origin": "https://lab.example"}, subprotocols=["streamlit"]):  # type: ignore[list-item]
        pass  # through a proxy that names itself in no Host
    assert asked(served.url, "/x/lab/", Host="LAB.example.")[0] == 200
    assert asked(served.url, "/x/lab/_stcore/upload_file/nobody/1", "PUT")[0] in (400, 403)


def test_the_apps_own_routes_refuse_odd_requests_in_a_line(store: Store) -> None:
    routes = below_base([*clip_routes(lambda: store), plotly_route()])
    client = TestClient(Starlette(routes=routes))
    clip_id = store.query("SELECT clip_id FROM clips LIMIT 1")["clip_id"].iloc[0]
    for kind in ("audio", "spectrogram", "contours"):
        for odd in ("", "x", "..%2f..%2fetc%2fpasswd", "a/b", f"{clip_id}/", "0" * 5000, "%00", "%ff", "0" * 32):
            answer = client.get(f"/{kind}/{odd}")
            assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/plain"), odd
            assert answer.headers["x-sonoscope"] == "not-in-store" and len(answer.text) < 400
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = client.request(method, f"/{kind}/{clip_id}")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert client.head(f"/audio/{clip_id}").status_code == 200
    assert client.get(f"/audio/{clip_id}", headers={"range": f"bytes={'9' * 6000}-"}).status_code in (200, 400, 416)


@pytest.mark.parametrize(
    ("path", "location", "found"),
    [
        ("/features/", "/features", "../features"),
        ("/x/lab", "http://localhost:8501/x/lab/", "./lab/"),
        ("/x/lab/features/", "/x/lab/features?sae=1", "../features?sae=1"),
        ("/a/b/", "/", "../../"),
        ("/", "/a:b", "./a:b"),
        ("/auth/login", "https://accounts.example/x", "https://accounts.example/x"),
        ("/x/", "//evil.example/", "//evil.example/"),
    ],
)
def test_a_redirect_is_relative(path: str, location: str, found: str) -> None:
    assert relative(path, location, "localhost:8501") == found


def test_the_root_closes_its_address_and_redirects_keep_a_path_that_was_taken_away() -> None:
    page = "<!DOCTYPE html><html><head><title>x</title></head></html>"
    routes = [
        Route("/", lambda _: HTMLResponse(page)),
        Route("/features/", lambda _: RedirectResponse("/features", 301)),
        Route("/features", lambda _: HTMLResponse(page)),
    ]
    client = TestClient(Starlette(routes=routes, middleware=[Middleware(BelowAnyPath)]), follow_redirects=False)
    root = client.get("/")
    assert "<head><script>if(!location.pathname.endsWith" in root.text
    assert int(root.headers["content-length"]) == len(root.content)
    assert client.get("/features").text == page
    assert client.get("/features/").headers["location"] == "../features"


def test_a_proxy_that_names_another_host_serves_the_socket_too(served: Server) -> None:
    with proxied(served.url, "/x/lab", strips=False, host="127.0.0.1:1") as url:
        with urllib.request.urlopen(f"{url}/_stcore/health") as answer:
            assert answer.read() == b"ok"
        stream = url.replace("http", "ws") + "/_stcore/stream"
        with connect(stream, additional_headers={"Origin": "https://lab.example"}, subprotocols=["streamlit"]):  # type: ignore[list-item]
            pass


def of_reader(cookies: dict[str, str], headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Reader ids of a session with these cookies and headers."""

    class Context:
        pass

    context, state = Context(), dict[str, str]()
    context.cookies, context.headers = cookies, headers  # type: ignore[attr-defined]
    monkeypatch.setattr(reader.st, "context", context)
    monkeypatch.setattr(reader.st, "session_state", state)
    return reader.reader_id


def test_readers_without_a_cookie_are_not_one_reader_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    number = "0123456789abcdef" * 2
    known = of_reader({COOKIE: number}, {"Host": "localhost"}, monkeypatch)
    assert known() == f"browser:{number}" and reader.is_kept()
    one = of_reader({}, {"Host": "localhost"}, monkeypatch)
    first = one()
    assert first == one() and first.startswith("visit:") and not reader.is_kept()
    assert of_reader({}, {"Host": "localhost"}, monkeypatch)() != first


def test_a_frame_of_another_site_gets_a_cookie_that_is_sent_back() -> None:
    client = TestClient(
        Starlette(routes=[Route("/", lambda _: HTMLResponse("x"))], middleware=[Middleware(ReaderCookie)])
    )
    plain = client.get("/").headers["set-cookie"]
    assert "SameSite=Lax" in plain and "Path" not in plain
    framed = {"sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"}
    assert "SameSite=Lax" in client.get("/", headers=framed).headers["set-cookie"]  # without https it would be refused
    kept = client.get("/", headers={**framed, "x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "SameSite=None; Secure; Partitioned" in kept


def test_the_notebook_says_what_is_not_kept(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.ui.reader.reader_id", lambda: "visit:1")
    page = at("notebook", tiny_store, monkeypatch)
    assert "Your browser sends no cookie here" in words(page)


def test_what_threads_need_at_once_is_imported_before_them() -> None:
    names = set()
    for path in [*(ROOT / "explorer").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        names |= {f"numpy.{name}" for name in re.findall(r"\bnp\.(\w+)\b", text)}
        names |= set(re.findall(r"^\s*from (scipy[\w.]*) import", text, re.MULTILINE))
    script = (
        "import sys, json, importlib.util as u, app\n"
        "is_module = lambda n: n in sys.modules or (n.startswith('scipy') or u.find_spec(n) is not None)\n"
        f"print(json.dumps([n for n in {sorted(names)} if n not in sys.modules and is_module(n)]))"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.strip().splitlines()[-1]) == []
