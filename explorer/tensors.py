"""Arrays in safetensors files: the only place that writes them, and what reading them may raise."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

NO_SUCH_NUMBERS = (TypeError, ValueError, AttributeError)  # what safetensors raises for types that numpy has not
_OS_ERROR = re.compile(r"os error (\d+)")


def save_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays as one safetensors file that appears complete or not at all, with the umask's permissions.

    Raises OSError, with its errno, when the file cannot be written.
    """
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)  # the library replaces the file by one that only its owner can read
        save_file(tensors, str(partial), metadata=dict(metadata) if metadata is not None else None)
        partial.chmod(mode)
        partial.replace(path)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
    except OSError:
        partial.unlink(missing_ok=True)
        raise
