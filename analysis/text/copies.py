"""How often texts are logged.

Takes texts and the filters of a search, gives how many parts hold exactly these texts. Knows the full-text index, not
what was asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from .index import Filters, TextIndex
from .tokens import Query, find_tokens

MOST_COPIES: Final = 200
"""So many parts are read and compared, some microseconds each."""
_EDGE_CHARS: Final = 200
_N_WORDS: Final = 10
"""With fewer, more parts are read that are no copies; with more, finding them takes longer."""


class Copies(NamedTuple):
    """``n`` parts hold the text; there may be more where not ``all_counted``."""

    n: int
    all_counted: bool


def count_copies(
    index: TextIndex, texts: Sequence[str], filters: Filters, retired: Collection[tuple[int, int]]
) -> list[Copies]:
    """Of each text, how many of the parts that pass the filters hold it. The rarest words at its two ends tell which
    may; these are read, at most ``MOST_COPIES``. A text without a word that the index holds is not counted."""
    chosen = None if filters.episode_ids is None else set(filters.episode_ids)
    counted = []
    for text in texts:
        words = index.rarest(_words(text), _N_WORDS)
        if not words:
            counted.append(Copies(0, False))
            continue
        query = Query(phrases=tuple((word,) for word in words))
        # A filter of 10⁵ episodes takes longer than all copies do, so it is left to the few that are read.
        found = index.find(query, filters._replace(episode_ids=None), MOST_COPIES)
        if found.n_matching > MOST_COPIES and chosen is not None:
            found = index.find(query, filters, MOST_COPIES)
        keys = [key for key in found.scores if chosen is None or key.episode_id in chosen]
        n = sum(part["text"] == text for part in index.read(keys, retired, found).values())
        counted.append(Copies(n, found.n_matching <= MOST_COPIES))
    return counted


def _words(text: str) -> list[str]:
    """Those near the ends of a text, each once; a word that an end cuts is left out."""
    if len(text) <= 2 * _EDGE_CHARS:
        words = [word for word, _, _ in find_tokens(text)]
    else:
        words = [word for word, _, _ in find_tokens(text[:_EDGE_CHARS])][:-1]
        words += [word for word, _, _ in find_tokens(text[-_EDGE_CHARS:])][1:]
    return list(dict.fromkeys(words))
