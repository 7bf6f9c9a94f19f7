"""BM25 over the full-text index: words, "phrases in quotes", -excluded.

Takes a question, gives parts with the passage where most of the query stands. Every match is verified in the text.
"""

from __future__ import annotations

from typing import Any

from ....store.reader import Reader
from ..find import PASSAGE_CHARS, Match, Mode, Question, passage
from ..index import PartKey, search_text
from ..tokens import Query, best_span, parse_query


def _search(reader: Reader, question: Question) -> list[Match]:
    query = question.like.terms if question.like else parse_query(question.text)
    if not query.terms and not query.phrases:
        return []  # An example none of whose words stands in another part.
    limit = question.limit
    while True:
        # Some of what the index gives may be of no use, so ask for more until enough is left or nothing more is found.
        found = search_text(reader.workspace, query, question.filters, limit)
        matches = _verified(question.parts(reader, [key for key, _ in found]), query, found)
        if len(matches) >= question.limit or len(found) < limit:
            return matches[: question.limit]
        limit *= 4


def _verified(parts: dict[PartKey, dict[str, Any]], query: Query, found: list[tuple[PartKey, float]]) -> list[Match]:
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
