"""Keyword and semantic search together, by reciprocal rank fusion. Keyword alone where there is no encoder.

Takes a question, gives parts; the score is the fused one, the span that of the ranking in which the part stands higher.
What is excluded, and phrases in quotes, bind both rankings.
"""

from __future__ import annotations

from dataclasses import replace

from ....store.reader import Reader
from ..find import Match, Mode, Question, texts_of
from ..fusion import reciprocal_rank_fusion
from ..index import PartKey
from ..tokens import LongWordError, Query, allows, parse_meaning
from . import keyword, semantic

# Deep enough for a part that both rankings place in the middle to overtake one that a single ranking places high.
_DEPTH = 50


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.encoder is None:
        return keyword.SEARCH.search(reader, question)
    deep = replace(question, limit=max(_DEPTH, 2 * question.limit))
    asked, demands = parse_meaning(question.text)
    try:
        by_words = keyword.SEARCH.search(reader, deep)
    except LongWordError:
        by_words = []  # The meaning is still there to search by.
    rankings = [by_words, _by_meaning(reader, replace(deep, text=asked), demands)]
    best: dict[PartKey, tuple[int, Match]] = {}
    for ranking in rankings:
        for rank, match in enumerate(ranking):
            if match.key not in best or rank < best[match.key][0]:
                best[match.key] = (rank, match)
    fused = reciprocal_rank_fusion([[match.key for match in ranking] for ranking in rankings], limit=question.limit)
    return [Match(key, score, best[key][1].start, best[key][1].end) for key, score in fused]


def _by_meaning(reader: Reader, question: Question, demands: Query) -> list[Match]:
    if not demands.phrases and not demands.excluded:
        return semantic.SEARCH.search(reader, question)
    limit = question.limit
    while True:
        matches = semantic.SEARCH.search(reader, replace(question, limit=limit))
        parts = texts_of(reader, [match.key for match in matches])
        kept = [match for match in matches if match.key in parts and allows(parts[match.key]["text"], demands)]
        # The full-text index finds every part with a phrase, so there is no need to look for them in all the others.
        if demands.phrases or len(kept) >= question.limit or len(matches) < limit:
            return kept[: question.limit]
        limit *= 4


SEARCH = Mode(summary="keyword and semantic, fused by reciprocal rank", search=_search)
