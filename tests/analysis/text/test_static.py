"""The static encoder: made from MiniLM, and its two steps by themselves on numbers that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from investigate.analysis.text.concept import Example, concept_encoder, train_concept
from investigate.analysis.text.embed import pending_chars, update_vectors
from investigate.analysis.text.encode import STATIC, Encoder, load_encoder
from investigate.analysis.text.index import Filters
from investigate.analysis.text.segments import read_segments
from investigate.analysis.text.static import DIMENSION, distil, fit_tokens, static_fingerprint
from investigate.analysis.text.vectors import index_name, open_vectors
from investigate.store.errors import InputError, StoreError
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer
from scipy.sparse import csr_matrix

Store = Callable[..., None]


def load(workspace: Path | None = None) -> Encoder:
    encoder = load_encoder(STATIC, workspace)
    if encoder is None:
        pytest.skip("needs the extra `offline`")
    return encoder


@pytest.fixture(scope="module")
def static() -> Encoder:
    return load()


def test_it_is_the_default(static: Encoder) -> None:
    default = load_encoder()
    assert default is not None
    assert (default.name, default.fingerprint, default.dimension) == (STATIC, static.fingerprint, DIMENSION)
    assert default.preparation is not None
    assert default.preparation.is_fitted(0)  # there is no workspace to fit it to


def test_a_text_is_a_sum_over_its_tokens(static: Encoder) -> None:
    both, cat, dog = static.encode(["cat dog", "cat", "dog"])
    assert static.encode(["dog cat"])[0] == pytest.approx(both, abs=1e-5)
    weights, residual, *_ = np.linalg.lstsq(np.stack([cat, dog], 1), both, rcond=None)
    assert residual[0] < 1e-6
    assert (weights > 0).all()


def test_questions_are_read_by_the_teacher_in_the_same_space(static: Encoder) -> None:
    asked = static.ask(["Which doctor treats a patient?"])[0]
    near, far = static.encode(["a nurse in the hospital", "quarterly tax return"])
    assert asked @ near > asked @ far + 0.1
    minilm = load_encoder("minilm")
    assert minilm is not None
    np.testing.assert_allclose(asked, minilm.encode(["Which doctor treats a patient?"])[0], atol=1e-5)


def test_rows_are_unit_or_empty(static: Encoder) -> None:
    texts = ["", "one", " ", "word " * 3000, "日本語のテキスト", *(f"text {n}" for n in range(1100))]
    vectors = static.encode(texts)
    norms = np.linalg.norm(vectors, axis=1)
    assert norms[[0, 2]].tolist() == [0, 0]
    np.testing.assert_allclose(np.delete(norms, [0, 2]), 1, atol=1e-5)
    np.testing.assert_allclose(static.encode(["text 1099"])[0], vectors[-1], atol=1e-5)
    assert static.fits(texts) == [True] * len(texts)
    assert static.encode([]).shape == (0, DIMENSION)


def test_tokens_are_encoded_by_themselves() -> None:
    """A model whose hidden states are known."""
    import torch

    table = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))

    def transformer(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        assert input_ids[:, [0, 2]].unique(dim=0).tolist() == [[5, 7]]
        assert bool(attention_mask.all())
        return SimpleNamespace(last_hidden_state=table[input_ids])

    class Model:
        tokenizer = type("Tokenizer", (), {"cls_token_id": 5, "sep_token_id": 7, "__len__": lambda self: 3000})()

        def __getitem__(self, place: int) -> object:
            return SimpleNamespace(auto_model=type("T", (), {"device": "cpu", "__call__": staticmethod(transformer)})())

    np.testing.assert_allclose(distil(Model()), (table - table.mean(0)).numpy(), atol=1e-5)


def planted(seed: int, n: int) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """Counts of 200 tokens in n texts, the vectors that tokens really have, and the texts' unit vectors."""
    numbers = np.random.default_rng(seed)
    truth = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    counts = csr_matrix((numbers.random((n, 200)) < 0.1) * numbers.integers(1, 4, (n, 200)), dtype=np.float32)
    sums = counts @ truth
    return counts, truth, sums / np.linalg.norm(sums, axis=1, keepdims=True)


def agreement(counts: csr_matrix, tokens: np.ndarray, targets: np.ndarray) -> float:
    sums = counts @ tokens
    return float(np.mean(np.sum(sums / np.linalg.norm(sums, axis=1, keepdims=True) * targets, axis=1)))


def test_fitting_recovers_what_tokens_mean() -> None:
    counts, truth, targets = planted(1, 2000)
    prior = truth + np.random.default_rng(2).standard_normal(truth.shape).astype(np.float32)
    unseen, _, expected = planted(3, 200)
    before = agreement(unseen, prior, expected)
    assert before < 0.8
    assert agreement(unseen, fit_tokens(counts, targets, prior), expected) > 0.97


def test_fitting_to_noise_gains_nothing_elsewhere() -> None:
    """The negative control: targets that have nothing to do with the texts."""
    counts, truth, targets = planted(1, 2000)
    shuffled = np.random.default_rng(4).permutation(targets)
    unseen, _, expected = planted(3, 200)
    assert agreement(unseen, fit_tokens(counts, shuffled, truth), expected) < agreement(unseen, truth, expected)


def test_tokens_that_the_sample_lacks_keep_what_was_known() -> None:
    counts, truth, targets = planted(1, 50)
    counts = csr_matrix(np.where(np.arange(200) < 150, counts.toarray(), 0))
    fitted = fit_tokens(counts, targets, truth)
    np.testing.assert_allclose(fitted[150:], truth[150:] * np.log(52), rtol=1e-5)


def test_it_is_fitted_to_a_workspace_once(workspace: Workspace, store: Store) -> None:
    encoder = load(workspace.root)
    assert encoder.preparation is not None
    assert not encoder.preparation.is_fitted(0)
    said = ["The patient went to hospital.", "Taxes are due in April.", "A goalkeeper saved the penalty."]
    store({n: [("user", "text", text)] for n, text in enumerate(said, 1)})

    def update() -> list[int]:
        with open_writer(workspace) as writer:
            return list(update_vectors(writer, encoder))

    assert update() == [sum(map(len, said))]
    assert encoder.preparation.is_fitted(3)
    assert update() == []
    with open_reader(workspace) as reader:
        hits = open_vectors(reader, encoder).search(encoder.ask(["football match"])[0], Filters(), 3)
    assert hits[0].span.episode_id == 3
    # What it was fitted to is gone, so what was encoded by it means nothing any more.
    (matrix,) = (workspace.root / "cache").glob("static-*.npz")
    matrix.unlink()
    with open_reader(workspace) as reader:
        assert pending_chars(workspace, encoder, reader) == (sum(map(len, said)),) * 2
    assert update() == [sum(map(len, said))]
    assert len(read_segments(workspace.index("vectors", index_name(encoder)))) == 1


def test_a_text_of_words_that_stand_everywhere_is_found(workspace: Workspace, store: Store) -> None:
    """In the only text there is, and in the shorter of two, every word is in all of them."""
    encoder = load(workspace.root)
    store({1: [("user", "text", "red apple")]})
    with open_writer(workspace) as writer:
        list(update_vectors(writer, encoder))
    with open_reader(workspace) as reader:
        (hit,) = open_vectors(reader, encoder).search(encoder.ask(["red apple"])[0], Filters(), 3)
    assert hit.similarity > 0.9


def test_it_is_fitted_anew_to_what_has_become_much_more(workspace: Workspace, store: Store) -> None:
    encoder = load(workspace.root)
    assert encoder.preparation is not None
    store({1: [("user", "text", "")]})
    states = []
    for first, n in ((2, 3), (5, 11), (16, 1)):
        with open_writer(workspace) as writer:
            list(update_vectors(writer, encoder))
        states.append(encoder.preparation.state())
        store({episode: [("user", "text", f"apple {episode}")] for episode in range(first, first + n)})
    with open_writer(workspace) as writer:
        assert list(update_vectors(writer, encoder))
    states.append(encoder.preparation.state())
    assert len(set(states)) == 3  # to 1, 4 and 16 parts
    assert states[2] == states[1]
    with open_reader(workspace) as reader:
        assert len(open_vectors(reader, encoder).search(encoder.ask(["apple"])[0], Filters(), 99)) == 15


def test_a_concept_is_bound_to_what_the_encoder_was_fitted_to(workspace: Workspace) -> None:
    encoder = load(workspace.root)
    assert encoder.preparation is not None
    encoder.preparation.fit(["red apple", "grey stone"], 2)
    examples = [
        Example(f"{word} {n}", word == "apple", str(n)) for word in ("apple", "stone") for n in ("one", "two", "three")
    ]
    concept = train_concept("fruit", examples, [], encoder)
    concept_encoder(concept, load(workspace.root))
    encoder.preparation.fit(["red apple", "grey stone", "a horse", "the sea"], 8)
    with pytest.raises(InputError, match="train it again"):
        concept_encoder(concept, encoder)


def test_other_weights_have_another_name() -> None:
    assert static_fingerprint("a") != static_fingerprint("b")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.write_text("a file, where a folder is wanted")
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))

    minilm = load_encoder("minilm")
    if minilm is None:
        pytest.skip("needs the extra `offline`")
    encoder = load()
    with pytest.raises(StoreError, match="XDG_CACHE_HOME"):
        encoder.encode(["text"])
