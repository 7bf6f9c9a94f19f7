"""``investigate sources``: every file that was ingested, what came of it, and what it left empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import JsonOption, LimitOption, WorkspaceOption

if TYPE_CHECKING:
    from ..store.reader import Reader

_IS_UNREAD = "reason <> ''"
"""An archive has no reason where its members are read in its place."""
_COUNTED = ("episodes", "parts", "skipped")
_OTHER_COLUMNS = 64
"""Characters of a line that are not the source's."""


def command(
    workspace: WorkspaceOption = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="Show why records were skipped, and where first.")] = False,
    unread: Annotated[bool, typer.Option("--unread", help="Show the files that could not be read, and why.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="Show which columns stayed empty, by format.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List the files that were ingested. Those not read to their end come first, then those with skipped records."""
    from ..store.errors import UsageError
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace

    if skipped + empty + unread > 1:
        raise UsageError("Ask for one of --skipped, --unread and --empty.")
    with open_reader(open_workspace(workspace)) as reader:
        if skipped:
            _print_skipped(_skipped_rows(reader), limit, as_json)
        elif unread:
            _print_unread(_unread_rows(reader), limit, as_json)
        elif empty:
            _print_empty(_empty_rows(reader), limit, as_json)
        else:
            _print_sources(_source_rows(reader), limit, as_json)
            _say_what_is_unread(len(_unread_rows(reader)))


def _source_rows(reader: Reader) -> list[dict[str, Any]]:
    """The ``sources`` view, with the columns of ``episodes`` that are empty in all of a source's episodes, and why it
    could not be read this time, or NULL."""
    from ..analysis.text.profile import is_empty
    from ..store.schemas import OPTIONAL_COLUMNS

    always = ", ".join(f"bool_and({is_empty(name)}) AS {name}" for name in OPTIONAL_COLUMNS)
    listed = ", ".join(f"CASE WHEN n.{name} THEN '{name}' END" for name in OPTIONAL_COLUMNS)
    return reader.rows(
        f"""SELECT s.*, CASE WHEN n.source IS NULL THEN [] ELSE list_filter([{listed}], lambda x: x IS NOT NULL) END
                   AS empty, u.reason AS unread
            FROM sources s LEFT JOIN (SELECT source, {always} FROM episodes GROUP BY source) n ON n.source = s.source
            LEFT JOIN unread u ON u.source = s.source AND {_IS_UNREAD}
            ORDER BY s.done AND u.reason IS NULL, s.skipped > 0 DESC, s.source"""
    )


def _unread_rows(reader: Reader) -> list[dict[str, Any]]:
    return reader.rows(f"SELECT source, bytes, reason FROM unread WHERE {_IS_UNREAD} ORDER BY source")


def _skipped_rows(reader: Reader) -> list[dict[str, Any]]:
    # An offset of -1 means nothing, so it is no first byte.
    return reader.rows(
        """SELECT source, any_value(format) AS format, reason, count(*) AS n,
                  min(byte_offset) FILTER (byte_offset >= 0) AS first_byte, arg_min(record, byte_offset) AS first_record
           FROM skipped LEFT JOIN (SELECT source, format FROM sources) USING (source)
           GROUP BY source, reason ORDER BY n DESC, source, first_byte, reason"""
    )


def _empty_rows(reader: Reader) -> list[dict[str, Any]]:
    from collections import Counter

    n_sources: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    for row in _source_rows(reader):
        if row["episodes"]:
            n_sources[row["format"]] += 1
            counts.update((row["format"], name) for name in row["empty"])
    rows = [{"format": of, "column": name, "empty_in": n, "sources": n_sources[of]} for (of, name), n in counts.items()]
    return sorted(rows, key=lambda row: (row["format"], -row["empty_in"], row["column"]))


def _print_sources(rows: Sequence[dict[str, Any]], limit: int, as_json: bool) -> None:
    from .output import print_json, print_table, say
    from .words import counted

    if as_json:
        print_json(rows[:limit])
    elif rows:
        columns = ("source", "format", *_COUNTED, "bytes", "when")
        print_table(columns, _source_cells(rows, limit), right=(*_COUNTED, "bytes"))
    totals = {name: sum(row[name] for row in rows) for name in _COUNTED}
    unfinished = sum(not row["done"] and row["unread"] is None for row in rows)
    if not rows:
        say("Nothing is stored yet; `investigate ingest PATH` reads logs.")
        return
    counts = (counted(totals["episodes"], "episode"), counted(totals["parts"], "part"), f"{totals['skipped']} skipped")
    say(f"{counted(len(rows), 'source')}: {', '.join(counts)}.")
    if unfinished:
        say(f"{unfinished} of them unfinished: run the same `investigate ingest` again to go on.")
    if totals["skipped"] and not as_json:
        say("`investigate sources --skipped` shows why records were skipped.")
    _say_rest(len(rows), limit, "sources")


def _source_cells(rows: Sequence[dict[str, Any]], limit: int) -> list[list[Any]]:
    """On a terminal rounded sizes and ages, piped the numbers and times themselves."""
    import sys

    shorten, now, rounded = _shortener(rows), datetime.now().astimezone(), sys.stdout.isatty()
    cells = []
    for row in rows[:limit]:
        size = _size(row["bytes"]) if rounded else row["bytes"]
        when = _age(row["ingested_at"], now) if rounded else row["ingested_at"]
        counts = [row[name] for name in _COUNTED]
        state = row["unread"] or (when if row["done"] else "unfinished")
        cells.append([shorten(row["source"]), row["format"], *counts, size, state])
    return cells


def _print_unread(rows: Sequence[dict[str, Any]], limit: int, as_json: bool) -> None:
    from .output import print_json, print_table, say

    if as_json:
        print_json(rows[:limit])
    elif rows:
        shorten = _shortener(rows)
        # The reason names its file, which stands beside it.
        cells = [(shorten(row["source"]), row["reason"].replace(row["source"], "…")) for row in rows[:limit]]
        print_table(("source", "reason"), cells)
    if not rows:
        say("Every file could be read.")
    _say_rest(len(rows), limit, "files")


def _say_what_is_unread(n: int) -> None:
    from .output import say
    from .words import counted

    if n:
        say(f"{counted(n, 'file')} could not be read: `investigate sources --unread` shows why.")


def _print_skipped(rows: Sequence[dict[str, Any]], limit: int, as_json: bool) -> None:
    from .output import print_json, print_table, say

    if as_json:
        print_json(rows[:limit])
    elif rows:
        shorten = _shortener(rows)
        columns = ("n", "first_byte", "reason", "source")
        cells = [(row["n"], row["first_byte"], row["reason"], shorten(row["source"])) for row in rows[:limit]]
        print_table(columns, cells, right=columns[:2])
    if not rows:
        say("Nothing was skipped.")
    _say_rest(len(rows), limit, "reasons")


def _print_empty(rows: Sequence[dict[str, Any]], limit: int, as_json: bool) -> None:
    from .output import print_json, print_table, say

    columns = ("format", "column", "empty_in", "sources")
    if as_json:
        print_json(rows[:limit])
    elif rows:
        print_table(columns, [[row[name] for name in columns] for row in rows[:limit]], right=columns[2:])
    if not rows:
        say("No column of `episodes` stayed empty in any source.")
    _say_rest(len(rows), limit, "rows")


def _say_rest(n: int, limit: int, what: str) -> None:
    from .output import say

    if n > limit:
        say(f"{limit} of {n} {what}; --limit N shows more.")


def _shortener(rows: Sequence[dict[str, Any]]) -> Callable[[str], str]:
    """On a terminal, what all paths begin with is said once, and of the rest its end is shown; piped, whole paths."""
    import os
    import shutil
    import sys

    from .output import say

    if not sys.stdout.isatty():
        return str
    folders = [str(PurePath(row["source"]).parent) for row in rows]
    common = os.path.commonpath(folders) if all(map(os.path.isabs, folders)) else ""
    if len(common) > 1:
        say(f"Below {common}:")
    room = max(16, shutil.get_terminal_size().columns - _OTHER_COLUMNS)

    def shorten(source: str) -> str:
        rest = source.removeprefix(common).lstrip("/\\") if len(common) > 1 else source
        return rest if len(rest) <= room else "…" + rest[1 - room :]

    return shorten


def _size(n_bytes: int) -> str:
    """Two or three digits: 512, 3.1k, 12M."""
    size = float(n_bytes)
    for unit in ("", "k", "M", "G"):
        if size < 999.5:
            return f"{size:.0f}{unit}" if size >= 9.95 or not unit else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.0f}T"


def _age(when: str, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = (now - datetime.fromisoformat(when)).total_seconds()
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {name} ago"
    return "now"
