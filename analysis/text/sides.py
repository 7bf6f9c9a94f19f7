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

_MANY_UNITS: Final = 10
_NEARLY_ALL: Final = 0.9

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
    def crossed(self) -> bool:
        """Are nearly all episodes in units that are on both sides, and those many in each half?

        Then what tells the sides apart is not the units, and is not held against their likeness. Otherwise it is: of
        few units here and few there nobody can say whether they differ by side or each from each.
        """
        unit = np.zeros(len(self.first), np.int64)
        unit[self.cell] = self.unit
        there = self.sizes > 0
        both = np.isin(unit, _twice(unit[there])) & there
        least = min(int((both & half).sum()) // 2 for half in (self.first, ~self.first))
        return least >= _MANY_UNITS and bool(self.sizes[both].sum() >= _NEARLY_ALL * len(self.ids))

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
) -> Design:
    """Fold copies, find units, split them into halves.

    Episodes that share a task or a group, directly or through others, are one unit; with ``fold_by`` those with the
    same value in that column (NULL is nobody's). Copies are always of one unit. Raises UsageError where the sides
    overlap, and InputError where there are too few units to find and to confirm anything.
    """
    both = np.intersect1d(a, b)
    if len(both):
        raise UsageError(
            f"{len(both)} episodes are in both groups, such as {both[0]}; make --a and --b exclude each other."
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
    _check(first, has_a, has_b, fold_by)
    cells, cell = np.unique(unit * 2 + in_a, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    of_cell, truth = cells // 2, cells % 2 == 1
    alone = ~(has_a & has_b)[of_cell]
    labels = [truth, *(_shuffled(truth, of_cell, alone, first[of_cell], rng) for _ in range(n_shuffles))]
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


def _check(first: Bools, has_a: Bools, has_b: Bools, fold_by: str | None) -> None:
    for name, has in (("a", has_a), ("b", has_b)):
        least = min(int((has & first).sum()), int((has & ~first).sum()))
        if least < MIN_UNITS:
            by = "that share no task, group or content" if fold_by is None else f"that differ in {fold_by}"
            raise InputError(
                f"Group {name} has {int(has.sum())} independent episodes or sets of episodes ({by}), and it takes "
                f"{2 * MIN_UNITS} to find a difference in one half and confirm it in the other; widen --{name}, or say "
                "with --fold-by COLUMN which episodes belong together (--fold-by episode_id: none do)."
            )


def _shuffled(truth: Bools, unit: Ints, alone: Bools, first: Bools, rng: np.random.Generator) -> Bools:
    """New sides for cells: those of units on one side change places within their half, the others turn around."""
    turned = rng.random(int(unit.max(initial=-1)) + 1) < 0.5
    labels = truth ^ turned[unit]
    for half in (first, ~first):
        movable = np.flatnonzero(alone & half)
        labels[movable] = rng.permutation(truth[movable])
    return labels


def _twice(values: Ints) -> Ints:
    distinct, n = np.unique(values, return_counts=True)
    return distinct[n > 1]
