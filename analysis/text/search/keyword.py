"""BM25 over the full-text index: words, "phrases in quotes", -excluded.

Takes a question, gives parts with the passage where most of the query stands. Every match is verified in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ....store.reader import Reader
from ..find import PASSAGE_CHARS, Count, Match, Mode, Question, passage
from ..first_seen import earliest_first
from ..index import Found, PartKey
from ..tokens import Query, best_span, parse_query

_EARLIEST: Final = "earliest"
_SPANS: Final = "spans"


def _search(reader: Reader, question: Question) -> list[Match]:
    query = _query(question)
    if not query.terms and not query.phrases:
        return []  # An example none of whose words stands in another part.
    limit = question.limit
    while True:
        # Some of what the index gives may be of no use, so ask for more until enough is left or nothing more is found.
        found = _found(reader, question, query, limit)
        keys = list(found.scores)[:limit]
        matches = _verified(reader, question, query, found, keys)
        if len(matches) >= question.limit or len(keys) < limit:
            return matches[: question.limit]
        limit *= 4


def _count(reader: Reader, question: Question) -> Count:
    query = _query(question)
    if not query.terms and not query.phrases:
        return Count(0, 0)
    return Count(*question.index(reader).count(query, question.filters))


def _query(question: Question) -> Query:
    return question.like.terms if question.like else parse_query(question.text)


def _found(reader: Reader, question: Question, query: Query, limit: int) -> Found:
    index = question.index(reader)
    if not question.earliest:
        return index.find(query, question.filters, limit)
    if _EARLIEST not in question.memory:
        found = index.find(query, question.filters, index.n_parts)
        ordered = {key: found.scores[key] for key in earliest_first(reader, list(found.scores))}
        question.memory[_EARLIEST] = Found(ordered, found.n_matching, found.addresses)
    earliest: Found = question.memory[_EARLIEST]
    return earliest


def _verified(reader: Reader, question: Question, query: Query, found: Found, keys: Sequence[PartKey]) -> list[Match]:
    parts = question.parts(reader, keys, found)
    spans: dict[str, tuple[int, int] | None] = question.memory.setdefault((_SPANS, query), {})
    matches = []
    for key in keys:
        if key not in parts:
            continue  # The index is a moment behind the snapshot: the episode was replaced or forgotten.
        text = parts[key]["text"]
        if text not in spans:
            spans[text] = best_span(text, query, PASSAGE_CHARS)
        span = spans[text]
        if span is not None:
            matches.append(Match(key, found.scores[key], *passage(text, *span)))
    return matches


SEARCH = Mode(summary="words and phrases, ranked by BM25", search=_search, count=_count, n_most=20_000)
