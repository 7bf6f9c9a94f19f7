"""Which episodes show a behaviour, and what a trend needs to know of each.

Takes a reader and a ``Behaviour`` (a query, a predicate or a stored cluster), gives columns of one value per episode.
No text is read but where lengths of prompts are asked for. Knows no statistics and no screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from ...store.errors import InputError, NotFoundError, UsageError
from ...store.reader import Reader
from .index import Filters, search_text
from .population import NO_ENVIRONMENT
from .tokens import parse_query

MODES: Final = ("keyword", "regex")
"""Those in which a part matches or does not; the others rank."""
LENGTHS: Final = ("episode", "prompt", "none")
_UNKNOWN: Final = {"sql": "the predicate is NULL", "cluster": "the run did not cluster them"}
"""Why it may not be known of an episode whether it shows a behaviour, by the kind of that."""
_LEAST_BEGINNING: Final = 4
_ENDING: Final = 3
"""Letters: of ``evaluate`` they leave what ``evaluation`` and ``evaluated`` begin with too."""
_MOST_WORDS: Final = 5

_PROMPT_LENGTHS: Final = """
    SELECT p.episode_id, sum(length(p.text))::BIGINT AS length FROM parts p
    LEFT JOIN (SELECT episode_id, min(message_index) AS first FROM parts
               WHERE role = 'assistant' AND NOT coalesce(given, false) GROUP BY 1) f ON f.episode_id = p.episode_id
    WHERE f.first IS NULL OR p.message_index < f.first GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is counted. ``kind`` is ``keyword``, ``regex``, ``sql`` or ``cluster`` (then ``text`` is ``RUN/ID``);
    ``kinds`` and ``roles`` restrict the parts that a query may match in."""

    kind: str
    text: str
    kinds: Sequence[str] | None = None
    roles: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Members:
    """Columns over ``n`` distinct episodes that have a training step and of which it is known whether they show the
    behaviour; and how many are left out for what reason."""

    hit: NDArray[np.bool_]
    step: NDArray[np.int64]
    environment: NDArray[np.int64]
    """Index into ``environments``."""
    environments: list[str]
    group: NDArray[np.int64]
    """Equal for episodes of one group; of its own for each without."""
    grouped: NDArray[np.bool_]
    length: NDArray[np.float64]
    reward: NDArray[np.float64]
    """NaN where there is none."""
    folded: int
    """Duplicates of others in the selection."""
    without_step: int
    unknown: int
    """The predicate is NULL, or the clustering did not see them."""
    mixed: tuple[str, ...] = ()
    """Which of ``experiment`` and ``model`` have several values: steps of different runs are then one axis."""


def read_members(reader: Reader, behaviour: Behaviour, where: str | None, length: str) -> Members:
    """Of duplicates in the selection one counts. Raises UsageError for a query, pattern or predicate that is none,
    NotFoundError for a cluster that does not exist."""
    ids: NDArray[np.int64] | None = None
    if behaviour.kind == "keyword":
        ids = _keyword_ids(reader, behaviour)
    elif behaviour.kind == "regex":
        ids = _regex_ids(reader, behaviour)
    predicate = {"sql": _checked(reader, behaviour), "cluster": _cluster_sql(reader, behaviour)}.get(behaviour.kind)
    columns = _facts(reader, predicate, where)
    hit = np.isin(columns["episode_id"], ids).astype(float) if ids is not None else columns["hit"]
    # Of copies the one that is known to be a hit comes first, then the one known not to be, then by id.
    order = np.lexsort((columns["episode_id"], -np.nan_to_num(hit, nan=-1.0), columns["original"]))
    first = order[np.flatnonzero(np.diff(columns["original"][order], prepend=-1))]
    stepped, known = ~np.isnan(columns["training_step"][first]), ~np.isnan(hit[first])
    kept = first[stepped & known]
    kept = kept[np.argsort(columns["episode_id"][kept])]  # DuckDB gives rows in no order
    lengths = _prompt_lengths(reader, columns["episode_id"][kept]) if length == "prompt" else columns["n_chars"][kept]
    names, environment = np.unique(columns["environment"][kept], return_inverse=True)
    return Members(
        hit[kept] > 0, columns["training_step"][kept].astype(np.int64), environment, [str(name) for name in names],
        _numbered(columns["cluster"][kept]), columns["grouped"][kept], lengths.astype(float),
        columns["reward"][kept], len(order) - len(first), int((~stepped).sum()), int((stepped & ~known).sum()),
        _mixed(reader, where),
    )  # fmt: skip


def check_steps(members: Members, behaviour: Behaviour, where: str | None) -> None:
    """Raises InputError, with what to do, where the episodes that count are not of two training steps or more."""
    if not len(members.hit):
        raise InputError(_nothing(members, behaviour, where))
    if len(np.unique(members.step)) < 2:
        raise InputError(_one_step(members, behaviour, where))


def _nothing(members: Members, behaviour: Behaviour, where: str | None) -> str:
    if members.unknown:
        return (
            f"It is not known of any of the {members.unknown:,} episodes with a training_step: "
            f"{_UNKNOWN[behaviour.kind]}; count something else."
        )
    if members.without_step:
        return (
            f"None of the {members.without_step:,} episodes has a training_step; give it when they are ingested: "
            "`investigate ingest … --map training_step=COLUMN`."
        )
    if where is not None:
        return "No episode passes --where; see `investigate episodes`."
    return "The workspace has no episodes; `investigate ingest` reads them from logs."


def _one_step(members: Members, behaviour: Behaviour, where: str | None) -> str:
    n, step = len(members.hit), members.step[0]
    loosen = "" if where is None else ", or loosen --where"
    if members.unknown:
        return (
            f"Of {members.unknown:,} of the {n + members.unknown:,} episodes with a training_step it is not known "
            f"({_UNKNOWN[behaviour.kind]}), and the other {n:,} are all of step {step}, where a trend takes two;"
            f" count something that is known of more{loosen}."
        )
    return f"All {n:,} episodes are of training step {step}, and a trend takes two; ingest more steps{loosen}."


def _mixed(reader: Reader, where: str | None) -> tuple[str, ...]:
    condition = f"AND (\n{where}\n)" if where else ""
    (row,) = reader.user_table(
        "SELECT count(DISTINCT experiment) AS experiment, count(DISTINCT model) AS model FROM episodes "
        f"WHERE training_step IS NOT NULL {condition}"
    ).to_pylist()
    return tuple(name for name, n in row.items() if n > 1)


def _numbered(names: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Numbers from 0 in the order of first appearance: neighbours stay neighbours, which sorts several times faster."""
    _, first, code = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code]


def _facts(reader: Reader, predicate: str | None, where: str | None) -> dict[str, NDArray[Any]]:
    reader.select_ids(where, limit=0)  # says what is wrong with a predicate, before it stands inside another query
    condition = f" WHERE (\n{where}\n)" if where else ""
    shown = f"(\n{predicate}\n)::BOOLEAN::DOUBLE" if predicate else "0.0::DOUBLE"
    # The predicates see the view as it is; what is made of its columns comes outside.
    table = reader.user_table(
        f"""SELECT episode_id, coalesce(duplicate_of, episode_id) AS original, coalesce(hit, 'nan') AS hit,
                   coalesce(training_step::DOUBLE, 'nan') AS training_step, n_chars,
                   coalesce(environment, '{NO_ENVIRONMENT}') AS environment, coalesce(reward, 'nan') AS reward,
                   group_id IS NOT NULL AS grouped,
                   CASE WHEN group_id IS NULL THEN hash(episode_id) ELSE hash(environment, group_id) END AS cluster
            FROM (SELECT *, {shown} AS hit FROM episodes{condition})"""
    )
    table = table.set_column(
        table.column_names.index("environment"), "environment", table["environment"].dictionary_encode()
    ).unify_dictionaries()
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    names = np.asarray(columns["environment"].dictionary.to_pylist() or [""], dtype=object)
    codes = columns.pop("environment").indices.to_numpy(zero_copy_only=False)
    arrays = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
    return {**arrays, "environment": names[codes]}


def _prompt_lengths(reader: Reader, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    table = reader.table(f"{_PROMPT_LENGTHS} ORDER BY 1")
    known, lengths = (table[name].to_numpy() for name in ("episode_id", "length"))
    place = np.searchsorted(known, ids).clip(0, max(0, len(known) - 1))
    return np.where(known[place] == ids, lengths[place], 0) if len(known) else np.zeros(len(ids))


def _keyword_ids(reader: Reader, behaviour: Behaviour) -> NDArray[np.int64]:
    n_parts = sum(shard.n_rows for shard in reader.shards("parts"))
    filters = Filters(None, behaviour.kinds, behaviour.roles)
    found = search_text(reader.workspace, parse_query(behaviour.text), filters, max(1, n_parts))
    return np.unique(np.fromiter((key.episode_id for key, _ in found), np.int64, len(found)))


def _regex_ids(reader: Reader, behaviour: Behaviour) -> NDArray[np.int64]:
    if not behaviour.text:
        raise UsageError("An empty pattern matches everything; give a regular expression.")
    conditions, parameters = ["regexp_matches(text, ?)"], [behaviour.text]
    for name, values in (("kind", behaviour.kinds), ("role", behaviour.roles)):
        if values is not None:
            conditions.append(f"{name} IN (SELECT unnest(?))")
            parameters.append(list(values))  # type: ignore[arg-type]
    try:
        table = reader.table(f"SELECT DISTINCT episode_id FROM parts WHERE {' AND '.join(conditions)}", parameters)
    except duckdb.InvalidInputException as error:
        raise UsageError(f"That is no regular expression of RE2: {str(error).splitlines()[0]}") from None
    return np.asarray(table["episode_id"].to_numpy())


def near_words(reader: Reader, behaviour: Behaviour, where: str | None) -> list[tuple[str, int]]:
    """At most five words that begin like those of four letters or more in a keyword query, which takes no endings off.

    Each with the number of episodes with a training step that have it where the query looked, the most common first.
    """
    query = parse_query(behaviour.text)
    asked = {*query.terms, *(word for phrase in query.phrases for word in phrase)}
    long = [word for word in asked if word.isalpha() and len(word) >= _LEAST_BEGINNING]
    beginnings = sorted({word[: max(_LEAST_BEGINNING, len(word) - _ENDING)] for word in long})
    if not beginnings:
        return []
    condition = f" AND (\n{where}\n)" if where else ""
    ids = reader.user_table(f"SELECT episode_id FROM episodes WHERE training_step IS NOT NULL{condition}")
    pattern = rf"(?:^|[^\pL\pN])((?:{'|'.join(beginnings)})[\pL\pN]*)"
    rows = reader.rows(
        """SELECT word, count(DISTINCT original) AS n FROM (
               SELECT coalesce(duplicate_of, episode_id) AS original,
                      unnest(list_distinct(regexp_extract_all(lower(text), ?, 1))) AS word
               FROM parts JOIN episodes USING (episode_id)
               WHERE episode_id IN (SELECT unnest(?)) AND (? IS NULL OR kind IN (SELECT unnest(?)))
                     AND (? IS NULL OR role IN (SELECT unnest(?))))
           GROUP BY 1 ORDER BY n DESC, word LIMIT ?""",
        [pattern, ids["episode_id"].to_pylist(), *2 * [behaviour.kinds], *2 * [behaviour.roles], _MOST_WORDS],
    )
    return [(row["word"], row["n"]) for row in rows]


def _checked(reader: Reader, behaviour: Behaviour) -> str | None:
    if behaviour.kind != "sql":
        return None
    try:
        reader.select_ids(behaviour.text, limit=0)
    except UsageError as error:
        raise UsageError(str(error).replace("--where", "--sql", 1)) from None
    return behaviour.text


def _cluster_sql(reader: Reader, behaviour: Behaviour) -> str | None:
    if behaviour.kind != "cluster":
        return None
    run_id, _, number = behaviour.text.rpartition("/")
    if not run_id or not number.removeprefix("-").isdecimal():
        raise UsageError(f"--cluster takes RUN/ID, such as cluster-1/3; not {behaviour.text!r}.")
    (row,) = reader.rows(
        "SELECT count(*) AS n, count(*) FILTER (cluster_id = ?) AS k FROM cluster_members WHERE run_id = ?",
        [int(number), run_id],
    )
    if not row["k"]:
        what = f"run {run_id} has no cluster {number}" if row["n"] else f"there is no run {run_id} of clusters"
        raise NotFoundError(f'Of clusters, {what}; see `investigate sql "SELECT * FROM clusters"`.')
    # What an episode has become since is in no cluster.
    quoted = run_id.replace("'", "''")
    run = f"SELECT episode_id FROM cluster_members WHERE NOT stale AND run_id = '{quoted}'"
    return (
        f"CASE WHEN episode_id IN ({run} AND cluster_id = {int(number)}) THEN true "
        f"WHEN episode_id IN ({run}) THEN false END"
    )
