"""Whether the packages around fit: a sentence that says which does not fit which, and the command that repairs it.

Loads nothing but the standard library, so that it can speak where everything else is missing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from explorer.errors import InstallError, MissingPackageError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
BROWSE, FULL = "requirements-browse.txt", "requirements.txt"
PYTHON = ((3, 11), (3, 13))  # first and last that every test runs on
TORCH_FROM, TORCH_BELOW = (2, 11), (3,)  # requirements.txt pins the tested one; the code works with these
WIDER = {"torch": ">=2.11,<3"}
OPTIONAL = {"torchaudio"}  # nothing needs it; the tests compare with it
MODELS = ("torch", "transformers", "opensmile")  # what a browse-only installation lacks
_DISTRIBUTION = "sonoscope"
_REPAIR = {
    FULL: "Run `make install`, or `pip install -r requirements.txt`",
    BROWSE: "Run `make install` (or, to browse only, `pip install -r requirements-browse.txt`)",
}


def check_environment(needs: str) -> list[str]:
    """Compare what is installed with what `needs` (FULL or BROWSE) names; imports nothing of it.

    Returns sentences about releases that are newer than tested, for a log. Raises InstallError for what is missing,
    older than needed, or refused by another package: one sentence each, and the command that repairs it.
    """
    if sys.version_info < PYTHON[0]:
        raise InstallError(
            f"Sonoscope needs Python {_dotted(PYTHON[0])} to {_dotted(PYTHON[1])}, and this is "
            f"{_dotted(sys.version_info[:3])}. Name another: `make PYTHON=python3.12 install`."
        )
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        raise InstallError(f"The package packaging is missing. {_REPAIR[needs]}.") from error
    wanted = [one for one in map(Requirement, _requirement_lines(needs)) if one.name not in OPTIONAL]
    wrong, newer = _compare(wanted)
    wrong += _refused_by_others(wanted)
    if wrong:
        raise InstallError(f"{' '.join(dict.fromkeys(wrong))} {_REPAIR[needs]}.")
    return newer


def direct_dependencies(needs: str = FULL) -> list[str]:
    """The names of the packages that `needs` lists, as installers spell them."""
    return [name.group() for line in _requirement_lines(needs) if (name := re.match(r"[A-Za-z0-9._-]+", line))]


def _requirement_lines(needs: str) -> list[str]:
    """The requirements in the file beside the library; those of the installed package where there is none."""
    path = ROOT / needs
    if path.is_file():
        lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line and not line.startswith("-")]
    try:
        all_lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # a copy of the folder alone: nothing says what it needs
        return []
    of_browsing = re.compile(r"""extra == ['"]browse['"]""")
    return [line for line in all_lines if (of_browsing.search(line) if needs == BROWSE else "extra ==" not in line)]


def _compare(wanted: Iterable[Requirement]) -> tuple[list[str], list[str]]:
    """Sentences about what is missing or too old, and about what is newer than tested."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    wrong: list[str] = []
    newer: list[str] = []
    missing: list[str] = []
    for requirement in wanted:
        name = requirement.name
        found = _version_of(name)
        allowed = SpecifierSet(WIDER[name]) if name in WIDER else requirement.specifier
        if found is None:
            missing.append(name)
        elif not allowed.contains(found, prereleases=True):
            lowest = [Version(one.version) for one in allowed if one.operator in (">=", "==")]
            is_older = bool(lowest) and Version(found) < max(lowest)
            (wrong if is_older else newer).append(f"{name} {found} is installed, Sonoscope needs {name}{allowed}.")
    if missing:
        wrong.append(f"{'Missing packages' if len(missing) > 1 else 'A package is missing'}: {', '.join(missing)}.")
    return wrong, newer


def _refused_by_others(wanted: Iterable[Requirement]) -> list[str]:
    """Sentences about packages that a direct dependency says it does not work with, as `pip check` finds them."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for name in (requirement.name for requirement in wanted):
        if _version_of(name) is None:
            continue
        for line in importlib.metadata.requires(name) or ():
            try:
                needed = Requirement(line)
            except InvalidRequirement:
                continue
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            version = _version_of(needed.name)
            if version is not None and not needed.specifier.contains(version, prereleases=True):
                found.append(
                    f"{name} {_version_of(name)} needs {needed.name}{needed.specifier}, "
                    f"and {needed.name} {version} is installed."
                )
    return found


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def app_script() -> Path:
    """The app's script: at the repository's root, or in the installed package."""
    here = ROOT / "app.py"
    return here if here.is_file() else ROOT / _DISTRIBUTION / "app.py"


def app_command(store: Path, *server: str) -> list[str]:
    """The words that start the app on `store`; `server`: options of the server."""
    return [sys.executable, "-m", "streamlit", "run", str(app_script()), *server, "--", "--store", str(store.resolve())]


def browse_command(store: Path) -> str:
    """What a person types to browse `store`, quoted for a shell."""
    start = "streamlit run app.py --" if (ROOT / "app.py").is_file() else f"{_DISTRIBUTION} browse"
    return f"{start} --store {shlex.quote(str(store))}"


def missing_for_models() -> list[str]:
    """The packages that reading a new sound needs and that are not installed here; empty in a whole installation."""
    return [name for name in MODELS if importlib.util.find_spec(name) is None]


def require(package: str, used_for: str) -> Any:
    """The imported package. Raises MissingPackageError, which names what it is used for, where it does not import."""
    try:
        return importlib.import_module(package)
    except Exception as error:
        if (reason := import_failure(error)) is None:
            raise
        if isinstance(error, ModuleNotFoundError):
            raise MissingPackageError.of(str(error.name), used_for) from error
        raise MissingPackageError.of(package, used_for, reason.rstrip(".")) from error


@contextmanager
def explained_imports(needs: str) -> Iterator[None]:
    """Turn a package that does not load into an InstallError that names the packages. Other errors pass as they are."""
    try:
        yield
    except Exception as error:
        if (sentence := import_failure(error)) is None:
            raise
        raise InstallError(f"{sentence} {_REPAIR[needs]}.") from error


def import_failure(error: BaseException) -> str | None:
    """What did not load, and which package asked for it: a sentence. None where the error is no failed import.

    A compiled package that finds the wrong neighbour raises OSError, AttributeError and others while it is imported:
    what decides is that an installed module was being run from its top, and not the kind of the error.
    """
    frames = list(_frames(error))
    if not isinstance(error, ImportError) and not any(run == "<module>" and _package_of(path) for path, run in frames):
        return None
    asked = list(dict.fromkeys(name for path, _ in frames if (name := _package_of(path))))
    reason = _root_cause(error)
    missing = getattr(reason, "name", None) if isinstance(reason, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] not in asked:
        by = f", which {asked[-1]} needs," if asked else ""
        return f"{missing}{by} is missing."
    text = str(reason).strip().splitlines()[0][:300].rstrip(".") if str(reason).strip() else type(reason).__name__
    if not asked:
        return f"A package does not load: {text}."
    chain = [f"{name} {version}" if (version := _version_of(name)) else name for name in asked]
    if len(chain) == 1:
        return f"{chain[0]} does not load: {text}."
    if len(chain) == 2:
        return f"{chain[0]} does not load with {chain[1]}: {text}."
    return f"{chain[0]} does not load, since {' and '.join(chain[1:])} do not fit together: {text}."


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """File and function of all frames of an error and of what caused it, outermost first."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        trace: TracebackType | None = one.__traceback__
        while trace is not None:
            yield trace.tb_frame.f_code.co_filename, trace.tb_frame.f_code.co_name
            trace = trace.tb_next
        todo += [other for other in (one.__context__, one.__cause__) if other is not None]


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: what was wrapped says more than the wrapping."""
    seen = set()
    while (inner := error.__cause__ or error.__context__) is not None and id(error) not in seen:
        seen.add(id(error))
        error = inner
    return error


def _package_of(path: str) -> str | None:
    """The top-level package of a file of an installed package; None for our own files and Python's."""
    parts: Sequence[str] = Path(path).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)
