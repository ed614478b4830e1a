"""What an address may hold: each parameter's name, the pages that read it, what it ends with, and how it is kept.

Values are keys (an id, a column's name, a word of this program), never text made for the screen. Nothing here knows
Streamlit: `moved` says what an address becomes when a reader goes somewhere, and `ui.url` does it.
"""

from __future__ import annotations

from collections.abc import Mapping

PAGES = ("overview", "layers", "sparsity", "features", "find", "factors", "compare", "live", "notebook", "runs")

_FILTERS = ("sort", "labels", "q", "dense", "density", "f1", "groups", "factorgroup")
_PROBE = ("label", "protocol")

# page: {parameter: the parameters of the same page that it ends with: when one of them changes, it is dropped}
READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "overview": {"planted": ()},
    "layers": {
        "label": (), "protocol": ("label",), "score": (), "encoder": (), "layer": (),
        "true": (*_PROBE, "encoder", "layer"), "said": (*_PROBE, "encoder", "layer"),
    },
    "sparsity": {
        "label": (), "protocol": (), "error": (), "over": (), "level": (), "show": (), "classes": (),
        "trained": (), "true": (*_PROBE, "classes"), "said": (*_PROBE, "classes"),
    },
    "features": {
        "feature": ("sae",), "clip": ("sae", "feature"), "view": (), "clips": (), "fold": (), "measure": (),
        "color": (), **dict.fromkeys(_FILTERS, ()), "page": ("sae", *_FILTERS), "mapcolor": (),
    },
    "find": {
        "way": (), "by": (), "value": ("by",), "measure": (), "differ": (), "one": ("differ",), "other": ("differ",),
        "pair": ("differ", "one", "other"),
    },
    "factors": {"protocol": (), "order": (), "all": (), "factor": (), "clip": ()},
    "compare": {"a": (), "b": (), "fa": ("sae", "a", "b"), "fb": ("sae", "a", "b")},
    "live": {"sound": (), "clip": (), "with": (), "feature": ("sae",)},
    "notebook": {"list": ()},
    "runs": {"run": ()},
}  # fmt: skip
EVERYWHERE = "sae"  # the sidebar's links carry it through pages that show nothing of it
CROSSING = frozenset((EVERYWHERE, "label", "protocol", "measure"))  # kept from one page to another that reads them
OPTIONS = frozenset(
    ("planted", "label", "protocol", "score", "error", "over", "level", "show", "classes", "trained", "view", "clips",
     "fold", "measure", "color", *_FILTERS, "page", "mapcolor", "way", "by", "value", "differ", "one", "other", "order",
     "all", "sound", "list")
)  # fmt: skip
"""Ways to look, set by a chooser: they replace the browser's history entry. All others make a new one."""


def reads(page: str) -> frozenset[str]:
    """The parameters that a page reads."""
    return frozenset((EVERYWHERE, *READ_BY[page]))


def moved(now: Mapping[str, str], page: str, to: str, changes: Mapping[str, object]) -> dict[str, str]:
    """The parameters of the address after going from `page`, whose parameters are `now`, to the page `to`.

    `changes` are set (None: taken away). All else that `to` reads stays, but for what ends with something that changes;
    to another page only CROSSING ones go along. What no page reads is left behind.
    """
    known = reads(to) if page == to else reads(to) & CROSSING
    set_to = {name: None if value is None else str(value) for name, value in changes.items()}
    ended = {name for name, value in set_to.items() if now.get(name) != value}
    while more := {name for name, ends in READ_BY[to].items() if name not in ended | set_to.keys() and ended & {*ends}}:
        ended |= more
    kept = {name: value for name, value in now.items() if name in known and name not in ended}
    return {**kept, **{name: value for name, value in set_to.items() if value is not None}}
