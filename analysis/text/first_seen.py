"""When a text was first seen in training.

Takes hits, gives for each the earliest training step at which one of its texts was logged; or parts, and puts them in
the order of steps. Does not know why they were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...store.reader import Reader
from .find import Hit, selection_sql
from .index import Filters, PartKey

_NEVER: Final = {"step": None, "episode_id": None}


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """``step`` is None where no episode with the text has one; ``n_parts`` hold the text, ``n_without_step`` of them in
    episodes without a training step, which may have been earlier."""

    step: int | None
    episode_id: int | None
    n_parts: int
    n_without_step: int


def first_seen(reader: Reader, hits: Sequence[Hit], filters: Filters) -> list[FirstSeen]:
    """Of each hit, in their order. All parts that pass the filters are looked at, not only those that a search found:
    parts with the same text as the hit, or as a near-duplicate that is folded into it.

    Steps of several training runs are compared as they are; ``filters`` can hold it to one.
    """
    condition, parameters = selection_sql(filters)
    wanted = [(text, fold) for fold, hit in enumerate(hits) for text in hit.texts]
    if not wanted:
        return []
    rows = reader.rows(
        f"""
        WITH wanted AS (SELECT unnest(?) AS text, unnest(?) AS fold),
             held AS (SELECT w.fold, p.episode_id
                      FROM (SELECT episode_id, text FROM parts WHERE {condition}) p JOIN wanted w ON w.text = p.text)
        SELECT h.fold, count(*) AS n, count(*) - count(e.training_step) AS without,
               min({{'step': e.training_step, 'episode_id': h.episode_id}})
                   FILTER (e.training_step IS NOT NULL) AS first
        FROM held h JOIN episodes e ON e.episode_id = h.episode_id
        GROUP BY h.fold""",
        [[text for text, _ in wanted], [fold for _, fold in wanted], *parameters],
    )
    found = {
        row["fold"]: FirstSeen(**(row["first"] or _NEVER), n_parts=row["n"], n_without_step=row["without"])
        for row in rows
    }
    return [found.get(fold, FirstSeen(None, None, 0, 0)) for fold in range(len(hits))]


def earliest_first(reader: Reader, keys: Sequence[PartKey]) -> list[PartKey]:
    """The parts in the order of their episodes' training steps, those without one last; of equals, the order given."""
    table = reader.table(
        "SELECT episode_id, training_step FROM episodes WHERE training_step IS NOT NULL ORDER BY episode_id"
    )
    ids, steps = (table[name].to_numpy() for name in ("episode_id", "training_step"))
    if not len(ids):
        return list(keys)
    wanted = np.fromiter((key.episode_id for key in keys), np.int64, len(keys))
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    of_keys = np.where(ids[places] == wanted, steps[places], np.inf)
    return [keys[place] for place in np.argsort(of_keys, kind="stable")]
