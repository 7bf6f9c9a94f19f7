"""The base rate beside a search: how many parts were searched, and some of them drawn at random.

Takes the filters of a search and a seed, gives parts of that selection, each part as likely as any other. Does not know
what was asked.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from ...store.reader import Reader
from ...store.types import Span
from .find import Hit, passage, selection_sql, texts_of
from .index import Filters, PartKey

_ORDER: Final = "hash(episode_id, message_index, part_index, {seed}), episode_id, message_index, part_index"


def count_parts(reader: Reader, filters: Filters) -> int:
    """How many parts pass the filters, empty ones included."""
    condition, parameters = selection_sql(filters)
    (row,) = reader.rows(f"SELECT count(*) AS n FROM parts WHERE {condition}", parameters)
    return int(row["n"])


def random_parts(reader: Reader, filters: Filters, k: int, seed: int) -> list[Hit]:
    """At most ``k`` parts that have text, without replacement, every one with equal probability; fewer only where there
    are no more. Of each a passage at a random place, so that beginnings do not stand for the rest; score and rank 0.

    The draw is fixed by the seed, the filters and what is stored.
    """
    condition, parameters = selection_sql(filters)
    order = _ORDER.format(seed=int(seed))
    hits: list[Hit] = []
    first = 0
    while len(hits) < k:
        # Which texts are empty is known only when they are read, so some are drawn in vain.
        rows = reader.rows(
            f"SELECT episode_id, message_index, part_index FROM parts WHERE {condition} ORDER BY {order} "
            f"LIMIT {k} OFFSET {first}",
            parameters,
        )
        parts = texts_of(reader, keys := [PartKey(**row) for row in rows])
        hits += [_drawn(key, parts[key], seed) for key in keys if parts[key]["text"].strip()]
        first += k
        if len(rows) < k:
            break
    return hits[:k]


def _drawn(key: PartKey, part: dict[str, Any], seed: int) -> Hit:
    text = part["text"]
    place = Random(f"{seed} {key}").randrange(len(text))
    start, end = passage(text, place, place + 1)
    return Hit(0, Span(*key, start, end), part["role"], part["kind"], 0.0, text[start:end], [text])
