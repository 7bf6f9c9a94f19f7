"""Search by example: an episode, one part of one, or a passage of it, in place of a question.

Takes a place in the workspace, gives what a search needs of it: its most telling words, and its texts for their
meaning. Does not search.
"""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Final

from ...store.errors import UsageError
from ...store.reader import Reader
from ...store.select import resolve
from .chunks import chunk_text
from .find import Like, selection_sql, texts_of
from .index import Filters, count_documents
from .places import NO_PLACE, parse_place, text_at
from .tokens import Query, find_tokens

N_TERMS: Final = 20
_MOST_CHUNKS: Final = 64


def resemble(reader: Reader, typed: str, filters: Filters) -> Like:
    """What a search for the like of ``EPISODE``, of ``EPISODE@message.part`` or of ``[start, end)`` of it asks. Of a
    whole episode, the parts that pass the filters on kind and role count, so that ``reasoning`` is compared with
    ``reasoning``.

    Raises NotFoundError where there is no such part, InputError where no text stands in it there, UsageError for an
    episode without text and for what is neither an episode nor a place.
    """
    place = parse_place(typed)
    if place is None:
        if "@" in typed.rpartition("#")[2]:
            raise UsageError(NO_PLACE.format(typed))
        return _like_episode(reader, typed, filters)
    key = place.key(resolve(reader, place.episode))
    part = texts_of(reader, [key]).get(key)
    asked = (text_at(place, part),)
    return Like((part["text"],) if part else (), _passages(asked), Query(telling_terms(reader, asked)))


def _like_episode(reader: Reader, name: str, filters: Filters) -> Like:
    episode_id = resolve(reader, name)
    condition, parameters = selection_sql(Filters([episode_id], filters.kinds, filters.roles))
    rows = reader.rows(f"SELECT text FROM parts WHERE {condition} ORDER BY message_index, part_index", parameters)
    texts = tuple(dict.fromkeys(row["text"] for row in rows if row["text"].strip()))
    if not texts:
        raise UsageError(f"{name} has no text to compare with; `investigate show {episode_id}` shows what it has.")
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
