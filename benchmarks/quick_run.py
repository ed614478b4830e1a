"""How much a `quick` run costs beyond what it cannot avoid: one encoder pass and openSMILE.

    python -m benchmarks.quick_run [--clips 300] [--seconds 5] [--size base] [--keep DIR]

Both sides run on the same generated clips: a bare loop over transformers' own HubertModel (all hidden states, one clip
at a time, decoded and resampled by Sonoscope) and openSMILE's functionals in as many processes as the run uses; then
`python -m precompute run --preset quick`; then the bare side once more, since machines change their speed. Prints the
ratio of the run to the mean of both bare sides, the ratio to each, and the limit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from transformers import HubertModel

from explorer.audio import load_waveform
from explorer.factors import functionals_of_clip
from precompute.random_checkpoints import write_random_checkpoint

RATE_HZ = 16_000
LIMIT = 1.15
N_GROUPS, LABELS = 12, ("low", "middle", "high")


def write_clips(folder: Path, n_clips: int, seconds: float) -> list[Path]:
    """Harmonic tones in noise with a metadata.csv (file, label, group): content is of no matter to the timing."""
    rng = np.random.default_rng(0)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rows = ["file,label,group"]
    paths = []
    for number in range(n_clips):
        f0_hz = 110 * 2 ** rng.uniform(0, 2)
        phase = 2 * np.pi * f0_hz * times + 3 * np.sin(2 * np.pi * rng.uniform(4, 7) * times)
        tone = sum(np.sin(k * phase) / k for k in range(1, 15))
        samples = 0.05 * tone + 0.01 * rng.normal(size=len(times))
        path = folder / f"{number:04d}.wav"
        sf.write(path, samples.astype(np.float32), RATE_HZ)
        rows.append(f"{path.name},{LABELS[int(np.log2(f0_hz / 110) * 1.5)]},{number % N_GROUPS}")
        paths.append(path)
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return paths


def bare_encoder_s(paths: list[Path], checkpoint: Path) -> float:
    """Seconds of one pass of transformers' own class over the clips."""
    started = time.perf_counter()
    model = HubertModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        for path in paths:
            samples = torch.from_numpy(load_waveform(path, sample_rate_hz=RATE_HZ).samples)[None]
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
            states = model(samples, output_hidden_states=True).hidden_states
            _ = [state.mean(dim=1) for state in states]
    return time.perf_counter() - started


def opensmile_s(paths: list[Path], n_workers: int) -> float:
    """Seconds of the functionals of all clips in parallel processes."""
    started = time.perf_counter()
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(functionals_of_clip, paths, chunksize=8))
    return time.perf_counter() - started


def main() -> int:
    """Run both sides and print the ratio. Exit code 1 when it is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", choices=("base", "small"), default="base")
    parser.add_argument("--keep", type=Path, help="folder to work in and keep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        audio, checkpoint = folder / "audio", folder / "hubert"
        audio.mkdir(parents=True, exist_ok=True)
        paths = write_clips(audio, options.clips, options.seconds)
        if not (checkpoint / "config.json").is_file():
            write_random_checkpoint("hubert", checkpoint, size=options.size, seed=0)
        n_workers = torch.get_num_threads()
        before_s = bare_s(paths, checkpoint, n_workers)
        command = [sys.executable, "-m", "precompute", "run", "--dataset", "folder", "--root", str(audio)]
        command += ["--store", str(folder / "store"), "--encoder", f"hubert={checkpoint}", "--preset", "quick"]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        run_s = time.perf_counter() - started
        after_s = bare_s(paths, checkpoint, n_workers)
    ratio = 2 * run_s / (before_s + after_s)
    print(f"quick run {run_s:.1f} s; ratio {ratio:.3f} (limit {LIMIT})")
    print(f"against the bare side before {run_s / before_s:.3f}, after {run_s / after_s:.3f}")
    return int(ratio > LIMIT)


def bare_s(paths: list[Path], checkpoint: Path, n_workers: int) -> float:
    """Seconds of the bare side: one encoder pass and openSMILE."""
    encoder_s, smile_s = bare_encoder_s(paths, checkpoint), opensmile_s(paths, n_workers)
    print(f"bare encoder pass {encoder_s:.1f} s, openSMILE {smile_s:.1f} s", flush=True)
    return encoder_s + smile_s


if __name__ == "__main__":
    sys.exit(main())
