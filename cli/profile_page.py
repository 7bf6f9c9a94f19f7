"""A profile as one self-contained HTML page: the tables of the terminal, with plots where a plot says it better.

Takes a profile, gives HTML. Text from logs is escaped, nothing is fetched, and the page forbids scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from . import plots
from .figures import number, of, share
from .output import one_line
from .profile_sections import Section, head_line, sections

if TYPE_CHECKING:
    from ..analysis.text.profile import Profile

Rows = Sequence[Mapping[str, Any]]

_STYLE = (
    """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2.4rem 0 .3rem }
.note { opacity: .75; font-size: .9rem; max-width: 46rem; margin: .3rem 0 }
.wide { overflow-x: auto } details .wide { max-height: 34rem; overflow-y: auto }
details th { position: sticky; top: 0; background: Canvas } @media print { details .wide { max-height: none } }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0 }
td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top; overflow-wrap: break-word }
th { border-bottom: 1px solid #8886; font-weight: 600; white-space: nowrap }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.grid { font-size: .75rem } .grid td, .grid th { padding: .15rem .25rem; text-align: right; white-space: nowrap }
.grid :is(td, th):first-child { position: sticky; left: 0; background: Canvas; text-align: left }
.grid th:not(:first-child) { writing-mode: vertical-rl; vertical-align: bottom; text-align: left }
.grid td { font-variant-numeric: tabular-nums }
@media (max-width: 52rem) { .grid { font-size: .6rem } .grid td, .grid th { padding: .15rem .1rem } }
nav { font-size: .9rem }
nav a { margin-right: .8rem; color: inherit }
summary { cursor: pointer; font-size: .9rem; opacity: .75 }
"""
    + plots.STYLE
)

_CODE: Final = re.compile("`([^`]*)`")
_MOST_BARS: Final = 30
_MOST_ROWS: Final = 200
_OPEN_ROWS: Final = 15
_PLOT_ONLY: Final = ("missing", "length_histogram", "reward_histogram")


def render_profile(profile: Profile, where: str | None) -> str:
    """The page."""
    shown = sections(profile)
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in shown)
    chosen = f'<p class="note">Episodes where <code>{_text(where)}</code>.</p>' if where else ""
    body = "".join(_section(section, profile.tables) for section in shown)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Profile</title><style>{_STYLE}</style></head><body><h1>Profile</h1>"
        f'<p>{escape(head_line(profile))}</p>{chosen}<p class="note">Every number counts equal episodes once. '
        "Intervals are 95 % and over groups of episodes that were sampled from one prompt. Numbers below "
        "<code>e.g.</code> are episodes: <code>investigate show ID</code>.</p>"
        f"<nav>{links}</nav>{body}</body></html>\n"
    )


def _section(section: Section, tables: Mapping[str, Rows]) -> str:
    said = _CODE.sub(r"<code>\1</code>", escape(section.note))
    note = f'<p class="note">{said}</p>' if said else ""
    drawn = _PLOTS[section.name](tables) if section.name in _PLOTS else ""
    table = "" if section.name in _PLOT_ONLY else _table(section, opened=not drawn)
    return f'<h2 id="{section.name}">{escape(section.title)}</h2>{note}{drawn}{table}'


def _table(section: Section, opened: bool) -> str:
    """Many rows in a frame that scrolls: open, or folded where a plot above says the same."""
    numbers = [' class="number"' if name in section.right else "" for name in section.columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(section.columns, numbers, strict=True))
    rows = "".join(
        f"<tr>{''.join(f'<td{kind}>{_text(cell)}</td>' for cell, kind in zip(row, numbers, strict=True))}</tr>"
        for row in section.rows[:_MOST_ROWS]
    )
    left_out = len(section.rows) - _MOST_ROWS
    more = f'<p class="note">{left_out} more rows: <code>--json</code> has them.</p>' if left_out > 0 else ""
    table = f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>{more}'
    if len(section.rows) > _OPEN_ROWS:
        return f"<details{' open' * opened}><summary>{len(section.rows)} rows</summary>{table}</details>"
    return table


def _text(value: str) -> str:
    return escape(one_line(value))


def _missing(tables: Mapping[str, Rows]) -> str:
    """A grid: format by column, the darker the emptier."""
    rows = tables["missing"]
    head = "".join(f"<th>{escape(name)}</th>" for name in dict.fromkeys(row["column"] for row in rows))
    by_format: dict[str, list[str]] = {}
    for row in rows:
        by_format.setdefault(row["format"] or "all", []).append(
            f'<td title="{escape(row["column"])}: {share(row["share"])} of {row["n"]}" '
            f'style="background:rgba(181,71,31,{0.55 * row["share"]:.2f})">{_percent(row["share"])}</td>'
        )
    body = "".join(f"<tr><td>{_text(name)}</td>{''.join(cells)}</tr>" for name, cells in by_format.items())
    return f'<div class="wide"><table class="grid"><tr><th>empty, in %</th>{head}</tr>{body}</table></div>'


def _percent(value: float) -> str:
    """Whole percents, without the sign; what is not zero never looks like zero, nor what is not all like all."""
    percent = 100 * value
    if 0 < percent < 1:
        return "&lt;1"
    return "&gt;99" if 99 < percent < 100 else f"{percent:.0f}"


def _lengths(tables: Mapping[str, Rows]) -> str:
    by_length: dict[str, list[Mapping[str, Any]]] = {}
    for row in tables["length_histogram"]:
        by_length.setdefault(row["length"], []).append(row)
    return "".join(
        plots.histogram(f"Episodes by {name} (four columns to a factor of ten)", _filled(rows))
        for name, rows in by_length.items()
        if len(rows) > 1
    )


def _filled(rows: Rows) -> list[tuple[float, float, int]]:
    """The bins with those between them that are empty, so that a column's place says its length."""
    counts = {round(row["low"], 6): (row["low"], row["high"], row["n"]) for row in rows}
    bins, edge, last = [], rows[0]["low"], rows[-1]["high"]
    while edge < last * (1 - 1e-9):
        after = edge * 10**0.25 if edge else 1.0
        bins.append(counts.get(round(edge, 6), (edge, after, 0)))
        edge = bins[-1][1]
    return bins


def _rewards(tables: Mapping[str, Rows]) -> str:
    rewarded = [row for row in tables["rewards"] if row["n"] and row["environment"]][:_MOST_BARS]
    tried = [row for row in tables["rewards"] if row["success_n"] and row["environment"]][:_MOST_BARS]
    rewards = [
        plots.Bar(
            one_line(row["environment"]), row["mean"], row["low"], row["high"], f"{number(row['mean'])}, n {row['n']}"
        )
        for row in rewarded
    ]
    drawn = plots.bars("Mean reward", rewards) if rewards else ""
    return drawn + (
        plots.bars("Success", [_bar(row["environment"], row, "success_") for row in tried]) if tried else ""
    )


def _bar(label: str, row: Mapping[str, Any], prefix: str = "") -> plots.Bar:
    """A share: its bar, its whisker, and k of n."""
    low, high, n = row[f"{prefix}low"], row[f"{prefix}high"], row[f"{prefix}n"]
    note = f"{share(row[f'{prefix}share'])} ({of(row[f'{prefix}k'], n)})"
    return plots.Bar(one_line(label), row[f"{prefix}share"], low, high, note)


def _reward_histogram(tables: Mapping[str, Rows]) -> str:
    return plots.histogram("Episodes by reward", [(r["low"], r["high"], r["n"]) for r in tables["reward_histogram"]])


def _steps(tables: Mapping[str, Rows]) -> str:
    rows = tables["steps"]
    drawn = []
    for title, value, low, high in (
        ("Mean reward by training step", "mean", "low", "high"),
        ("Share of success by training step", "success_share", "success_low", "success_high"),
    ):
        if any(row[value] is not None for row in rows):
            drawn.append(plots.line(title, [plots.Point(r["step"], r[value], r[low], r[high]) for r in rows]))
    counts = [plots.Point(row["step"], float(row["episodes"])) for row in rows]
    drawn.append(plots.line("Episodes by training step", counts, from_zero=True))
    return "".join(drawn)


def _tools(tables: Mapping[str, Rows]) -> str:
    known = [row for row in tables["tools"] if row["n"] and row["environment"] and row["tool"]][:_MOST_BARS]
    rows = [_bar(f"{row['environment']} · {row['tool']}", row) for row in known]
    return plots.bars("Failed tool results, where the log says", rows) if rows else ""


def _faults(tables: Mapping[str, Rows]) -> str:
    over_all = [_bar(row["fault"], row) for row in tables["faults"] if row["n"]]
    worst = [row for row in tables["faults_by_environment"] if row["k"]]
    worst = sorted(worst, key=lambda row: -row["low"])[:_MOST_BARS]
    places = [_bar(f"{row['environment']}: {row['fault']}", row) for row in worst]
    drawn = plots.bars("Episodes with a sign", over_all) if over_all else ""
    return drawn + (plots.bars("By environment, surest first", places) if places else "")


_PLOTS: Final[dict[str, Callable[[Mapping[str, Rows]], str]]] = {
    "missing": _missing,
    "length_histogram": _lengths,
    "rewards": _rewards,
    "reward_histogram": _reward_histogram,
    "steps": _steps,
    "tools_by_environment": _tools,
    "faults": _faults,
}
