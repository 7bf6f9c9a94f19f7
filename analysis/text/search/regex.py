"""A regular expression over every part, in DuckDB (RE2 syntax: linear time, no look-around).

Takes a question, gives parts in the order of episodes; the score is 1 for each.
"""

from __future__ import annotations

import re
from typing import Any

import duckdb

from ....store.errors import UsageError
from ....store.reader import Reader
from ..find import Match, Mode, Question
from ..index import PartKey


def _search(reader: Reader, question: Question) -> list[Match]:
    if not question.text:
        raise UsageError("An empty pattern matches everything; give a regular expression.")
    conditions, parameters = ["regexp_matches(text, ?)"], [question.text, question.text]
    filters = question.filters
    for name, values in (("episode_id", filters.episode_ids), ("kind", filters.kinds), ("role", filters.roles)):
        if values is not None:
            conditions.append(f"{name} IN (SELECT unnest(?))")
            parameters.append(list(values))  # type: ignore[arg-type]
    sql = (
        "SELECT episode_id, message_index, part_index, text, regexp_extract(text, ?) AS found FROM parts "
        f"WHERE {' AND '.join(conditions)} ORDER BY episode_id, message_index, part_index LIMIT {question.limit}"
    )
    try:
        rows = reader.rows(sql, parameters)
    except duckdb.InvalidInputException as error:
        raise UsageError(f"That is no regular expression of RE2: {str(error).splitlines()[0]}") from None
    return [_match(row, question.text) for row in rows]


def _match(row: dict[str, Any], pattern: str) -> Match:
    start, end = _place(row["text"], row["found"], pattern)
    return Match(PartKey(row["episode_id"], row["message_index"], row["part_index"]), 1.0, start, end)


def _place(text: str, found: str, pattern: str) -> tuple[int, int]:
    """Where the match is. RE2 gives its text but not its place; Python's engine finds the same one in almost all
    patterns, and where it does not, the first occurrence of the matched text is as true a quotation."""
    try:
        place = re.search(pattern, text)
    except re.error:
        place = None
    if place is not None and place.group() == found:
        return place.span()
    start = text.find(found)
    return start, start + len(found)


SEARCH = Mode(summary="a regular expression (RE2 syntax)", search=_search)
