"""Rows of JSON, however a file lays them out.

    {…}⏎{…}⏎        JSON Lines: one row per line, also appended to while it is read      record "0", "1", …
    [{…}, {…}]       one array: one row per element                                        record "0", "1", …
    {⏎ …}⏎{⏎ …}     objects printed over several lines, one after the other              record "0", "1", …

Takes a source and a function from a row to episodes, gives what a reader yields. Knows no log format. JSON Lines are
streamed; in the other two layouts memory is bounded by the file, which is parsed as a whole.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ..store.types import Episode, Skipped
from .format import Item, Source, digest_of, dumps, explain, loads, read_lines, read_whole

ToEpisodes = Callable[[Any, str, str], Sequence[Episode]]
"""``(row, record, digest of its bytes)`` → its episodes. May raise ValueError, KeyError, TypeError or AttributeError
for a row it cannot use."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\],]', re.DOTALL)
_SOLID: Final = re.compile(r"[^ \t\r\n,]")
_CLOSING: Final = {b"{": b"}", b"[": b"]"}
_LINES_LOOKED_AT: Final = 20
_LONGEST_ESCAPE: Final = 6


def read_rows(source: Source, to_episodes: ToEpisodes) -> Iterator[Item]:
    """The episodes of every row. A row that cannot be read is a ``Skipped`` with its byte offset."""
    rows = _line_rows(source) if source.start or _has_lines(source) else _document_rows(source)
    for row in rows:
        if isinstance(row, Skipped):
            yield row
            continue
        value, record, offset, digest = row
        try:
            yield from to_episodes(value, record, digest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield Skipped(source.name, record, offset, explain(error))


def opening_value(head: bytes) -> Any:
    """The first JSON value of a file from its first bytes; one that is cut off is closed where it can be.

    None where there is none.
    """
    stack: list[bytes] = []
    cut, closers = 0, b""
    for match in _TOKEN.finditer(head):
        token = match.group()
        if token[:1] == b'"':
            if len(token) < 2 or token[-1:] != b'"':
                if head[: match.start()].rstrip().endswith(b":"):
                    return _close(head, b'"' + _closers(stack))
                break
            continue
        if token in _CLOSING:
            stack.append(_CLOSING[token])
        elif token != b"," and (not stack or stack.pop() != token):
            return None
        cut = match.start() if token == b"," else match.end()
        closers = _closers(stack)
        if not stack:
            break
    return _close(head[:cut], closers, 1)


def _closers(stack: list[bytes]) -> bytes:
    return b"".join(reversed(stack))


def _close(text: bytes, closers: bytes, tries: int = _LONGEST_ESCAPE) -> Any:
    """The value of a text and its closing marks, less up to ``tries - 1`` bytes: half a character, half an escape."""
    for n_less in range(tries):
        try:
            return loads(text[: len(text) - n_less] + closers)
        except ValueError:
            continue
    return None


def _has_lines(source: Source) -> bool:
    """Is it JSON Lines? Yes when the first line is a whole row, or it is broken and a later one like it is whole."""
    lines = [line for _, _, line in itertools.islice(read_lines(source), _LINES_LOOKED_AT)]
    if not lines or len(lines[0]) < 2:
        return False
    if lines[0].lstrip().startswith(b"["):
        return len(lines) > 1 and _is_json(lines[0])
    return _is_json(lines[0]) or any(line[:8] == lines[0][:8] and _is_json(line) for line in lines[1:])


def _is_json(line: bytes) -> bool:
    try:
        loads(line)
    except ValueError:
        return False
    return True


_Row = tuple[Any, str, int, str]


def _line_rows(source: Source) -> Iterator[_Row | Skipped]:
    for record, offset, line in read_lines(source):
        try:
            yield loads(line), record, offset, digest_of(line)
        except ValueError as error:
            yield Skipped(source.name, record, offset, explain(error))


def _document_rows(source: Source) -> Iterator[_Row | Skipped]:
    source.position.offset = source.position.record = 0  # looking for lines moved it; nothing here can be resumed
    raw = read_whole(source)[: source.end]
    try:
        document = loads(raw)
    except ValueError:
        yield from _concatenated_rows(raw, source)
        return
    if isinstance(document, list) and not (document and isinstance(document[0], dict) and "role" in document[0]):
        for index, value in enumerate(document):
            yield value, str(index), -1, digest_of(dumps(value))
    else:
        yield document, "0", 0, digest_of(raw.strip())


def _concatenated_rows(raw: bytes, source: Source) -> Iterator[_Row | Skipped]:
    """Values one after the other. After a broken one reading goes on at the next line that begins with a brace."""
    text = raw.decode("utf-8", "surrogateescape")  # so that characters can be counted back into bytes
    decoder = json.JSONDecoder()
    position = offset = 0
    for index in itertools.count():
        found = _SOLID.search(text, position)
        if found is None:
            return
        start = found.start()
        offset += start - position  # blanks and commas are one byte each
        row: _Row | Skipped
        try:
            value, position = decoder.raw_decode(text, start)
            piece = text[start:position].encode("utf-8", "surrogateescape")
            row = value, str(index), offset, digest_of(piece)
        except (ValueError, RecursionError) as error:
            following = text.find("\n{", start + 1)
            position = following + 1 if following >= 0 else len(text)
            piece = text[start:position].encode("utf-8", "surrogateescape")
            reason = explain(error) if isinstance(error, ValueError) else "nested too deeply"
            row = Skipped(source.name, str(index), offset, reason)
        offset += len(piece)
        yield row
