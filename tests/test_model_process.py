"""explorer/inference: the worker process, and the queue before it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from explorer.audio import SoundBytes, Waveform, load_excerpt
from explorer.encoders import load_encoder
from explorer.errors import AudioError, ExplorerError, ModelProcessError
from explorer.factors import functionals
from explorer.inference.model_process import Ask, ModelProcess, ReaderQueue, Ticket
from explorer.inference.models import Models
from explorer.inference.requests import DecodeRequest, Encoded, EncodeRequest, FactorRequest, FindRequest, WarmRequest
from explorer.pooling import Pooling
from explorer.queries.live import fetch_encoder
from explorer.store import Store

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
SOUND = Waveform((0.1 * RNG.standard_normal(16_000)).astype(np.float32), 16_000)


def request_for(store: Store, sources: Path, name: str = "hubert", device: str = "cpu") -> EncodeRequest:
    rows = store.query("SELECT encoder_id FROM encoders WHERE name = ?", [name])
    place = f"{name}={sources / f'random-{name}'}"
    return EncodeRequest(fetch_encoder(store, str(rows["encoder_id"][0])), (place,), SOUND, (0, 2), Pooling(), device)


def test_the_process_gives_what_the_encoder_gives_and_outlives_errors(store: Store, tiny_sources: Path) -> None:
    process = ModelProcess()
    request = request_for(store, tiny_sources)
    first = process.ask(request)
    own = load_encoder(request.places[0], device="cpu").hidden_states([SOUND], (0, 2))
    for layer in (0, 2):
        states = first.states[layer]
        assert np.allclose(states.values_td, own[layer].values_td[0], atol=1e-5)
        assert np.array_equal(states.times_s, own[layer].times_s[0])
        assert np.allclose(states.pooled_d, states.values_td.mean(axis=0), atol=1e-5)
    assert first.load_s > 0 and first.encode_s > 0 and first.device == "cpu" and not first.note
    pid = process.pid
    with pytest.raises(ExplorerError, match="layer 99"):
        process.ask(EncodeRequest(request.encoder, request.places, SOUND, (99,), Pooling(), "cpu"))
    again = process.ask(request)
    assert again.load_s == 0.0 and process.pid == pid
    assert np.array_equal(process.ask(FactorRequest(SOUND)).raw, functionals(SOUND), equal_nan=True)
    (found,) = process.ask(FindRequest((request.encoder,), request.places))
    assert found.assignment == request.places[0]
    process.stop()
    assert process.pid is None


def test_a_killed_process_fails_the_request_and_starts_again(store: Store, tiny_sources: Path) -> None:
    process = ModelProcess()
    request = request_for(store, tiny_sources)
    process.ask(request)
    assert process.pid is not None
    threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
    with pytest.raises(ModelProcessError, match=r"memory runs out.*try once more"):
        for _ in range(10_000):
            process.ask(request)
    assert len(process.ask(request).states) == 2
    process.stop()


def test_models_leave_by_memory_the_least_recently_used_first(store: Store, tiny_sources: Path) -> None:
    hubert, ast = request_for(store, tiny_sources), request_for(store, tiny_sources, "ast")
    ids = [str(request.encoder["encoder_id"]) for request in (hubert, ast)]
    roomy = Models(1e9)
    roomy.answer(hubert)
    roomy.answer(ast)
    roomy.answer(hubert)
    assert roomy.warm == ids[::-1]
    narrow = Models(1.0)
    narrow.answer(hubert)
    narrow.answer(ast)
    assert narrow.warm == ids[1:]


def test_what_was_warmed_up_is_there_at_once_and_what_is_missing_is_no_error(store: Store, tiny_sources: Path) -> None:
    request, other = request_for(store, tiny_sources), request_for(store, tiny_sources, "ast")
    models = Models(1e9)
    assert models.answer(WarmRequest((request.encoder, other.encoder), request.places, "cpu")) is None
    assert models.warm == [str(request.encoder["encoder_id"])]  # the place of the other is not among them
    first = models.answer(request)
    assert isinstance(first, Encoded) and first.load_s == 0.0


def test_the_worker_starts_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "explorer.inference.worker"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_full_gpu_falls_back_to_the_cpu(store: Store, tiny_sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from explorer.encoders import encoder as module

    plain, tried = module.Encoder.hidden_states, []

    def full_once(self: object, *args: object, **options: object) -> object:
        tried.append(1)
        if len(tried) == 1:
            raise torch.OutOfMemoryError("no memory left on the device")
        return plain(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Encoder, "hidden_states", full_once)
    found = Models(1e9).answer(request_for(store, tiny_sources, device="auto"))
    assert isinstance(found, Encoded)
    assert found.device == "cpu" and "GPU's memory is full" in found.note and len(found.states) == 2


class Busy(ModelProcess):
    """A process whose answers wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)

    def ask(self, request: object) -> object:
        self.gate.acquire()
        if request == "bad":
            raise ExplorerError("refused")
        return request


def test_the_queue_is_fair_and_says_where_one_stands() -> None:
    process = Busy()
    queue = ReaderQueue(process)
    served: list[str] = []

    def work(name: str):
        def run(ask: Ask, ticket: Ticket) -> None:
            ticket.put("answer", ask(name))  # type: ignore[arg-type]
            served.append(name)

        return run

    first = queue.submit("anna", work("a1"))
    while first not in (queue._serving,):
        time.sleep(0.01)
    tickets = [queue.submit(reader, work(name)) for reader, name in (("ben", "b1"), ("cleo", "bad"), ("ben", "b2"))]
    late = queue.submit("anna", work("a2"))
    assert [first.n_before(), tickets[1].n_before(), tickets[2].n_before(), late.n_before()] == [0, 1, 2, 3]
    assert tickets[0].is_done and tickets[0].is_replaced and "newer request" in str(tickets[0].error)
    assert not late.wait("answer", 0.05)
    for _ in range(4):
        process.gate.release()
    assert late.wait("answer", 5) and late.results["answer"] == "a2"
    assert served == ["a1", "b2", "a2"] and str(tickets[1].error) == "refused"


def test_who_asks_much_lets_others_first_and_stops_when_nobody_waits() -> None:
    process = Busy()
    queue = ReaderQueue(process)
    served: list[str] = []
    here = [True]

    def many(ask: Ask, ticket: Ticket) -> None:
        for number in range(3):
            served.append(str(ask(f"many {number}")))  # type: ignore[arg-type]

    def once(ask: Ask, ticket: Ticket) -> None:
        served.append(str(ask("once")))  # type: ignore[arg-type]

    long = queue.submit("anna", many, lets_others_first=True, is_wanted=lambda: here[0])
    while queue._serving is not long:
        time.sleep(0.01)
    short = queue.submit("ben", once)
    for _ in range(2):
        process.gate.release()
    assert short.wait("never", 5) and short.is_done and served == ["many 0", "once"]
    here[0] = False
    process.gate.release()
    assert long.wait("never", 5) and long.is_done
    assert served == ["many 0", "once", "many 1"] and "has been closed" in str(long.error)


def test_a_newer_request_ends_the_one_being_served() -> None:
    process = Busy()
    queue = ReaderQueue(process)

    def two(ask: Ask, ticket: Ticket) -> None:
        ask("first")  # type: ignore[arg-type]
        ask("second")  # type: ignore[arg-type]

    old = queue.submit("anna", two)
    while queue._serving is not old:
        time.sleep(0.01)
    new = queue.submit("anna", two)
    for _ in range(3):
        process.gate.release()
    assert new.wait("never", 5) and new.error is None
    assert old.is_replaced and "has been closed" in str(old.error)


def test_a_process_that_gives_no_reply_is_ended() -> None:
    process = ModelProcess((sys.executable, "-c", "import time; time.sleep(60)"), limit_s=0.5)
    with pytest.raises(ModelProcessError, match=r"gave no reply for 0\.5 s"):
        process.ask(FactorRequest(SOUND))
    assert process.pid is None


def test_nothing_holds_a_sound_once_it_is_read() -> None:
    process = Busy()
    queue = ReaderQueue(process)

    class Sound:
        pass

    sound = Sound()
    gone = weakref.ref(sound)

    def work(ask: Ask, ticket: Ticket, kept: Sound = sound) -> None:
        ask("a")  # type: ignore[arg-type]

    ticket = queue.submit("anna", work)
    process.gate.release()
    assert ticket.wait("never", 5) and ticket.is_done
    del sound, work, ticket
    for _ in range(50):
        gc.collect()
        if gone() is None:
            return
        time.sleep(0.1)
    pytest.fail("the queue still holds it")


def test_a_brought_sound_is_decoded_in_a_process_that_may_die(tmp_path: Path) -> None:
    stereo_tc = np.stack([SOUND.samples, -SOUND.samples], axis=1)
    sf.write(tmp_path / "a.flac", stereo_tc, SOUND.sample_rate_hz)
    brought = SoundBytes("a.flac", (tmp_path / "a.flac").read_bytes())
    process = ModelProcess(task="decodes sounds")
    found, own = process.ask(DecodeRequest(brought, 0.25, 0.5)), load_excerpt(brought, start_s=0.25, duration_s=0.5)
    assert np.array_equal(found.wave.samples, own.wave.samples) and found.wave.duration_s == 0.5
    assert (found.whole_s, found.note) == (own.whole_s, own.note) == (1.0, own.note) and "cancel" in found.note
    loaded = Path(f"/proc/{process.pid}/maps")
    if loaded.exists():
        assert "libtorch" not in loaded.read_text()  # decoding needs no models, and waits for none
    with pytest.raises(AudioError, match=r"'broken\.flac'"):
        process.ask(DecodeRequest(SoundBytes("broken.flac", b"fLaC" + bytes(100)), 0.0, 60.0))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSEGV)
    with pytest.raises(ModelProcessError, match=r"process that decodes sounds stopped \(signal 11\)"):
        process.ask(DecodeRequest(brought, 0.0, 1.0))
    assert process.ask(DecodeRequest(brought, 0.0, 1.0)).wave.duration_s == 1.0
    process.stop()
