"""The command line: its words, its exit codes, and what it leaves behind."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from explorer.store import open_store
from explorer.store.lock import LOCK, is_locked
from precompute import commands
from precompute.__main__ import EXIT_BUSY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, main
from precompute.datasets import Skipped
from precompute.lock import locked

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Give a command; get (exit code, what it printed, what it complained)."""

    def given(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return given


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three folders with two noises each, and a file that is no sound."""
    rng = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "in" / "abc"[number % 3] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, rng.normal(0, 0.1, 8000), 16000)
    (tmp_path / "in" / "a" / "broken.wav").write_text("no sound")
    (tmp_path / "in" / "a" / "notes.txt").write_text("no sound either")
    return tmp_path / "in"


def run_words(recordings: Path, store: Path, sources: Path, *more: object) -> list[object]:
    encoder = f"hubert={sources / 'random-hubert'}"
    words: list[object] = ["run", "--dataset", "folder", "--root", recordings, "--store", store, "--encoder", encoder]
    words += ["--preset", "quick", "--sparsities", "0.9", "--epochs", 1, "--layers", "4", "--device", "cpu"]
    return [*words, "--n-workers", 1, "--quiet", *more]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    code, out, _ = say(*run_words(recordings, tmp_path / "store", tiny_sources, "--dry-run"))
    assert code == EXIT_OK
    assert "clips: 6" in out and "SAEs trained: 1" in out and "Nothing was written" in out
    assert "rejected: a/broken.wav" in out
    assert tree(tmp_path) == before


def test_a_dry_run_changes_nothing_in_a_store_that_is_there(
    say: Say, tiny_store: Path, tiny_sources: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    before = tree(copy)
    words = ["run", "--dataset", "synthetic", "--root", tiny_sources / "singing", "--store", copy]
    code, _, _ = say(*words, "--encoder", f"hubert={tiny_sources / 'random-hubert'}", "--dry-run", "--n-workers", 1)
    assert code == EXIT_OK
    assert tree(copy) == before


def test_a_run_names_every_refused_file_and_status_follows_it(
    say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for number in range(25):
        (recordings / "b" / f"bad_{number}.wav").write_text("no sound")
    code, out, err = say(*run_words(recordings, store, tiny_sources))
    assert code == EXIT_OK, err
    assert all(f"rejected: b/bad_{number}.wav" in out for number in range(25))
    assert "not taken: 1 file: .txt is not an extension of audio" in out
    assert "Where the time went" in out and f"--store {store}" in out
    assert len(open_store(store).query("SELECT * FROM skipped_files")) == 27
    code, out, _ = say("status", "--store", store)
    assert code == EXIT_OK
    assert "no run is working" in out and "finished 2" in out and "6 clips, 1 encoder, 1 SAE" in out


def test_refused_files_are_named_and_others_counted() -> None:
    skipped = [Skipped(f"{number}.wav", "damaged", "rejected") for number in range(40)]
    skipped += [Skipped(f"{number}.txt", "no audio", "not audio") for number in range(7)]
    lines = commands.skipped_lines(skipped)
    assert lines[0] == "47 files not taken:"
    assert sum("rejected: " in line for line in lines) == 40
    assert "  not taken: 7 files: no audio" in lines and len(lines) == 43
    assert commands.skipped_lines([]) == []


def test_strict_makes_a_refused_file_an_error(say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path) -> None:
    words = run_words(recordings, tmp_path / "store", tiny_sources, "--strict", "--dry-run")
    code, out, err = say(*words)
    assert (code, out) == (EXIT_FAILED, "")
    assert err.startswith("error: ") and "a/broken.wav" in err and err.count("\n") == 1
    (recordings / "a" / "broken.wav").unlink()
    assert say(*words)[0] == EXIT_OK


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sparsities", "1.5"], "1.5"),
        (["--encoder", "hubert=elsewhere"], "each name once"),
        (["--n-workers", "-2"], "n-workers"),
        (["--seeds", "-1"], "seeds"),
        (["--seeds", "0,0"], "seeds"),
        (["--sparsities", "0.95,0.95"], "sparsities"),
        (["--device", "gpu"], "no device 'gpu'"),
        (["--layers", "99"], "no layer 99"),
        (["--layers", "deep"], "'deep' is not best2"),
        (["--layers", "none"], "'none' is not best2"),
        (["--layers", "hubrt=1"], "Did you mean hubert"),
        (["--device", "cuda:99"], "cuda"),
        (["--sparsities", "0.9,0.9001"], "both mean k = 13"),
        (["--sparsities", "0.999"], "k = 0"),
        (["--n-features", "4"], "8 to 65536"),
    ],
)
def test_a_value_that_is_not_allowed_is_a_usage_error(
    say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    code, _, err = say(*run_words(recordings, tmp_path / "store", tiny_sources, *words))
    assert code == EXIT_USAGE and says in err and err.count("\n") == 1
    assert not (tmp_path / "store").exists()  # told before a recording was read


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ("hubrt", "Did you mean hubert?"),
        ("mine=/nowhere/at/all", "no folder with a checkpoint"),
        ("mine={empty}", "holds no config.json"),
        ("mine={strange}", "model_type 'bert'"),
        ("mine=nobody/of-this-name", "offline was asked for"),
        ("hubert", "offline was asked for"),
    ],
)
def test_an_encoder_that_is_none_is_told_before_anything_is_read(
    say: Say, recordings: Path, tmp_path: Path, encoder: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    places = {"empty": tmp_path / "empty", "strange": tmp_path / "strange"}
    for place in places.values():
        place.mkdir()
    (places["strange"] / "config.json").write_text('{"model_type": "bert"}')
    words = ["run", "--dataset", "folder", "--root", recordings, "--store", tmp_path / "store", "--offline"]
    code, _, err = say(*words, "--encoder", encoder.format(**places))
    assert code == EXIT_FAILED and says in err and err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_wrong_name_is_told_before_missing_recordings(say: Say, tiny_sources: Path, tmp_path: Path) -> None:
    gone = run_words(tmp_path / "gone", tmp_path / "store", tiny_sources)
    assert "'hubrt'" in say(*gone, "--encoder", "hubrt")[2]
    assert "no layer 9" in say(*gone, "--layers", "9")[2]
    code, _, err = say(*gone)
    assert code == EXIT_FAILED and "is not there" in err and not (tmp_path / "store").exists()


@pytest.mark.parametrize("words", [["run", "--epochs", "many"], ["walk"], [], ["status"], ["list", "colours"]])
def test_words_that_are_none_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == EXIT_USAGE


def test_a_second_run_leaves_with_its_own_code(say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "store"):
        code, _, err = say(*run_words(recordings, tmp_path / "store", tiny_sources))
    assert code == EXIT_BUSY and "is running" in err


def test_ctrl_c_has_its_own_code(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

    def stopped(**_: object) -> list[str]:
        signal.raise_signal(next(numbers))
        return []

    monkeypatch.setattr(commands, "list_things", stopped)
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    at_start = {number: signal.signal(number, handler) for number, handler in usual.items()}  # nohup and & ignore some
    before = signal.getsignal(signal.SIGTERM)
    for expected in (EXIT_INTERRUPTED, 143, 129):
        code, _, err = say("list", "presets")
        assert code == expected and "goes on from here" in err and err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == before
    for number, handler in at_start.items():
        signal.signal(number, handler)


def test_the_store_is_no_place_for_its_own_recordings(
    say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path
) -> None:
    inside = tmp_path / "store" / "artefacts" / "in"
    shutil.copytree(recordings, inside)
    for root, store, says in (
        (recordings, recordings, "the same folder"),
        (recordings, recordings / "b" / "..", "the same folder"),
        (inside, tmp_path / "store", "keeps its own files"),
        (recordings, recordings / "b", "is no store yet and holds '1.wav'"),
    ):
        before = tree(tmp_path)
        for more in ((), ("--dry-run",)):
            code, _, err = say(*run_words(root, store, tiny_sources, *more))
            assert code == EXIT_USAGE and says in err
        assert tree(tmp_path) == before
    new = run_words(recordings, recordings / "store", tiny_sources, "--dry-run")
    assert say(*new)[0] == EXIT_OK


def test_status_before_while_and_after_the_first_run(say: Say, tmp_path: Path, tiny_store: Path) -> None:
    code, _, err = say("status", "--store", tmp_path / "none")
    assert code == EXIT_FAILED and "There is no store" in err
    assert not (tmp_path / "none").exists()
    store = tmp_path / "store"
    with locked(store):
        code, out, _ = say("status", "--store", store)
        assert code == EXIT_OK
        assert "a run is working" in out and "nothing is published yet" in out
    (store / "artefacts").mkdir()
    code, out, _ = say("status", "--store", store)
    assert code == EXIT_OK and "no run is working" in out and "same run once more" in out
    code, out, _ = say("status", "--store", tiny_store)
    assert code == EXIT_OK and "generation" in out and "80 clips, 2 encoders" in out


def test_looking_at_the_lock_changes_nothing_and_stops_nobody(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        holder = (tmp_path / LOCK).read_text()
        assert is_locked(tmp_path)
        assert (tmp_path / LOCK).read_text() == holder
    assert not is_locked(tmp_path)


def test_verify_finds_a_damaged_file_and_a_missing_one(say: Say, tiny_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    code, out, _ = say("verify", "--store", copy)
    assert code == EXIT_OK and "all as published" in out
    damaged, missing = next((copy / "files").glob("sae-*")), next((copy / "files").glob("preview-*"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    missing.unlink()
    code, _, err = say("verify", "--store", copy)
    assert code == EXIT_FAILED
    assert f"files/{damaged.name} is not what was published" in err and f"files/{missing.name} is missing" in err
    assert "precompute publish" in err
    assert say("publish", "--store", copy)[0] == EXIT_OK
    assert say("verify", "--store", copy)[0] == EXIT_OK


def test_list_says_what_there_is(say: Say) -> None:
    for what, words in (
        ("encoders", ("ast", "wavlm", "hubert", "mert", "CC-BY-NC")),
        ("datasets", ("vocalset", "esc50", "folder")),
        ("presets", ("quick", "default", "rigorous", "paper")),
    ):
        code, out, _ = say("list", what)
        assert code == EXIT_OK and all(word in out for word in words)


def test_one_sae_is_written_for_saelens(say: Say, tiny_store: Path, tmp_path: Path) -> None:
    sae_id = open_store(tiny_store).query("SELECT sae_id FROM saes LIMIT 1")["sae_id"].iloc[0]
    code, _, _ = say("export-sae", "--store", tiny_store, "--sae", sae_id, "--out", tmp_path / "out")
    assert code == EXIT_OK
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cfg.json", "sae_weights.safetensors", "usual_frames.safetensors", "README.md"
    }  # fmt: skip
    code, _, err = say("export-sae", "--store", tiny_store, "--sae", "nothing", "--out", tmp_path / "out")
    assert code == EXIT_FAILED and "no SAE 'nothing'" in err


def test_a_generated_corpus_is_written_and_its_options_are_checked(say: Say, tmp_path: Path) -> None:
    words = ["generate", "--root", tmp_path / "sung", "--singers", "2", "--vowels", "1", "--exercises", "scales"]
    code, out, _ = say(*words, "--n-workers", "1")
    assert code == EXIT_OK and "20 clips of 2 singers" in out and "--dataset synthetic" in out
    assert len(list((tmp_path / "sung").rglob("*.wav"))) == 20
    code, _, err = say("generate", "--root", tmp_path / "other", "--part", "vocalset-shaped", "--vowels", "2")
    assert code == EXIT_USAGE and "VocalSet's own cells" in err
    code, _, err = say("generate", "--root", tmp_path / "other", "--singers", "40")
    assert code == EXIT_USAGE and "give 2 to 20" in err


def test_a_config_file_takes_the_same_names_and_options_win(
    say: Say, recordings: Path, tiny_sources: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        f'dataset = "folder"\nroot = "{recordings}"\nstore = "{tmp_path / "store"}"\nsparsities = [0.9]\n'
        f'encoder = "hubert={tiny_sources / "random-hubert"}"\npreset = "quick"\nlayers = "4"\nn-workers = 1\n'
    )
    code, out, _ = say("run", "--config", path, "--dry-run", "--layers", "2,4", "--device", "cpu")
    assert code == EXIT_OK and "SAEs trained: 2" in out
    path.write_text(path.read_text() + "colour = 1\n")
    code, _, err = say("run", "--config", path, "--dry-run")
    assert code == EXIT_USAGE and "colour" in err
