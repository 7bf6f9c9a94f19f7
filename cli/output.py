"""The screen: the only module that draws.

Takes rows and text, gives lines on stdout (data) or stderr (talk). Log text is untrusted: every string passes
``clean``, which takes out what a terminal would act upon, and none is read as markup.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

# Everything in C0 and C1 but tab and newline, and the characters that turn text around.
_TURNS: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROL: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNS}]")
_ESCAPED: Final = re.compile(f"[\x7f-\x9f\u2028\u2029{_TURNS}]")
_CELL_CHARS: Final = 500
_NARROWEST: Final = 12
_GAP: Final = 3


def clean(text: str) -> str:
    """The text without what a terminal would act upon, character for character (offsets stay true)."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same on one line."""
    return clean(" ".join(text.split()))


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    print(clean(text), file=sys.stderr)


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line on stdout; what a terminal or a line reader would act upon is escaped, and NaN and
    infinity, which JSON does not have, are null."""
    for row in rows:
        try:
            text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
        except ValueError:
            text = json.dumps(_finite(row), ensure_ascii=False, default=_plain)
        print(_ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def print_text(text: str = "") -> None:
    """One or more lines on stdout."""
    print(clean(text))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = (), drop: Sequence[str] = ()
) -> None:
    """A table on stdout: on a terminal cut to its width, columns in ``right`` aligned right; piped, whole cells between
    tabs, so that nothing is lost to ``grep`` or ``cut``. Where a terminal is too narrow for all columns, those in
    ``drop`` go first, in that order, then the others from the right: what qualifies a claim should go
    after what it can do without."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join("" if cell is None else one_line(_show(cell)) for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else one_line(_show(cell)[:_CELL_CHARS]) for cell in row] for row in rows]
    # A number that is cut is another number, so its column is as wide as it is, or is left out and named.
    widest = [max(map(len, (name, *(row[place] for row in cells)))) for place, name in enumerate(columns)]
    widths = [
        widest[place] if name in right else max([min(widest[place], _NARROWEST), *map(len, name.split())])
        for place, name in enumerate(columns)
    ]
    screen = console()
    shown = list(range(len(columns)))
    going = [columns.index(name) for name in drop if name in columns]
    going += [place for place in reversed(shown) if place not in going]
    while len(shown) > 1 and sum(widths[place] + _GAP for place in shown) - _GAP > screen.width:
        shown.remove(going.pop(0))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place in shown:
        if columns[place] in right:
            table.add_column(columns[place], justify="right", no_wrap=True, min_width=widths[place])
        else:
            table.add_column(columns[place], overflow="ellipsis", min_width=widths[place])
    for row in cells:
        table.add_row(*(Text(row[place], overflow="ellipsis") for place in shown))
    screen.print(table)
    if len(shown) < len(columns):
        lost = [name for place, name in enumerate(columns) if place not in shown]
        say(f"No room for: {', '.join(lost)}. A wider terminal or --json shows them.")


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def console(stderr: bool = False) -> Any:
    """A rich console that reads no markup and adds no highlighting of its own."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def print_styled(pieces: Iterable[tuple[str, str]]) -> None:
    """Pieces of text, each with a rich style such as ``on rgb(80,0,0)``, written as they are, line breaks included."""
    from rich.text import Text

    line = Text()
    for text, style in pieces:
        line.append(clean(text), style or None)
    console().print(line, soft_wrap=True)


def track(items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
    """Pass items on, with a progress bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def track_amount(amounts: Iterable[int], what: str, total: int) -> Iterator[int]:
    """The same for steps of different size: each item says how many characters it was. Shows rate and time left."""
    if not sys.stderr.isatty():
        yield from amounts
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    bar = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*bar, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        for amount in amounts:
            yield amount
            progress.advance(task, amount)
