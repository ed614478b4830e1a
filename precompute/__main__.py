"""The command line: `python -m precompute run|demo|generate|status|verify|publish|list`."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from explorer.environment import BROWSE, FULL, app_command, browse_command, check_environment, explained_imports
from explorer.errors import ConfigError, ExplorerError, StoreBusyError
from precompute.config import RunConfig, make_config, read_toml
from precompute.memory import keep_freed_memory
from precompute.options import GROUPS, OPTIONS, Option, flag_of
from precompute.options_page import help_of, types_of_options
from precompute.processes import Stopped, stopped_by_signals

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BUSY, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """\
examples:
  python -m precompute run --dataset vocalset --root ~/VocalSet --store ~/stores/vocalset --encoder mert
  python -m precompute run --dataset folder --root ~/recordings --store ~/stores/mine --encoder ast --preset quick
  python -m precompute run --dataset folder --root ~/rec --store ~/stores/mine --encoder hubert=/models/hubert --dry-run
  python -m precompute run --config vocalset.toml

Stop a run at any moment; the same command goes on where it stopped. Then browse:
  streamlit run app.py -- --store ~/stores/vocalset

Every option in a table, with what the presets change: docs/options.md.

exit codes: 0 done; 1 failed, with the reason in the last line; 2 wrong options; 3 another run is working in the store;
130 stopped with Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m precompute",
        description="Compute a store of sparse autoencoders and measures from a folder of recordings.",
        epilog=EPILOG,
        formatter_class=formatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(
        commands.add_parser(
            "run", help="compute, or go on where a run stopped", epilog=EPILOG, formatter_class=formatter
        )
    )
    demo = commands.add_parser("demo", help="generated singing with known truth and four small encoders, in minutes")
    demo.add_argument(
        "--store", type=Path, default=Path("demo_store"), help="folder of the store (default: demo_store)"
    )
    _add_generate(
        commands.add_parser("generate", help="write generated singing with known truth, in VocalSet's folders")
    )
    demo.add_argument("--open", action="store_true", help="open the app as soon as there is something to see")
    demo.add_argument("--n-workers", type=int, default=0, help=help_of("n_workers"))
    for name, text in (
        ("status", "what the store holds and whether a run is working"),
        ("verify", "check every file of the store against its hash, and the tables against each other"),
        ("publish", "write a new generation from the artefacts, without encoders or data set"),
    ):
        commands.add_parser(name, help=text).add_argument(
            "--store", type=Path, required=True, help="folder of the store"
        )
    browse = commands.add_parser("browse", help="open the app on a store")
    browse.add_argument("--store", type=Path, required=True, help="folder of the store")
    browse.add_argument(
        "--port", type=int, default=None, help="the port to serve on (default: 8501, or the next free one)"
    )
    export = commands.add_parser("export-sae", help="write one SAE as a folder that SAELens opens")
    export.add_argument("--store", type=Path, required=True, help="folder of the store")
    export.add_argument("--sae", required=True, help="the sae_id")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    listing = commands.add_parser("list", help="the encoders, data sets, presets or options there are")
    listing.add_argument("what", choices=("encoders", "datasets", "presets", "options"), help="what to list")
    listing.add_argument("--markdown", action="store_true", help="options: the page docs/options.md")
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder to write; read it with --dataset synthetic")
    parser.add_argument(
        "--part",
        choices=("crossed", "vocalset-shaped"),
        default="crossed",
        help="crossed: every technique by exercise by vowel by singer; vocalset-shaped: VocalSet's own cells",
    )
    parser.add_argument("--seed", type=int, default=0, help="other singers and takes (default: 0)")
    parser.add_argument("--singers", type=int, help="crossed: how many (default: 20)")
    parser.add_argument("--vowels", type=int, help="crossed: of five, for each singer and exercise (default: 2)")
    parser.add_argument("--exercises", type=_words, help="crossed: such as long_tones,scales")
    parser.add_argument("--n-workers", type=int, default=2, help="processes (default: 2)")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same names as these options")
    for group in GROUPS:
        part = parser.add_argument_group(group)
        for name, option in OPTIONS.items():
            if option.group == group and name != "faults":
                _add_option(part, name, option)
    how = parser.add_argument_group("this once")
    how.add_argument(
        "--dry-run", action="store_true", help="say what would be computed, how long and how large; write nothing"
    )
    how.add_argument("--quiet", action="store_true", help="only warnings and the last lines")


def _add_option(part: argparse._ArgumentGroup, name: str, option: Option) -> None:
    given: dict[str, Any] = {"dest": name, "help": help_of(name).replace("%", "%%"), "default": None}
    kind = types_of_options()[name]
    if kind == "bool":
        given["action"] = argparse.BooleanOptionalAction
    else:
        given |= {"metavar": option.metavar, "choices": option.names or None, "type": _READERS.get(kind)}
    if name == "encoders":
        given |= {"action": "append", "type": str}
    part.add_argument(flag_of(name), **{key: value for key, value in given.items() if key == "default" or value})


def _numbers(read: Callable[[str], object], what: str) -> Callable[[str], tuple[object, ...]]:
    def numbers(text: str) -> tuple[object, ...]:
        try:
            return tuple(read(item) for item in text.split(","))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {what}, such as 1,2") from error

    return numbers


_READERS: Mapping[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "Path": Path,
    "tuple[int, ...]": _numbers(int, "whole numbers"),
    "tuple[float, ...]": _numbers(float, "numbers"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = vars(build_parser().parse_args(arguments))
    command = options.pop("command")
    level = logging.WARNING if options.pop("quiet", False) else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("precompute").setLevel(level)
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be no text, a terminal may know ASCII alone
    try:
        needs = BROWSE if command == "browse" else FULL
        for sentence in check_environment(needs):
            sys.stderr.write(f"note: {sentence} This was not tested.\n")
        with stopped_by_signals(), explained_imports(needs):
            lines = _lines_of(command, options)
    except StoreBusyError as error:
        return _fail(error, EXIT_BUSY)
    except ConfigError as error:
        return _fail(error, EXIT_USAGE)
    except ExplorerError as error:
        return _fail(error, EXIT_FAILED)
    except KeyboardInterrupt as stop:
        with contextlib.suppress(OSError):  # the terminal may be gone
            sys.stderr.write("Interrupted. Finished work is kept; the same command goes on from here.\n")
        return stop.code if isinstance(stop, Stopped) else EXIT_INTERRUPTED
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return EXIT_OK


def _lines_of(command: str, options: dict[str, Any]) -> list[str]:
    """Do what the command says. Returns what there is to print when all is done."""
    if command == "browse":
        return _browse(**options)
    if command == "demo" and _show_built_demo(**options):
        return []
    from precompute import commands  # after --help and a finished demo: it imports torch

    if command == "run":
        config = _run_config(options)
        return commands.dry_run(config) if options["dry_run"] else commands.run_and_report(config)
    if command == "list":
        return commands.list_things(**options)
    return getattr(commands, command.replace("-", "_"))(**options)


def _run_config(options: dict[str, Any]) -> RunConfig:
    given = {name: value for name, value in options.items() if value is not None and name in OPTIONS}
    from_file: dict[str, Any] = read_toml(options["config"]) if options["config"] else {}
    if isinstance(from_file.get("encoder"), list | str):
        encoders = from_file.pop("encoder")
        from_file["encoders"] = [encoders] if isinstance(encoders, str) else encoders
    return make_config({**from_file, **given})


def _browse(store: Path, port: int | None) -> list[str]:
    """Serve the app until it is closed."""
    server = () if port is None else ("--server.port", str(port))
    status = subprocess.run(app_command(store, *server), check=False).returncode  # noqa: S603
    if status:
        raise ConfigError(f"The app ended with status {status}; its last lines say why.")
    return []


def _show_built_demo(store: Path, *, open: bool, n_workers: int) -> bool:
    """Whether the demo is built already; then say where, and with `open` stay with the app until it is closed."""
    from precompute import demo

    if not demo.is_built(demo.demo_config(store, n_workers=n_workers)):
        return False
    sys.stdout.write(f"The demo is in {store}. Browse it with:\n  {browse_command(store)}\n")
    sys.stdout.flush()
    with demo.opened_app(store, is_wanted=open) as app:
        app.open()
        app.wait()
    return True


def _fail(error: ExplorerError, code: int) -> int:
    sys.stderr.write(f"error: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
