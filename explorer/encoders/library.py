"""The one door to transformers, and a torchaudio that does not load kept out of its way.

transformers imports torchaudio wherever the package lies, and cannot be imported where that fails. Its compiled library
fits few releases of PyTorch, and none without CUDA, though pip installs it beside any. So it is tried first, and where
it does not load it is made absent: `None` in sys.modules is Python's own word for that, to imports and to `find_spec`.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from explorer.environment import require

_TORCHAUDIO = "torchaudio"
_DOES_NOT_LOAD = (ImportError, OSError, RuntimeError, AttributeError)
"""What an import of a package raises whose compiled part is of another release."""
_lock = threading.RLock()


def load_transformers() -> Any:
    """The module transformers. Raises MissingPackageError where it, or PyTorch, is not installed or does not load."""
    with _lock:
        require("torch", "encoders")
        hide_broken_torchaudio()
        return require("transformers", "encoders")


def hide_broken_torchaudio() -> bool:
    """Whether torchaudio is installed and loads; where it does not load, it counts as absent from now on."""
    with _lock:
        if sys.modules.get(_TORCHAUDIO, "not looked for") is None:
            return False
        before = set(sys.modules)
        try:
            importlib.import_module(_TORCHAUDIO)
            return True
        except _DOES_NOT_LOAD:
            for name in set(sys.modules) - before:
                if name.startswith(f"{_TORCHAUDIO}."):
                    del sys.modules[name]
            sys.modules[_TORCHAUDIO] = None  # type: ignore[assignment]
            _forget_what_transformers_saw()
            return False


def _forget_what_transformers_saw() -> None:
    """Where transformers was imported before and has looked for torchaudio, it looks again."""
    imports = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torchaudio_available", "is_speech_available"):
        forget = getattr(getattr(imports, name, None), "cache_clear", None)
        if forget is not None:
            forget()
