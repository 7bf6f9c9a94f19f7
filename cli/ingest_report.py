"""What ``investigate ingest`` says of what it read: a line per source (JSON) or a table, then what was wrong.

Takes source reports as they come, gives text. Knows no format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..ingest.report import SourceReport
from ..store.workspace import Workspace
from .output import print_json, print_table, say
from .words import counted

_COUNTS: Final = ("episodes", "skipped", "unchanged", "messages", "parts", "calls", "bytes")
"""Those that matter most stand first: a narrow screen has no room for the others."""
_MOST_SOURCES: Final = 20
"""A longer table is one line per format; `investigate sources` has them all."""
_MOST_REASONS: Final = 10
_MOST_FORMATS: Final = 3
_MOST_NAMES: Final = 6
_TYPES: Final = {
    "reward": "a finite number",
    "success": "true or false",
    "training_step": "a whole number",
    "started_at": "a time in ISO 8601",
}


class Report:
    """Of one command, which may ingest again and again."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.failed: set[str] = set()
        self.n_read = 0
        """Files in which something was found, or nothing wrong."""

    def print(self, reports: Iterable[SourceReport], workspace: Workspace) -> None:
        """Print what was read, and why not all of it."""
        total: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
        seconds = 0.0
        read: list[SourceReport] = []
        failed: list[SourceReport] = []
        for report in reports:
            for name in _COUNTS:
                total[name] += getattr(report, name)
            seconds += report.seconds
            (failed if report.error else read).append(report)
            _say_what_is_gone(report)
            if self._as_json:
                print_json([asdict(report)])
        self.failed = {report.source for report in failed}
        self.n_read = len(read)
        if self._as_json:
            print_json([{"total": True, **total, "seconds": round(seconds, 3)}])
        else:
            _print_table([*read, *(report for report in failed if report.episodes)], total)
        _say_what_was_skipped(workspace, {report.source for report in read + failed if report.skipped})
        _say_what_did_not_fit(read + failed)
        if not self._as_json:
            _say_what_is_empty([report for report in read if report.episodes])
        if nothing := [report.source for report in read if report.holds_nothing()]:
            hold = "holds" if len(nothing) == 1 else "hold"
            say(f"{counted(len(nothing), 'file')} {hold} no episode: {_names(nothing)}.")
        _say_what_failed(failed)

    def print_news(self, reports: Iterable[SourceReport]) -> None:
        """Print, a line per source, what a further round has found."""
        for report in reports:
            news = report.episodes or report.removed or report.skipped
            if not news and (not report.error or report.source in self.failed):
                continue
            _say_what_is_gone(report)
            if self._as_json:
                print_json([asdict(report)])
            elif report.error:
                say(report.error)
            elif report.episodes:
                say(f"{report.episodes} new in {report.source}.")
            if report.skipped and not self._as_json:
                say(f"Skipped {counted(report.skipped, 'record')} of {report.source}.")
            if report.error:
                self.failed.add(report.source)


def print_formats(as_json: bool) -> None:
    """Every format there is, with what it reads."""
    from ..ingest.detect import format_names, get_format

    rows = [(name, get_format(name).summary) for name in format_names()]
    if as_json:
        print_json([{"format": name, "summary": summary} for name, summary in rows])
    else:
        print_table(("format", "reads"), rows)


def _print_table(reports: list[SourceReport], total: dict[str, Any]) -> None:
    shown = _COUNTS[:-1]
    numbers = [tuple(getattr(report, count) for count in shown) for report in reports]
    last = tuple(total[count] for count in shown)
    if not reports:
        return
    if len(reports) <= _MOST_SOURCES:
        rows = [(_short(report.source), report.format, *row) for report, row in zip(reports, numbers, strict=True)]
        print_table(("source", "format", *shown), [*rows, ("total", "", *last)], right=shown)
        return
    by_format: dict[str, list[tuple[int, ...]]] = {}
    for report, row in zip(reports, numbers, strict=True):
        by_format.setdefault(str(report.format), []).append(row)
    merged = [
        (name, len(rows), *(sum(column) for column in zip(*rows, strict=True)))
        for name, rows in sorted(by_format.items())
    ]
    print_table(("format", "files", *shown), [*merged, ("total", len(reports), *last)], right=("files", *shown))
    say("`investigate sources` has a line per source.")


def _short(source: str) -> str:
    """A path as it is from here, where that is shorter."""
    try:
        return str(Path(source).relative_to(Path.cwd()))
    except ValueError:
        return source


def _say_what_was_skipped(workspace: Workspace, sources: set[str]) -> None:
    if not sources:
        return
    from ..store.reader import open_reader

    with open_reader(workspace) as reader:
        rows = reader.rows(
            """
            SELECT reason, count(*) AS n, count(DISTINCT source) AS files, any_value(source ORDER BY source) AS source,
                   arg_min(byte_offset, source) AS place
            FROM skipped WHERE source IN (SELECT unnest(?)) GROUP BY reason ORDER BY n DESC, reason
            """,
            [sorted(sources)],
        )
    for row in rows[:_MOST_REASONS]:
        where = _short(row["source"]) + (f" at byte {row['place']}" if row["n"] == 1 and row["place"] >= 0 else "")
        more = f" and {row['files'] - 1} more" if row["files"] > 1 else ""
        say(f"Skipped {counted(row['n'], 'record')}: {row['reason']} ({where}{more}).")
    if len(rows) > _MOST_REASONS:
        say(f"… and {counted(len(rows) - _MOST_REASONS, 'more reason')}.")
    if rows:
        say("`investigate sql 'FROM skipped'` has every one.")


def _say_what_is_empty(reports: list[SourceReport]) -> None:
    """Columns that say nothing of any episode of a format: what an analysis by them would miss."""
    by_format: dict[str, list[str]] = {}
    for report in reports:
        before = by_format.get(str(report.format), report.empty)
        by_format[str(report.format)] = [name for name in before if name in report.empty]
    if len(by_format) > _MOST_FORMATS:
        say("`investigate sources --empty` lists the columns that stayed empty.")
        return
    for name, empty in sorted(by_format.items()):
        if empty:
            say(f"Empty in {name}: {', '.join(empty)}.")


def _say_what_failed(failed: list[SourceReport]) -> None:
    """A sentence per file, or one for all of them where many cannot be read for the same reason."""
    by_reason: dict[str, list[SourceReport]] = {}
    for report in failed:
        reason = str(report.error).replace(report.source, "…")
        # What is said of one file's columns is for one file.
        by_reason.setdefault(reason.partition(" Its rows have")[0], []).append(report)
    for reason, reports in by_reason.items():
        if len(reports) <= 3:
            for report in reports:
                say(str(report.error))
            continue
        some = _names([report.source for report in reports])
        say(f"Each of {len(reports)} files {reason.removeprefix('… ').rstrip('.')}: {some}.")
    if failed:
        say("`investigate sources --unread` lists what could not be read.")


def _names(sources: list[str]) -> str:
    """What the files are called, the most frequent first."""
    names = Counter(Path(source).name for source in sources)
    some = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in names.most_common(_MOST_NAMES))
    return some + (f" and {counted(len(names) - _MOST_NAMES, 'more name')}" if len(names) > _MOST_NAMES else "")


def _say_what_is_gone(report: SourceReport) -> None:
    if report.removed:
        are, counts = ("is", "counts") if report.removed == 1 else ("are", "count")
        say(f"{counted(report.removed, 'episode')} {are} no longer in {report.source}, and no longer {counts}.")


def _say_what_did_not_fit(reports: list[SourceReport]) -> None:
    """Values that were mapped to a column which cannot hold them."""
    values: Counter[str] = Counter()
    unfit: Counter[str] = Counter()
    for report in reports:
        values.update(report.values)
        unfit.update(report.unfit)
    for fact, n in sorted(unfit.items()):
        if n:
            what = _TYPES.get(fact, "a short text")
            say(
                f"{fact}: {n} of {counted(values[fact], 'value')} {'is' if n == 1 else 'are'} not {what}; "
                f"{'it is' if n == 1 else 'they are'} in `metadata`."
            )
