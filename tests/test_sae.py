"""The SAE's algebra, its file, and what SAELens expects of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explorer.errors import StoreError
from explorer.sae import SAE, feature_trace, load_sae, make_sae_id, top_k_codes


@pytest.fixture
def sae() -> SAE:
    rng = np.random.default_rng(0)
    shapes = ((6, 16), (16,), (16, 6), (6,))
    w_enc, b_enc, w_dec, b_dec = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return SAE(w_enc, b_enc, w_dec, b_dec, k=4, metadata={"sae_id": "abc"})


def test_codes_equal_a_loop(sae: SAE) -> None:
    states = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    dense = sae.encode(states).dense()
    for state, code in zip(states, dense, strict=True):
        pre = (state - sae.b_dec_d) @ sae.w_enc_df + sae.b_enc_f
        expected = np.zeros(16, dtype=np.float32)
        for feature in np.argsort(-pre)[:4]:
            expected[feature] = max(pre[feature], 0)
        np.testing.assert_allclose(code, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sae.decode(sae.encode(states)), dense @ sae.w_dec_fd + sae.b_dec_d, rtol=1e-5, atol=1e-6)


def test_fewer_than_k_positive_leaves_zeros() -> None:
    codes = top_k_codes(np.array([[-1.0, 2.0, -3.0, 0.0]], dtype=np.float32), 3)
    assert codes.dense().tolist() == [[0.0, 2.0, 0.0, 0.0]]
    assert codes.kth_values().tolist() == [0.0]


def test_k_equal_to_the_number_of_features_keeps_all() -> None:
    assert top_k_codes(np.array([[1.0, 3.0, 2.0]], dtype=np.float32), 3).values_nk.tolist() == [[3.0, 2.0, 1.0]]


def test_the_mean_of_a_trace_is_the_preactivation_of_the_mean(sae: SAE) -> None:
    frames = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32)
    pooled = frames.mean(axis=0, keepdims=True)
    for feature in range(16):
        trace = feature_trace(frames, sae, feature)
        assert trace.mean() == pytest.approx(sae.preactivations(pooled)[0, feature], abs=1e-5)


def test_a_saved_sae_is_the_same(sae: SAE, tmp_path: Path) -> None:
    sae.save(tmp_path / "sae.safetensors")
    loaded = load_sae(tmp_path / "sae.safetensors")
    assert loaded.k == 4 and loaded.metadata["sae_id"] == "abc"
    np.testing.assert_array_equal(loaded.w_enc_df, sae.w_enc_df)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sae.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(StoreError, match=r"sae\.safetensors"):
        load_sae(tmp_path / "sae.safetensors")


def test_shapes_and_k_are_checked(sae: SAE) -> None:
    with pytest.raises(StoreError, match="k = 17"):
        SAE(sae.w_enc_df, sae.b_enc_f, sae.w_dec_fd, sae.b_dec_d, 17, {})
    with pytest.raises(StoreError, match="do not fit"):
        SAE(sae.w_enc_df, sae.b_enc_f[:3], sae.w_dec_fd, sae.b_dec_d, 4, {})


def test_the_id_depends_on_everything_it_is_made_of() -> None:
    identity = {"encoder": "e", "layer": 3, "k": 10, "seed": 0}
    ids = {make_sae_id(**identity), *(make_sae_id(**{**identity, name: "other"}) for name in identity)}
    assert len(ids) == 5
    assert make_sae_id(seed=0, k=10, layer=3, encoder="e") == make_sae_id(**identity)
