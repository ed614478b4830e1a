"""AST's filter banks without torchaudio, and transformers where torchaudio is absent or does not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.audio import Waveform
from explorer.encoders import hide_broken_torchaudio, load_encoder
from explorer.encoders.filter_banks import kaldi_filter_banks
from precompute.pretraining.mel import cosines, differences, mel_bank
from precompute.random_checkpoints import write_random_checkpoint

ROOT = Path(__file__).resolve().parent.parent
needs_torchaudio = pytest.mark.skipif(not hide_broken_torchaudio(), reason="torchaudio does not load here")


def sound(rate_hz: int) -> np.ndarray:
    """Noise, a loud tone, a silence and a very quiet end: levels where float32 shows."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.normal(size=2 * rate_hz)
    samples[rate_hz // 2 : rate_hz] += 0.8 * np.sin(np.arange(rate_hz - rate_hz // 2) * 0.1)
    samples[rate_hz : rate_hz + rate_hz // 4] = 0
    samples[-rate_hz // 4 :] *= 1e-4
    return samples.astype(np.float32)


@needs_torchaudio
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100])
def test_the_filter_banks_are_torchaudios(rate_hz: int) -> None:
    from torchaudio.compliance.kaldi import fbank

    samples = torch.from_numpy(sound(rate_hz))
    expected = fbank(samples[None], sample_frequency=rate_hz, window_type="hanning", num_mel_bins=128)
    found = kaldi_filter_banks(samples, rate_hz, 128)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert len(found) == 1 + (len(samples) - rate_hz // 40) // (rate_hz // 100)


def test_the_filter_banks_are_those_of_the_numpy_way_of_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    samples = sound(16_000)[:16_000]  # not the silence: the logarithm of rounding errors
    bank = mel_filter_bank(257, 128, 20, 8_000, 16_000, None, "kaldi", triangularize_in_mel_space=True)
    expected = spectrogram(
        samples, window_function(400, "hann", periodic=False), 400, 160, 512, power=2.0, center=False, preemphasis=0.97,
        mel_filters=bank, log_mel="log", mel_floor=1.192092955078125e-07, remove_dc_offset=True,
    ).T  # fmt: skip
    found = kaldi_filter_banks(torch.from_numpy(samples), 16_000, 128).numpy()
    difference = np.abs(found - expected)
    assert np.quantile(difference, 0.999) < 1e-4
    assert difference.max() < 5e-3  # it squares in float64; a band of one bin shows that


@needs_torchaudio
def test_the_teachers_mel_bands_cosines_and_differences_are_torchaudios() -> None:
    from torchaudio.functional import compute_deltas, create_dct, melscale_fbanks

    for rate_hz in (16_000, 24_000):
        theirs = melscale_fbanks(513, 40.0, rate_hz / 2, 40, rate_hz, norm="slaney")
        torch.testing.assert_close(mel_bank(513, 40.0, 40, rate_hz, equal_areas=True), theirs)
    theirs = melscale_fbanks(257, 0.0, 8_000.0, 64, 16_000)
    torch.testing.assert_close(mel_bank(257, 0.0, 64, 16_000, equal_areas=False), theirs)
    torch.testing.assert_close(cosines(13, 40), create_dct(13, 40, norm="ortho"))
    values = torch.randn(3, 7, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(differences(values), compute_deltas(values))


ENCODE = """
    import json, sys, threading
    import numpy as np
    PREPARE
    from explorer.audio import Waveform
    from explorer.encoders import load_encoder

    found = []

    def load():
        encoder = load_encoder("ast=" + sys.argv[1], device="cpu")
        samples = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
        found.append(encoder.pooled_states([Waveform(samples, 16_000)], [4])[4][0].tolist())

    threads = [threading.Thread(target=load) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    from transformers import ASTFeatureExtractor, pipeline
    from transformers.utils import is_torchaudio_available
    left = [name for name, module in sys.modules.items() if name.startswith("torchaudio") and module is not None]
    print(json.dumps([found, is_torchaudio_available(), left]))
"""
FAULTS = {
    "another release": "from . import _extension\nraise OSError('libtorchaudio.so: undefined symbol: torch_exception')",
    "an import error": "import torchaudio._extension\nraise ImportError('libc10_cuda.so: cannot open the file')",
    "another CUDA": "from . import _extension\nraise RuntimeError('compiled with different CUDA versions')",
}


@pytest.fixture(scope="module")
def small_ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint("ast", tmp_path_factory.mktemp("checkpoint") / "ast", size="small")


@pytest.mark.parametrize("state", ["absent", "transformers was there before", *FAULTS])
def test_ast_encodes_the_same_without_torchaudio(small_ast: Path, tmp_path: Path, state: str) -> None:
    """In a process of its own, from two threads: with a package that does not load, or with none."""
    prepare = "sys.modules['torchaudio'] = None" if state == "absent" else ""
    if state != "absent":
        package = tmp_path / "torchaudio"
        package.mkdir()
        (package / "__init__.py").write_text(FAULTS.get(state, FAULTS["another release"]) + "\n")
        (package / "_extension.py").write_text("")
    if state == "transformers was there before":
        prepare = "from transformers.utils import is_speech_available; assert is_speech_available()"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ENCODE).replace("PREPARE", prepare), str(small_ast)],
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, is_available, left = json.loads(done.stdout.splitlines()[-1])
    samples = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    here = load_encoder(f"ast={small_ast}", device="cpu").pooled_states([Waveform(samples, 16_000)], [4])[4][0]
    assert len(found) == 2 and (is_available, left) == (False, [])
    for states in found:
        np.testing.assert_allclose(states, here, rtol=1e-5, atol=1e-6)
