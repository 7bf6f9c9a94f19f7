"""What there is, before anything is made of it: the tables of a profile.

Takes a reader and a predicate on episodes, gives tables of plain rows: what is missing, how long episodes are, rewards
and success over training, duplicates; ``conduct.py`` adds reasoning, tools and faults. Duplicates are folded in every
table but their own, and intervals are over groups (``population.py``). Knows no screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ...store.reader import Reader
from ...store.schemas import JSON_COLUMNS, OPTIONAL_COLUMNS
from .conduct import error_table, fault_tables, reasoning_table, repeated_table, stop_table, tool_table
from .population import NO_ENVIRONMENT, Population, clustered, estimate

Rows = list[dict[str, Any]]

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
BINS: Final = 20
STEP_BINS: Final = 40
TOP_VALUES: Final = 8
_COMMONEST: Final = 3
_VALUE_CHARS: Final = 80

_COMPOSITION: Final = ("format", "experiment", "checkpoint", "model", "environment", "split")
_LENGTHS: Final = {"characters": "n_chars", "messages": "n_messages", "parts": "n_parts"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Tables by name; every row of a table has the same keys."""

    n_episodes: int
    """Distinct ones: those that the rates are taken over."""
    n_folded: int
    tables: dict[str, Rows]


def is_empty(column: str) -> str:
    """SQL: does the log leave this column of ``episodes`` empty?"""
    return f"({column} IS NULL OR {column} = '{{}}')" if column in JSON_COLUMNS else f"{column} IS NULL"


def make_profile(reader: Reader, where: str | None = None) -> Profile:
    """Raises UsageError where ``where`` is no predicate on the ``episodes`` view."""
    of = Population(reader, where)
    of.check()
    (counts,) = of.rows("SELECT count(*) AS n FROM e")
    makers: dict[str, Callable[[Population], Rows]] = {
        "duplicates": duplicate_table,
        "composition": composition_table,
        "missing": missing_table,
        "names": name_table,
        "lengths": length_table,
        "length_histogram": length_histogram,
        "rewards": reward_table,
        "reward_histogram": reward_histogram,
        "groups": group_table,
        "steps": step_table,
        "reasoning": reasoning_table,
        "tools": tool_table,
        "stops": stop_table,
        "errors": error_table,
        "repeated": repeated_table,
    }
    tables = {name: make(of) for name, make in makers.items()}
    tables["faults"], tables["faults_by_environment"] = fault_tables(of)
    return Profile(int(counts["n"]), sum(row["n"] for row in tables["duplicates"]), tables)


def duplicate_table(of: Population) -> Rows:
    """Which episodes are folded, and by what: equal bytes, or an identity that the log gives. They may be logged under
    another model than the episode that stands for them (``other_model``), or with less text (``shorter``)."""
    return of.rows("""
        SELECT e.format, CASE WHEN e.digest = o.digest THEN 'same bytes' ELSE 'same identity' END AS reason,
               CASE WHEN e.source = o.source THEN 'within a source' ELSE 'across sources' END AS place,
               count(*) AS n, count(DISTINCT stands_in) AS originals,
               count(*) FILTER (e.model IS DISTINCT FROM o.model) AS other_model,
               count(*) FILTER (e.n_chars < o.n_chars) AS shorter, mode(stands_in ORDER BY stands_in) AS most_copied
        FROM chosen JOIN episodes e USING (episode_id) JOIN episodes o ON o.episode_id = stands_in
        WHERE chosen.episode_id <> stands_in GROUP BY ALL ORDER BY n DESC, e.format, reason, place""")


def composition_table(of: Population) -> Rows:
    """The commonest values of what an episode came from; ``value`` NULL where the log does not say."""
    values = {name: name for name in _COMPOSITION} | {"environment": f"nullif(environment, '{NO_ENVIRONMENT}')"}
    each = " UNION ALL ".join(
        f"""(SELECT '{name}' AS "column", {value} AS value, count(*) AS n, count({value}) OVER () AS distinct_values,
                    count(*) / sum(count(*)) OVER () AS share
             FROM e GROUP BY {value} ORDER BY n DESC, value LIMIT {TOP_VALUES})"""
        for name, value in values.items()
    )
    return of.rows(f"SELECT * FROM ({each})")


def missing_table(of: Population) -> Rows:
    """Per column the share of episodes in which it is empty, over all (format NULL) and by format."""
    columns = {name: is_empty(name) for name in OPTIONAL_COLUMNS}
    columns["environment"] = f"environment = '{NO_ENVIRONMENT}'"
    columns["calls"] = "episode_id NOT IN (SELECT episode_id FROM calls)"
    columns["reasoning"] = "episode_id NOT IN (SELECT episode_id FROM parts WHERE kind = 'reasoning')"
    counts = ", ".join(f'count(*) FILTER ({sql}) AS "{name}"' for name, sql in columns.items())
    wide = of.rows(
        f"SELECT format, count(*) AS n, {counts} FROM e GROUP BY GROUPING SETS ((format), ()) "
        "HAVING n > 0 ORDER BY format NULLS FIRST"
    )
    return [
        {"column": name, "format": row["format"], "missing": row[name], "n": row["n"], "share": row[name] / row["n"]}
        for name in columns
        for row in wide
    ]


def name_table(of: Population) -> Rows:
    """What the scores, labels and verdicts are called, who gives them, and what they are on average.

    ``mean``, ``least`` and ``most`` are of the ``numbers``: of the ``known`` values those that are numbers or truths
    (``true`` and ``yes`` are 1, ``false`` and ``no`` 0). ``commonest`` has what is said most often, with how often.
    """
    each = " UNION ALL ".join(
        f"""SELECT '{kind}' AS kind, item.key AS name, item.value->>'$' AS value,
                   coalesce(provenance::JSON->>('/' || replace(replace(item.key, '~', '~0'), '/', '~1')), '') AS giver
            FROM (SELECT provenance, unnest(map_entries(CAST({kind}::JSON AS MAP(VARCHAR, JSON)))) AS item
                  FROM e WHERE {kind} <> '{{}}')"""
        for kind in ("scores", "labels", "verdicts")
    )
    return of.rows(
        f"""SELECT kind, name, string_agg(DISTINCT giver, ', ' ORDER BY giver) FILTER (giver <> '') AS provenance,
                   count(*) AS n, count(value) AS known, count(DISTINCT value) AS distinct_values,
                   count(number) AS numbers, avg(number) FILTER (isfinite(number)) AS mean, min(number) AS least,
                   max(number) AS most, any_value(commonest) AS commonest
            FROM v JOIN (SELECT kind, name, max({{'n': n, 'value': left(value, {_VALUE_CHARS})}}, {_COMMONEST})
                                    FILTER (value IS NOT NULL) AS commonest
                         FROM (SELECT kind, name, value, count(*) AS n FROM v GROUP BY ALL) GROUP BY ALL)
            USING (kind, name) GROUP BY kind, name ORDER BY kind DESC, n DESC, name""",
        v=f"""SELECT *, CASE WHEN lower(value) IN ('true', 'yes') THEN 1 WHEN lower(value) IN ('false', 'no') THEN 0
                              ELSE try_cast(value AS DOUBLE) END AS number FROM ({each})""",
    )


def length_table(of: Population) -> Rows:
    """Quantiles of the lengths of episodes."""
    listed = ", ".join(map(str, QUANTILES))
    asked = ", ".join(
        f'quantile_cont({sql}, [{listed}]) AS "{name}", avg({sql}) AS "{name}_mean"' for name, sql in _LENGTHS.items()
    )
    (row,) = of.rows(f"SELECT {asked} FROM e")
    return [
        {"length": name, "mean": row[f"{name}_mean"]}
        | {f"p{100 * at:g}": value for at, value in zip(QUANTILES, row[name], strict=True)}
        for name in _LENGTHS
        if row[name]
    ]


def length_histogram(of: Population) -> Rows:
    """Numbers of episodes by length, four bins to a factor of ten; 0 has a bin of its own."""
    each = " UNION ALL ".join(
        f"SELECT '{name}' AS length, CASE WHEN {sql} > 0 THEN floor(4 * log10({sql}))::INT ELSE -1 END AS bin FROM e"
        for name, sql in _LENGTHS.items()
    )
    rows = of.rows(f"SELECT length, bin, count(*) AS n FROM ({each}) GROUP BY ALL ORDER BY ALL")
    return [
        {"length": row["length"], "low": _edge(row["bin"]), "high": _edge(row["bin"] + 1), "n": row["n"]}
        for row in rows
    ]


def _edge(bin_number: int) -> float:
    return 10 ** (bin_number / 4) if bin_number >= 0 else 0.0


_REWARD: Final = "coalesce(reward, 'nan')"
_SUCCESS: Final = "CASE WHEN success IS NULL THEN 'nan'::DOUBLE ELSE success::INT END"


def reward_table(of: Population) -> Rows:
    """Reward and success by environment, and over all (environment NULL). No reward is no zero: it is unknown."""
    asked = clustered("e", ["environment"], {"reward": _REWARD, "success": _SUCCESS}, totals=True)
    spreads = of.rows("""
        SELECT environment, min(reward) AS least, max(reward) AS most, stddev_samp(reward) AS deviation,
               count(DISTINCT reward) AS distinct_values FROM e WHERE isfinite(reward)
        GROUP BY GROUPING SETS ((environment), ())""")
    by_environment = {row.pop("environment"): row for row in spreads}
    nothing = dict.fromkeys(("least", "most", "deviation", "distinct_values"))
    rows = []
    for row in of.rows(f'SELECT * FROM ({asked}) ORDER BY "reward.n" DESC, environment NULLS FIRST'):
        reward, success = estimate(row, "reward"), estimate(row, "success")
        if not reward.n and not success.n:
            continue
        rows.append(
            {"environment": row["environment"], **reward.as_mean(), "groups": reward.n_groups}
            | by_environment.get(row["environment"], nothing)
            | {f"success_{name}": value for name, value in success.as_share().items()}
        )
    return rows


def reward_histogram(of: Population) -> Rows:
    """Numbers of episodes by reward: a bar per value where they are few, otherwise bins of equal width."""
    finite = "SELECT reward FROM e WHERE isfinite(reward)"
    values = of.rows(f"SELECT reward, count(*) AS n FROM ({finite}) GROUP BY 1 ORDER BY 1 LIMIT {BINS + 1}")
    if len(values) <= BINS:
        return [{"low": row["reward"], "high": row["reward"], "n": row["n"]} for row in values]
    return of.rows(
        f"""SELECT least + bin * width AS low, least + (bin + 1) * width AS high, coalesce(n, 0) AS n
            FROM w CROSS JOIN (SELECT unnest(range({BINS})) AS bin) LEFT JOIN (
                SELECT least({BINS - 1}, floor((reward - least) / width)) AS bin, count(*) AS n FROM r, w GROUP BY 1)
            USING (bin) ORDER BY low""",
        r=finite,
        w=f"SELECT min(reward) AS least, (max(reward) - min(reward)) / {BINS} AS width FROM r",
    )


def group_table(of: Population) -> Rows:
    """Groups of episodes sampled from one prompt, and in how many all have the same reward: nothing to learn there."""
    return of.rows("""
        SELECT environment, count(*) AS groups, avg(n) AS mean_size, max(n) AS largest,
               count(*) FILTER (rewarded > 1) AS rewarded, count(*) FILTER (rewarded > 1 AND least = most) AS all_equal
        FROM (SELECT environment, group_id, training_step, count(*) AS n, count(reward) AS rewarded,
                     min(reward) AS least, max(reward) AS most
              FROM e WHERE group_id IS NOT NULL GROUP BY ALL)
        GROUP BY environment ORDER BY groups DESC, environment""")


def step_table(of: Population) -> Rows:
    """Reward and success over training, in at most ``STEP_BINS`` bins. ``mix`` is how far the environments of a bin
    are from those of all (total variation, 0 to 1): where it moves, a trend may be one of what was asked."""
    (span,) = of.rows(
        "SELECT min(training_step) AS least, max(training_step) AS most, count(DISTINCT training_step) AS n FROM e"
    )
    if not span["n"]:
        return []
    width = 1 if span["n"] <= STEP_BINS else -(-(span["most"] - span["least"] + 1) // STEP_BINS)
    stepped = f"SELECT *, (training_step - {span['least']}) // {width} AS bin FROM e WHERE training_step IS NOT NULL"
    mixes = of.rows(
        """SELECT bin, sum(abs(coalesce(here / of_bin, 0) - of_all)) / 2 AS mix FROM (
               SELECT b.bin, b.of_bin, a.of_all, h.here
               FROM (SELECT bin, count(*) AS of_bin FROM s GROUP BY 1) b
               CROSS JOIN (SELECT environment, count(*) / sum(count(*)) OVER () AS of_all FROM s GROUP BY 1) a
               LEFT JOIN (SELECT bin, environment, count(*) AS here FROM s GROUP BY ALL) h
                 ON h.bin = b.bin AND h.environment = a.environment) GROUP BY bin""",
        s=stepped,
    )
    mix = {row["bin"]: row["mix"] for row in mixes}
    asked = clustered("s", ["bin"], {"reward": _REWARD, "success": _SUCCESS, "all": "1"})
    rows = []
    for row in of.rows(f"SELECT * FROM ({asked}) ORDER BY bin", s=stepped):
        low = span["least"] + row["bin"] * width
        reward, success = estimate(row, "reward"), estimate(row, "success")
        rows.append(
            {"step": low, "last_step": low + width - 1, "episodes": row["all.n"], **reward.as_mean()}
            | {f"success_{name}": value for name, value in success.as_share().items()}
            | {"mix": mix[row["bin"]]}
        )
    return rows
