"""BM25 over the full-text index: words, "phrases in quotes", -excluded.

Takes a question, gives parts with the passage where most of the query stands. Every match is verified in the text.
"""

from __future__ import annotations

from ....store.reader import Reader
from ..find import PASSAGE_CHARS, Match, Mode, Question, passage, texts_of
from ..index import search_text
from ..tokens import best_span, parse_query


def _search(reader: Reader, question: Question) -> list[Match]:
    query = parse_query(question.text)
    found = search_text(reader.workspace, query, question.filters, question.limit)
    parts = texts_of(reader, [key for key, _ in found])
    matches = []
    for key, score in found:
        if key not in parts:
            continue
        text = parts[key]["text"]
        span = best_span(text, query, PASSAGE_CHARS)
        if span is not None:
            matches.append(Match(key, score, *passage(text, *span)))
    return matches


SEARCH = Mode(summary="words and phrases, ranked by BM25", search=_search)
