"""The best hits once more, scored by an encoder that is too slow to have read everything.

Takes hits and an encoder, gives them in a new order, each with its old rank. Looks at no other part: what the first
search did not find stays unfound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...store.reader import Reader
from .chunks import chunk_text, split_to_fit
from .encode import Array, Encoder
from .find import Hit, Question, meaning
from .fusion import fuse_shares
from .index import coverage
from .tokens import LongWordError, Query, parse_query

RERANKED = 50
"""How many of the best hits are scored again."""


def rerank(reader: Reader, mode: str, question: Question, hits: Sequence[Hit], encoder: Encoder) -> list[Hit]:
    """The hits, best first, ``rank`` and ``score`` renewed. The score is that of ``hybrid`` (``fuse_shares``), with
    this encoder's similarity in place of the first one's: what the words say is not forgotten. After ``semantic`` it is
    the similarity alone.

    ``more["rerank"]`` has ``encoder``, ``similarity`` (the cosine of the question and the chunk of the part at the
    span, the best of several) and ``rank_before``. All chunks are encoded at once, equal ones once.
    """
    if not hits:
        return []
    chunks = [_chunks_at(hit) for hit in hits]
    split = split_to_fit((chunk for of_hit in chunks for chunk in of_hit), encoder.fits)
    pieces = [[chunk[a:b] for chunk in of_hit for a, b in split[chunk]] for of_hit in chunks]
    similarities = encoder.encode([piece for of_hit in pieces for piece in of_hit]) @ _meaning(mode, question, encoder)
    ends = np.cumsum([len(of_hit) for of_hit in pieces])
    best = np.array([part.max() for part in np.split(similarities, ends[:-1])], np.float64)
    words = np.array([hit.more.get("keyword_score", hit.score) for hit in hits])
    # What is the least similar of these stands for what is not similar at all, of which nothing was encoded.
    scores = best
    if mode != "semantic":
        told = coverage(reader.workspace, _query(question), hits[int(words.argmax())].texts[0])
        scores = fuse_shares(words, told, best, float(best.min()))
    order = np.argsort(-scores, kind="stable")
    for rank, place in enumerate(order, start=1):
        hit = hits[place]
        found = {"encoder": encoder.name, "similarity": float(best[place]), "rank_before": hit.rank}
        hit.rank, hit.score, hit.more = rank, float(scores[place]), hit.more | {"rerank": found}
    return [hits[place] for place in order]


def _meaning(mode: str, question: Question, encoder: Encoder) -> Array:
    """``semantic`` reads a question as it stands, marks and all."""
    return encoder.ask([question.text])[0] if mode == "semantic" and not question.like else meaning(question, encoder)


def _query(question: Question) -> Query:
    try:
        return question.like.terms if question.like else parse_query(question.text)
    except LongWordError:
        return Query()


def _chunks_at(hit: Hit) -> list[str]:
    """The chunks of the part that the span lies in."""
    text, span = hit.texts[0], hit.span
    found = [text[start:end] for start, end in chunk_text(text) if start < span.end and end > span.start]
    return found or [hit.snippet]
