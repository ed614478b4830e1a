"""The command line: `python -m precompute run|demo|generate|status|verify|publish|list`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.errors import ConfigError, ExplorerError, StoreBusyError
from precompute.config import DATASETS, PRESETS, make_config, read_toml
from precompute.memory import keep_freed_memory

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BUSY, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """\
examples:
  python -m precompute run --dataset vocalset --root ~/VocalSet --store ~/stores/vocalset --encoder mert
  python -m precompute run --dataset folder --root ~/recordings --store ~/stores/mine --encoder ast --preset quick
  python -m precompute run --dataset folder --root ~/rec --store ~/stores/mine --encoder hubert=/models/hubert --dry-run
  python -m precompute run --config vocalset.toml

Stop a run at any moment; the same command goes on where it stopped. Then browse:
  streamlit run app.py -- --store ~/stores/vocalset

exit codes: 0 done; 1 failed, with the reason in the last line; 2 wrong options; 3 another run is at work in the store;
130 stopped with Ctrl-C.
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
    _add_generate(commands.add_parser("generate", help="write generated singing with known truth, as VocalSet lies"))
    demo.add_argument("--open", action="store_true", help="open the app as soon as there is something to see")
    for name, text in (
        ("status", "what the store holds and whether a run is at work"),
        ("verify", "check every file of the store against its hash, and the tables against each other"),
        ("publish", "write a new generation from the artefacts, without encoders or data set"),
    ):
        commands.add_parser(name, help=text).add_argument(
            "--store", type=Path, required=True, help="folder of the store"
        )
    export = commands.add_parser("export-sae", help="write one SAE as a folder that SAELens opens")
    export.add_argument("--store", type=Path, required=True)
    export.add_argument("--sae", required=True, help="the sae_id")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    listing = commands.add_parser("list", help="the encoders, data sets or presets there are")
    listing.add_argument("what", choices=("encoders", "datasets", "presets"))
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
    parser.add_argument("--config", type=Path, help="TOML file with the same names as these options")
    what = parser.add_argument_group("what to read and where to write")
    what.add_argument("--dataset", choices=DATASETS, help="how the recordings are laid out (see: list datasets)")
    what.add_argument("--root", type=Path, help="folder of the recordings")
    what.add_argument("--store", type=Path, help="folder of the store; made when it is not there")
    what.add_argument("--label", help="metadata column to predict (default: the data set's own)")
    what.add_argument("--group", help="metadata column that never crosses a split, such as singer")
    what.add_argument("--clip-s", type=float, help="longest clip in seconds; longer files are cut (default: 10)")
    models = parser.add_argument_group("models")
    models.add_argument(
        "--encoder",
        dest="encoders",
        action="append",
        metavar="NAME[=HUB_ID[@REVISION]|FOLDER]",
        help="ast, wavlm, hubert, mert, or any name with a hub id or folder of those model types; a commit, tag or "
        "branch after @ pins a hub id; repeatable",
    )
    models.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    models.add_argument("--offline", action="store_true", default=None, help="never ask the hub")
    depth = parser.add_argument_group("how deep to go")
    depth.add_argument("--preset", choices=sorted(PRESETS), help="see: list presets (default: default)")
    depth.add_argument("--layers", help="best2, all, '6,12', or 'ast=6,12;hubert=3,12'")
    depth.add_argument("--sparsities", type=_floats, help="such as 0.75,0.95: the share of features that are silent")
    depth.add_argument(
        "--n-features", type=int, help="features an SAE has (default: 2048 at width 768, else 8/3 x width)"
    )
    depth.add_argument("--seeds", type=_ints, help="such as 0,1,2")
    depth.add_argument("--epochs", type=int)
    depth.add_argument("--frame-cache-gb", type=float, help="disk that pass 1 may use to spare pass 2 (default: 6)")
    depth.add_argument("--n-workers", type=int, help="processes for the parallel stages (default: all cores)")
    how = parser.add_argument_group("how to run")
    how.add_argument(
        "--dry-run", action="store_true", help="say what would be computed, how long and how large; write nothing"
    )
    how.add_argument("--strict", action="store_true", default=None, help="a file that cannot be read is an error")
    how.add_argument("--quiet", action="store_true", help="only warnings and the last lines")


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(item) for item in text.split(","))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(item) for item in text.split(","))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = vars(build_parser().parse_args(arguments))
    command = options.pop("command")
    level = logging.WARNING if options.pop("quiet", False) else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("precompute").setLevel(level)
    keep_freed_memory()
    try:
        if command == "demo" and _show_built_demo(**options):
            return EXIT_OK
        from precompute import commands  # after --help and a finished demo: it imports torch

        if command == "run":
            given = {
                name: value
                for name, value in options.items()
                if value is not None and name not in ("config", "dry_run")
            }
            from_file: dict[str, Any] = read_toml(options["config"]) if options["config"] else {}
            if isinstance(from_file.get("encoder"), list | str):
                encoders = from_file.pop("encoder")
                from_file["encoders"] = [encoders] if isinstance(encoders, str) else encoders
            config = make_config({**from_file, **given})
            lines = commands.dry_run(config) if options["dry_run"] else commands.run_and_report(config)
        elif command == "list":
            lines = commands.list_things(options["what"])
        else:
            lines = getattr(commands, command.replace("-", "_"))(**options)
    except StoreBusyError as error:
        return _fail(error, EXIT_BUSY)
    except ConfigError as error:
        return _fail(error, EXIT_USAGE)
    except ExplorerError as error:
        return _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Finished work is kept; the same command goes on from here.\n")
        return EXIT_INTERRUPTED
    sys.stdout.write("\n".join(lines) + "\n")
    return EXIT_OK


def _show_built_demo(store: Path, *, open: bool) -> bool:
    """Whether the demo is built already; then say where, and with `open` stay with the app until it is closed."""
    from precompute import demo

    if not demo.is_built(demo.demo_config(store)):
        return False
    sys.stdout.write(f"The demo is in {store}. Browse it with:\n  streamlit run app.py -- --store {store}\n")
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
