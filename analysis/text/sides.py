"""The two groups of episodes that are compared, their independent units, and the halves.

Takes two predicates, gives a ``Design``: episodes in cells (one unit on one side), each cell in the half where
differences are looked for or in the half where they are tested again. Exact copies within a side are folded; near
copies count as independent unless they share a task or a group, or a column says so. Knows nothing of what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...store.errors import InputError, UsageError
from ...store.reader import Reader
from ...store.schemas import EPISODES

MIN_UNITS: Final = 5
"""On each side of each half. Of five against five no arrangement has p below 0.008: too little for many tests."""

_A: Final = 1
_BOTH: Final = 3

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Episodes ``ids`` (n,), in the order of their cells. ``cell`` (n,) ascends from 0. Per cell: ``first`` (is it in
    the half where differences are found) and ``labels`` (1 + shuffles, cells): is it on side a, first as it is, then
    with the labels shuffled over units."""

    ids: Ints
    originals: Ints
    """What each episode is a copy of, or itself."""
    unit: Ints
    cell: Ints
    first: Bools
    labels: Bools
    n_folded: int
    places: Ints
    """Of each episode its place in the whole design, of which this may be a part."""

    @cached_property
    def sizes(self) -> Ints:
        """Episodes per cell."""
        return np.bincount(self.cell, minlength=len(self.first))

    @cached_property
    def in_a(self) -> Bools:
        """Is each episode on side a?"""
        return np.asarray(self.labels[0][self.cell])

    @cached_property
    def twin(self) -> Ints:
        """Of each cell the other one of its unit, on the other side; itself where there is none."""
        unit = -1 - np.arange(len(self.first))
        unit[self.cell] = self.unit
        twin = np.arange(len(unit))
        pairs = np.flatnonzero(unit[1:] == unit[:-1])
        twin[pairs], twin[pairs + 1] = pairs + 1, pairs
        return twin

    def largest(self, side_a: bool) -> int:
        """Episodes of the largest cell on a side."""
        return int(self.sizes[self.labels[0] == side_a].max(initial=0))

    def n_units(self, side_a: bool) -> int:
        return len(np.unique(self.unit[self.in_a == side_a]))

    def subset(self, keep: Bools) -> Design:
        """The same for some of the episodes; a cell may be left empty."""
        return Design(
            self.ids[keep], self.originals[keep], self.unit[keep], self.cell[keep], self.first, self.labels,
            self.n_folded, self.places[keep],
        )  # fmt: skip


def select_sides(
    reader: Reader,
    a: Sequence[int],
    b: Sequence[int],
    *,
    fold_by: str | None = None,
    seed: int = 0,
    n_shuffles: int = 5,
    options: tuple[str, str] = ("--a", "--b"),
) -> Design:
    """Fold copies, find units, split them into halves. ``options`` are what chose the sides, for error messages.

    Episodes that share a task or a group, directly or through others, are one unit; with ``fold_by`` those with the
    same value in that column (NULL is nobody's). Copies are always of one unit. Raises UsageError where the sides
    overlap, and InputError where there are too few units to find and to confirm anything.
    """
    both = np.intersect1d(a, b)
    if len(both):
        raise UsageError(
            f"{len(both)} episodes are in both groups, such as {both[0]}; make {options[0]} and {options[1]} exclude "
            "each other."
        )
    ids = np.union1d(np.asarray(a, np.int64), np.asarray(b, np.int64))
    in_a = np.isin(ids, a)
    originals, unit = _units(reader, ids, fold_by)
    # The first of equal episodes on a side stands for them.
    _, kept = np.unique(originals * 2 + in_a, return_index=True)
    kept.sort()
    n_folded = len(ids) - len(kept)
    ids, in_a, originals, unit = ids[kept], in_a[kept], originals[kept], unit[kept]
    _, unit = np.unique(unit, return_inverse=True)
    rng = np.random.default_rng(seed)
    n_units = int(unit.max(initial=-1)) + 1
    has_a, has_b = (np.bincount(unit[side], minlength=n_units) > 0 for side in (in_a, ~in_a))
    first = _halves(has_a, has_b, rng)
    for option, has in zip(options, (has_a, has_b), strict=True):
        _check(option, has, first, fold_by)
    cells, cell = np.unique(unit * 2 + in_a, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    of_cell, truth = cells // 2, cells % 2 == 1
    labels = [truth, *(_shuffled(truth, of_cell, has_a + 2 * has_b, first, rng) for _ in range(n_shuffles))]
    return Design(
        ids[order], originals[order], unit[order], cell[order], first[of_cell], np.stack(labels), n_folded,
        np.arange(len(ids)),
    )  # fmt: skip


def _units(reader: Reader, ids: Ints, fold_by: str | None) -> tuple[Ints, Ints]:
    """(original, unit) of each episode."""
    if fold_by is not None and fold_by not in EPISODES.names:
        raise UsageError(f"--fold-by takes a column of the episodes view; {fold_by!r} is none.")
    keys = (
        "hash(environment, task_id), CASE WHEN task_id IS NOT NULL THEN 1 END AS has_task, "
        "hash(environment, group_id), CASE WHEN group_id IS NOT NULL THEN 1 END AS has_group"
        if fold_by is None
        else f'hash("{fold_by}"), CASE WHEN "{fold_by}" IS NOT NULL THEN 1 END'
    )
    table = reader.table(
        f"SELECT coalesce(duplicate_of, episode_id) AS original, {keys} FROM episodes "
        "WHERE episode_id IN (SELECT unnest(?)) ORDER BY episode_id",
        [ids.tolist()],
    )
    columns = [column.to_numpy() for column in table.columns]
    originals = columns[0].astype(np.int64)
    links = [np.unique(originals, return_inverse=True)[1]]
    for values, known in zip(columns[1::2], columns[2::2], strict=True):
        with_value = np.nan_to_num(np.asarray(known, float)) == 1
        codes = np.unique(values, return_inverse=True)[1]
        links.append(np.where(with_value, codes, -1))
    return originals, _components(links)


def _components(links: Sequence[Ints]) -> Ints:
    """Which rows hang together through an equal, non-negative value in any of the columns."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, offset = len(links[0]), len(links[0])
    rows, columns = [], []
    for codes in links:
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        columns.append(codes[known] + offset)
        offset += int(codes.max(initial=-1)) + 1
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), bool), (row, column)), shape=(offset, offset))
    return np.asarray(connected_components(graph, directed=False)[1][:n], np.int64)


def _halves(has_a: Bools, has_b: Bools, rng: np.random.Generator) -> Bools:
    """Half of the units of each kind (a alone, b alone, both), drawn at random."""
    first = np.zeros(len(has_a), bool)
    for kind in (has_a & ~has_b, has_b & ~has_a, has_a & has_b):
        drawn = rng.permutation(np.flatnonzero(kind))
        first[drawn[::2]] = True
    return first


def _check(option: str, has: Bools, first: Bools, fold_by: str | None) -> None:
    if not has.any():
        raise InputError(f"No episode passes {option}; loosen it.")
    if min(int((has & first).sum()), int((has & ~first).sum())) < MIN_UNITS:
        by = "that share no task, group or content" if fold_by is None else f"that differ in {fold_by}"
        raise InputError(
            f"{option} leaves {int(has.sum())} independent episodes or sets of episodes ({by}), and it takes "
            f"{2 * MIN_UNITS} to find a difference in one half and confirm it in the other; loosen {option}, or say "
            "with --fold-by COLUMN which episodes belong together (--fold-by episode_id: none do)."
        )


def _shuffled(truth: Bools, unit: Ints, on: Ints, first: Bools, rng: np.random.Generator) -> Bools:
    """New sides for cells: within each half the units, ``on`` side a (1), b (2) or both (3), change places.

    What then lies on both sides is turned at random; where it has one cell only, every second goes to a. So no
    difference between units is left to the sides, whether they had the same tasks, others, or some of both.
    """
    dealt = on.copy()
    for half in (first, ~first):
        dealt[half] = rng.permutation(on[half])
    dealt, single = dealt[unit], on[unit] != _BOTH
    turned = rng.random(len(on)) < 0.5
    labels = np.where(dealt == _BOTH, truth ^ turned[unit], dealt == _A)
    for half in (first[unit], ~first[unit]):
        either = rng.permutation(np.flatnonzero((dealt == _BOTH) & single & half))
        labels[either] = (np.arange(len(either)) + rng.integers(2)) % 2 == 0
    return labels
