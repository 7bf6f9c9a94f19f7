"""A regular expression over every part, in DuckDB (RE2 syntax: linear time, no look-around).

Takes a question, gives parts in the order of episodes; the score is 1 for each.
"""

from __future__ import annotations

from typing import Any

import duckdb

from ....store.errors import UsageError
from ....store.reader import Reader
from ..find import Match, Mode, Question
from ..index import PartKey

_PLACED = r"(?s)\A(.*?)((?-s:{}))"
"""RE2 tells the text of a match and not its place; the length of what stands before it is its place."""


def _search(reader: Reader, question: Question) -> list[Match]:
    if not question.text:
        raise UsageError("An empty pattern matches everything; give a regular expression.")
    conditions, parameters = ["regexp_matches(text, ?)"], [_PLACED.format(question.text), question.text]
    filters = question.filters
    for name, values in (("episode_id", filters.episode_ids), ("kind", filters.kinds), ("role", filters.roles)):
        if values is not None:
            conditions.append(f"{name} IN (SELECT unnest(?))")
            parameters.append(list(values))  # type: ignore[arg-type]
    order = "ORDER BY episode_id, message_index, part_index"
    sql = (
        "SELECT episode_id, message_index, part_index, regexp_extract(text, ?, ['before', 'found']) AS place "
        f"FROM (SELECT * FROM parts WHERE {' AND '.join(conditions)} {order} LIMIT {question.limit}) {order}"
    )
    try:
        rows = reader.rows(sql, parameters)
    except duckdb.InvalidInputException as error:
        raise UsageError(f"That is no regular expression of RE2: {str(error).splitlines()[0]}") from None
    except duckdb.BinderException:
        # A pattern that stands alone and not inside another: a quotation that its end closes.
        raise UsageError(r"The pattern has a \Q that is not closed; close it with \E.") from None
    return [_match(row) for row in rows]


def _match(row: dict[str, Any]) -> Match:
    start = len(row["place"]["before"])
    key = PartKey(row["episode_id"], row["message_index"], row["part_index"])
    return Match(key, 1.0, start, start + len(row["place"]["found"]))


SEARCH = Mode(summary="a regular expression (RE2 syntax)", search=_search)
