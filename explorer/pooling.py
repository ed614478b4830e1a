"""Over what a clip's states are averaged into one. The name stands in stores beside every SAE."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.errors import StoreError

_ALL, _VALID, _FIRST, WITHOUT_GIANTS = "all tokens", "valid frames", ", first window", ", without giant frames"
OTHER_KINDS = {False: "with giants", True: "without giants"}
"""The kind of representation that is a layer's states pooled the other way, by whether that is without giant frames."""


@dataclass(frozen=True)
class Pooling:
    """all_tokens: special and padded tokens too (AST's 1214), not valid frames alone. first_window: of what the network
    sees in its first pass (AST: 10.24 s) and no more. Both are the published protocol's. without_giants: valid frames
    but for the giant ones (see `giants`)."""

    all_tokens: bool = False
    first_window: bool = False
    without_giants: bool = False

    @property
    def name(self) -> str:
        """In words, as stores keep it."""
        frames = _ALL if self.all_tokens else _VALID
        return frames + (_FIRST if self.first_window else "") + (WITHOUT_GIANTS if self.without_giants else "")

    @classmethod
    def named(cls, name: str) -> Pooling:
        """The pooling of a stored name. Raises StoreError for one that there is not."""
        for pooling in ALL_POOLINGS:
            if pooling.name == name:
                return pooling
        raise StoreError(
            f"The store pools over {name!r}; this version knows {', '.join(one.name for one in ALL_POOLINGS)}. "
            "Compute it again with this version, or read it with the one that made it."
        )


ALL_POOLINGS = tuple(
    Pooling(all_tokens, first, without)
    for all_tokens, without in ((False, False), (True, False), (False, True))
    for first in (False, True)
)
