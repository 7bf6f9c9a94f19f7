"""Cuts a text into chunks that an encoder can take in.

Takes a text, gives exact spans of it. Does not know what the chunks are for, nor any tokenizer: sizes are characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_BREAKS = (
    re.compile(r"\n[^\S\n]*\n\s*"),  # paragraphs
    re.compile(r"\n\s*"),  # lines
    re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]+"),  # sentences
    re.compile(r"\s+"),  # words
)
"""Where a text may be cut, best first; the cut falls at the end of the match."""

_VISIBLE = re.compile(r"\S")


def chunk_text(text: str, max_chars: int = 800) -> list[tuple[int, int]]:
    """Spans ``(start, end)`` of at most ``max_chars`` code points that cover every visible character once, in order.

    A chunk begins and ends with a visible character. It is cut at the last paragraph that ends in the second half of
    what fits, else at the last line, sentence or word, else where it is full. Each cut looks at ``max_chars``
    characters and keeps half of them or more, so time is linear in the length. Raises ValueError where ``max_chars``
    is below 1.
    """
    if max_chars < 1:
        raise ValueError(f"a chunk cannot have {max_chars} characters")
    spans: list[tuple[int, int]] = []
    position = 0
    while visible := _VISIBLE.search(text, position):
        start = visible.start()
        position = _cut(text, start, max_chars)
        spans.append((start, start + len(text[start:position].rstrip())))
    return spans


def split_to_fit(texts: Iterable[str], fits: Callable[[list[str]], list[bool]]) -> dict[str, list[tuple[int, int]]]:
    """For each text, the spans that ``fits`` accepts: all of it, or what is left of halving it until it fits."""
    distinct = list(dict.fromkeys(texts))
    spans = {text: [(0, len(text))] for text in distinct}
    long = [text for text, whole in zip(distinct, fits(distinct), strict=True) if not whole and len(text) > 1]
    if long:
        halves = {text: chunk_text(text, (len(text) + 1) // 2) for text in long}
        inner = split_to_fit((text[start:end] for text in long for start, end in halves[text]), fits)
        for text in long:
            spans[text] = [
                (start + low, start + high) for start, end in halves[text] for low, high in inner[text[start:end]]
            ]
    return spans


def _cut(text: str, start: int, max_chars: int) -> int:
    """Where the chunk that begins at ``start`` ends: after it and at most ``max_chars`` further."""
    full = start + max_chars
    if full >= len(text):
        return len(text)
    half = start + max_chars // 2
    for pattern in _BREAKS:
        cuts = [match.end() for match in pattern.finditer(text, half, full)]
        if cuts:
            return cuts[-1]
    return full
