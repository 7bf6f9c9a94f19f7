"""What occurs more in one group of episodes than in another.

Takes a reader and two groups, gives differences of terms, clusters, tools, stop reasons, scripts and lengths, each
found in one half of the independent units and tested again in the other, and what the same road gives where the labels
are shuffled. Knows no screen. A difference is no cause: groups that differ in their tasks differ in their words.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...store.reader import Reader
from .differences import FOUND_AT, Difference, Found, Pool, confirm, find, rows_of, strongest
from .features import Coverage, Flags, Values, find_clusters, flag_families, script_families, value_families
from .index import Filters
from .likeness import Power, power_of
from .merging import SAME_EPISODES, longest_phrase, merge_terms
from .rates import Tally, cell_counts, value_tests
from .scripts import letters_by_script
from .sides import Bools, Design, Floats, Ints, select_sides
from .terms import LONGEST_TERM, Tokens, Vocabulary, find_vocabulary, read_tokens

N_EXEMPLARS: Final = 5
_LEAST_EPISODES: Final = 8
_LEAST_SHARE: Final = 1 / 2000
"""Terms of fewer episodes, or of a smaller share, are not tried. That is blind to the groups, and no test is spent on
what could not be found."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """What is found and confirmed where the labels were shuffled over units, whichever side those were on: nothing of
    it is true, and it is what chance and differences between units make of this road."""

    found: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, as ``rows_of`` orders them; how many features were ``tried``, by kind; how many were ``n_found``, and
    ``n_kept`` as the strongest, before terms of the same episodes became one row."""

    differences: list[Difference]
    n_a: int
    n_b: int
    n_units_a: int
    n_units_b: int
    n_folded: int
    tried: dict[str, int]
    n_found: int
    n_kept: int
    shuffles: list[Shuffle]
    power: Power
    clusters: Coverage | None

    @property
    def n_confirmed(self) -> int:
        return sum(row.confirmed for row in self.differences)


def compare_groups(
    reader: Reader,
    a: Sequence[int],
    b: Sequence[int],
    *,
    kinds: Sequence[str] = ("text", "reasoning"),
    roles: Sequence[str] = ("assistant",),
    fold_by: str | None = None,
    cluster_run: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare episodes ``a`` with episodes ``b`` (ids). Terms are of the chosen parts; ``cluster_run`` is the latest
    that knows most of both, unless named. Raises what ``select_sides`` raises, and NotFoundError for a cluster run that
    is not there."""
    design = select_sides(reader, a, b, fold_by=fold_by, seed=seed)
    clusters = find_clusters(reader, design, cluster_run)
    filters = Filters(None, kinds, roles)
    with tempfile.TemporaryDirectory(prefix="investigate-") as folder:
        tokens = read_tokens(reader, design.ids, filters, Path(folder) / "tokens")
        terms = TermPool(tokens, design)
        others = [
            *flag_families(reader, design, clusters),
            *script_families(design, letters_by_script(tokens, design.cell)),
            *value_families(reader, design, filters),
        ]
        return summarise(design, [terms.pool, *map(pool_of, others)], terms, clusters)


def summarise(
    design: Design, pools: Sequence[Pool], terms: TermPool, clusters: Coverage | None, *, rising: bool = False
) -> Comparison:
    """Find, merge and confirm, and go the same road with shuffled labels."""
    tried: Counter[str] = Counter()
    for pool in pools:
        tried[pool.kind] += len(pool.tests[0][0].effect)
    found = find(pools, rising=rising)
    shuffles = []
    for labelling in range(1, len(design.labels)):
        by_chance = find(pools, labelling, rising=rising)
        confirmed = confirm(terms.merge(strongest(by_chance)), labelling)[1]
        shuffles.append(Shuffle(len(by_chance), int(confirmed.sum())))
    kept = strongest(found)
    # Of the smallest p-value of all the false discovery rate asks as much as Bonferroni.
    level = FOUND_AT / max(tried.total(), 1) / (1 if rising else 2)
    n_a = int(design.in_a.sum())
    return Comparison(
        rows_of(terms.merge(kept), len(design.ids), rising=rising), n_a, len(design.ids) - n_a, design.n_units(True),
        design.n_units(False), design.n_folded, dict(tried), len(found), len(kept), shuffles,
        power_of(design, level), clusters,
    )  # fmt: skip


class TermPool:
    """The terms of episodes as a pool, and what is done with those that are found. Reads ``tokens`` again and again."""

    def __init__(self, tokens: Tokens, design: Design) -> None:
        self._tokens, self._design = tokens, design
        least = max(_LEAST_EPISODES, int(len(design.ids) * _LEAST_SHARE))
        self._vocabulary: Vocabulary = find_vocabulary(tokens, design.cell, least)
        tally = Tally(design, self._vocabulary.size)
        for first, end in tokens.bounds(design.unit):
            low, high = int(design.cell[first]), int(design.cell[end - 1]) + 1
            tally.add(low, cell_counts(design.cell[first:end] - low, high - low, self._presence(first, end)))
        frequent = tally.totals() >= least
        tally.keep(frequent)
        self._columns: Ints = np.flatnonzero(frequent)
        self._having: dict[int, Ints] = {}
        self.pool = Pool("term", self._name, tally.tests(), self._exemplars, self._on_side)

    def _presence(self, first: int, end: int) -> Any:
        return self._vocabulary.presence(*self._tokens.block(first, end), end - first)

    def _name(self, feature: int) -> str:
        return self._vocabulary.name(int(self._columns[feature]))

    def _exemplars(self, feature: int, more_in_a: bool) -> list[int]:
        return exemplars(self._design, self._having[feature], more_in_a)

    def _on_side(self, feature: int, more_in_a: bool) -> Ints:
        having = self._having[feature]
        return np.asarray(having[self._design.in_a[having] == more_in_a])

    def merge(self, found: Sequence[Found]) -> list[Found]:
        """Terms of the same episodes become one row, by the longest phrase that they make, with its own tests; the
        place in the ranking is that of the strongest of them."""
        from scipy.sparse import vstack

        terms = [f for f in found if f.pool is self.pool]
        if not terms:
            return list(found)
        columns = self._columns[[f.feature for f in terms]]
        blocks = [self._presence(*block)[:, columns] for block in self._tokens.bounds(self._design.cell)]
        presence = vstack(blocks).tocsc()
        names = [self._name(f.feature) for f in terms]
        groups = merge_terms(names, presence)
        self._having = {f.feature: np.asarray(presence[:, [i]].tocoo().row, np.int64) for i, f in enumerate(terms)}
        phrases = self._phrases([longest_phrase([names[i] for i in group]) for group in groups], groups, terms)
        instead: dict[int, Found] = {}
        for number, group in enumerate(groups):
            best, longest = terms[min(group)], terms[group[0]]
            others = tuple(names[i] for i in group)
            if number in phrases:
                instead[best.feature] = replace(
                    best, pool=phrases[number][0], feature=phrases[number][1], merged=others
                )
            else:
                instead[best.feature] = replace(longest, merged=others[1:])
        placed = (f if f.pool is not self.pool else instead.get(f.feature) for f in found)
        return [f for f in placed if f is not None]

    def _phrases(
        self, phrases: Sequence[str], groups: Sequence[Sequence[int]], terms: Sequence[Found]
    ) -> dict[int, tuple[Pool, int]]:
        """By number of the group, the pool and column of its phrase: where that is no term already, and in nearly all
        the episodes of the group's longest term."""
        having: dict[int, Ints] = {}
        for number, (phrase, group) in enumerate(zip(phrases, groups, strict=True)):
            if phrase.count(" ") >= LONGEST_TERM:
                longest = self._having[terms[group[0]].feature]
                there = longest[self._tokens.have_phrase(phrase, longest)]
                if len(there) >= SAME_EPISODES * len(longest):
                    having[number] = there
        numbers = list(having)
        family = Flags(
            "term",
            [phrases[number] for number in numbers],
            self._design,
            flags_of([having[number] for number in numbers], len(self._design.ids)),
        )
        pool = pool_of(family) if numbers else None
        return {number: (pool, column) for column, number in enumerate(numbers) if pool is not None}


def flags_of(having: Sequence[Ints], n_episodes: int) -> Any:
    """(episodes, features) CSR, from the episodes that have each feature."""
    from scipy.sparse import csr_array

    rows = np.concatenate([np.zeros(0, np.int64), *having])
    columns = np.repeat(np.arange(len(having)), [len(there) for there in having])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_episodes, len(having)))


def pool_of(family: Flags | Values) -> Pool:
    """A family of features as a pool."""
    design = family.design
    if isinstance(family, Values):
        tests, extremes = value_tests(design, family.values), _extremes(design, family.values)
        return Pool(family.kind, lambda _: family.name, tests, extremes, lambda _, __: None)
    columns = family.presence.tocsc()
    tally = Tally(design, len(family.names))
    tally.add(0, cell_counts(design.cell, len(design.first), family.presence))

    def having(feature: int) -> Ints:
        return np.asarray(columns[:, [feature]].tocoo().row, np.int64)

    def showing(feature: int, more_in_a: bool) -> list[int]:
        others = exemplars(design, having(feature), more_in_a, family.scores)
        return (
            others if family.places is None else list(dict.fromkeys([family.places[feature][0], *others]))[:N_EXEMPLARS]
        )

    def on_side(feature: int, more_in_a: bool) -> Ints:
        there = having(feature)
        return np.asarray(design.places[there[design.in_a[there] == more_in_a]])

    return Pool(
        family.kind, lambda feature: family.names[feature], tally.tests(),
        showing, on_side, family.places,
    )  # fmt: skip


def exemplars(design: Design, having: Ints, more_in_a: bool, scores: Floats | None = None) -> list[int]:
    """A few of the episodes ``having`` it (places in ``design``) on the side with more: the highest scores, or else the
    first, of different units before others."""
    there = having[design.in_a[having] == more_in_a]
    there = there[np.argsort(design.ids[there] if scores is None else -scores[there], kind="stable")]
    _, one_of_each = np.unique(design.unit[there], return_index=True)
    ordered = [*design.ids[there[np.sort(one_of_each)]].tolist(), *design.ids[there].tolist()]
    return list(dict.fromkeys(ordered))[:N_EXEMPLARS]


def _extremes(design: Design, values: Floats) -> Callable[[int, bool], list[int]]:
    def extremes(_: int, more_in_a: bool) -> list[int]:
        side: Bools = design.in_a
        places = np.flatnonzero(side) if more_in_a else np.flatnonzero(~side)
        return [int(i) for i in design.ids[places[np.argsort(-values[places], kind="stable")[:N_EXEMPLARS]]]]

    return extremes
