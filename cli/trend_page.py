"""A trend as one self-contained HTML page: both curves with their bands, the verdicts, the tables of the terminal.

Takes a trend, gives HTML. Text from logs is escaped, nothing is fetched, and the page forbids scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from . import plots
from .figures import share
from .output import one_line
from .trend_rows import LOCAL_COLUMNS, POINT_COLUMNS, local_rows, point_rows

if TYPE_CHECKING:
    from ..analysis.text.trend import Trend

_STYLE = (
    """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, p { overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem }
.note { opacity: .75; font-size: .9rem; max-width: 46rem; margin: .3rem 0 }
.verdict { max-width: 46rem; margin: .4rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0 }
td, th { padding: .15rem .9rem .15rem 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left } th { border-bottom: 1px solid #8886; font-weight: 600 }
"""
    + plots.STYLE
)
_MOST_BARS: Final = 30


def render_trend(trend: Trend, where: str | None) -> str:
    """The page."""
    from ..analysis.text.trend_verdicts import caveats, verdicts

    title = f"Trend: {trend.series}"
    chosen = f'<p class="note">Episodes where <code>{_text(where)}</code>.</p>' if where else ""
    said = "".join(f'<p class="verdict">{_text(sentence)}</p>' for sentence in verdicts(trend))
    notes = "".join(f'<p class="note">{_text(sentence)}</p>' for sentence in caveats(trend))
    local = local_rows(trend, _MOST_BARS)
    where_it_is = f"<h2>By environment</h2>{_bars(trend)}{_table(LOCAL_COLUMNS, local)}" if len(local) > 1 else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>{chosen}{said}"
        f"{_curves(trend)}{notes}{where_it_is}<h2>By step</h2>"
        f"{_table(POINT_COLUMNS, point_rows(trend))}</body></html>\n"
    )


def _curves(trend: Trend) -> str:
    """Both on one scale, so that they can be held against each other."""
    curve, n = trend.curve, trend.curve.n.tolist()
    drawn = [
        (title, [
            plots.Point(float(first), *(ends if known else (None, None, None)))
            for (first, _), known, *ends in zip(trend.steps, n, *(column.tolist() for column in columns), strict=True)
        ])
        for title, columns in (
            ("Share of episodes by training step, crude", (curve.rate, curve.low, curve.high)),
            ("The same at equal composition", (curve.standardised, curve.standardised_low, curve.standardised_high)),
        )
    ]  # fmt: skip
    highest = max(plots.top(points) for _, points in drawn)
    return "".join(plots.line(title, points, from_zero=True, to=highest) for title, points in drawn)


def _bars(trend: Trend) -> str:
    """How far the rate of each environment moved, where it could be tried."""
    rows = [
        plots.Bar(
            one_line(local.environment), 100 * (local.after - local.before),
            None if local.low is None else 100 * local.low, None if local.high is None else 100 * local.high,
            f"{share(local.before)} → {share(local.after)}",
        )
        for local in trend.environments[:_MOST_BARS]
        if local.before is not None and local.after is not None
    ]  # fmt: skip
    if not rows:
        return ""
    note = "Whiskers are 95 % intervals that take the step as given; it is the best of those tried, so judge by p."
    return f'{plots.bars("Change at the best step of each, in percentage points", rows)}<p class="note">{note}</p>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _text(value: Any) -> str:
    return "" if value is None else escape(one_line(str(value)))
