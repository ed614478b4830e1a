"""Read a sound with the SAEs of a store and print what they hear, as JSON.

python -m explorer.inference FILE --store DIR [--sae ID ...] [--checkpoint NAME=DIR ...]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.audio import load_waveform
from explorer.environment import FULL, check_environment, explained_imports
from explorer.errors import ExplorerError
from explorer.inference.listening import Heard, check_sound, listen, measure, own_encoder, with_predictions
from explorer.inference.nearness import nearness_of
from explorer.measures import are_acoustic
from explorer.queries.corpus import fetch_saes, plain
from explorer.recent import last_store
from explorer.store import Store, open_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 1 with one line on stderr for an error that a person can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m explorer.inference",
        description="Read a sound with the SAEs of a store; prints JSON.",
        epilog="percentile: the share of corpus clips, in %, that activate a feature less. density: the share that "
        "activate it at all, in %. Factors: low, median and high are the corpus's 5th, 50th and 95th percentile; r2 "
        "and is_predicted say what a prediction is worth on unseen groups. column.NAME is the corpus's own number.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="wav, flac, ogg, mp3, opus or aiff (m4a with the extra)"
    )
    parser.add_argument("--store", type=Path, help="default: the last store made here")
    parser.add_argument("--sae", action="append", metavar="ID", help="may be repeated; default: every reference SAE")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=DIR", help="may be repeated")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="where to begin, in seconds")
    parser.add_argument("--length", type=float, metavar="S", help="how much to read, in seconds; default: all")
    parser.add_argument("--no-factors", action="store_true", help="leave openSMILE out")
    parser.add_argument("--top", type=int, default=20, help="features and codes to print for each SAE")
    options = parser.parse_args(arguments)
    try:
        check_environment(FULL)
        with explained_imports(FULL):
            answer = _answer(options)
    except ExplorerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        sys.stdout.write(json.dumps(answer, indent=1, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    folder = options.store or last_store()
    if folder is None:
        raise ExplorerError("No store is named and none was made here: name one with --store DIR.")
    store = open_store(folder)
    wave = load_waveform(options.file, start_s=options.start, duration_s=options.length)
    saes = fetch_saes(store)
    wanted = options.sae or list(saes[saes["is_reference"].astype(bool)]["sae_id"])
    started = time.perf_counter()
    check_sound(wave, options.file.name)
    heard = listen(store, wave, wanted, own_encoder(store, places=options.checkpoint, device=options.device))
    answer: dict[str, Any] = {
        "file": str(options.file),
        "duration_s": round(wave.duration_s, 6),
        "sample_rate_hz": wave.sample_rate_hz,
        "store": str(folder),
        "generation": store.generation,
        "seconds": {"features": round(time.perf_counter() - started, 3)},
        "saes": [_sae(store, one, options.top) for one in heard],
    }
    if not options.no_factors:
        started = time.perf_counter()
        table = measure(store, wave)
        answer["seconds"]["factors"] = round(time.perf_counter() - started, 3)
        columns = ["name", "unit", "value", "reason", "low", "median", "high"]
        answer["factors"] = _records(table.loc[are_acoustic(table), columns])
        for one, printed in zip(heard, answer["saes"], strict=True):
            predicted = with_predictions(table, one)
            printed["predicted_factors"] = _records(
                predicted[predicted["predicted"].notna()][["name", "predicted", "r2", "is_predicted"]]
            )
    store.close()
    return answer


def _sae(store: Store, heard: Heard, top: int) -> dict[str, Any]:
    near = nearness_of(store, heard.sae, heard.code_f)
    clips = near.clips[["clip_id", "title", "group_id", "cosine"]] if len(near.clips) else near.clips
    names = ["feature", "label", "activation", "preactivation", "percentile", "density", "is_dense"]
    probe = heard.probe
    labels = {} if probe is None else dict(zip(probe.classes, probe.probabilities(heard.code_f).tolist(), strict=True))
    return {
        "sae": heard.sae["sae_id"],
        "encoder": heard.sae["encoder_id"],
        "layer": heard.sae["layer"],
        "sparsity": heard.sae["sparsity"],
        "n_active": len(heard.features),
        "features": _records(heard.features[names].head(top)),
        "label_name": None if probe is None else probe.label_name,
        "label_probabilities": labels,
        "nearest_clips": _records(clips),
        "share_of_clips_farther_from_the_others": _plain(near.share_farther),
    }


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows.to_dict("records")]


def _plain(value: Any) -> Any:
    """For JSON: numpy scalars unwrapped, what is missing or not finite as null."""
    value = plain(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
