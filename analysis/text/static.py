"""The static encoder: a text is a weighted sum over its tokens, fitted to what a sentence encoder says of texts.

Takes the folder of MiniLM and, once per workspace, a sample of its texts; then takes texts and gives vectors in
MiniLM's own space, a hundred times as fast, with neither torch nor a network. Questions are few, so MiniLM itself reads
those. Knows no chunks and no store.

Two steps. *Distilled*, once, into the user's cache: every token of the vocabulary is encoded by itself, as model2vec
does (Tulkens and van Dongen 2024). *Fitted*, once per workspace: ridge regression from the token counts of a sample to
MiniLM's vectors of the same texts, shrunk towards the distilled ones; tokens weigh ``(1 + log count) · idf``. On nine
labelled scopes of real logs this is what separates 0.53 from 0.78 nDCG@10 (MiniLM itself: 0.77; `tests/bench/LOG.md`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from ...store.errors import StoreError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = NDArray[np.float32]

DIMENSION: Final = 384
SAMPLE: Final = 3_000
"""Texts that are read by both encoders. With 500 the fitted one reaches 96 % of what it does with 4,000, with 2,000
98 %; each thousand takes MiniLM some twenty seconds."""
_RECIPE: Final = "2"
"""Counts up with every change of what the vectors are made by, so that old ones are not compared with new ones."""
_ENOUGH_PARTS: Final = 2 * SAMPLE
_GROWTH: Final = 4
"""What was fitted to fewer parts than enough is fitted anew in a workspace that has grown so many times."""
_SIF: Final = 1e-5
_PENALTY: Final = 1e-3
_ITERATIONS: Final = 20
_BATCH: Final = 1_024
_TOKENS_AT_ONCE: Final = 2_048


def static_fingerprint(of_encoder: str) -> str:
    """sha256 of what the vectors are made by: the weights that were distilled, and how."""
    return sha256(f"static {_RECIPE} {of_encoder}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Static:
    """``folder`` is that of MiniLM, ``load`` gives it as a SentenceTransformer, ``teach`` encodes texts with it.

    ``fitted`` is where the matrix that was fitted to a workspace is kept, or None without a workspace.
    """

    folder: Path
    fingerprint: str
    load: Callable[[], Any]
    teach: Callable[[list[str]], Array]
    fitted: Path | None

    def encode(self, texts: list[str]) -> Array:
        """(n, 384), each row of norm 1, or 0 where a text has no token."""
        matrix = self._matrix()
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        for first in range(0, len(texts), _BATCH):
            vectors[first : first + _BATCH] = _counts(self.folder, texts[first : first + _BATCH]) @ matrix
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Array = np.divide(vectors, norms, out=vectors, where=norms > 0)
        return unit

    def is_fitted(self, n_parts: int) -> bool:
        """Is there nothing to be done before the next text, in a workspace that has so many parts by now?"""
        if self.fitted is None:
            return True
        if not self.fitted.exists():
            return False
        with np.load(self.fitted, allow_pickle=False) as arrays:
            before = int(arrays["n_parts"])
        return before >= _ENOUGH_PARTS or n_parts < _GROWTH * max(1, before)

    def fit(self, sample: list[str], n_parts: int) -> None:
        """Fit to a sample of distinct texts of so many parts, and keep the result. Raises StoreError where it cannot be
        written."""
        assert self.fitted is not None

        def write(file: BinaryIO) -> None:
            prior = self._distilled()
            matrix = fit_tokens(_counts(self.folder, sample), self.teach(sample), prior) if sample else self._unfitted()
            np.savez(file, tokens=matrix.astype(np.float16), n_parts=n_parts)

        _save(self.fitted, write)

    def state(self) -> str:
        """sha256 of the matrix that was fitted; nothing without one."""
        fitted = self.fitted is not None and self.fitted.exists()
        return sha256(self.fitted.read_bytes()).hexdigest() if self.fitted and fitted else ""

    def _matrix(self) -> Array:
        if self.fitted is not None and self.fitted.exists():
            return _load(self.fitted, self.fitted.stat().st_mtime_ns)
        return self._unfitted()

    def _unfitted(self) -> Array:
        """Weights by smooth inverse frequency (Arora, Liang and Ma 2017); the place in the vocabulary, which is in
        order of frequency, stands for that (Zipf 1949)."""
        distilled = self._distilled()
        frequency = 1 / np.arange(1, len(distilled) + 1)
        weights = _SIF / (_SIF + frequency / frequency.sum())
        weighted: Array = (distilled * weights[:, None]).astype(np.float32)
        return weighted

    def _distilled(self) -> Array:
        top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        path = top / "investigate" / f"distilled-{self.fingerprint[:16]}.npy"
        if not path.exists():
            _save(path, lambda file: np.save(file, distil(self.load()).astype(np.float16)))
        return _load(path, path.stat().st_mtime_ns)


def fit_tokens(counts: csr_matrix, targets: Array, prior: Array) -> Array:
    """(vocabulary, d): token vectors, idf included, whose sum over a text comes close to its target.

    ``counts`` (n, vocabulary) are ``1 + log count``, ``targets`` (n, d) unit vectors, ``prior`` (vocabulary, d) what is
    known of the tokens before. Minimises |X(W + D) - Y|² + λ|D|² over D by conjugate gradients, where a row of X is
    the text's weights over the length of what the prior makes of it.
    """
    from scipy.sparse import diags

    n_texts = counts.shape[0]
    n_with = np.bincount(counts.indices, minlength=counts.shape[1])
    # A text more than there are: what stands in every text tells little, but a text of such words is not nothing.
    idf = np.log((2 + n_texts) / (1 + n_with)).astype(np.float32)
    seen = np.flatnonzero(n_with)
    x = counts[:, seen] @ diags(idf[seen])
    lengths = np.linalg.norm(x @ prior[seen], axis=1)
    x = (diags(1 / np.maximum(lengths, 1e-6)) @ x).astype(np.float32).tocsr()
    fitted = prior.copy()
    fitted[seen] += _ridge(x, targets - x @ prior[seen])
    weighted: Array = fitted * idf[:, None]
    return weighted


def _ridge(x: csr_matrix, residual: Array) -> Array:
    """argmin over D of |x D - residual|² + λ|D|², every column by itself, from D = 0."""
    transposed = x.T.tocsr()
    gradient = transposed @ residual
    solution, direction = np.zeros_like(gradient), gradient.copy()
    squared = (gradient**2).sum(0)
    for _ in range(_ITERATIONS):
        applied = transposed @ (x @ direction) + _PENALTY * direction
        step = squared / np.maximum((direction * applied).sum(0), 1e-20)
        solution += step * direction
        gradient -= step * applied
        before, squared = squared, (gradient**2).sum(0)
        direction = gradient + direction * (squared / np.maximum(before, 1e-20))
    return np.asarray(solution, np.float32)


def distil(model: Any) -> Array:
    """(vocabulary, d): what a SentenceTransformer makes of each token by itself, less their mean."""
    vectors = np.concatenate(list(_token_vectors(model)))
    return np.asarray(vectors - vectors.mean(0), np.float32)


def _token_vectors(model: Any) -> Iterator[NDArray[np.float64]]:
    """The last hidden state of the token in ``[CLS] token [SEP]``."""
    import torch

    tokenizer, transformer = model.tokenizer, model[0].auto_model
    n_tokens = len(tokenizer)
    with torch.inference_mode():
        for first in range(0, n_tokens, _TOKENS_AT_ONCE):
            ids = torch.arange(first, min(n_tokens, first + _TOKENS_AT_ONCE), device=transformer.device)
            ends = [torch.full_like(ids, token) for token in (tokenizer.cls_token_id, tokenizer.sep_token_id)]
            rows = torch.stack([ends[0], ids, ends[1]], 1)
            hidden = transformer(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state
            yield hidden[:, 1].double().cpu().numpy()


def _counts(folder: Path, texts: list[str]) -> csr_matrix:
    """(n, vocabulary): ``1 + log count`` of each token of each text."""
    from scipy.sparse import csr_matrix

    tokenizer = _tokenizer(folder)
    rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    ends = np.cumsum([0, *map(len, rows)])
    ids = np.fromiter((token for row in rows for token in row), np.int64, int(ends[-1]))
    counts = csr_matrix((np.ones(len(ids), np.float32), ids, ends), shape=(len(rows), tokenizer.get_vocab_size()))
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    return counts


@cache
def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@cache
def _load(path: Path, changed_ns: int) -> Array:
    """``changed_ns`` is there so that a changed file is read again."""
    found: Any = np.load(path, allow_pickle=False)
    matrix: NDArray[np.float16] = found if path.suffix == ".npy" else found["tokens"]
    return matrix.astype(np.float32)


def _save(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """What is written takes long to find out, so the file is opened first: that it cannot be is said at once."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"Cannot write {path}: {error.strerror}; give it room and permission (the cache of the user is under "
            "XDG_CACHE_HOME)."
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
