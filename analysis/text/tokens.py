"""The words of a text, as the full-text index sees them, with their places.

Takes texts and what a person typed; gives words, queries and exact spans in Unicode code points. Does not know the
index or the store: it reproduces tantivy's "default" tokenizer, so that whatever the index counts as a hit can be
pointed at. Splitting and lower-casing are left to tantivy itself (its tables of letters are newer than Python's, and
they hold combining vowel signs, which Python's ``isalnum`` does not); only the places are found here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import tantivy

from ...store.errors import UsageError

MAX_WORD_BYTES = 39
"""The index leaves out longer words: ``RemoveLongFilter::limit(40)`` keeps what is *shorter* than 40 bytes of UTF-8."""

_PIECE = re.compile(r'(?P<minus>(?<!\S)-(?=[^\s-]))?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"]+))')


class LongWordError(UsageError):
    """A query has a word that is too long for the index; a search that does not need the index can go on."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a person searches for. Words are lower-case, as in the index; nothing is listed twice."""

    terms: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    """Each of two words or more, which must stand next to each other in this order."""
    excluded: tuple[tuple[str, ...], ...] = ()
    """Each a phrase, or a single word as a phrase of one."""


@cache
def _analyzers() -> tuple[tantivy.TextAnalyzer, tantivy.TextAnalyzer]:
    """Words as they are written, and the same words lower-cased (character by character, so no final sigma)."""
    written = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()
    lowered = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase()).build()
    return written, lowered


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Every word, also those too long for the index, which come as ``""``: they keep their place in a phrase."""
    written, lowered = _analyzers()
    position = 0
    for raw, word in zip(written.analyze(text), lowered.analyze(text), strict=True):
        # Between two words there is no letter or digit, so the next occurrence is the word itself.
        start = text.index(raw, position)
        position = start + len(raw)
        yield (word if len(raw.encode()) <= MAX_WORD_BYTES else ""), start, position


def find_tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """``(word, start, end)`` for each word that the index holds, in order; ``text[start:end]`` is how it is written.

    ``text`` holds no lone surrogates (a ``Part`` never does).
    """
    return (token for token in _words(text) if token[0])


def parse_query(text: str) -> Query:
    """Words, ``"quoted phrases"`` and ``-excluded`` words or phrases; there is nothing else.

    Punctuation inside a word makes a phrase of it, as it does in the index: ``re-bench`` is ``"re bench"``, and so is
    ``--no-verify`` (one hyphen excludes, two do not). Raises UsageError for a quote that is not closed and a query
    without words, LongWordError for a word too long for the index.
    """
    wanted: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []
    for piece, words in _pieces(text):
        if not all(words):
            raise LongWordError(
                f"The index leaves out words of more than {MAX_WORD_BYTES} bytes, such as the one in "
                f"{piece.group()!r}; use --mode regex for it."
            )
        if words:
            (excluded if piece.group("minus") else wanted).append(words)
    if not wanted:
        raise UsageError('There is no word to search for; give words, "quoted phrases" and -excluded words.')
    return Query(
        terms=tuple(dict.fromkeys(words[0] for words in wanted if len(words) == 1)),
        phrases=tuple(dict.fromkeys(words for words in wanted if len(words) > 1)),
        excluded=tuple(dict.fromkeys(excluded)),
    )


def parse_meaning(text: str) -> tuple[str, Query]:
    """The same query for a search by meaning: what it asks, without marks, and what every answer must obey.

    Of the words only those in quotation marks, and the excluded ones, are binding: ``didn't`` is two words in the
    index, but whoever asks "why didn't it stop" does not ask for them. Nothing is demanded of words too long for the
    index. Raises UsageError for a quote that is not closed.
    """
    asked: list[str] = []
    phrases: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []
    for piece, words in _pieces(text):
        quoted, bare = piece.group("quoted", "bare")
        if not piece.group("minus"):
            asked.append(bare if quoted is None else quoted)
        if words and all(words) and (piece.group("minus") or (quoted is not None and len(words) > 1)):
            (excluded if piece.group("minus") else phrases).append(words)
    return " ".join(asked), Query((), tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(excluded)))


def allows(text: str, query: Query) -> bool:
    """Does the text hold every phrase of the query, and nothing that it excludes? Its terms play no part."""
    asked = Query(phrases=(*query.phrases, *query.excluded))
    found = {words for _, _, words in _matches(text, asked)}
    return found.issuperset(query.phrases) and found.isdisjoint(query.excluded)


def _pieces(text: str) -> Iterator[tuple[re.Match[str], tuple[str, ...]]]:
    """What a query is made of, with the words of each; one too long for the index is ``""``."""
    text = text.encode("utf-8", "replace").decode()
    if text.count('"') % 2:
        raise UsageError('A quotation mark (") is not closed; close it, or leave it out.')
    for piece in _PIECE.finditer(text):
        quoted, bare = piece.group("quoted", "bare")
        yield piece, tuple(word for word, _, _ in _words(bare if quoted is None else quoted))


def _matches(text: str, query: Query) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """``(start, end, what)`` of each wanted word or phrase, in order of their ends. Matches may overlap."""
    by_last: dict[str, list[tuple[str, ...]]] = {}
    for words in (*((term,) for term in query.terms), *query.phrases):
        by_last.setdefault(words[-1], []).append(words)
    recent: deque[tuple[str, int]] = deque(maxlen=max((len(words) for words in query.phrases), default=1))
    for word, start, end in _words(text):
        recent.append((word, start))
        for words in by_last.get(word, ()):
            tail = list(recent)[-len(words) :]
            if tuple(seen for seen, _ in tail) == words:
                yield tail[0][1], end, words


def match_spans(text: str, query: Query) -> list[tuple[int, int]]:
    """Spans of all matched words and phrases, sorted; one inside another is left out. For highlighting.

    Matches that only overlap (a phrase with itself, ``a b a b a``) are both kept.
    """
    spans: list[tuple[int, int]] = []
    for start, end in sorted({(start, end) for start, end, _ in _matches(text, query)}, key=lambda s: (s[0], -s[1])):
        if not spans or end > spans[-1][1]:
            spans.append((start, end))
    return spans


def best_span(text: str, query: Query, width: int = 240) -> tuple[int, int] | None:
    """The span of at most ``width`` characters that holds the most different wanted words and phrases.

    Of several, the shortest, then the first; it begins and ends with a match. Only a single phrase longer than
    ``width`` makes it longer. None where nothing matches. Excluded words play no part.
    """
    best: tuple[int, int, int] | None = None
    next_end: dict[tuple[str, ...], int] = {}
    for start, end, words in sorted(_matches(text, query), key=lambda match: (-match[0], match[1])):
        next_end[words] = end
        reach = max(start + width, end)
        ends = [nearest for nearest in next_end.values() if nearest <= reach]
        candidate = (-len(ends), max(ends) - start, start)
        best = candidate if best is None else min(best, candidate)
    return None if best is None else (best[2], best[2] + best[1])
