"""A regular expression over every part, in DuckDB (RE2 syntax: linear time, no look-around).

Takes a question, gives parts in the order of episodes; the score is 1 for each. The span is the match itself. All parts
that match are known after one scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from ....store.errors import UsageError
from ....store.reader import Reader
from ..find import Count, Match, Mode, Question, selection_sql
from ..index import PartKey

_PLACED: Final = r"(?s)\A(.*?)((?-s:{}))"
"""RE2 tells the text of a match and not its place; the length of what stands before it is its place."""
_MATCHING: Final = "matching"
_BY_STEP: Final = "(SELECT training_step FROM episodes e WHERE e.episode_id = parts.episode_id) NULLS LAST,"


def _search(reader: Reader, question: Question) -> list[Match]:
    rows = _matching(reader, question).slice(0, question.limit).to_pylist()
    keys = [PartKey(**row) for row in rows]
    parts = question.parts(reader, keys)
    keys = [key for key in keys if key in parts]
    places = _places(reader, question.text, [parts[key]["text"] for key in keys])
    return [
        Match(key, 1.0, len(place["before"]), len(place["before"]) + len(place["found"]))
        for key, place in zip(keys, places, strict=True)
        if place
    ]


def _count(reader: Reader, question: Question) -> Count:
    found = _matching(reader, question)
    return Count(found.num_rows, len(found["episode_id"].unique()))


def _matching(reader: Reader, question: Question) -> pa.Table:
    """The keys of all parts that match."""
    if question.like is not None:
        raise UsageError("--like finds by words and meaning; use --mode hybrid, keyword or semantic with it.")
    if not question.text:
        raise UsageError("An empty pattern matches everything; give a regular expression.")
    if _MATCHING not in question.memory:
        condition, parameters = selection_sql(question.filters)
        sql = (
            "SELECT episode_id, message_index, part_index FROM parts "
            f"WHERE regexp_matches(text, ?) AND {condition} "
            f"ORDER BY {_BY_STEP if question.earliest else ''} episode_id, message_index, part_index"
        )
        try:
            question.memory[_MATCHING] = reader.table(sql, [question.text, *parameters])
        except duckdb.InvalidInputException as error:
            raise UsageError(f"That is no regular expression of RE2: {str(error).splitlines()[0]}") from None
    found: pa.Table = question.memory[_MATCHING]
    return found


def _places(reader: Reader, pattern: str, texts: Sequence[str]) -> list[dict[str, Any] | None]:
    """Where the pattern matches first, as the text ``before`` and what is ``found``; None where it does not."""
    sql = (
        "SELECT CASE WHEN regexp_matches(text, ?) THEN regexp_extract(text, ?, ['before', 'found']) END AS place "
        "FROM (SELECT unnest(?::VARCHAR[]) AS text, unnest(?::BIGINT[]) AS number) ORDER BY number"
    )
    try:
        rows = reader.rows(sql, [pattern, _PLACED.format(pattern), list(texts), list(range(len(texts)))])
    except (duckdb.BinderException, duckdb.InvalidInputException):
        # A pattern that stands alone and not inside another: a quotation that its end closes.
        raise UsageError(r"The pattern has a \Q that is not closed; close it with \E.") from None
    return [row["place"] for row in rows]


SEARCH = Mode(summary="a regular expression (RE2 syntax)", search=_search, count=_count, n_most=10_000)
