"""A trend as rows of cells and as sparklines, for the terminal and for the page.

Takes a trend, gives text. Knows no statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from .figures import share, share_interval

if TYPE_CHECKING:
    from ..analysis.text.trend import Trend

LOCAL_COLUMNS: Final = ("environment", "k", "n", "before", "after", "from_step", "z", "p")
LOCAL_DROP: Final = ("z", "from_step", "k")
POINT_COLUMNS: Final = ("steps", "k", "n", "rate", "rate_interval", "standardised", "standardised_interval", "covered")
POINT_DROP: Final = ("covered", "rate", "rate_interval", "k")
"""What a narrow terminal can do without, the first to go first; the rate goes before its interval."""
_LEVELS: Final = "▁▂▃▄▅▆▇█"


def local_rows(trend: Trend, most: int = 10) -> list[list[Any]]:
    """Environments with the strongest evidence first, as cells."""
    return [
        [
            local.environment, local.k, local.n, share(local.before), share(local.after), local.step,
            None if local.z is None else f"{local.z:+.1f}", None if local.p is None else f"{local.p:.2g}",
        ]
        for local in trend.environments[:most]
    ]  # fmt: skip


def point_rows(trend: Trend) -> list[list[Any]]:
    """A row of cells per bin."""
    from ..analysis.text.trend import points

    return [
        [
            str(row["training_step"]) if row["training_step"] == row["last_step"]
            else f"{row['training_step']}–{row['last_step']}",
            row["k"], row["n"], share(row["rate"]), share_interval(row["low"], row["high"]), share(row["standardised"]),
            share_interval(row["standardised_low"], row["standardised_high"]), share(row["covered"]),
        ]
        for row in points(trend)
    ]  # fmt: skip


def sparklines(trend: Trend) -> list[str]:
    """Both curves on one scale, from 0 to the greatest rate of either."""
    curves = {"crude": trend.curve.rate.tolist(), "standardised": trend.curve.standardised.tolist()}
    top = max((value for values in curves.values() for value in values if isfinite(value)), default=0.0)
    first, last = trend.steps[0][0], trend.steps[-1][1]
    lines = [f"{name:<13}{_spark(values, top)}" for name, values in curves.items()]
    return [*lines, f"{'':<13}steps {first} to {last}; full height {share(top)}"]


def _spark(values: Sequence[float], top: float) -> str:
    """One character per value; a blank where there is none."""
    if top <= 0:
        return "".join(_LEVELS[0] if isfinite(value) else " " for value in values)
    return "".join(
        _LEVELS[min(len(_LEVELS) - 1, int(value / top * len(_LEVELS)))] if isfinite(value) else " " for value in values
    )
