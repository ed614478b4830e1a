"""The errors a user can meet. Each message names the value, what was allowed, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(text: str, known: Iterable[str]) -> str:
    """A sentence with the known name that is most like a mistyped one, with a blank before it; empty where none is."""
    found = difflib.get_close_matches(text, list(known), n=1)
    return f" Did you mean {found[0]}?" if found else ""


class ExplorerError(Exception):
    """Base of every error that is shown to a person as a sentence instead of a traceback."""


class AudioError(ExplorerError):
    """A sound that cannot be read, or is outside the limits (length, rate, channels, size)."""


class DatasetError(ExplorerError):
    """A data set that is not laid out as its reader expects, or that is gone."""


class EncoderError(ExplorerError):
    """A checkpoint that cannot be found, fetched, or loaded completely."""


class ConfigError(ExplorerError):
    """An option or configuration value that is not allowed."""


class StoreError(ExplorerError):
    """A store that is missing, damaged, of another schema, or of another corpus."""


class StoreBusyError(StoreError):
    """Another precompute holds the folder."""


class NotInStoreError(StoreError):
    """An encoder, layer, SAE, feature or clip that this store does not hold."""


class InstallError(ExplorerError):
    """A package that is missing, of another release than needed, or that does not load beside the others."""


class ModelProcessError(ExplorerError):
    """The process that holds the models stopped, or a request to it was given up."""


class MissingPackageError(InstallError):
    """A package that only some uses need is not installed, or does not load."""

    @classmethod
    def of(cls, package: str, used_for: str, reason: str = "") -> MissingPackageError:
        """The error with its sentence. used_for: what needs the package, in the plural. reason: why it fails."""
        what = f"does not load here ({reason})" if reason else "is not installed here"
        return cls(f"{package} {what}, and {used_for} need it. Install it with: pip install -r requirements.txt")


class WorkerError(ExplorerError):
    """A process that works for a run was ended from outside."""
