"""Keyword and semantic search together, by reciprocal rank fusion. Keyword alone where there is no encoder.

Takes a question, gives parts; the score is the fused one, the span that of the ranking in which the part stands higher.
"""

from __future__ import annotations

from ....store.reader import Reader
from ..find import Match, Mode, Question
from ..fusion import reciprocal_rank_fusion
from ..index import PartKey
from . import keyword, semantic

# Deep enough for a part that both rankings place in the middle to overtake one that a single ranking places high.
_DEPTH = 50


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.encoder is None:
        return keyword.SEARCH.search(reader, question)
    deep = Question(question.text, question.filters, max(_DEPTH, 2 * question.limit), question.encoder)
    rankings = [mode.search(reader, deep) for mode in (keyword.SEARCH, semantic.SEARCH)]
    best: dict[PartKey, tuple[int, Match]] = {}
    for ranking in rankings:
        for rank, match in enumerate(ranking):
            if match.key not in best or rank < best[match.key][0]:
                best[match.key] = (rank, match)
    fused = reciprocal_rank_fusion([[match.key for match in ranking] for ranking in rankings], limit=question.limit)
    return [Match(key, score, best[key][1].start, best[key][1].end) for key, score in fused]


SEARCH = Mode(summary="keyword and semantic, fused by reciprocal rank", search=_search)
