"""A regular expression over every part, in DuckDB (RE2 syntax: linear time, no look-around).

Takes a question, gives parts in the order of episodes; the score is 1 for each.
"""

from __future__ import annotations

from typing import Any

import duckdb

from ....store.errors import UsageError
from ....store.reader import Reader
from ..find import Match, Mode, Question, selection_sql
from ..index import PartKey

_PLACED = r"(?s)\A(.*?)((?-s:{}))"
"""RE2 tells the text of a match and not its place; the length of what stands before it is its place."""


def _search(reader: Reader, question: Question) -> list[Match]:
    if question.like is not None:
        raise UsageError("--like finds by words and meaning; use --mode hybrid, keyword or semantic with it.")
    if not question.text:
        raise UsageError("An empty pattern matches everything; give a regular expression.")
    condition, parameters = selection_sql(question.filters)
    order = "ORDER BY episode_id, message_index, part_index"
    selected = f"SELECT * FROM parts WHERE regexp_matches(text, ?) AND {condition} {order} LIMIT {question.limit}"
    sql = (
        "SELECT episode_id, message_index, part_index, regexp_extract(text, ?, ['before', 'found']) AS place "
        f"FROM ({selected}) {order}"
    )
    try:
        rows = reader.rows(sql, [_PLACED.format(question.text), question.text, *parameters])
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
