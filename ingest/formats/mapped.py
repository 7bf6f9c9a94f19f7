"""Rows of no known format, read as the user says: ``text=response,reward=score,labels.did_lie=meta.lie``.

    {"question": "…", "response": "…", "score": 0.5, "meta": {"lie": true, "seed": 3}}

JSON Lines, one array, Parquet, CSV and TSV with a line of names. One row, one episode. It is never chosen by itself.
Quirks:

- ``messages`` is a list of messages, also as a string of JSON or of Python's ``repr`` (which is parsed, never run).
  ``system``, ``prompt``, ``reasoning`` and ``text`` (or ``completion``) stand around it in this order; prompt and
  answer may be lists of messages too. Assistant messages of a prompt are ``given``.
- Values become what their column holds where they can: ``"0.5"`` and ``true`` a reward, ``1`` a success. What cannot
  stays in the metadata under its own name, as does every column that is not mapped.
- A row may lack a mapped column; that no row has it is an error that lists the columns there are.
- Cells of a table are text; where a score, label or verdict is asked for, numbers and truths are read from them.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ...store.errors import InputError, UsageError
from ...store.types import Episode, Message, Part, Skipped
from ..chat import chat_messages
from ..detect import detect_source
from ..facts import path_facts, read_facts, storable
from ..format import MAX_RECORD_BYTES, Format, Item, Position, Source, digest_of, dumps, explain, loads
from ..mapping import COLUMNS, MISSING, NAMED, check_mapping, columns_of, delimiter_of, value_at, without
from ..parquet_rows import PARQUET
from ..rows import BAD_ROW, read_rows
from ._api_exchange import when

_ANSWERS: Final = ("text", "completion")
_TRUTHS: Final = dict.fromkeys(("true", "yes", "1", "1.0"), True) | dict.fromkeys(("false", "no", "0", "0.0"), False)
_NAMES: Final = frozenset(COLUMNS) - {"reward", "success", "training_step", "started_at"}
_LOOKED_AT: Final = 1000
"""Rows in which every column should have been seen."""


def sniff(head: bytes, path: Path) -> float:
    """Never: a mapping is asked for."""
    return 0.0


def read(source: Source) -> Iterator[Item]:
    """An episode per row. Raises UsageError for a mapping that makes no sense, InputError for columns nobody has."""
    if not source.columns:
        raise UsageError("The format mapped needs a mapping, such as text=response,reward=score.")
    mapping = dict(check_mapping(source.columns))
    is_table = _is_table(source)
    unseen: set[str] = set()
    if source.start == 0:
        # Looked at with a position of its own: what has been read ahead of what was yielded would be lost to a resume.
        ahead = _Mapped(source, mapping, is_table)
        for n_read, _ in enumerate(_items(replace(source, position=Position()), ahead), start=1):
            if not ahead.unseen or n_read == _LOOKED_AT:
                break
        else:
            if _is_whole(source):
                ahead.complain()
        unseen = ahead.unseen
    mapped = _Mapped(source, mapping, is_table)
    mapped.unseen = unseen
    yield from _items(source, mapped)
    if _is_whole(source):
        mapped.complain()


def _is_whole(source: Source) -> bool:
    """Is it read to the end of the file? The columns of a part may be in another one."""
    return source.end is None or source.end >= source.path.stat().st_size


def _items(source: Source, mapped: _Mapped) -> Iterator[Item]:
    return _table(source, mapped) if mapped.is_table else read_rows(source, mapped.episodes)


class _Mapped:
    """What rows mean, and which columns they turned out to have."""

    def __init__(self, source: Source, mapping: dict[str, str], is_table: bool) -> None:
        self.is_table = is_table
        self._name = source.name
        self._source = source
        self._of_path = path_facts(source.name)
        self._mapping = mapping
        self.unseen = set(mapping.values())
        self.columns: dict[str, None] = {}

    def complain(self) -> None:
        """Raises InputError where rows were seen, and a column in none of them."""
        if not self.unseen or not self.columns:
            return
        unseen, there = ", ".join(sorted(self.unseen)), ", ".join(self.columns)
        try:
            known = detect_source(self._source)
        except InputError:
            raise InputError(f"{self._name} has no column {unseen}; it has: {there}. Map one of those.") from None
        raise InputError(
            f"{self._name} has no column {unseen}, and is a log in the format {known}; ingest it without --map."
        )

    def episodes(self, row: Any, record: str, digest: str) -> list[Episode]:
        """The one episode of a row."""
        if not isinstance(row, dict):
            raise ValueError(f"the row is {type(row).__name__}, not an object")
        if self.unseen:
            self.columns |= dict.fromkeys(path for path, _ in columns_of(row))
        values = {}
        rest: Any = row
        for fact, column in self._mapping.items():
            value = value_at(row, column)
            if value is not MISSING:
                self.unseen.discard(column)
                values[fact] = value
        for column in {self._mapping[fact] for fact in values}:
            rest = without(rest, column)
        facts = self._facts(values, rest)
        messages = _messages(values, self._mapping)
        if not messages:
            raise ValueError(f"has nothing in {', '.join(sorted(set(self._mapping.values()) & self._words()))}")
        return [Episode(self._name, record, digest, messages=messages, **facts)]

    def _words(self) -> set[str]:
        return {self._mapping[fact] for fact in ("messages", "system", "prompt", *_ANSWERS) if fact in self._mapping}

    def _facts(self, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
        known = {fact: _fitting(fact, value) for fact, value in values.items() if fact in COLUMNS}
        facts = self._of_path | read_facts(known, set())
        metadata = {key: storable(value) for key, value in rest.items() if value not in (None, {})}
        unusable = facts["metadata"]
        metadata |= {self._mapping[fact]: storable(values[fact]) for fact in unusable}
        named: dict[str, dict[str, Any]] = {kind: {} for kind in NAMED} | {"metadata": metadata}
        for fact, value in values.items():
            kind, dot, name = fact.partition(".")
            if dot and value is not None:
                named[kind][name] = storable(_read_cell(value) if self.is_table and kind != "metadata" else value)
        return facts | named


def _fitting(fact: str, value: Any) -> Any:
    """A value in the type of its column, where that can be had without a guess."""
    if fact == "reward":
        if isinstance(value, bool):
            return float(value)
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value
    if fact == "success":
        return _TRUTHS.get(str(value).strip().lower(), value)
    if fact == "started_at":
        return when(value) or value
    if fact in _NAMES and isinstance(value, int | float):
        return str(value)
    return value


def _read_cell(value: Any) -> Any:
    """A number or a truth that is written as text."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, str) or len(value) > 30:
        return value
    try:
        return float(value) if "." in value or "e" in value.lower() else int(value)
    except ValueError:
        return value


def _messages(values: dict[str, Any], mapping: dict[str, str]) -> tuple[Message, ...]:
    """The conversation: system, prompt, messages, and the answer with its reasoning."""
    asked: list[Any] = []
    if values.get("system") not in (None, ""):
        asked.append({"role": "system", "content": values["system"]})
    asked += _side(values.get("prompt"), "user")
    listed = _side(values.get("messages"), "user")
    if [item.get("content") for item in listed] == [values.get("messages")]:
        raise ValueError(f"{mapping['messages']} is no list of messages")
    answer = next((values[name] for name in _ANSWERS if values.get(name) is not None), None)
    said = _side(answer, "assistant")
    messages = list(chat_messages([*asked, *listed, *said]))
    for index, message in enumerate(messages[: len(asked)]):
        if message.role == "assistant":
            messages[index] = Message(message.role, message.parts, agent=message.agent, given=True)
    thought = values.get("reasoning")
    if not isinstance(thought, str) or not thought:
        return tuple(messages)
    spoken = [i for i, message in enumerate(messages) if message.role == "assistant" and not message.given]
    part = Part("reasoning", thought, reasoning_kind="raw", location=mapping["reasoning"])
    if not spoken:
        return (*messages, Message("assistant", (part,)))
    place = len(asked) + len(listed) if said else spoken[-1]
    place = place if place in spoken else spoken[-1]
    messages[place] = replace(messages[place], parts=(part, *messages[place].parts))
    return tuple(messages)


def _side(value: Any, role: str) -> list[Any]:
    """One side of a conversation: text, a message, a list of messages, or either written as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        listed = _parsed(value)
        if isinstance(listed, dict) and ("role" in listed or "from" in listed):
            return [listed]
        if isinstance(listed, list) and listed and all(isinstance(item, dict) for item in listed):
            return listed
    if isinstance(value, dict) and ("role" in value or "from" in value):
        return [value]
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    return [{"role": role, "content": value}] if value not in (None, "") else []


def _parsed(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_table(source: Source) -> bool:
    with source.path.open("rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return bool(head) and head[:1] not in (b"{", b"[") and not head.startswith(PARQUET)


def _table(source: Source, mapped: _Mapped) -> Iterator[Item]:
    """The rows of CSV or TSV. Raises InputError where it has no line of names."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    with source.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        delimiter = delimiter_of(file.readline())
        file.seek(0)
        rows = csv.reader(file, delimiter=delimiter)
        names = next(rows, [])
        if not names or len(set(names)) < len(names):
            raise InputError(f"{source.name} has no line of column names; it is no table. Name another --format.")
        index = -1
        while True:
            index += 1
            try:
                cells = next(rows)
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise ValueError(f"has {len(cells)} cells where the table has {len(names)} columns")
                row = {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
                mapped.columns |= dict.fromkeys(names)
                mapped.unseen -= set(names)
                yield from mapped.episodes(row, str(index), digest_of(dumps(cells)))
            except StopIteration:
                return
            except (csv.Error, *BAD_ROW) as error:
                yield Skipped(source.name, str(index), -1, explain(error))


FORMAT = Format(
    summary="rows of any columns, read by a mapping such as text=response,reward=score (JSON, Parquet, CSV)",
    sniff=sniff,
    read=read,
    resumable=True,
)
