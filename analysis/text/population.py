"""The episodes that rates are taken over, and what can be said of their means.

Takes a reader and a predicate, gives rows; and sums over groups, gives intervals. Equal episodes count once, those of
them that the predicate leaves: where it leaves out the original, the fullest copy stands for the others. Episodes of
one group were sampled from one prompt and are not independent, so every interval is over groups. Everything is summed
by DuckDB: no row of an episode reaches Python. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt
from typing import Any, Final

from ...store.reader import Reader
from ..statistics import Z95, Rate

NO_ENVIRONMENT: Final = "(none)"

# 97.5 % points of Student's t with 1 to 30 degrees of freedom; beyond, the first term of its expansion is exact enough.
_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def _t975(freedom: int) -> float:
    return _T[freedom - 1] if freedom <= len(_T) else Z95 + (Z95**3 + Z95) / (4 * freedom)


@dataclass(frozen=True, slots=True)
class Population:
    """The episodes for which ``where`` holds, as the relation ``e`` of every question asked through ``rows``.

    ``e`` has the columns of the ``episodes`` view, ``environment`` never NULL, and ``cluster``: its group, or itself.
    Of equal episodes it has one; ``chosen`` has the ids of all, each with the one that stands for it (``stands_in``).
    """

    reader: Reader
    where: str | None = None

    def check(self) -> None:
        """Raises UsageError unless ``where`` is a predicate; only then may ``rows`` be asked."""
        self.reader.select_ids(self.where, limit=0)

    def rows(self, sql: str, **relations: str) -> list[dict[str, Any]]:
        """The answer to a SELECT over ``e``, ``chosen``, the views and ``relations``, each a SELECT, by name."""
        # The predicate sees the view as it is; what is added to it comes outside.
        if self.where:
            stands_in = (
                "first_value(episode_id) OVER (PARTITION BY coalesce(duplicate_of, episode_id) "
                "ORDER BY duplicate_of IS NOT NULL, n_chars DESC, episode_id)"
            )
            chosen = f"SELECT episode_id, {stands_in} AS stands_in FROM episodes WHERE (\n{self.where}\n)"
            distinct = "episode_id IN (SELECT stands_in FROM chosen)"
        else:
            chosen = "SELECT episode_id, coalesce(duplicate_of, episode_id) AS stands_in FROM episodes"
            distinct = "duplicate_of IS NULL"
        e = f"""SELECT * EXCLUDE (environment), coalesce(environment, '{NO_ENVIRONMENT}') AS environment,
                       CASE WHEN group_id IS NULL THEN hash(episode_id) ELSE hash(environment, group_id) END AS cluster
                FROM episodes WHERE {distinct}"""
        named = ", ".join(f"{name} AS ({text})" for name, text in {"chosen": chosen, "e": e, **relations}.items())
        whole = f"WITH {named}\n{sql}"
        if not self.where:
            return self.reader.rows(whole)
        # A predicate may fail on a value that it meets: that is the user's SQL, and said as such.
        rows: list[dict[str, Any]] = self.reader.user_table(whole).to_pylist()
        return rows


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of ``n`` values in ``n_groups`` groups; ``unknown`` more had none, and are in no number but that."""

    n: int
    unknown: int
    total: float
    n_groups: int
    spread: float
    """Sum over groups of (sum of the group - its size times the mean) squared."""
    varies: bool

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    @property
    def _variance(self) -> float:
        return self.n_groups / (self.n_groups - 1) * self.spread / self.n**2

    @property
    def mean_interval(self) -> tuple[float | None, float | None]:
        """95 %, Student's t with the variance between groups. None where one group, or equal values, tell nothing."""
        if self.mean is None or self.n_groups < 2 or not self.varies:
            return None, None
        half = _t975(self.n_groups - 1) * sqrt(self._variance)
        return self.mean - half, self.mean + half

    @property
    def share_interval(self) -> tuple[float | None, float | None]:
        """95 % of a share: Wilson's with the number of episodes that independent ones would take to know as much (Korn
        and Graubard 1998). Of one group it holds for that prompt alone; where nothing varies each group counts once."""
        if self.mean is None:
            return None, None
        worth = float(self.n)
        if 1 < self.n_groups < self.n:
            if self.varies:
                plain = self.mean * (1 - self.mean) / self.n
                worth = plain / max(self._variance, 1e-300) * self.n * (Z95 / _t975(self.n_groups - 1)) ** 2
            else:
                worth = float(self.n_groups)
        return _wilson(self.mean, max(1, min(self.n, floor(worth))))

    def as_share(self) -> dict[str, Any]:
        """Columns of a table: k of n, the share and its interval."""
        low, high = self.share_interval
        k = round(self.total)
        return {"k": k, "n": self.n, "unknown": self.unknown, "share": self.mean, "low": low, "high": high}

    def as_mean(self) -> dict[str, Any]:
        """Columns of a table: n, the mean and its interval."""
        low, high = self.mean_interval
        return {"n": self.n, "unknown": self.unknown, "mean": self.mean, "low": low, "high": high}


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval for a share of n that need not be a whole number of n."""
    below, above = Rate(floor(share * n), n).interval, Rate(ceil(share * n), n).interval
    between = share * n - floor(share * n)
    return below[0] + between * (above[0] - below[0]), below[1] + between * (above[1] - below[1])


_FIELDS: Final = {
    "n": "sum(n_{0})::BIGINT",
    "unknown": "sum(u_{0})::BIGINT",
    "total": "coalesce(sum(s_{0}), 0)::DOUBLE",
    "n_groups": "count(*) FILTER (n_{0} > 0)",
    "squares": "sum(s_{0} * s_{0})::DOUBLE",
    "products": "sum(n_{0} * s_{0})::DOUBLE",
    "sizes": "sum(n_{0} * n_{0})::DOUBLE",
    "least": "min(least_{0})::DOUBLE",
    "most": "max(most_{0})::DOUBLE",
    "example": "min(example_{0})",
}


def clustered(relation: str, keys: Sequence[str], values: Mapping[str, str], totals: bool = False) -> str:
    """A SELECT of what ``estimate`` needs of each value, per key, and over all with ``totals`` (keys NULL).

    ``relation`` has ``cluster``, ``episode_id`` and the keys. ``values`` are SQL by name: a number or a truth; NULL is
    no observation, NaN one whose value is unknown.
    """
    inner = ", ".join(
        f"count(v_{i}) FILTER (isfinite(v_{i})) AS n_{i}, count(v_{i}) FILTER (isnan(v_{i})) AS u_{i}, "
        f"sum(v_{i}) FILTER (isfinite(v_{i})) AS s_{i}, min(v_{i}) FILTER (isfinite(v_{i})) AS least_{i}, "
        f"max(v_{i}) FILTER (isfinite(v_{i})) AS most_{i}, min(episode_id) FILTER (v_{i} > 0 AND isfinite(v_{i})) "
        f"AS example_{i}"
        for i in range(len(values))
    )
    outer = ", ".join(
        f'{text.format(i)} AS "{name}.{field}"' for i, name in enumerate(values) for field, text in _FIELDS.items()
    )
    given = ", ".join(f"({sql})::DOUBLE AS v_{i}" for i, sql in enumerate(values.values()))
    listed = ", ".join(f'"{key}"' for key in keys)
    sets = f"GROUPING SETS (({listed}), ())" if totals else listed or "()"
    comma = ", " if keys else ""
    return f"""SELECT {listed}{comma}{outer} FROM (
        SELECT {listed}{comma}cluster, {inner} FROM (SELECT {listed}{comma}cluster, episode_id, {given} FROM {relation})
        GROUP BY {listed}{comma}cluster) GROUP BY {sets}"""


def estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """What a row of ``clustered`` says of one value."""
    n, unknown, total, n_groups, squares, products, sizes, least, most, _ = (
        row[f"{name}.{field}"] or 0 for field in _FIELDS
    )
    mean = total / n if n else 0.0
    spread = max(0.0, squares - 2 * mean * products + mean * mean * sizes)
    return Estimate(n, unknown, total, n_groups, spread, least < most)
