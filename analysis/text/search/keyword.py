"""BM25 over the full-text index: words, "phrases in quotes", -excluded.

Takes a question, gives parts with the passage where most of the query stands. Every match is verified in the text.
"""

from __future__ import annotations

from ....store.reader import Reader
from ..find import PASSAGE_CHARS, Match, Mode, Question, passage, texts_of
from ..index import PartKey, search_text
from ..tokens import Query, best_span, parse_query


def _search(reader: Reader, question: Question) -> list[Match]:
    query = parse_query(question.text)
    limit = question.limit
    while True:
        # Some of what the index gives may be of no use, so ask for more until enough is left or nothing more is found.
        found = search_text(reader.workspace, query, question.filters, limit)
        matches = _verified(reader, query, found)
        if len(matches) >= question.limit or len(found) < limit:
            return matches[: question.limit]
        limit *= 4


def _verified(reader: Reader, query: Query, found: list[tuple[PartKey, float]]) -> list[Match]:
    parts = texts_of(reader, [key for key, _ in found])
    matches = []
    for key, score in found:
        if key not in parts:
            continue  # The index is a moment behind the snapshot: the episode was replaced or forgotten.
        text = parts[key]["text"]
        span = best_span(text, query, PASSAGE_CHARS)
        if span is not None:
            matches.append(Match(key, score, *passage(text, *span)))
    return matches


SEARCH = Mode(summary="words and phrases, ranked by BM25", search=_search)
