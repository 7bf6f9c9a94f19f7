"""Few-shot concepts: a linear classifier on sentence embeddings, from a handful of examples.

Takes texts that show a concept and texts that do not, and an encoder; gives a concept with a report of how well it
tells examples apart that it was not trained on, and keeps it as a file. Knows no screen.

Besides the examples, chunks drawn from the workspace stand for what is common: a few negatives alone would leave the
classifier free to call most of a corpus positive. They are not labelled, so they take no part in the report.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.errors import InputError, NotFoundError, UsageError
from ...store.reader import Reader
from ...store.types import Span, without_surrogates
from ...store.workspace import Workspace
from ..statistics import auroc, auroc_interval
from .encode import Encoder
from .find import answering, texts_of
from .index import PartKey
from .places import NO_PLACE, Place, parse_place, place_of, text_at

N_BACKGROUND: Final = 300
N_SHUFFLES: Final = 20
_FOLDS: Final = 5
_LEAST: Final = 3
_ALMOST: Final = re.compile(r"\d+@[\d.]*\s*(\[.*)?")
"""Whoever types so much of a place does not mean it as a text."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its label; ``group`` is what must not be on both sides of a test: an episode, or the text itself."""

    text: str
    positive: bool
    group: str
    part: PartKey | None = field(default=None, compare=False)
    """Where it stands; None for a text of one's own."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the classifier does on examples that it was not fitted to: whole groups were left out, five-fold."""

    n_positive: int
    n_negative: int
    n_groups: int
    n_background: int
    auroc: float
    auroc_low: float
    auroc_high: float
    shuffled_mean: float
    """The same with labels permuted over examples: what chance gives."""
    shuffled_max: float

    @property
    def tells(self) -> bool:
        """Is it better than each of the classifiers with permuted labels (p = 1/21), and its interval above chance?"""
        return self.auroc > self.shuffled_max and self.auroc_low > 0.5


@dataclass(frozen=True, slots=True)
class Concept:
    """``weights`` (d,) · vector + ``bias`` is the log-odds, as fitted to balanced classes: it ranks, and is no rate.
    ``fingerprint`` is that of the encoder, followed by that of what it was fitted to; ``examples`` are the parts that
    its examples stand in."""

    name: str
    encoder: str
    fingerprint: str
    weights: NDArray[np.float32]
    bias: float
    report: Report
    examples: tuple[PartKey, ...] = ()


def train_concept(
    name: str, examples: Sequence[Example], background: Sequence[str], encoder: Encoder, seed: int = 0
) -> Concept:
    """Fit a concept. Raises UsageError for a name that is no file name, InputError for too few examples."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a concept; use letters, digits, '.', '_' and '-'.")
    parts = tuple(sorted({example.part for example in examples if example.part}))
    examples = list({(example.text, example.positive): example for example in examples}.values())
    labels = np.array([example.positive for example in examples], bool)
    for label, word in ((True, "positive"), (False, "negative")):
        if (labels == label).sum() < _LEAST:
            raise InputError(f"A concept needs {_LEAST} different {word} examples; add more with --{word}.")
    contradicted = {example.text for example in examples if example.positive} & {
        example.text for example in examples if not example.positive
    }
    if contradicted:
        raise InputError(f"{min(contradicted)[:60]!r} is both a positive and a negative example; leave out one.")
    groups = np.array([example.group for example in examples])
    vectors = encoder.encode([example.text for example in examples])
    common = encoder.encode(list(background))
    weights, bias = _fit(vectors, labels, common)
    report = _report(vectors, labels, groups, common, seed)
    return Concept(name, encoder.name, _space(encoder), weights, bias, report, parts)


def save_concept(workspace: Workspace, concept: Concept) -> Path:
    """Write it into the workspace, in place of one of the same name."""
    from safetensors.numpy import save_file

    path = _folder(workspace) / f"{concept.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "encoder": concept.encoder,
        "fingerprint": concept.fingerprint,
        "report": json.dumps(asdict(concept.report)),
        "examples": json.dumps(concept.examples),
    }
    temporary = path.with_suffix(".tmp")
    save_file({"weights": concept.weights, "bias": np.array([concept.bias], np.float32)}, temporary, header)
    temporary.replace(path)
    return path


def load_concept(workspace: Workspace, name: str) -> Concept:
    """One that was saved. Raises NotFoundError naming those there are."""
    from safetensors import safe_open

    known = list_concepts(workspace)
    if name not in known:
        there = f"there are: {', '.join(known)}" if known else "train one with `investigate concept train NAME`"
        raise NotFoundError(f"There is no concept {name!r}; {there}.")
    with safe_open(_folder(workspace) / f"{name}.safetensors", framework="numpy") as file:
        header: dict[str, Any] = file.metadata()
        weights, bias = file.get_tensor("weights"), float(file.get_tensor("bias")[0])
    report, examples = Report(**json.loads(header["report"])), json.loads(header.get("examples", "[]"))
    parts = tuple(PartKey(*place) for place in examples)
    return Concept(name, header["encoder"], header["fingerprint"], weights, bias, report, parts)


def example_texts(reader: Reader, concept: Concept) -> tuple[str, ...]:
    """Texts of the parts that its examples stand in, but of those that are gone."""
    return tuple(part["text"] for part in texts_of(reader, concept.examples).values())


def list_concepts(workspace: Workspace) -> list[str]:
    """Names of all that were saved."""
    return sorted(path.stem for path in _folder(workspace).glob("*.safetensors"))


def concept_encoder(concept: Concept, encoder: Encoder) -> Encoder:
    """An encoder that reads every question as the concept: chunks are then ranked by its classifier. Raises InputError
    where the concept was trained on vectors of other weights, or before the encoder was fitted to the workspace anew.
    The score of a hit is then ``weights`` · vector: the log-odds less ``bias``."""
    if _space(encoder) != concept.fingerprint:
        if encoder.name == concept.encoder:
            raise InputError(
                f"The concept {concept.name!r} was trained in another workspace, or before {encoder.name} was fitted "
                "to this one anew; train it again."
            )
        raise InputError(
            f"The concept {concept.name!r} was trained on vectors of {concept.encoder}, not of {encoder.name}; name "
            "that one with --encoder, or train it again."
        )
    return answering(encoder, concept.weights)


def read_examples(reader: Reader, given: Sequence[str], positive: bool) -> list[Example]:
    """Examples as they are typed: ``EPISODE@message.part``, the same with ``[start, end)``, or a text of one's own.

    Raises NotFoundError for a part that is not there, InputError for characters outside of it, UsageError for what
    begins like a place and is none.
    """
    found = [(text, _typed_place(text)) for text in (without_surrogates(text)[0] for text in given)]
    examples = iter(_examples_at(reader, [(place, positive) for _, place in found if place]))
    return [next(examples) if place else Example(text, positive, text) for text, place in found]


def labelled_examples(reader: Reader, rows: Sequence[dict[str, Any]]) -> list[Example]:
    """Examples from rows of ``search --json`` to which somebody has added ``label``, true or false."""
    labelled = []
    for number, row in enumerate(rows, 1):
        try:
            span = Span(*(int(row[name]) for name in ("episode_id", "message_index", "part_index", "start", "end")))
            label = row["label"]
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f'Row {number} is no hit of `search --json` with a label; add "label": true or false.'
            ) from None
        if not isinstance(label, bool):
            raise InputError(f"The label of row {number} is {label!r}; give true or false.")
        labelled.append((place_of(span), label))
    return _examples_at(reader, labelled)


def _typed_place(text: str) -> Place | None:
    place = parse_place(text)
    if place and place.episode.isdecimal():
        return place
    if _ALMOST.fullmatch(text.strip()):
        raise UsageError(NO_PLACE.format(text))
    return None


def _examples_at(reader: Reader, places: Sequence[tuple[Place, bool]]) -> list[Example]:
    keys = [place.key(int(place.episode)) for place, _ in places]
    parts = texts_of(reader, keys)
    return [
        Example(text_at(place, parts.get(key)), label, place.episode, key)
        for (place, label), key in zip(places, keys, strict=True)
    ]


def _space(encoder: Encoder) -> str:
    return encoder.fingerprint + (encoder.preparation.state() if encoder.preparation else "")


def _folder(workspace: Workspace) -> Path:
    return workspace.root / "probes" / "concepts"


def _fit(
    vectors: NDArray[np.float32], labels: NDArray[np.bool_], common: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    """Logistic regression with balanced classes; the background weighs as much as the negatives together."""
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([vectors, common])
    y = np.concatenate([labels, np.zeros(len(common), bool)])
    n_positive, n_negative = int(labels.sum()), int((~labels).sum())
    weights = np.where(labels, 1 / n_positive, (0.5 if len(common) else 1.0) / n_negative)
    weights = np.concatenate([weights, np.full(len(common), 0.5 / max(1, len(common)))])
    # In units of labelled examples, so that the penalty means the same however many there are.
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(x, y, weights * len(labels) / 2)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])


def _report(
    vectors: NDArray[np.float32],
    labels: NDArray[np.bool_],
    groups: NDArray[np.str_],
    common: NDArray[np.float32],
    seed: int,
) -> Report:
    scores = _held_out(vectors, labels, groups, common, seed)
    low, high = auroc_interval(scores, labels, groups.tolist(), seed=seed)
    generator = np.random.default_rng(seed)
    shuffled = []
    for _ in range(N_SHUFFLES):
        permuted = generator.permutation(labels)
        shuffled.append(auroc(_held_out(vectors, permuted, np.arange(len(labels)).astype(str), common, seed), permuted))
    return Report(
        n_positive=int(labels.sum()),
        n_negative=int((~labels).sum()),
        n_groups=len(np.unique(groups)),
        n_background=len(common),
        auroc=auroc(scores, labels),
        auroc_low=low,
        auroc_high=high,
        shuffled_mean=float(np.mean(shuffled)),
        shuffled_max=float(np.max(shuffled)),
    )


def _held_out(
    vectors: NDArray[np.float32],
    labels: NDArray[np.bool_],
    groups: NDArray[np.str_],
    common: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float64]:
    """The log-odds of every example by a classifier that has not seen its group."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_splits = min(_FOLDS, *(len(np.unique(groups[labels == label])) for label in (True, False)))
    if n_splits < 2:
        raise InputError("All positive (or all negative) examples are of one episode; add some of another one.")
    scores = np.zeros(len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer examples than there are folds
        for fitted, out in StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed).split(
            vectors, labels, groups
        ):
            if labels[fitted].all() or not labels[fitted].any():
                raise InputError("Too few episodes have examples of both kinds; add some of other episodes.")
            weights, bias = _fit(vectors[fitted], labels[fitted], common)
            scores[out] = vectors[out] @ weights + bias
    return scores
