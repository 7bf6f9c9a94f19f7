"""Meaning: the chunks whose sentence embedding is closest to that of the query.

Takes a question with an encoder, gives parts with the chunk that answers best; the score is the cosine similarity.
"""

from __future__ import annotations

from ....store.errors import OptionalDependencyError
from ....store.reader import Reader
from ..find import Match, Mode, Question
from ..index import PartKey
from ..vectors import open_vectors


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.encoder is None:
        raise OptionalDependencyError(
            "Semantic search needs a sentence encoder: `pip install 'investigate[offline]'`, or --encoder FOLDER."
        )
    if question.text not in question.memory:
        index = open_vectors(reader, question.encoder)
        question.memory[question.text] = index, question.encoder.ask([question.text])[0]
    index, query = question.memory[question.text]
    matches = []
    for hit in index.search(query, question.filters, question.limit):
        key = PartKey(hit.span.episode_id, hit.span.message_index, hit.span.part_index)
        matches.append(Match(key, hit.similarity, hit.span.start, hit.span.end))
    return matches


SEARCH = Mode(summary="closeness in meaning, by sentence embeddings", search=_search)
