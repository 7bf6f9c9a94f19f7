"""How differences between two groups are shown: table, sentences, page.

Takes a comparison, stores it as a run, prints it, or gives a page. Shared by ``compare`` and ``discover``. On the page
text from logs is escaped, nothing is fetched, and scripts are forbidden.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .comparison_sentences import LEGEND, leaders, nothing_found, sentences
from .figures import interval, number, of

if TYPE_CHECKING:
    from ..analysis.text.compare import Comparison
    from ..analysis.text.differences import Difference
    from ..store.workspace import Workspace

_COLUMNS: Final = ("kind", "name", "a", "b", "effect", "95 %", "q", "confirmed", "held out", "e.g.", "more rows")
_RIGHT: Final = ("a", "b", "effect", "95 %", "q", "held out", "more rows")
_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } .note { opacity: .75; font-size: .9rem; max-width: 46rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0 }
td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top; overflow-wrap: break-word }
th { border-bottom: 1px solid #8886; white-space: nowrap }
summary { cursor: pointer; font-size: .9rem }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
"""
_DROPPED_FIRST: Final = ("more rows", "95 %", "q", "effect", "e.g.", "held out", "kind")
_MOST_BARS: Final = 30
_MOST_ROWS: Final = 200


def cells(row: Difference, n_more: int) -> list[str]:
    """The first row of a theme, with how many ``n_more`` it has. Counts are of the half in which it was found,
    ``held out`` is of the other."""
    again = number(row.confirm_effect) + (
        ""
        if row.confirm_k_a is None
        else f" ({of(row.confirm_k_a, row.confirm_n_a)}, {of(row.confirm_k_b, row.confirm_n_b)})"
    )
    return [
        row.kind.replace("_", " "), row.name, _side(row.k_a, row.n_a), _side(row.k_b, row.n_b), number(row.effect),
        interval(row.low, row.high), f"{row.q:.2g}", "yes" if row.confirmed else "no", again,
        " ".join([row.place or str(row.exemplars[0]), *map(str, row.exemplars[1:3])]) if row.exemplars else "",
        str(n_more or ""),
    ]  # fmt: skip


def _side(k: int | None, n: int) -> str:
    return f"n = {n}" if k is None else of(k, n)


def print_differences(found: Comparison, names: tuple[str, str], fold_by: str | None, limit: int) -> None:
    """The table on stdout, the sentences on stderr; without differences, sentences alone."""
    from .output import print_table, say

    if found.differences:
        sizes = Counter(row.theme for row in found.differences)
        shown = leaders(found)[:limit]
        print_table(_COLUMNS, [cells(row, sizes[row.theme] - 1) for row in shown], right=_RIGHT, drop=_DROPPED_FIRST)
        say(LEGEND)
    else:
        say(nothing_found(found, names))
    for sentence in sentences(found, names, fold_by):
        say(sentence)
    if len(leaders(found)) > limit:
        say(f"{limit} of {len(leaders(found))} themes; --limit N shows more, the view differences has every row.")


def summary(found: Comparison) -> dict[str, Any]:
    """What the rows rest on: sizes, how many were tried, found and confirmed, and what shuffled labels give."""
    return {
        "n_a": found.n_a, "n_b": found.n_b, "units_a": found.n_units_a, "units_b": found.n_units_b,
        "folded": found.n_folded, "tried": found.tried, "found": found.n_found, "rows": len(found.differences),
        "confirmed": found.n_confirmed,
        "worth": found.power.worth, "largest_sets": found.power.largest, "detectable": found.power.detectable,
        "detectable_alike": found.power.detectable_alike,
        "clusters": None if found.clusters is None else asdict(found.clusters),
        "shuffled": [{"found": shuffle.found, "confirmed": shuffle.confirmed} for shuffle in found.shuffles],
    }  # fmt: skip


def json_rows(run_id: str, found: Comparison, limit: int) -> list[dict[str, Any]]:
    """Rows, and a last line with ``"total": true`` that says what they rest on."""
    from ..analysis.text.differences import as_dict

    rows = [{"run_id": run_id, "rank": i, **as_dict(row)} for i, row in enumerate(found.differences[:limit], 1)]
    return [*rows, {"total": True, "run_id": run_id, **summary(found)}]


def render_differences(
    title: str, found: Comparison, names: tuple[str, str], wheres: Sequence[str], fold_by: str | None, limit: int
) -> str:
    """The page."""
    from . import plots
    from .output import one_line

    rows, sizes = leaders(found)[:limit], Counter(row.theme for row in found.differences)
    chosen = "".join(
        f"<p class=note>{escape(name)}: <code>{escape(one_line(where))}</code></p>"
        for name, where in zip(names, wheres, strict=True)
    )
    said = "".join(f"<p class=note>{escape(sentence)}</p>" for sentence in sentences(found, names, fold_by))
    bars = [
        plots.Bar(one_line(f"{row.kind}: {row.name}"), row.effect, row.low, row.high)
        for row in rows
        if row.measure == "log_odds_ratio"
    ]
    drawn = plots.bars(f"Log-odds ratio, {names[0]} over {names[1]}", bars[:_MOST_BARS]) if bars else ""
    table = (
        _table([cells(row, sizes[row.theme] - 1) for row in rows])
        if rows
        else f"<p>{escape(nothing_found(found, names))}</p>"
    )
    others = "".join(_others(row, found) for row in rows if sizes[row.theme] > 1)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{plots.STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{chosen}{said}<p class=note>{escape(LEGEND)}</p>{drawn}{table}{others}</body></html>\n"
    )


def _others(leader: Difference, found: Comparison) -> str:
    """The rows of a theme but for the first, folded away."""
    from .output import one_line

    rows = [row for row in found.differences if row.theme == leader.theme][1:]
    head = f"{len(rows)} more rows on the episodes of {escape(one_line(leader.name))}"
    left_out = (
        f"<p class=note>{len(rows) - _MOST_ROWS} more: the view differences has them.</p>"
        if len(rows) > _MOST_ROWS
        else ""
    )
    table = _table([cells(row, 0) for row in rows[:_MOST_ROWS]])
    return f"<details><summary>{head}</summary>{table}{left_out}</details>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    from .output import one_line

    numbers = [' class="number"' if name in _RIGHT else "" for name in _COLUMNS]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(_COLUMNS, numbers, strict=True))
    lines = (
        "".join(f"<td{kind}>{escape(one_line(cell))}</td>" for cell, kind in zip(row, numbers, strict=True))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


@dataclass(frozen=True, slots=True)
class Output:
    """How differences are told: what the two sides are called, what was asked of each, and where it goes."""

    names: tuple[str, str]
    asked: tuple[str, str]
    fold_by: str | None
    limit: int
    as_json: bool
    html: Path | None


def tell(
    workspace: Workspace, kind: str, title: str, found: Comparison, parameters: dict[str, Any], output: Output
) -> None:
    """Store what was found as a run of this kind, and print it."""
    from ..analysis.text.differences import as_table
    from ..store.writer import open_writer
    from .output import print_json, say

    with open_writer(workspace) as writer:
        run_id = writer.commit_run(kind, parameters | summary(found), {"differences": as_table(found.differences)})
    if output.as_json:
        print_json(json_rows(run_id, found, output.limit))
    else:
        print_differences(found, output.names, output.fold_by, output.limit)
        say(f"Stored as {run_id}, in the view differences.")
    if output.html is not None:
        page = render_differences(title, found, output.names, output.asked, output.fold_by, output.limit)
        write_page(output.html, page)


def check_page(path: Path | None) -> None:
    """Raises InputError where a page could not be written."""
    from ..store.errors import InputError

    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"There is no folder {path.absolute().parent}; choose another file for --html.")


def write_page(path: Path, page: str) -> None:
    """Raises InputError where it cannot be written."""
    from ..store.errors import InputError
    from .output import say

    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --html.") from None
    say(f"Page written to {path}.")
