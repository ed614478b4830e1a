"""Over what a clip's states are averaged into one. The name stands in stores beside every SAE."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.errors import StoreError

_ALL, _VALID, _FIRST = "all tokens", "valid frames", ", first window"


@dataclass(frozen=True)
class Pooling:
    """all_tokens: special and padded tokens too (AST's 1214), not valid frames alone. first_window: of what the network
    sees in its first pass (AST: 10.24 s) and no more. Both are the published protocol's."""

    all_tokens: bool = False
    first_window: bool = False

    @property
    def name(self) -> str:
        """In words, as stores keep it."""
        return (_ALL if self.all_tokens else _VALID) + (_FIRST if self.first_window else "")

    @classmethod
    def named(cls, name: str) -> Pooling:
        """The pooling of a stored name. Raises StoreError for one that there is not."""
        every = [cls(tokens, first) for tokens in (False, True) for first in (False, True)]
        for pooling in every:
            if pooling.name == name:
                return pooling
        raise StoreError(
            f"The store pools over {name!r}; this version knows {', '.join(one.name for one in every)}. "
            "Compute it again with this version, or read it with the one that made it."
        )
