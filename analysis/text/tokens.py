"""The words of a text, as the full-text index sees them, with their places.

Takes texts and what a person typed; gives words, queries and exact spans in Unicode code points. Does not know the
index or the store: it reproduces tantivy's "default" tokenizer, so that whatever the index counts as a hit can be
pointed at. Splitting and lower-casing are left to tantivy itself (its tables of letters are newer than Python's, and
they hold combining vowel signs, which Python's ``isalnum`` does not); only the places are found here.

Chinese, Japanese, Korean and Thai put no space where a word ends (or, in Korean, only after its particles), so a run of
their letters is taken apart: each letter, and each pair of neighbours, is a word, in the order ``日 日本 本 本語 語``.
``segment`` writes a text that way for the index. Of what is asked, pairs are searched for; in quotation marks the whole
run is a phrase, and so found exactly.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import tantivy

from ...store.errors import UsageError

MAX_WORD_BYTES = 39
"""The index leaves out longer words: ``RemoveLongFilter::limit(40)`` keeps what is *shorter* than 40 bytes of UTF-8."""

_PIECE = re.compile(r'(?P<minus>(?<!\S)-(?=[^\s-]))?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"]+))')


_UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufa6d\ufa70-\ufad9"  # Han
    "\U00020000-\U0002a6df\U0002a700-\U0002b81d\U0002b820-\U0002cead\U0002ceb0-\U0002ebe0\U0002f800-\U0002fa1d"
    "\U00030000-\U0003134a\U00031350-\U000323af"
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\u3105-\u312f\u31a0-\u31bf"  # kana
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7c6\ud7cb-\ud7fb\uffa0-\uffbe"  # Hangul
    "\u0e01-\u0e3a\u0e40-\u0e46\u0e4d\u0e50-\u0e59"  # Thai without tone marks, which are no letters to the index
)
"""Only what tantivy counts as letters: anything else would part what is taken together here."""
_RUN = re.compile(f"[{_UNSPACED}]+")
_PERHAPS = re.compile("[\u0e01-\u0e5b\u1100-\u11ff\u3005-\U000323af]")
"""Three ranges are looked for five times as fast as all of those: a quick no for almost every text."""
_RUN_OR_REST = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")


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


def segment(text: str) -> str:
    """The text for the index: runs of letters that no spaces part are taken apart; all other text is left as it is."""
    if text.isascii() or not _PERHAPS.search(text):
        return text
    return _RUN.sub(lambda run: f" {' '.join(_letters_and_pairs(run.group()))} ", text)


def _letters_and_pairs(run: str) -> list[str]:
    """``日 日本 本 本語 語``: the words of a part of a run are then a part of the words of the run."""
    words = [run[i : i + n] for i in range(len(run)) for n in (1, 2)]
    words.pop()  # the last letter has no neighbour
    return words


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Every word, also those too long for the index, which come as ``""``: they keep their place in a phrase."""
    written, lowered = _analyzers()
    position = 0
    for raw, word in zip(written.analyze(text), lowered.analyze(text), strict=True):
        # Between two words there is no letter or digit, so the next occurrence is the word itself.
        start = text.index(raw, position)
        position = start + len(raw)
        if raw.isascii() or not _RUN.search(raw):
            yield (word if len(raw.encode()) <= MAX_WORD_BYTES else ""), start, position
        else:
            yield from _mixed_words(raw, start)


def _mixed_words(raw: str, start: int) -> Iterator[tuple[str, int, int]]:
    _, lowered = _analyzers()
    for piece in _RUN_OR_REST.finditer(raw):
        text, place = piece.group(), start + piece.start()
        if _RUN.match(text):
            for i, word in enumerate(_letters_and_pairs(text)):
                yield word, place + i // 2, place + i // 2 + len(word)
        else:
            (word,) = lowered.analyze(text)
            yield (word if len(text.encode()) <= MAX_WORD_BYTES else ""), place, place + len(text)


def phrase_places(words: Sequence[str]) -> list[tuple[int, str]]:
    """The words that make a phrase what it is, with their places in it: a letter whose pair is there as well adds
    nothing, and letters are what an index has most of."""
    return [(i, word) for i, word in enumerate(words) if not _is_in_pair(words, i)]


def _is_in_pair(words: Sequence[str], i: int) -> bool:
    if not _RUN.fullmatch(words[i]):
        return False
    before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
    return len(words[i]) == 1 and any(
        len(pair) == 2 and pair[side] == words[i] and _RUN.fullmatch(pair) for pair, side in ((before, 1), (after, 0))
    )


def find_tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """``(word, start, end)`` for each word that the index holds, in order; ``text[start:end]`` is how it is written.

    ``text`` holds no lone surrogates (a ``Part`` never does).
    """
    return (token for token in _words(text) if token[0])


def parse_query(text: str) -> Query:
    """Words, ``"quoted phrases"`` and ``-excluded`` words or phrases; there is nothing else.

    Punctuation inside a word makes a phrase of it, as it does in the index: ``re-bench`` is ``"re bench"``, and so is
    ``--no-verify`` (one hyphen excludes, two do not). Of letters that no spaces part, ``评估意识``, the pairs are terms
    (评估 估意 意识): who types a sentence does not ask for all of it; in quotation marks it is a phrase.

    Raises UsageError for a quote that is not closed and a query without words, LongWordError for a word too long for
    the index.
    """
    wanted: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []
    for piece, words in _pieces(text):
        if not all(words):
            raise LongWordError(
                f"The index leaves out words of more than {MAX_WORD_BYTES} bytes, such as the one in "
                f"{piece.group()!r}; use --mode regex for it."
            )
        if words and piece.group("minus"):
            excluded.append(words)
        elif words:
            wanted += _asked(words) if piece.group("quoted") is None else [words]
    if not wanted:
        raise UsageError('There is no word to search for; give words, "quoted phrases" and -excluded words.')
    return Query(
        terms=tuple(dict.fromkeys(words[0] for words in wanted if len(words) == 1)),
        phrases=tuple(dict.fromkeys(words for words in wanted if len(words) > 1)),
        excluded=tuple(dict.fromkeys(excluded)),
    )


def _asked(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Of a piece without quotation marks: each pair of letters that no spaces part, and what stands between."""
    kept = [word for _, word in phrase_places(words)]
    for unspaced, group in groupby(kept, key=lambda word: _RUN.match(word) is not None):
        if unspaced:
            yield from ((word,) for word in group)
        else:
            yield tuple(group)


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
