"""precompute/hidden_states: shards in order, whole, and the same however many workers encode them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from explorer.audio import load_waveform
from explorer.encoders import Encoder, load_encoder
from explorer.errors import AudioError
from precompute.artefacts import Artefacts
from precompute.giant_frames import Usual
from precompute.hidden_states import (
    FRAMES_STAGE,
    POOLED_STAGE,
    ShardTask,
    encode_shards,
    frames_key,
    load_frames,
    load_pooled,
    pooled_key,
    usual_frames,
)
from precompute.random_checkpoints import write_random_checkpoint
from precompute.shards import ClipSource, Shard, make_shards

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = write_random_checkpoint("hubert", tmp_path_factory.mktemp("hubert") / "hubert", size="small", seed=3)
    return load_encoder(f"hubert={folder}", device="cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Shard]:
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    clips = []
    for index in range(7):
        path = folder / f"{index}.wav"
        sf.write(path, rng.normal(0, 0.1, round((0.3 + 0.2 * (index % 3)) * RATE_HZ)), RATE_HZ)
        clips.append(ClipSource(index, f"{index:012x}", path, 0.0, sf.info(path).duration))
    return make_shards(clips, 3)


def encode(folder: Path, encoder: Encoder, shards: list[Shard], n_workers: int) -> tuple[Artefacts, list[float]]:
    layers = tuple(range(encoder.n_layers + 1))
    artefacts = Artefacts(folder)
    seconds: list[float] = []
    usual = Usual(
        usual_frames(encoder, shards[0].clips, n_workers=1, n_clips=7, first_window=False, on_clip=lambda _: None),
        "usual",
    )
    encode_shards(
        artefacts,
        encoder,
        [ShardTask(shard, layers, (1, 3), usual) for shard in shards],
        all_tokens=False,
        n_workers=n_workers,
        n_clips=7,
        on_clip=seconds.append,
        on_kept=lambda shard: None,
        states_name=encoder.fingerprint,
    )
    return artefacts, seconds


def test_any_number_of_workers_gives_every_clip_in_its_place(
    encoder: Encoder, shards: list[Shard], tmp_path: Path
) -> None:
    clips = [clip for shard in shards for clip in shard.clips]
    expected = [encoder.hidden_states([load_waveform(clip.path)], range(encoder.n_layers + 1)) for clip in clips]
    for n_workers in (1, 2, 5):
        artefacts, seconds = encode(tmp_path / str(n_workers), encoder, shards, n_workers)
        assert seconds == [clip.duration_s for clip in clips]
        pooled_cld = load_pooled(artefacts, encoder.fingerprint, shards, all_tokens=False)
        for row, states in enumerate(expected):
            for layer, of_layer in states.items():
                np.testing.assert_allclose(pooled_cld[row, layer], of_layer.pooled()[0], rtol=1e-4, atol=1e-6)
        frames = [item for shard in shards for item in load_frames(artefacts, encoder.fingerprint, shard, 3)]
        for item, states in zip(frames, expected, strict=True):
            np.testing.assert_allclose(item.values_td, states[3].values_td[0], atol=2e-3)
            np.testing.assert_allclose(item.values_td.mean(axis=0), states[3].pooled()[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(item.times_s, states[3].times_s[0])


def test_what_was_whole_before_an_error_is_kept_and_the_open_shard_is_not(
    encoder: Encoder, shards: list[Shard], tmp_path: Path
) -> None:
    gone = shards[2].clips[0]
    broken = ClipSource(gone.clip_index, gone.clip_id, gone.path.with_name("gone.wav"), 0.0, 0.5)
    with pytest.raises(AudioError, match=r"gone\.wav"):
        encode(tmp_path, encoder, [*shards[:2], Shard((broken,))], 2)
    artefacts = Artefacts(tmp_path)
    kept = [
        artefacts.find(POOLED_STAGE, pooled_key(encoder.fingerprint, shard, all_tokens=False)) is not None
        and artefacts.find(FRAMES_STAGE, frames_key(encoder.fingerprint, shard, 3)) is not None
        for shard in shards
    ]
    assert kept == [True, True, False]
