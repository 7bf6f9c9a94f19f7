"""Search by example: an episode, or one part of one, in place of a question.

Takes a place in the workspace, gives what a search needs of it: its most telling words, and its texts for their
meaning. Does not search.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import Final

from ...store.errors import NotFoundError, UsageError
from ...store.reader import Reader
from ...store.select import resolve
from .chunks import chunk_text
from .find import Like, selection_sql
from .index import Filters, count_documents
from .tokens import Query, find_tokens

N_TERMS: Final = 20
_MOST_CHUNKS: Final = 64
_PLACE: Final = re.compile(r"(?P<episode>.+)@(?P<message>\d{1,9})\.(?P<part>\d{1,9})")


def resemble(reader: Reader, place: str, filters: Filters) -> Like:
    """What a search for the like of ``EPISODE`` or ``EPISODE@message.part`` asks. Of a whole episode, the parts that
    pass the filters on kind and role count, so that ``reasoning`` is compared with ``reasoning``.

    Raises NotFoundError where there is no such part, UsageError where it has no text.
    """
    match = _PLACE.fullmatch(place)
    episode_id = resolve(reader, match["episode"] if match else place)
    if match:
        rows = reader.rows(
            "SELECT text FROM parts WHERE episode_id = ? AND message_index = ? AND part_index = ?",
            [episode_id, int(match["message"]), int(match["part"])],
        )
        if not rows:
            raise NotFoundError(f"Episode {episode_id} has no part {place}; `investigate show {episode_id}` shows it.")
    else:
        condition, parameters = selection_sql(Filters([episode_id], filters.kinds, filters.roles))
        rows = reader.rows(f"SELECT text FROM parts WHERE {condition} ORDER BY message_index, part_index", parameters)
    texts = tuple(dict.fromkeys(row["text"] for row in rows if row["text"].strip()))
    if not texts:
        raise UsageError(f"{place} has no text to compare with; `investigate show {episode_id}` shows what it has.")
    return Like(texts, _passages(texts), Query(telling_terms(reader, texts)))


def telling_terms(reader: Reader, texts: tuple[str, ...], k: int = N_TERMS) -> tuple[str, ...]:
    """At most ``k`` words, best first by ``(1 + log tf) · log(N / df)`` (Salton and Buckley 1988), N and df counted
    over the parts of the index. A word that no other part holds finds nothing, and is left out. Of equals, the
    alphabet decides.
    """
    counts = Counter(word for text in texts for word, _, _ in find_tokens(text))
    found, n = count_documents(reader.workspace, counts)
    scores = {word: (1 + log(count)) * log(n / found[word]) for word, count in counts.items() if found.get(word, 0) > 1}
    return tuple(sorted(scores, key=lambda word: (-scores[word], word))[:k])


def _passages(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Chunks of the texts; of very many, some at equal distances."""
    chunks = [text[start:end] for text in texts for start, end in chunk_text(text)]
    step = max(1, len(chunks) / _MOST_CHUNKS)
    return tuple(chunks[int(i * step)] for i in range(min(len(chunks), _MOST_CHUNKS)))
