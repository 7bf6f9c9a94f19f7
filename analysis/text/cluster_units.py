"""What is clustered: episodes, messages or chunks, each with its text and its vector.

Takes a reader, an encoder and filters; gives distinct texts with vectors, and for every item the one that it equals.
Knows no clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.reader import Reader
from .encode import Encoder, tfidf_vectors
from .index import Filters
from .vectors import load_chunks

LEVELS: Final = ("episode", "message", "chunk")
TEXT_CHARS: Final = 4_000
"""An item is named by the beginning of what it says: names need its topic, not its length."""

Ints = NDArray[np.int64]
Place = tuple[int, int | None, int | None, int | None, int | None]
"""(episode_id, message_index, part_index, start, end), None where the level has no such number."""


@dataclass(frozen=True, slots=True)
class Units:
    """``n`` items, the place of each, and the ``m`` distinct texts among them.

    ``places`` has n of them. Item i says ``texts[equals[i]]``, with the vector ``vectors[equals[i]]`` (m, d).
    ``n_folded`` episodes have the same raw record as an earlier one of those asked for, and are in nothing else.
    """

    places: list[Place]
    equals: Ints
    texts: list[str]
    vectors: NDArray[Any]
    n_folded: int


def load_units(reader: Reader, encoder: Encoder | None, filters: Filters, level: str, seed: int = 0) -> Units:
    """The items that have text, in the order of their places; with an encoder, those that are encoded.

    The vector of an episode or a message is the mean of its chunks, at unit length. Without an encoder it is TF-IDF of
    the words, and the chunks are whole parts.
    """
    kept, n_folded = _distinct_episodes(reader, filters)
    filters = filters._replace(episode_ids=kept)
    if encoder is None:
        places, texts = _texts(reader, filters, level)
        equals, first = _fold(texts)
        distinct = [texts[i] for i in first]
        vectors = tfidf_vectors(distinct, seed=seed) if distinct else np.zeros((0, 1), np.float32)
        return Units(places, equals, distinct, vectors, n_folded)
    chunks = load_chunks(reader, encoder, filters)
    order = np.lexsort([chunks.rows[name] for name in ("start", "part_index", "message_index", "episode_id")])
    rows = {name: chunks.rows[name][order] for name in (*_KEYS, "vector")}
    if level == "chunk":
        places, texts, found = _chunk_texts(reader, filters, rows)
        means: NDArray[Any] = chunks.vectors[rows["vector"][found]]
    else:
        texts_of = dict(zip(*_texts(reader, filters, level), strict=True))
        keys = np.stack([rows[name] for name in _KEYS[: 1 if level == "episode" else 2]], axis=1).astype(np.int64)
        distinct_keys, inverse = np.unique(keys, axis=0, return_inverse=True)
        every = [_place(*key.tolist()) for key in distinct_keys]
        has_text = np.array([place in texts_of for place in every], bool)
        means = _means(chunks.vectors, rows["vector"], inverse.ravel(), len(every))[has_text]
        places = [place for place in every if place in texts_of]
        texts = [texts_of[place] for place in places]
    # Equal beginnings are not equal texts: two of them are one only where their vectors agree.
    equals, first = _fold(texts, means)
    return Units(places, equals, [texts[i] for i in first], means[first], n_folded)


_KEYS: Final = ("episode_id", "message_index", "part_index", "start", "end")


def _place(
    episode_id: int,
    message_index: int | None = None,
    part_index: int | None = None,
    start: int | None = None,
    end: int | None = None,
) -> Place:
    return episode_id, message_index, part_index, start, end


def _distinct_episodes(reader: Reader, filters: Filters) -> tuple[list[int], int]:
    """The episodes that have such parts, of equal ones the first that is asked for; and how many were left out."""
    condition, parameters = _condition(filters)
    rows = reader.rows(
        f"""SELECT min(episode_id) AS first, count(*) AS n
            FROM (SELECT DISTINCT episode_id FROM parts WHERE {condition}) JOIN episodes USING (episode_id)
            GROUP BY coalesce(duplicate_of, episode_id) ORDER BY first""",
        parameters,
    )
    return [row["first"] for row in rows], sum(row["n"] - 1 for row in rows)


def _condition(filters: Filters) -> tuple[str, list[list[Any]]]:
    wanted = {"episode_id": filters.episode_ids, "kind": filters.kinds, "role": filters.roles}
    given = {name: list(values) for name, values in wanted.items() if values is not None}
    return " AND ".join(["kind <> 'media'", *(f"{name} IN (SELECT unnest(?))" for name in given)]), [*given.values()]


def _texts(reader: Reader, filters: Filters, level: str) -> tuple[list[Any], list[str]]:
    """Places and the beginnings of their texts, without those that say nothing."""
    keys = _KEYS[: {"episode": 1, "message": 2, "chunk": 3}[level]]
    condition, parameters = _condition(filters)
    table = reader.table(
        f"""SELECT * FROM (
                SELECT {", ".join(keys)}, left(string_agg(left(text, {TEXT_CHARS}), chr(10)
                       ORDER BY message_index, part_index), {TEXT_CHARS}) AS text, any_value(length(text)) AS n
                FROM parts WHERE {condition} GROUP BY {", ".join(keys)})
            WHERE regexp_matches(text, '\\S') ORDER BY {", ".join(keys)}""",
        parameters,
    )
    columns = [table[name].to_pylist() for name in keys]
    if level == "chunk":
        columns += [[0] * table.num_rows, table["n"].to_pylist()]
    return [_place(*key) for key in zip(*columns, strict=True)], table["text"].to_pylist()


def _chunk_texts(
    reader: Reader, filters: Filters, rows: dict[str, NDArray[Any]]
) -> tuple[list[Any], list[str], NDArray[np.bool_]]:
    """Places and texts of chunks, and which of the rows they are: those that are still there and say something."""
    condition, parameters = _condition(filters)
    table = reader.table(f"SELECT episode_id, message_index, part_index, text FROM parts WHERE {condition}", parameters)
    parts = dict(
        zip(zip(*(table[name].to_pylist() for name in _KEYS[:3]), strict=True), table["text"].to_pylist(), strict=True)
    )
    every = list(zip(*(rows[name].tolist() for name in _KEYS), strict=True))
    texts = [parts.get(place[:3], "")[place[3] : place[4]] for place in every]
    found = np.array([bool(text.strip()) for text in texts], bool)
    return [place for place, there in zip(every, found, strict=True) if there], [t for t in texts if t.strip()], found


def _means(vectors: NDArray[Any], rows: Ints, groups: Ints, n: int) -> NDArray[np.float32]:
    """The mean of each group's vectors, at unit length; ``groups`` ascends."""
    if not n:
        return np.zeros((0, vectors.shape[1]), np.float32)
    starts = np.searchsorted(groups, np.arange(n + 1))
    sums = np.stack([vectors[rows[low:high]].sum(0, dtype=np.float32) for low, high in pairwise(starts)])
    unit: NDArray[np.float32] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return unit


def _fold(texts: list[str], vectors: NDArray[Any] | None = None) -> tuple[Ints, Ints]:
    """For each text the number of its first equal, and where those stand."""
    numbers: dict[Any, int] = {}
    signs = [b""] * len(texts) if vectors is None else [row.tobytes() for row in np.asarray(vectors, np.float16)]
    equals = np.array([numbers.setdefault(key, len(numbers)) for key in zip(texts, signs, strict=True)], np.int64)
    return equals, np.unique(equals, return_index=True)[1]
