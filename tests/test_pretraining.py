"""Pretraining of the demo's encoders: teachers, masks, objectives, the loop, and what is written."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.audio import Waveform
from explorer.encoders import MARKER, find_checkpoint, load_encoder
from precompute.pretraining import objectives, recipes, teachers
from precompute.pretraining.card import verdict
from precompute.pretraining.evaluation import Score, paired
from precompute.pretraining.masking import mixed, patch_mask, span_mask
from precompute.pretraining.objectives import MaskedPatches, MaskedPrediction, network_inputs, patch_loss
from precompute.pretraining.recipes import NAMES, RECORD, Plan, pretrain
from precompute.pretraining.sound import CLIP_S, Voices, voices
from precompute.pretraining.training import Schedule, train

RATE = 16_000


def tone(hz: float, rate: int = RATE, seconds: float = 1.0) -> torch.Tensor:
    times = np.arange(round(seconds * rate)) / rate
    return torch.from_numpy(np.sin(2 * np.pi * hz * times).astype(np.float32))[None]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretraining")


@pytest.fixture(scope="module")
def sound(work: Path) -> Voices:
    return voices(work, n_clips=6, seed=1, sample_rate_hz=RATE, n_workers=1)


def test_voices_are_drawn_once_and_always_the_same(work: Path, sound: Voices):
    assert sound.samples.shape == (6, round(CLIP_S * RATE)) and sound.samples.dtype == np.int16
    again = voices(work / "again", n_clips=6, seed=1, sample_rate_hz=RATE, n_workers=1)
    np.testing.assert_array_equal(again.samples, sound.samples)
    other = voices(work / "other", n_clips=2, seed=2, sample_rate_hz=RATE, n_workers=1)
    assert not np.array_equal(other.samples, sound.samples[:2])
    crops = sound.crops(np.array([0, 3]), np.array([10, 20]), 100)
    np.testing.assert_allclose(crops[1] * 32767, sound.samples[3, 20:120], atol=1e-2)


def test_teachers_keep_the_networks_time():
    """A click lies in the frame whose centre is nearest: frame i of a network is centred at 320 i + 200 samples."""
    click = torch.zeros(1, RATE)
    click[0, 320 * 20 + 200] = 1.0
    assert teachers.n_frames(RATE) == 49
    for window in (1024, 4096):
        energy = teachers.spectrum(click, window).pow(2).sum(dim=2)[0]
        assert energy.shape == (49,) and int(energy.argmax()) == 20
    assert teachers.mfcc(click, RATE).shape == (1, 49, 39)


@pytest.mark.parametrize(("hz", "pitch_class"), [(440.0, 0), (880.0, 0), (523.25, 3), (659.26, 7)])
def test_chroma_hears_the_pitch_class(hz: float, pitch_class: int):
    bands = teachers.chroma(tone(hz, 24_000), 24_000)[0].mean(dim=0)
    assert int(bands.argmax()) == pitch_class and float(bands.sum()) == pytest.approx(1.0, abs=1e-3)
    cqt = teachers.constant_q(tone(hz, 24_000), 24_000)[0].mean(dim=0)
    assert int(cqt.argmax()) == round(12 * np.log2(hz / teachers.CQT_LOWEST_HZ))


def test_teachers_do_not_hear_the_gain():
    quiet = 0.1 * tone(300.0) + 0.01 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    loud = 4.0 * quiet
    for teacher in (teachers.mfcc, teachers.log_mel, teachers.constant_q, teachers.chroma):
        np.testing.assert_allclose(teacher(quiet, RATE), teacher(loud, RATE), atol=0.15)


def test_clusters_are_those_of_the_features():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = rng.integers(0, 3, (4, 50))
    features = centres[truth] + rng.normal(0, 0.3, (4, 50, 2))
    found = teachers.clustered(iter([features]), fit_on=features.reshape(-1, 2), n_clusters=3, seed=0)
    assert found.shape == (4, 50) and found.dtype == np.int16
    assert {len(set(found[truth == number])) for number in range(3)} == {1}


def test_masks_hide_what_they_should():
    rng = np.random.default_rng(0)
    mask = span_mask(400, 99, rng)
    # A frame stays visible when none of the 10 starts before it was drawn: 0.92 to the 10th.
    assert mask[:, 20:80].mean() == pytest.approx(1 - 0.92**10, abs=0.03)
    assert mask.any(axis=1).all() and not mask.all(axis=1).any()
    patches = patch_mask(50, 160, rng)
    assert set(patches.sum(axis=1)) == {96} and patches[:, 0].any() and not patches[:, 0].all()


def test_mixing_changes_at_most_half_of_some_clips():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, (200, 4000)).astype(np.float32)
    before = samples.copy()
    heard = mixed(samples, rng)
    np.testing.assert_array_equal(samples, before)
    changed = (heard != samples).mean(axis=1)
    assert 0.1 < np.mean(changed > 0) < 0.3
    assert changed.max() <= 0.5


def test_crops_are_normalised_as_the_checkpoint_says(sound: Voices):
    crops = np.random.default_rng(0).normal(0.3, 0.02, (3, 5000)).astype(np.float32)
    heard = network_inputs(masked_prediction(sound).front_end, crops)
    np.testing.assert_allclose(heard.mean(dim=1), 0, atol=1e-5)
    np.testing.assert_allclose(heard.var(dim=1), 1, atol=1e-2)
    as_it_came = network_inputs(masked_prediction(sound, family="wavlm").front_end, crops)
    np.testing.assert_array_equal(as_it_came, crops)


def masked_prediction(sound: Voices, family: str = "hubert") -> MaskedPrediction:
    n_frames = teachers.n_frames(sound.samples.shape[1])
    targets = np.random.default_rng(0).integers(0, 5, (2, len(sound.samples), n_frames)).astype(np.int16)
    return MaskedPrediction(family, sound, targets, seed=0)


def test_the_loss_falls_and_a_stopped_training_goes_on_to_the_same_weights(sound: Voices, tmp_path: Path):
    def small() -> MaskedPatches:
        return MaskedPatches(sound, seed=0)

    schedule = Schedule(12, learning_rate=2e-3)
    whole = small()
    losses = train("whole", whole, whole.loss, schedule, seed=0, state=tmp_path / "whole.pt", save_every=100)
    assert np.mean(losses[-3:]) < 0.9 * losses[0]

    stopped = small()
    seen = []

    def until_seven(rng: np.random.Generator) -> torch.Tensor:
        seen.append(rng)
        if len(seen) > 7:
            raise InterruptedError
        return stopped.loss(rng)

    with pytest.raises(InterruptedError):
        train("stopped", stopped, until_seven, schedule, seed=0, state=tmp_path / "part.pt", save_every=3)
    again = small()
    resumed = train("resumed", again, again.loss, schedule, seed=0, state=tmp_path / "part.pt", save_every=3)
    assert resumed == losses
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_every_teacher_is_asked_at_hidden_and_at_heard_frames(sound: Voices, monkeypatch: pytest.MonkeyPatch):
    def gradients(share: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
        monkeypatch.setattr(objectives, "_HIDDEN_SHARE", share)
        module = masked_prediction(sound)
        module.loss(np.random.default_rng(0)).backward()
        every = [torch.as_tensor(projection.weight.grad) for projection in module.projections]
        return torch.as_tensor(module.network.masked_spec_embed.grad), every

    hidden, of_hidden = gradients(1.0)
    heard, of_heard = gradients(0.0)
    _, of_both = gradients(0.5)
    assert len(of_both) == 2
    for both, one, other in zip(of_both, of_hidden, of_heard, strict=True):
        assert float(one.abs().sum()) > 0 and float(other.abs().sum()) > 0
        torch.testing.assert_close(both, 0.5 * (one + other), rtol=1e-3, atol=1e-6)
    assert float(hidden.abs().sum()) > float(heard.abs().sum()) > 0


def test_patches_are_painted_in_their_own_deviations():
    right = torch.randn(6, 256, generator=torch.Generator().manual_seed(0))
    scaled = right / (right.std(dim=1, keepdim=True) + 0.05)
    painted = scaled - scaled.mean(dim=1, keepdim=True)
    assert float(patch_loss(painted, right)) < 1e-6
    assert float(patch_loss(painted, 3 * right + 7)) < 0.01  # louder, brighter: the same to paint
    assert float(patch_loss(torch.zeros_like(right), right)) == pytest.approx(0.9, abs=0.1)


def test_the_schedule_warms_up_and_ends_at_zero():
    schedule = Schedule(100, learning_rate=1e-3)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] < rates[7] == max(rates) == pytest.approx(1e-3)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize("name", ["hubert", "ast"])
def test_an_encoder_is_trained_written_and_loaded(name: str, tmp_path: Path):
    folder = pretrain(name, tmp_path / "work", tmp_path / "out", Plan(n_clips=8, n_steps=2))
    record = json.loads((folder / RECORD).read_text())
    assert record["plan"]["seed"] == 0
    assert [item["n_steps"] for item in record["rounds"]] == ([1, 2] if name == "hubert" else [2])
    checkpoint = find_checkpoint(f"{name}={folder}")
    assert checkpoint.is_trained and "not the published" in checkpoint.note
    assert "(small)" in checkpoint.spec.display_name and "LICENSE" in checkpoint.spec.licence
    encoder = load_encoder(f"{name}={folder}", device="cpu")
    wave = Waveform(tone(220.0, seconds=2.0)[0].numpy(), RATE)
    states = encoder.pooled_states([wave], (0, 6))
    assert states[6].shape == (1, 128) and np.isfinite(states[6]).all()
    assert len((folder / "model.safetensors").read_bytes()) < 25e6 / 4


def test_no_planted_parameter_is_read_in_training():
    """Of all that sings, training imports a voice's samples and their rate; only evaluation reads technique, to score.

    Of the rest of precompute it takes nothing that reads a corpus.
    """
    folder = Path(recipes.__file__).parent
    allowed = {
        "precompute.datasets.singing.free": {"free_clip"},
        "precompute.datasets.singing.voice": {"RATE_HZ"},
        "precompute.datasets.singing.workers": {"mapped"},
        "precompute.artefacts": {"key_of"},
        "precompute.reporting": {"clock"},
        "precompute.checkpoint_folder": {"geometry", "preprocessor_of", "save_checkpoint", "write_json"},
    }
    for name in ("sound", "teachers", "masking", "objectives", "training", "recipes", "kept"):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
            module = str(node.module) if isinstance(node, ast.ImportFrom) else "".join(names)
            if module.startswith("precompute") and not module.startswith("precompute.pretraining"):
                assert names <= allowed.get(module, set()), (name, module, names)


def test_unfinished_work_of_another_plan_is_not_gone_on_with(tmp_path: Path):
    """A plan of other steps and seeds starts anew: the same weights as in a folder of its own."""
    pretrain("ast", tmp_path / "work", tmp_path / "first", Plan(n_clips=8, n_steps=2))
    changed = Plan(n_clips=8, n_steps=3, seed=4)
    for work in ("work", "fresh"):
        pretrain("ast", tmp_path / work, tmp_path / f"from-{work}", changed)
    weights = [(tmp_path / f"from-{work}" / "ast" / "model.safetensors").read_bytes() for work in ("work", "fresh")]
    assert weights[0] == weights[1]
    assert weights[0] != (tmp_path / "first" / "ast" / "model.safetensors").read_bytes()


def test_a_difference_is_paired_by_singer():
    singers = [f"s{number}" for number in range(12)]
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.2, 0.9, 12)
    one = Score(0.5, 0.6, dict(zip(singers, hard + 0.1 + rng.normal(0, 0.01, 12), strict=True)))
    other = Score(0.5, 0.5, dict(zip(singers, hard, strict=True)))
    difference = paired(one, other)
    assert difference.mean == pytest.approx(0.1, abs=0.01)
    assert 0.09 < difference.low < difference.mean < difference.high < 0.115


def test_the_card_says_when_a_criterion_does_not_hold():
    held = {"against_untrained": {"mean": 0.12}, "against_log_mel": {"low": 0.01}}
    failed = {"against_untrained": {"mean": 0.08}, "against_log_mel": {"low": -0.01}}
    assert "does not" not in verdict("hubert", held)
    assert verdict("hubert", failed).count("does not beat") == 2


def test_the_shipped_encoders_are_whole_small_and_say_what_they_are():
    from precompute.demo import ENCODERS

    total = 0
    for name in NAMES:
        checkpoint = find_checkpoint(f"{name}={ENCODERS / name}")
        assert checkpoint.is_trained and "not the published" in checkpoint.note and checkpoint.n_layers >= 6
        marker = json.loads((ENCODERS / name / MARKER).read_text())
        assert tuple(marker["teacher_carries"]) == teachers.CARRIED.get(name, ())
        total += sum(path.stat().st_size for path in (ENCODERS / name).iterdir())
    assert total < 25e6
    card = (ENCODERS / "MODEL_CARD.md").read_text()
    assert "not the published checkpoints" in card and "log-mel" in card
