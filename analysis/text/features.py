"""What can be said of an episode besides its words: clusters, tools, stop reason, scripts, lengths.

Takes a reader and the episodes that are compared, gives families of features: flags that an episode has or has not,
and values. Knows nothing of tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...store.errors import NotFoundError
from ...store.reader import Reader
from .index import Filters
from .scripts import SCRIPTS
from .sides import Bools, Design, Floats, Ints

COVERED: Final = 0.5
"""Share of either side that a cluster run must know, to be taken without being named."""
_MOST_NAMES: Final = 2_000
"""Of a family; where a log names a tool anew each time, the rest is too rare to compare."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """A cluster run, and the share of side a and of side b that it knows. It is ``used`` where it was named or knows
    most of both."""

    run_id: str
    a: float
    b: float
    used: bool


@dataclass(frozen=True)
class Flags:
    """``presence`` (episodes of ``design``, names) says who has what; ``design`` has only episodes for which that is
    known. Where there are ``scores`` of its episodes, those with the highest show it best. ``places`` says for each
    name where it was read: episode, message, part."""

    kind: str
    names: list[str]
    design: Design
    presence: Any
    scores: Floats | None = None
    places: Sequence[tuple[int, int, int]] | None = None


@dataclass(frozen=True)
class Values:
    """One number per episode of ``design``."""

    kind: str
    name: str
    design: Design
    values: Floats


def flag_families(reader: Reader, design: Design, clusters: Coverage | None) -> Iterator[Flags]:
    """Clusters, tools called, tools that failed, stop reasons: those there are."""
    if clusters is not None and clusters.used:
        yield from _cluster_flags(reader, design, clusters.run_id)
    everyone = np.ones(len(design.ids), bool)
    for kind, condition in (
        ("tool_call", "kind = 'tool_call'"), ("tool_failure", "kind = 'tool_result' AND is_error"),
    ):  # fmt: skip
        rows = reader.rows(
            f"SELECT DISTINCT episode_id AS id, tool_name AS name FROM parts WHERE {condition} "
            "AND tool_name IS NOT NULL AND NOT coalesce(given, false) AND episode_id IN (SELECT unnest(?))",
            [design.ids.tolist()],
        )
        yield from _flags(kind, design, everyone, design.ids, [(row["id"], row["name"]) for row in rows])
    rows = reader.rows(
        "SELECT episode_id AS id, stop_reason AS name FROM episodes "
        "WHERE stop_reason IS NOT NULL AND episode_id IN (SELECT unnest(?))",
        [design.ids.tolist()],
    )
    named = [(row["id"], row["name"]) for row in rows]
    yield from _flags("stop_reason", design, np.isin(design.ids, [i for i, _ in named]), design.ids, named)


def find_clusters(reader: Reader, design: Design, name: str | None) -> Coverage | None:
    """The run that was named, or the latest that knows most of both sides; where none does, the one that knows most of
    either, not used. None where nothing was clustered. Raises NotFoundError for a run that is not there."""
    runs = reader.rows("SELECT run_id FROM runs WHERE kind = 'cluster' ORDER BY rowid DESC")
    names = [row["run_id"] for row in runs]
    if name is not None:
        if name not in names:
            there = ", ".join(reversed(names)) or "none: investigate cluster"
            raise NotFoundError(f"There is no cluster run {name}; there is {there}.")
        return _coverage(reader, design, name, named=True)
    best = None
    for run_id in names:
        coverage = _coverage(reader, design, run_id, named=False)
        if coverage.used:
            return coverage
        if best is None or min(coverage.a, coverage.b) > min(best.a, best.b):
            best = coverage
    return best


def _coverage(reader: Reader, design: Design, run_id: str, *, named: bool) -> Coverage:
    rows = reader.table(
        "SELECT DISTINCT coalesce(e.duplicate_of, e.episode_id) AS id FROM cluster_members m "
        "JOIN episodes e USING (episode_id) WHERE NOT m.stale AND m.run_id = ?",
        [run_id],
    )
    known = np.isin(design.originals, rows["id"].to_numpy())
    a, b = (float(known[side].mean()) for side in (design.in_a, ~design.in_a))
    return Coverage(run_id, a, b, named or min(a, b) >= COVERED)


def _cluster_flags(reader: Reader, design: Design, run_id: str) -> Iterator[Flags]:
    """Of a run that may have left out copies, and looked at some episodes only."""
    rows = reader.rows(
        "SELECT DISTINCT coalesce(e.duplicate_of, e.episode_id) AS id, m.cluster_id AS number, c.label "
        "FROM cluster_members m JOIN episodes e USING (episode_id) "
        "LEFT JOIN clusters c ON c.run_id = m.run_id AND c.cluster_id = m.cluster_id "
        "WHERE NOT m.stale AND m.run_id = ?",
        [run_id],
    )
    known = np.isin(design.originals, [row["id"] for row in rows])
    # Noise, below zero, is no kind of episode.
    named = [(row["id"], f"{run_id}/{row['number']} {row['label'] or ''}") for row in rows if row["number"] >= 0]
    yield from _flags("cluster", design, known, design.originals, named)


def _flags(kind: str, design: Design, known: Bools, keys: Ints, named: Sequence[tuple[int, str]]) -> Iterator[Flags]:
    """Flags of the episodes that are ``known``; ``named`` (id, name) says who has what, by ``keys`` (episodes)."""
    from scipy.sparse import csr_array

    common = [name for name, _ in Counter(name for _, name in named).most_common(_MOST_NAMES)]
    if not common or not known.any():
        return
    columns = {name: i for i, name in enumerate(sorted(common))}
    subset = design.subset(known)
    of_key: dict[int, list[int]] = {}
    for i, key in enumerate(keys[known].tolist()):
        of_key.setdefault(key, []).append(i)
    places = [(i, columns[name]) for key, name in named if name in columns for i in of_key.get(key, ())]
    row, column = np.array(places, np.int64).reshape(-1, 2).T
    shape = (len(subset.ids), len(columns))
    yield Flags(kind, list(columns), subset, csr_array((np.ones(len(row)), (row, column)), shape=shape))


def script_families(design: Design, letters: Floats) -> Iterator[Flags | Values]:
    """Which scripts occur, and the share of letters outside the episode's main script, from letters (episodes,
    SCRIPTS): a chain of thought that changes its language often changes its script."""
    from scipy.sparse import csr_array

    spoken = letters.sum(axis=1) > 0
    subset, counts = design.subset(spoken), letters[spoken]
    if len(subset.ids):
        names = [name if name in ("CJK", "other") else name.capitalize() for name in SCRIPTS]
        yield Flags("script", names, subset, csr_array((counts > 0).astype(float)))
        yield Values("script", "share outside the main script", subset, 1 - counts.max(axis=1) / counts.sum(axis=1))


def value_families(reader: Reader, design: Design, filters: Filters) -> Iterator[Values]:
    """Lengths; the share of reasoning is of what the assistant wrote, where it wrote anything."""
    rows = reader.table(
        """SELECT episode_id, count(DISTINCT message_index) AS messages,
                  coalesce(sum(length(text)) FILTER (kind IN (SELECT unnest(?)) AND role IN (SELECT unnest(?))
                                                     AND NOT (role = 'assistant' AND coalesce(given, false))), 0)
                  ::DOUBLE AS characters,
                  count(*) FILTER (kind = 'tool_call' AND NOT coalesce(given, false)) AS calls,
                  sum(length(text)) FILTER (role = 'assistant' AND NOT coalesce(given, false))::DOUBLE AS written,
                  coalesce(sum(length(text)) FILTER (role = 'assistant' AND kind = 'reasoning'
                                                     AND NOT coalesce(given, false)), 0)::DOUBLE AS reasoned
           FROM parts WHERE episode_id IN (SELECT unnest(?)) GROUP BY episode_id ORDER BY episode_id""",
        [list(filters.kinds or ()), list(filters.roles or ()), design.ids.tolist()],
    )
    table = {name: np.asarray(rows[name].to_numpy(), float) for name in rows.column_names}
    known = np.isin(design.ids, rows["episode_id"].to_numpy())
    subset = design.subset(known)
    place = np.searchsorted(table["episode_id"], subset.ids)
    for name, label in (("characters", "characters"), ("messages", "messages"), ("calls", "tool calls")):
        yield Values("length", label, subset, table[name][place])
    written, reasoned = np.nan_to_num(table["written"][place]), table["reasoned"][place]
    wrote = written > 0
    if wrote.any() and reasoned.any():
        yield Values("length", "reasoning share", subset.subset(wrote), reasoned[wrote] / written[wrote])
