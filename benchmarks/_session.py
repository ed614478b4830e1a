"""A reader without a browser: a session of the app over its own websocket protocol, and the clicks it can make."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from explorer.store import Store

LONGEST_S = 60.0
MAX_MESSAGE = 2**28


@dataclass(frozen=True)
class Action:
    """One click: its name in the figures, the page it opens, the values of the address, a button it presses."""

    name: str
    page: str
    params: Mapping[str, object] = field(default_factory=dict)
    button: str | None = None


@dataclass(frozen=True)
class Run:
    """What one click took: seconds until the script's run was over, bytes and the longest table sent, complaints."""

    name: str
    seconds: float
    n_bytes: int
    n_rows: int
    errors: tuple[str, ...] = ()


class Session:
    """One reader. `act` sends a click and waits until the page is drawn."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._pages, self._buttons = socket, dict[str, str](), dict[str, str]()

    @classmethod
    async def open(cls, url: str) -> Session:
        """Connect to the app at `url` (http)."""
        address = url.replace("http", "ws", 1) + "/_stcore/stream"
        return cls(await connect(address, subprotocols=["streamlit"], max_size=MAX_MESSAGE, ping_interval=None))  # type: ignore[list-item]

    async def close(self) -> None:
        """Leave."""
        await self._socket.close()

    async def act(self, action: Action) -> Run:
        """Click, and read what the server sends until its script is done."""
        message = BackMsg()
        state = message.rerun_script
        state.query_string = urlencode({key: str(value) for key, value in action.params.items()})
        page_hash = self._pages.get(action.page)
        if page_hash is None:
            state.page_name = action.page
        else:
            state.page_script_hash = page_hash
        if action.button is not None:
            widget = state.widget_states.widgets.add()
            widget.id, widget.trigger_value = self._buttons[action.button], True
        started = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        n_bytes, n_rows, errors = 0, 0, list[str]()
        while True:
            raw = await self._socket.recv(decode=False)
            n_bytes += len(raw)
            answer = ForwardMsg.FromString(raw)
            kind = answer.WhichOneof("type")
            if kind == "script_finished" and answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                break
            if kind == "navigation":
                self._pages = {p.url_pathname or "overview": p.page_script_hash for p in answer.navigation.app_pages}
            elif kind == "session_event" and answer.session_event.HasField("script_compilation_exception"):
                errors.append(answer.session_event.script_compilation_exception.message)
            elif kind == "delta" and answer.delta.HasField("new_element"):
                n_rows = max(n_rows, self._look_at(answer.delta.new_element, errors))
            if time.perf_counter() - started > LONGEST_S:
                errors.append(f"not drawn after {LONGEST_S:.0f} s")
                break
        return Run(action.name, time.perf_counter() - started, n_bytes, n_rows, tuple(errors))

    def _look_at(self, element: Element, errors: list[str]) -> int:
        """Note buttons and complaints; the rows of a table, 0 of anything else."""
        kind = element.WhichOneof("type")
        if kind == "exception":
            errors.append(element.exception.message)
        elif kind == "html" and 'class="so-error"' in element.html.body:
            errors.append(element.html.body)
        elif kind == "button":
            self._buttons[element.button.id.rpartition("-")[2]] = element.button.id
        elif kind == "dataframe":
            return int(pa.ipc.open_stream(element.dataframe.arrow_data.data).read_all().num_rows)
        return 0


def possible_actions(store: Store, rng: np.random.Generator) -> dict[str, list[Action]]:
    """Clicks by name, each name with several of its kind on different SAEs, features, layers and factors."""
    saes = store.query("SELECT * FROM saes ORDER BY sae_id")
    clips = saes[saes["level"] == "clip"]
    references = clips[clips["is_reference"]]["sae_id"].tolist()
    factors = store.query("SELECT name FROM factors ORDER BY factor_index")["name"].tolist()
    clip_ids = store.query("SELECT clip_id FROM clips ORDER BY clip_index LIMIT 200")["clip_id"].tolist()
    probed = store.query("SELECT DISTINCT encoder_id, layer FROM representations WHERE kind = 'dense' ORDER BY ALL")
    n_live = int(saes["n_live"].min())

    def sae() -> str:
        return str(rng.choice(clips["sae_id"]))

    def feature() -> int:
        return int(rng.integers(n_live))

    def pair() -> tuple[str, str]:
        a, b = rng.choice(references, 2, replace=False)
        return str(a), str(b)

    def layer() -> dict[str, object]:
        row = probed.iloc[int(rng.integers(len(probed)))]
        return {"encoder": row["encoder_id"], "layer": int(row["layer"])}

    def several(name: str, page: str, make: object, n: int = 12) -> list[Action]:
        return [Action(name, page, make()) for _ in range(n)]  # type: ignore[operator]

    def compared() -> dict[str, object]:
        a, b = pair()
        return {"a": a, "b": b}

    found = [
        several("overview", "overview", dict),
        several("layers", "layers", dict),
        several("layers, one layer", "layers", layer),
        several("sparsity", "sparsity", dict),
        several("sparsity, MSE", "sparsity", lambda: {"error": "MSE"}),
        several("features", "features", lambda: {"sae": sae()}),
        several("features, sorted", "features", lambda: {"sae": sae(), "sort": "f1", "page": 7}),
        several("features, searched", "features", lambda: {"sae": sae(), "q": "vibrato", "labels": "labelled"}),
        several("one feature", "features", lambda: {"sae": sae(), "feature": feature()}),
        several("one reference feature", "features", lambda: {"sae": rng.choice(references), "feature": feature()}),
        several("one feature, a clip", "features",
                lambda: {"sae": sae(), "feature": feature(), "clip": rng.choice(clip_ids)}),
        [Action("next feature", "features", {"sae": references[0], "feature": i}, button="next") for i in range(12)],
        several("frame level", "features", lambda: {"sae": rng.choice(saes[saes["level"] == "frame"]["sae_id"])}),
        several("one feature, a measure", "features",
                lambda: {"sae": rng.choice(references), "feature": feature(), "view": "against"}),
        several("find", "find", lambda: {"sae": rng.choice(references)}),
        several("find, a measure", "find", lambda: {"sae": rng.choice(references), "by": "a measure"}),
        several("find, minimal pairs", "find",
                lambda: {"sae": rng.choice(references), "way": "pairs"}),
        several("live", "live", dict),
        several("notebook", "notebook", dict),
        several("factors", "factors", lambda: {"sae": sae()}),
        several("factors, one factor", "factors", lambda: {"sae": sae(), "factor": rng.choice(factors[1:10])}),
        several("compare", "compare", compared),
        several("runs", "runs", dict),
    ]  # fmt: skip
    return {actions[0].name: actions for actions in found}
