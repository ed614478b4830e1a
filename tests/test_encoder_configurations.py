"""config.json and preprocessor_config.json, whatever they hold: the same network, or one sentence. And weights that
hold more than an encoder, or something else."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ASTForAudioClassification,
    HubertForCTC,
    HubertForSequenceClassification,
    WavLMForCTC,
    WavLMForXVector,
)
from transformers.models.audio_spectrogram_transformer import modeling_audio_spectrogram_transformer
from transformers.models.hubert import modeling_hubert
from transformers.models.wav2vec2 import modeling_wav2vec2
from transformers.models.wavlm import modeling_wavlm
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperEncoder, WhisperEncoderLayer

from explorer.audio import Waveform
from explorer.encoders import ENCODERS, find_checkpoint, load_encoder, whisper
from explorer.encoders.configuration import _AST, _HUBERT, _WAVLM, network_values
from explorer.errors import EncoderError
from precompute.random_checkpoints import write_random_checkpoint

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
STRANGE: tuple[Any, ...] = (
    None, "text", "16000", "", [], [1], ["a"], {}, {"a": 1}, -1, 0, 1.5, True, False, 10**12, 10**400, float("nan"),
    float("inf"),
)  # fmt: skip
# What only heads, losses, quantisers and outputs read.
OF_HEADS = {
    "classifier_proj_size", "codevector_dim", "contrastive_logits_temperature", "ctc_loss_reduction",
    "ctc_zero_infinity", "diversity_loss_weight", "feat_quantizer_dropout", "num_codevector_groups",
    "num_codevectors_per_group", "num_labels", "num_negatives", "output_attentions", "output_hidden_states",
    "pad_token_id", "proj_codevector_dim", "return_dict", "tdnn_dilation", "tdnn_dim", "tdnn_kernel",
    "use_weighted_layer_sum", "vocab_size", "xvector_output_dim", "num_feat_extract_layers",
}  # fmt: skip
ADAPTERS = {"adapter_attn_dim", "adapter_kernel_size", "adapter_stride", "add_adapter", "num_adapter_layers",
            "output_hidden_size"}  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: write_random_checkpoint(name, root / name, size="small") for name in ENCODERS}


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name, dirs_exist_ok=True))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def states(place: str, **options: Any) -> np.ndarray:
    encoder = load_encoder(place, device="cpu", **options)
    samples = np.random.default_rng(0).normal(size=encoder.sample_rate_hz // 2).astype(np.float32)
    return encoder.pooled_states([Waveform(samples, encoder.sample_rate_hz)], [4])[4]


def test_every_value_that_the_networks_read_is_known() -> None:
    """A release of transformers that reads another value must not have it left out in silence."""
    for module, known in (
        (modeling_hubert, _HUBERT),
        (modeling_wavlm, _WAVLM),
        (modeling_wav2vec2, _WAVLM),
        (modeling_audio_spectrogram_transformer, _AST),
        ((WhisperEncoder, WhisperEncoderLayer, WhisperAttention), whisper.NETWORK),
    ):
        sources = map(inspect.getsource, module if isinstance(module, tuple) else (module,))
        read = set(re.findall(r"\bconfig\.([a-z]\w*)", "".join(sources)))
        assert read - set(known) - OF_HEADS - ADAPTERS == set(), module
        assert len(read & set(known)) > 10


@pytest.mark.parametrize("file", [CONFIG, PREPROCESSOR])
@pytest.mark.parametrize("name", list(ENCODERS))
def test_any_value_of_any_key_gives_the_same_network_or_one_sentence(
    originals: dict[str, Path], tmp_path: Path, name: str, file: str
) -> None:
    folder = copy(originals[name], tmp_path)
    whole = json.loads((folder / file).read_text())
    before = find_checkpoint(f"mine={folder}")
    values_before = network_values(before.family, before.config)
    expected = states(f"mine={folder}")
    n_refused = 0
    for key in whole:
        for value in STRANGE:
            (folder / file).write_text(json.dumps(whole | {key: value}))
            try:
                found = find_checkpoint(f"mine={folder}")
                is_same = network_values(found.family, found.config) == values_before
                if is_same and found.preprocessor == before.preprocessor:
                    continue
                loaded = load_encoder(f"mine={folder}", device="cpu")
            except EncoderError as error:
                n_refused += 1
                assert "\n" not in str(error) and str(error).endswith((".", ".)")), (key, value)
                assert len(str(error)) < 800
                continue
            # what is allowed and counts: booleans and numbers within their limits; of training it has no part here
            assert isinstance(value, bool | int | float), (key, value)
            if key not in ("do_stable_layer_norm", "do_normalize", "mean", "std", "max_bucket_distance"):
                samples = np.random.default_rng(0).normal(size=loaded.sample_rate_hz // 2).astype(np.float32)
                same = loaded.pooled_states([Waveform(samples, loaded.sample_rate_hz)], [4])[4]
                np.testing.assert_allclose(same, expected, rtol=1e-5, atol=1e-6, err_msg=f"{key}={value}")
    assert n_refused > 20


@pytest.mark.parametrize("name", list(ENCODERS))
def test_what_says_how_to_compute_is_left_out(originals: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = copy(originals[name], tmp_path)
    before, expected = find_checkpoint(f"mine={folder}"), states(f"mine={folder}")
    edit(
        folder / CONFIG, attn_implementation="flash_attention_2", _attn_implementation="flash_attention_2",
        _attn_implementation_internal="sdpa", torch_dtype="float16", dtype="bfloat16", torchscript=True,
        return_dict=False, output_hidden_states=True, output_attentions=True, id2label={"0": "a"},
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}, architectures=["No"],
    )  # fmt: skip
    assert find_checkpoint(f"mine={folder}").fingerprint == before.fingerprint
    np.testing.assert_array_equal(states(f"mine={folder}"), expected)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        (CONFIG, '{"model_type": "hubert", "hidden_size": ' + "9" * 5000 + "}", "cannot be read"),
        (CONFIG, "[" * 100_000, "cannot be read"),
        (CONFIG, b"\xff\xfe", "cannot be read"),
        (CONFIG, '{"model_type": ["hubert"]}', "model_type"),
        (CONFIG, '{"model_type": "hubert", "hidden_size": 48}', "gives no num_hidden_layers"),
        (PREPROCESSOR, '{"sampling_rate": 16}', "sampling_rate: 16, but allowed is a whole number of Hz"),
        (PREPROCESSOR, '{"sampling_rate": "16000"}', "sampling_rate: '16000', but allowed is"),
        (PREPROCESSOR, '{"sampling_rate": null}', "sampling_rate: null, but allowed is"),
        (PREPROCESSOR, '{"sampling_rate": [16000]}', r"sampling_rate: \[16000\], but allowed is"),
        (PREPROCESSOR, '{"do_normalize": "false"}', "do_normalize: 'false', but allowed is true or false"),
        (PREPROCESSOR, '{"feature_extractor": {"do_normalize": 1}}', "do_normalize: 1, but allowed"),
        ("model.safetensors.index.json", "{}", "is no index of weights"),
        ("model.safetensors.index.json", '{"weight_map": ["a"]}', "is no index of weights"),
        ("model.safetensors.index.json", '{"weight_map": {"a": {}}}', "is no index of weights"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../up.safetensors"}}', "are no weights of this folder"),
        (WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "pointer that Git LFS left"),
    ],
)
def test_a_file_that_cannot_be_meant_gives_one_sentence(
    originals: dict[str, Path], tmp_path: Path, file: str, text: str | bytes, says: str
) -> None:
    folder = copy(originals["hubert"], tmp_path)
    if file.endswith(".index.json"):
        (folder / WEIGHTS).unlink()
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EncoderError, match=says) as caught:
        find_checkpoint(f"mine={folder}")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_whole_floats_are_read(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["hubert"], tmp_path)
    expected = states(f"mine={folder}")
    edit(folder / CONFIG, hidden_size=48.0, layer_norm_eps=1e-5)
    (folder / CONFIG).write_bytes(b"\xef\xbb\xbf" + (folder / CONFIG).read_bytes())
    np.testing.assert_array_equal(states(f"mine={folder}"), expected)


FINE_TUNED = (
    ("hubert", HubertForCTC, "lm_head (2 weights)"),
    ("hubert", HubertForSequenceClassification, "classifier (2 weights), projector (2 weights)"),
    ("wavlm", WavLMForCTC, "lm_head (2 weights)"),
    (
        "wavlm",
        WavLMForXVector,
        "classifier (2 weights), feature_extractor (2 weights), objective, projector (2 weights)",
    ),
    ("ast", ASTForAudioClassification, "classifier.dense (2 weights), classifier.layernorm (2 weights)"),
)


@pytest.mark.parametrize(("name", "network_class", "left_out"), FINE_TUNED)
@pytest.mark.parametrize("layout", ["one file", "shards", "bin"])
def test_a_fine_tuned_checkpoint_gives_its_encoder_and_names_what_was_left_out(
    originals: dict[str, Path], tmp_path: Path, name: str, network_class: Any, left_out: str, layout: str
) -> None:
    if layout != "one file" and network_class not in (HubertForCTC, WavLMForXVector):
        pytest.skip("the layouts are the same for all classes")
    extra: dict[str, Any] = (
        {} if name != "wavlm" else {"tdnn_dim": [8, 8], "tdnn_kernel": [3, 1], "tdnn_dilation": [1, 1]}
    )
    network = network_class.from_pretrained(originals[name], num_labels=3, ignore_mismatched_sizes=True, **extra)
    folder = tmp_path / "tuned"
    network.save_pretrained(folder, max_shard_size="100KB" if layout == "shards" else "5GB")
    if layout == "bin":
        torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
        (folder / WEIGHTS).unlink()
    shutil.copy(originals[name] / PREPROCESSOR, folder)
    note = find_checkpoint(f"mine={folder}").note
    if network_class is WavLMForXVector:
        assert "Left out, as no part of the encoder: classifier (2 weights), feature_extractor (2 weights)" in note
    else:
        assert f"Left out, as no part of the encoder: {left_out}." in note
    np.testing.assert_array_equal(states(f"mine={folder}"), states(f"mine={originals[name]}"))
    if name == "wavlm":
        tuned, base = (states(f"mine={place}", loader="paper") for place in (folder, originals[name]))
        np.testing.assert_array_equal(tuned, base)


def rewritten(folder: Path, change: Any) -> Path:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("prefix", ["hubert.", "module.hubert.", "encoder_model.", "base_model.model.hubert."])
def test_the_prefix_is_where_the_encoder_lies(originals: dict[str, Path], tmp_path: Path, prefix: str) -> None:
    folder = rewritten(
        copy(originals["hubert"], tmp_path),
        lambda weights: {**{prefix + name: w for name, w in weights.items()}, "top.weight": torch.ones(2)},
    )
    assert "Left out, as no part of the encoder: top." in find_checkpoint(f"mine={folder}").note
    np.testing.assert_array_equal(states(f"mine={folder}"), states(f"mine={originals['hubert']}"))


def test_mert_with_heads_of_its_training_loads(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["mert"], tmp_path)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    heads = {"label_embs_concat": torch.zeros(8, 8), "final_proj.weight": torch.zeros(4, 4)}
    torch.save(weights | heads, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert "encoder: final_proj, label_embs_concat." in find_checkpoint(f"mine={folder}").note
    np.testing.assert_array_equal(states(f"mine={folder}"), states(f"mine={originals['mert']}"))


Q = "encoder.layers.1.attention.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: {f"hubert.{n}": t for n, t in w.items() if n != Q}, f"lacks weights that the network needs: {Q}"),
        (lambda w: {f"hubert.{n}": t for n, t in w.items()} | {"hubert.gate": torch.ones(2)}, "no place for: gate"),
        (lambda w: w | {Q: torch.ones(3, 5)}, f"holds weights of another shape: {Q}"),
        (lambda w: w | {f"teacher.{n}": t.clone() for n, t in w.items()}, "holds 2 encoders, under '', 'teacher.'"),
        (lambda w: w | {Q: torch.ones(48, 48, dtype=torch.int8)}, r"quantised weights: .*q_proj.weight \(int8\)"),
        (lambda w: w | {Q: torch.ones(1152, 1, dtype=torch.uint8)}, "quantised weights"),
        (lambda w: w | {Q: torch.ones(48, 48).to(torch.float8_e4m3fn)}, "quantised weights"),
        (lambda w: {"other.weight": torch.ones(2)}, "numbers for a network of"),
    ],
)
def test_weights_that_are_no_whole_encoder_are_refused(
    originals: dict[str, Path], tmp_path: Path, change: Any, says: str
) -> None:
    folder = rewritten(copy(originals["hubert"], tmp_path), change)
    with pytest.raises(EncoderError, match=says) as caught:
        load_encoder(f"mine={folder}", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float16, 0.01), (torch.bfloat16, 0.1), (torch.float64, 1e-9)])
def test_weights_of_another_precision_are_computed_in_float32(
    originals: dict[str, Path], tmp_path: Path, dtype: torch.dtype, within: float
) -> None:
    folder = rewritten(
        copy(originals["hubert"], tmp_path), lambda weights: {name: w.to(dtype) for name, w in weights.items()}
    )
    expected = states(f"mine={originals['hubert']}")
    assert np.abs(states(f"mine={folder}") - expected).max() <= within * np.abs(expected).max()


def test_masks_of_training_have_no_part_in_it(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["hubert"], tmp_path)
    edit(folder / CONFIG, mask_time_prob=0.0)  # the network then has no place for what the file still holds
    np.testing.assert_array_equal(states(f"mine={folder}"), states(f"mine={originals['hubert']}"))


def test_an_adapter_is_said_and_never_applied(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["hubert"], tmp_path)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "no/such"}')
    assert "the adapter that it describes is not applied" in find_checkpoint(f"mine={folder}").note
    np.testing.assert_array_equal(states(f"mine={folder}"), states(f"mine={originals['hubert']}"))
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    with pytest.raises(EncoderError, match="an adapter and no whole weights: merge it"):
        find_checkpoint(f"mine={folder}")
