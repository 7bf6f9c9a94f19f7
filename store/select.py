"""Episodes by name: what people type, and what programs pipe.

Takes ids in any of their spellings, gives episodes as values. Knows the views, no analysis.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import orjson

from .errors import NotFoundError, UsageError
from .reader import Reader
from .schemas import JSON_COLUMNS
from .types import Call, Episode, Message, Part

_PART_FIELDS = tuple(field.name for field in fields(Part))
_CALL_FIELDS = tuple(field.name for field in fields(Call))


def resolve(reader: Reader, name: str) -> int:
    """The ``episode_id`` behind digits, a ``uid`` prefix of at least 6 characters (``uid:…`` where it has no letter),
    or ``source#record``; a place in an episode (``12@3.0``) stands for it. Raises NotFoundError, or UsageError where
    several match."""
    name = re.sub(r"^([^#]+)@\d+(\.\d+)?$", r"\1", name)
    if name.isdecimal():
        if len(name) > 18:
            raise NotFoundError(f"There is no episode {name}; `investigate episodes` lists those there are.")
        found = reader.rows("SELECT episode_id FROM episodes WHERE episode_id = ?", [int(name)])
    elif re.fullmatch(r"uid:[0-9a-f]{6,32}|(?=.*[a-f])[0-9a-f]{6,32}", name):
        prefix = name.removeprefix("uid:")
        found = reader.rows(
            "SELECT episode_id, uid FROM episodes WHERE starts_with(uid, ?) "
            "ORDER BY duplicate_of NULLS FIRST, episode_id",
            [prefix],
        )
        if len({row["uid"] for row in found}) > 1:
            raise UsageError(f"{len(found)} episodes have a uid that begins with {prefix}; type more of it.")
    elif "#" in name:
        source, record = name.rsplit("#", 1)
        found = reader.rows(
            "SELECT episode_id, source FROM episodes WHERE record = ? AND (source IN (?, ?) OR ends_with(source, ?)) "
            "ORDER BY source NOT IN (?, ?)",
            [record, source, os.path.realpath(source), "/" + source, source, os.path.realpath(source)],
        )
        if len(found) > 1 and found[0]["source"] not in (source, os.path.realpath(source)):
            raise UsageError(f"{len(found)} sources end in {source}; type more of the path.")
    else:
        raise UsageError(f"{name!r} is no episode id: give a number, a uid prefix of 6 or more, or SOURCE#RECORD.")
    if not found:
        raise NotFoundError(f"There is no episode {name}; `investigate episodes` lists those there are.")
    return int(found[0]["episode_id"])


def get_episode(reader: Reader, episode_id: int) -> Episode:
    """One episode with its messages and calls. Raises NotFoundError."""
    for episode in select_episodes(reader, [episode_id]):
        return episode
    raise NotFoundError(f"There is no episode {episode_id}; `investigate episodes` lists those there are.")


def select_episodes(reader: Reader, ids: Iterable[int], at_once: int = 500) -> Iterator[Episode]:
    """Episodes with their messages and calls, in the order of ``ids``; ids that do not exist are left out."""
    wanted = list(ids)
    for first in range(0, len(wanted), at_once):
        yield from _select_some(reader, wanted[first : first + at_once])


def _select_some(reader: Reader, ids: list[int]) -> Iterator[Episode]:
    # Bounds beside the list let DuckDB skip row groups by their statistics.
    near = "episode_id BETWEEN ? AND ? AND episode_id IN (SELECT unnest(?))"
    parameters = [min(ids), max(ids), ids]
    rows = {row["episode_id"]: row for row in reader.rows(f"SELECT * FROM episodes WHERE {near}", parameters)}
    messages: dict[int, dict[int, tuple[dict[str, Any], list[Part]]]] = {}
    parts = reader.rows(f"SELECT * FROM parts WHERE {near} ORDER BY episode_id, message_index, part_index", parameters)
    for part in parts:
        of_episode = messages.setdefault(part["episode_id"], {})
        _, pieces = of_episode.setdefault(part["message_index"], (part, []))
        pieces.append(Part(**{name: part[name] for name in _PART_FIELDS}))
    calls: dict[int, list[Call]] = {}
    for call in reader.rows(f"SELECT * FROM calls WHERE {near} ORDER BY episode_id, call_index", parameters):
        calls.setdefault(call["episode_id"], []).append(_call(call))
    for episode_id in ids:
        if row := rows.get(episode_id):
            built = tuple(
                Message(head["role"], tuple(pieces), head["branch"], head["agent"], head["given"])
                for head, pieces in messages.get(episode_id, {}).values()
            )
            for name in JSON_COLUMNS & row.keys():
                row[name] = orjson.loads(row[name])
            yield Episode(messages=built, calls=tuple(calls.get(episode_id, ())), **row)


def _call(row: dict[str, Any]) -> Call:
    fields = {name: row[name] for name in _CALL_FIELDS}
    for name in ("prompt_ids", "completion_ids", "logprobs"):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    fields["sampling"] = orjson.loads(fields["sampling"])
    return Call(**fields)
