"""How much reading a sound on the page Live costs beyond what it cannot avoid: one truncated pass and openSMILE.

    python -m benchmarks.live [--seconds 5] [--layer 6] [--repeats 9] [--device auto] [--keep DIR]

A quick store is made from generated tones with an untrained HuBERT of the published geometry. Then, warm and in turn:
transformers' own HubertModel, cut at the SAE's layer, on one sound, and openSMILE's functionals of it; and the same
sound through the queue, the worker process and everything that the page's numbers are made of. Prints the medians,
their ratio beside its limit, and when the features are there. Exit code 1 when the limit is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import HubertModel

from benchmarks.quick_run import write_clips
from explorer.audio import Waveform, load_waveform
from explorer.factors import functionals
from explorer.inference import beside_corpus, encode_by, listen, with_predictions
from explorer.inference.model_process import Ask, ModelProcess, ReaderQueue, Ticket
from explorer.inference.requests import FactorRequest, WarmRequest
from explorer.queries.corpus import fetch_saes
from explorer.queries.live import fetch_encoder
from explorer.queries.nearness import fetch_nearest_clips
from explorer.store import Store, open_store
from precompute.random_checkpoints import write_random_checkpoint

LIMIT, N_CLIPS = 1.3, 24
GPU_LIMIT_S = 0.150


def make_store(folder: Path, layer: int, seconds: float) -> tuple[Path, Path, Path]:
    """A quick store, its checkpoint, and one of its recordings; made once in `folder`."""
    sources, checkpoint, store = folder / "clips", folder / "hubert", folder / "store"
    if not (checkpoint / "config.json").is_file():
        write_random_checkpoint("hubert", checkpoint, size="base")
    sources.mkdir(exist_ok=True)
    paths = write_clips(sources, N_CLIPS, seconds)
    command = [
        sys.executable, "-m", "precompute", "run", "--dataset", "folder", "--root", sources, "--store", store,
        "--encoder", f"hubert={checkpoint}", "--preset", "quick", "--layers", str(layer),
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return store, checkpoint, paths[0]


def bare_sides(
    checkpoint: Path, layer: int, wave: Waveform, device: str
) -> tuple[Callable[[], None], Callable[[], None]]:
    """One truncated pass over the sound, and openSMILE's functionals of it."""
    model = HubertModel.from_pretrained(checkpoint).eval().to(device)
    del model.encoder.layers[layer:]
    values = torch.from_numpy((wave.samples - wave.samples.mean()) / wave.samples.std())[None]

    def encode() -> None:
        with torch.inference_mode():
            model(values.to(device)).last_hidden_state.cpu()

    def measure() -> None:
        functionals(wave)

    return encode, measure


def live_side(store: Store, checkpoint: Path, queue: ReaderQueue, wave: Waveform, device: str) -> Callable[[], float]:
    """The sound through the queue; returns when the features were there, in seconds."""
    sae = fetch_saes(store).iloc[0].to_dict()

    def work(ask: Ask, ticket: Ticket) -> None:
        encode = encode_by(ask, (f"hubert={checkpoint}",), device=device)
        (heard,) = listen(store, wave, [str(sae["sae_id"])], encode)
        if heard.probe is not None:
            heard.probe.probabilities(heard.code_f)
        ticket.put("heard", heard)
        fetch_nearest_clips(store, sae, heard.code_f, 4)
        ticket.put("factors", with_predictions(beside_corpus(store, ask(FactorRequest(wave))), heard))

    def read() -> float:
        started = time.perf_counter()
        ticket = queue.submit("benchmark", work)
        ticket.wait("heard", 600)
        features_s = time.perf_counter() - started
        ticket.wait("factors", 600)
        if ticket.error is not None:
            raise ticket.error
        return features_s

    return read


def seconds_of(run: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> int:
    """Measure and print. Exit code 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--layer", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        path, checkpoint, clip = make_store(folder, options.layer, options.seconds)
        store, wave = open_store(path), load_waveform(clip)
        encode, measure = bare_sides(checkpoint, options.layer, wave, device)
        process = ModelProcess()
        row = fetch_encoder(store, str(fetch_saes(store)["encoder_id"].iloc[0]))
        warm_s = seconds_of(lambda: process.ask(WarmRequest((row,), (f"hubert={checkpoint}",), device)))
        read = live_side(store, checkpoint, ReaderQueue(process), wave, device)
        first_s = seconds_of(read)
        print(f"start of the process and loading, when the page opens: {warm_s:.2f} s; first sound: {first_s:.2f} s")
        encode(), measure()
        rows = []
        for _ in range(options.repeats):
            bare = seconds_of(encode), seconds_of(measure)
            started = time.perf_counter()
            features_s = read()
            rows.append((*bare, features_s, time.perf_counter() - started))
        process.stop()
        store.close()
    encode_s, smile_s, features_s, whole_s = np.median(rows, axis=0)
    ratio = float(np.median([whole / (one + two) for one, two, _, whole in rows]))
    print(f"{options.seconds:g} s of sound, layer {options.layer}, {device}, medians of {options.repeats}")
    print(f"  bare: truncated pass {encode_s:.3f} s, openSMILE {smile_s:.3f} s")
    print(f"  Live: features after {features_s:.3f} s, factors after {whole_s:.3f} s")
    print(f"  ratio {ratio:.3f}   limit {LIMIT}{'   MISSED' if ratio > LIMIT else ''}")
    missed = ratio > LIMIT
    if device != "cpu":
        missed |= features_s > GPU_LIMIT_S
        print(f"  features on the GPU {features_s:.3f} s   limit {GPU_LIMIT_S}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
