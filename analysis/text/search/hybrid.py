"""Keyword and semantic search together. Keyword alone where there is no encoder.

Takes a question, gives parts. What either half finds, both score, and ``fusion.fuse_shares`` makes one score of them.
``more`` keeps them: ``keyword_score`` (BM25) and ``similarity`` (cosine), with ``keyword_rank`` and ``semantic_rank``,
None where that half did not find the part by itself. The span is that of the half in which the part stands higher.
What is excluded, and phrases in quotes, bind both halves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ....store.reader import Reader
from ..find import Match, Mode, Question
from ..fusion import fuse_shares
from ..index import Filters, PartKey, coverage
from ..tokens import LongWordError, Query, allows, parse_meaning, parse_query
from . import keyword, semantic

# Deep enough for a part that both rankings place in the middle to overtake one that a single ranking places high.
_DEPTH = 50
# Parts of the episodes in which something was found; beyond so many, a BM25 score is next to nothing.
_MOST_PARTS = 5_000
_BACKGROUND_VECTORS = 2_000


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.encoder is None:
        return keyword.SEARCH.search(reader, question)
    deep = replace(question, limit=max(_DEPTH, 2 * question.limit))
    asked, demands = parse_meaning(question.text)
    try:
        query = question.like.terms if question.like else parse_query(question.text)
        by_words = keyword.SEARCH.search(reader, deep)
    except LongWordError:
        query, by_words = Query(), []  # The meaning is still there to search by.
    by_meaning = _by_meaning(reader, replace(deep, text=asked), demands)
    keys = list(dict.fromkeys(match.key for match in (*by_words, *by_meaning)))
    if not keys:
        return []
    filters = question.filters._replace(episode_ids=sorted({key.episode_id for key in keys}))
    scores = _scores(reader, question, query, filters) | {match.key: match.score for match in by_words}
    similarities, background = _similarities(reader, question, asked, filters)
    near = np.array([similarities.get(key, background) for key in keys])
    words = np.array([scores.get(key, 0.0) for key in keys])
    fused = fuse_shares(words, _coverage(reader, question, query, by_words), near, background)
    ranks = [{match.key: rank for rank, match in enumerate(half, start=1)} for half in (by_words, by_meaning)]
    higher = _higher(by_words, by_meaning)
    return [
        replace(
            higher[key],
            score=-float(score),
            more={
                "keyword_rank": ranks[0].get(key),
                "keyword_score": scores.get(key, 0.0),
                "semantic_rank": ranks[1].get(key),
                "similarity": similarities.get(key),
            },
        )
        for score, _, key in sorted(zip(-fused, -near, keys, strict=True))[: question.limit]
    ]


def _higher(*halves: list[Match]) -> dict[PartKey, Match]:
    """Each part's match in the half where it stands higher; of equals, the first half."""
    ranked = [(rank, match) for half in halves for rank, match in enumerate(half)]
    return {match.key: match for _, match in sorted(ranked, key=lambda pair: pair[0])[::-1]}


def _coverage(reader: Reader, question: Question, query: Query, by_words: list[Match]) -> float:
    """Of what stands first by words, which is what the scores of all others are measured by."""
    if not by_words:
        return 0.0
    (best,) = question.parts(reader, [by_words[0].key]).values()
    return coverage(reader.workspace, query, best["text"])


def _scores(reader: Reader, question: Question, query: Query, filters: Filters) -> dict[PartKey, float]:
    if not query.terms and not query.phrases:
        return {}
    return question.index(reader).find(query, filters, _MOST_PARTS).scores


def _similarities(
    reader: Reader, question: Question, asked: str, filters: Filters
) -> tuple[dict[PartKey, float], float]:
    """The cosine similarity of every encoded part that passes the filters (its best chunk's), and the mean one of
    chunks from all over the workspace."""
    index, vector = semantic.asked(reader, question, asked)
    found: dict[PartKey, float] = {}
    n_vectors = sum(len(segment.vectors) for segment in index.segments)
    everywhere: list[np.ndarray] = []
    for segment in index.segments:
        everywhere.append(segment.vectors[:: 1 + n_vectors // _BACKGROUND_VECTORS].astype(np.float32) @ vector)
        rows = np.flatnonzero(index.passing(segment, filters))
        near = segment.vectors[segment.column("vector")[rows]].astype(np.float32) @ vector
        columns: Iterable[np.ndarray] = (segment.column(name)[rows] for name in PartKey._fields)
        for *ids, similarity in zip(*(column.tolist() for column in columns), near.tolist(), strict=True):
            key = PartKey(*ids)
            found[key] = max(similarity, found.get(key, similarity))
    return found, float(np.concatenate(everywhere).mean()) if n_vectors else 0.0


def _by_meaning(reader: Reader, question: Question, demands: Query) -> list[Match]:
    if not demands.phrases and not demands.excluded:
        return semantic.SEARCH.search(reader, question)
    limit = question.limit
    while True:
        matches = semantic.SEARCH.search(reader, replace(question, limit=limit))
        parts = question.parts(reader, [match.key for match in matches])
        kept = [match for match in matches if match.key in parts and allows(parts[match.key]["text"], demands)]
        # The full-text index finds every part with a phrase, so there is no need to look for them in all the others.
        if demands.phrases or len(kept) >= question.limit or len(matches) < limit:
            return kept[: question.limit]
        limit *= 4


SEARCH = Mode(summary="keyword and semantic, each part scored by both", search=_search)
