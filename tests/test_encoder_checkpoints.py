"""explorer/encoders: a checkpoint is loaded whole, by the class of its family, without its code, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertModel, WavLMModel

from explorer.encoders import ENCODERS, MARKER, find_checkpoint, load_encoder, parse_encoder
from explorer.errors import ConfigError, EncoderError
from precompute.random_checkpoints import write_random_checkpoint

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: write_random_checkpoint(name, root / name, size="small") for name in ENCODERS}


@pytest.fixture
def copies(originals: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Checkpoints that a test may damage."""
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in originals.items()}


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, env=clean | environment,
    )  # fmt: skip


def test_each_family_is_loaded_by_its_own_class(originals: dict[str, Path]) -> None:
    classes = {"ast": "ASTModel", "wavlm": "WavLMModel", "hubert": "HubertModel", "mert": "HubertModel"}
    classes["whisper"] = "WhisperEncoder"
    for name, folder in originals.items():
        encoder = load_encoder(f"{name}={folder}", device="cpu")
        assert type(encoder._network).__name__ == classes[name]
        assert not any(module.training for module in encoder._network.modules())
        assert not any(parameter.requires_grad for parameter in encoder._network.parameters())
        assert encoder.family == ENCODERS[name].family and encoder.spec.sample_rate_hz == encoder.sample_rate_hz
        assert (encoder.source, encoder.revision) == (name, None)
        assert encoder.is_trained is False and "random weights" in encoder.note


def test_mert_loads_without_running_its_code(copies: dict[str, Path], tmp_path: Path) -> None:
    folder, trace = copies["mert"], tmp_path / "code-was-run"
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "mert_model" and "auto_map" in config
    for module in ("modeling_MERT.py", "configuration_MERT.py"):
        (folder / module).write_text(f"open({str(trace)!r}, 'w').close()\nraise RuntimeError('code was run')\n")
    encoder = load_encoder(f"mert={folder}", device="cpu")
    assert not trace.exists()
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert "encoder.pos_conv_embed.conv.weight_g" in stored
    direction, size = (stored[f"encoder.pos_conv_embed.conv.weight_{part}"] for part in "vg")
    loaded = encoder._network.encoder.pos_conv_embed.conv.weight
    torch.testing.assert_close(loaded, size * direction / direction.norm(dim=(0, 1), keepdim=True))
    for key in ("encoder.layers.3.attention.q_proj.weight", "feature_projection.projection.bias"):
        assert torch.equal(encoder._network.state_dict()[key], stored[key])


@pytest.mark.parametrize(
    ("key", "value"),
    [("feature_extractor_cqt", True), ("deepnorm", True), ("attention_relax", 32.0), ("do_stable_layer_norm", True)],
)
def test_a_mert_that_is_no_hubert_is_refused(copies: dict[str, Path], key: str, value: object) -> None:
    edit_json(copies["mert"] / "config.json", **{key: value})
    with pytest.raises(EncoderError, match=f"{key}={value!r}"):
        load_encoder(f"mert={copies['mert']}")


def test_missing_and_unexpected_weights_fail_with_their_names(copies: dict[str, Path]) -> None:
    path = copies["hubert"] / "model.safetensors"
    weights = load_file(path)
    gone = "encoder.layers.1.attention.q_proj.weight"
    save_file({key: value for key, value in weights.items() if key != gone}, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=f"lacks weights that the network needs: {gone}"):
        load_encoder(f"hubert={copies['hubert']}")
    save_file(weights | {"encoder.layers.1.gate": torch.ones(2)}, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"no place for: encoder.layers.1.gate\."):
        load_encoder(f"hubert={copies['hubert']}")
    save_file(weights | {gone: torch.ones(3, 5)}, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="hubert"):
        load_encoder(f"hubert={copies['hubert']}")


def test_a_wavlm_in_a_hubert_folder_fails_by_its_position_bias(copies: dict[str, Path]) -> None:
    edit_json(copies["wavlm"] / "config.json", model_type="hubert")
    with pytest.raises(EncoderError, match=r"gru_rel_pos_const.* and \d+ more"):
        load_encoder(f"hubert={copies['wavlm']}")


def test_a_head_is_left_out_and_named_and_what_lies_inside_the_encoder_never(copies: dict[str, Path]) -> None:
    path = copies["ast"] / "model.safetensors"
    weights = load_file(path)
    assert any(name.startswith("classifier.") for name in weights)
    note = load_encoder(f"ast={copies['ast']}", device="cpu").note
    assert "Left out, as no part of the encoder: classifier.dense (2 weights), classifier.layernorm (2" in note
    for inside in ("layers.1.gate", "encoder.layer.1.gate", "embeddings.gate"):
        name = f"audio_spectrogram_transformer.{inside}"
        save_file(weights | {name: torch.ones(2)}, path, metadata={"format": "pt"})
        with pytest.raises(EncoderError, match=r"no place for: [a-z.1]*gate"):
            load_encoder(f"ast={copies['ast']}")


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_a_checkpoint_saved_by_transformers_loads_too(originals: dict[str, Path], tmp_path: Path, name: str) -> None:
    model_class = {"hubert": HubertModel, "wavlm": WavLMModel}[name]
    model_class.from_pretrained(originals[name]).save_pretrained(tmp_path / "saved")
    encoder = load_encoder(f"{name}={tmp_path / 'saved'}", device="cpu")
    mine = load_encoder(f"{name}={originals[name]}", device="cpu")._network.state_dict()
    assert all(torch.equal(value, mine[key]) for key, value in encoder._network.state_dict().items())
    assert encoder.is_trained is None and encoder.preprocessor_sha256 is None
    assert f"the {ENCODERS[name].display_name} defaults are used" in encoder.note


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
        (lambda folder: edit_json(folder / "config.json", model_type="wav2vec2"), "'wav2vec2'; allowed are audio-"),
        (
            lambda folder: edit_json(folder / "config.json", hidden_size=None),
            "hidden_size: null, but allowed is a whole",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 200), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be loaded"),
    ],
)
def test_a_damaged_folder_gives_one_sentence(copies: dict[str, Path], damage, says: str) -> None:
    damage(copies["hubert"])
    with pytest.raises(EncoderError, match=says) as caught:
        load_encoder(f"hubert={copies['hubert']}")
    assert "\n" not in str(caught.value)


def test_damaged_bin_weights_and_a_pickle_that_runs_code_are_refused(copies: dict[str, Path], tmp_path: Path) -> None:
    path, trace = copies["mert"] / "pytorch_model.bin", tmp_path / "code-was-run"
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"mert={copies['mert']}")

    class Runs:
        def __reduce__(self):
            return (Path(trace).touch, ())

    torch.save({"weight": Runs()}, path)
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"mert={copies['mert']}")
    assert not trace.exists()


def test_the_preprocessor_is_read_from_the_checkpoint(copies: dict[str, Path]) -> None:
    folder = copies["hubert"]
    before = find_checkpoint(f"hubert={folder}")
    assert before.preprocessor == {"sampling_rate": 16_000, "do_normalize": True}
    edit_json(folder / "preprocessor_config.json", do_normalize=False, sampling_rate=22_050)
    after = find_checkpoint(f"hubert={folder}")
    assert (after.preprocessor["do_normalize"], after.sample_rate_hz) == (False, 22_050)
    assert after.fingerprint != before.fingerprint and after.weights_sha256 == before.weights_sha256
    assert after.preprocessor_sha256 == hashlib.sha256((folder / "preprocessor_config.json").read_bytes()).hexdigest()
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": values}))
    assert find_checkpoint(f"hubert={folder}").fingerprint == after.fingerprint
    edit_json(copies["ast"] / "preprocessor_config.json", max_length=512)
    with pytest.raises(EncoderError, match="max_length is 512, the network's is 1024"):
        find_checkpoint(f"ast={copies['ast']}")


def test_the_fingerprint_is_of_what_changes_the_numbers(copies: dict[str, Path]) -> None:
    folder = copies["hubert"]
    before = find_checkpoint(f"hubert={folder}")
    assert before.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert before.encoder_id == f"hubert-{before.fingerprint[:8]}"
    edit_json(folder / "config.json", transformers_version="9.9", _name_or_path="elsewhere")
    same = find_checkpoint(f"speech={folder}")
    assert same.fingerprint == before.fingerprint and same.encoder_id == f"speech-{before.fingerprint[:8]}"
    edit_json(folder / "config.json", num_attention_heads=2)
    assert find_checkpoint(f"hubert={folder}").fingerprint != before.fingerprint
    (folder / MARKER).write_text('{"is_trained": true, "note": "ours"}')
    assert find_checkpoint(f"hubert={folder}").is_trained is True


def test_sharded_weights_load_and_a_lost_shard_is_named(originals: dict[str, Path], tmp_path: Path) -> None:
    model = HubertModel.from_pretrained(originals["hubert"])
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    shards = sorted(path.name for path in tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    encoder = load_encoder(f"hubert={tmp_path}", device="cpu")
    expected = load_encoder(f"hubert={originals['hubert']}", device="cpu")._network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in encoder._network.state_dict().items())
    (tmp_path / shards[1]).unlink()
    with pytest.raises(EncoderError, match=f"lacks the weights {shards[1]}"):
        find_checkpoint(f"hubert={tmp_path}")


def test_names_and_places(originals: dict[str, Path]) -> None:
    choice = parse_encoder("mert")
    assert (choice.hub_id, choice.revision) == ("m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5")
    assert parse_encoder("mert=m-a-p/MERT-v1-95M").revision == choice.revision
    assert parse_encoder("mert", revision="abc").revision == "abc"
    assert parse_encoder("large=facebook/hubert-large-ll60k").revision == "main"
    pinned = parse_encoder("mert=m-a-p/MERT-v1-95M@refs/pr/1")
    assert (pinned.hub_id, pinned.revision) == ("m-a-p/MERT-v1-95M", "refs/pr/1")
    at = Path(shutil.copytree(originals["hubert"], originals["hubert"].parent / "a@b"))
    assert parse_encoder(f"hubert={at}").folder == at
    own = find_checkpoint(f"my-model={originals['wavlm']}")
    assert (own.spec.name, own.spec.display_name, own.family) == ("my-model", "my-model", "wavlm")
    for text, says in (
        ("clap", "known are ast, wavlm, hubert, mert, whisper"),
        ("facebook/hubert-base-ls960", "does not name an encoder"),
        ("a.b=x/y", "does not name an encoder"),
        ("=x/y", "does not name an encoder"),
        ("hubert=/no/such/folder", "no folder with a checkpoint"),
        ("hubert=", "no folder with a checkpoint"),
        ("hubert=a/b/c", "no folder with a checkpoint"),
        ("hubert=a/b@", "no folder with a checkpoint"),
        ("hubert=a/b@v1@v2", "no folder with a checkpoint"),
    ):
        with pytest.raises(EncoderError, match=says):
            parse_encoder(text)
    with pytest.raises(EncoderError, match=r"checkpoint of family 'wavlm', not 'hubert'.*--encoder my-wavlm="):
        find_checkpoint(f"hubert={originals['wavlm']}")
    with pytest.raises(EncoderError, match="allowed are 'own class', 'paper'"):
        find_checkpoint(f"hubert={originals['hubert']}", loader="auto")  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match="layers 0 to 4: max_layer=5"):
        load_encoder(f"hubert={originals['hubert']}", max_layer=5)
    with pytest.raises(ConfigError, match="allowed are ast, wavlm, hubert, mert, whisper"):
        write_random_checkpoint("clap", originals["ast"].parent / "clap")


@pytest.mark.parametrize("dies_at", ["model.safetensors", "preprocessor_config.json", MARKER, "config.json"])
def test_a_random_checkpoint_has_a_config_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    folder = write_random_checkpoint("hubert", tmp_path / "hubert", size="small")
    replace = Path.replace

    def dies(path: Path, target: Path) -> Path:
        if target.name == dies_at:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write_random_checkpoint("hubert", folder, size="small", seed=1)
    assert not (folder / "config.json").exists()
    monkeypatch.undo()
    write_random_checkpoint("hubert", folder, size="small", seed=1)
    assert find_checkpoint(f"hubert={folder}").is_trained is False


def test_nothing_heavy_is_imported_or_fetched_at_import() -> None:
    result = python("""
        import sys
        import explorer.encoders, explorer.factors, precompute.random_checkpoints
        print([name for name in ("transformers", "huggingface_hub", "opensmile", "torchaudio") if name in sys.modules])
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


FIND = """
    from explorer.encoders import find_checkpoint
    from explorer.errors import EncoderError
    try:
        found = find_checkpoint("hubert")
        print(found.source, found.revision, found.weight_files[0].name)
    except EncoderError as error:
        print("refused:", error)
"""


@pytest.mark.parametrize("environment", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_a_model_that_cannot_be_fetched_says_in_one_line_what_to_do(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    started = time.monotonic()
    result = python(FIND, HF_HOME=str(tmp_path), **environment)
    assert time.monotonic() - started < 60
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("refused: facebook/hubert-base-ls960 (revision main)"), result
    assert "--encoder hubert=/path/to/folder" in lines[0] and "HF_HUB_OFFLINE=1" in lines[0]
    assert "Traceback" not in result.stderr and "Retrying" not in result.stderr


def test_a_cached_checkpoint_is_used_offline_with_its_commit(originals: dict[str, Path], tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--facebook--hubert-base-ls960"
    shutil.copytree(originals["hubert"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    result = python(FIND, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert result.stdout.split() == ["facebook/hubert-base-ls960", commit, "model.safetensors"], result
    result = python(FIND, HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9")
    assert result.stdout.split() == ["facebook/hubert-base-ls960", commit, "model.safetensors"], result


class HubWithOneModel(BaseHTTPRequestHandler):
    """As much of the hub's protocol as fetching facebook/hubert-base-ls960 takes."""

    folder: Path
    commit = "89abcdef" * 5
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        ids = {name: hashlib.sha1(body, usedforsecurity=False).hexdigest() for name, body in files.items()}
        model = {"id": "facebook/hubert-base-ls960", "sha": self.commit, "siblings": [{"rfilename": n} for n in files]}
        tree = [{"type": "file", "path": n, "size": len(body), "oid": ids[n]} for n, body in files.items()]
        name = path.rsplit("/", 1)[-1]
        if path == "/":
            self.answer(200)
        elif "acme/broken" in path:
            self.close_connection = True  # without an answer
        elif "facebook/hubert-base-ls960" not in path:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif "/api/" in path:
            body = json.dumps(tree if "/tree/" in path else model).encode()
            self.answer(200, body, Content_Type="application/json")
        elif name in files:
            self.asked.append(name)
            self.answer(200, files[name], ETag=f'"{ids[name]}"', X_Repo_Commit=self.commit)
        else:
            self.answer(404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub(copies: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that runs here, and the names of the files that were asked for."""
    shutil.copy(copies["mert"] / "pytorch_model.bin", copies["hubert"])
    asked: list[str] = []
    handler = type("Handler", (HubWithOneModel,), {"folder": copies["hubert"], "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_checkpoint_is_fetched_once_and_only_what_is_needed(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = hub
    for environment in ({"HF_ENDPOINT": address}, {"HF_HUB_OFFLINE": "1"}):
        result = python(FIND, HF_HOME=str(tmp_path / "home"), **environment)
        assert result.stdout.split() == ["facebook/hubert-base-ls960", "89abcdef" * 5, "model.safetensors"], result
    assert set(asked) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    for place, says in (
        ("acme/none", "The hub has no model 'acme/none' at revision 'main'"),
        ("acme/broken", "acme/broken could not be fetched: "),
    ):
        result = python(
            FIND.replace('"hubert"', f'"mine={place}"'), HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=address
        )
        assert says in result.stdout and "--encoder mine=/path/to/folder" in result.stdout, result
        assert len(result.stdout.strip().splitlines()) == 1
