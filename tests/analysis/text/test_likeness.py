"""Episodes of one set are alike: tests keep their level all the same, and what tells the sets apart is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from investigate.analysis.text import rates
from investigate.analysis.text.likeness import by_set, find_sets, freedom, power_of
from investigate.analysis.text.rates import Tally, cell_counts, value_tests
from investigate.analysis.text.sides import Design
from scipy.sparse import csr_array

# Sizes of the sets of either side: like GRPO groups, few, many against few, and with sets that hold most of a side.
DESIGNS = {
    "groups": ([8] * 20, [8] * 20),
    "few": ([10] * 6, [10] * 6),
    "few and many": ([20] * 5, [4] * 40),
    "uneven": ([30, 20, *[5] * 15], [25, 15, *[5] * 30]),
    "one large": ([61, *[1] * 11], [12] * 31),
    "few large": ([100, 50, 20, *[5] * 15], [80, 40, *[5] * 30]),
}


def design_of(a: Sequence[int], b: Sequence[int], labels: Any = None, unit: Sequence[int] | None = None) -> Design:
    """Cells of these sizes, all in the first half; each a unit of its own unless said."""
    sizes = np.array([*a, *b])
    cell = np.repeat(np.arange(len(sizes)), sizes)
    truth = np.arange(len(sizes)) < len(a)
    units = np.arange(len(sizes)) if unit is None else np.array(unit)
    ids = np.arange(len(cell))
    first = np.ones(len(sizes), bool)
    return Design(ids, ids, units[cell], cell, first, np.stack([truth] if labels is None else labels), 0, ids)


def rates_of(design: Design, presence: Any, labelling: int = 0) -> rates.Tests:
    tally = Tally(design, presence.shape[1])
    tally.add(0, cell_counts(design.cell, len(design.first), csr_array(presence.astype(float))))
    return tally.tests()[labelling][0]


def alike(design: Design, rate: float, rho: float, n_features: int, seed: int) -> Any:
    """(episodes, features): of one rate on both sides; two episodes of one set correlate by ``rho``."""
    rng = np.random.default_rng(seed)
    own = rng.random((len(design.ids), n_features)) < rate
    common = (rng.random((len(design.first), n_features)) < rate)[design.cell]
    return np.where(rng.random(own.shape) < np.sqrt(rho), common, own)


@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS.keys())
@pytest.mark.parametrize("rho", [0.0, 0.1, 0.4, 1.0])
def test_without_a_difference_tests_keep_their_level(sizes: tuple[list[int], list[int]], rho: float) -> None:
    design = design_of(*sizes)
    for rate in (0.1, 0.5):
        p = rates_of(design, alike(design, rate, rho, 2000, seed=1)).p
        # Of 2,000 true nulls: two standard errors above the level, and in the far tail a single one.
        assert (p <= 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)
        assert (p <= 0.001).sum() <= 5
        assert (p <= 0.0001).sum() <= 1


@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS.keys())
@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_values_without_a_difference_keep_their_level(sizes: tuple[list[int], list[int]], rho: float) -> None:
    design, rng = design_of(*sizes), np.random.default_rng(2)
    p = []
    for _ in range(200):
        common = rng.normal(size=len(design.first))[design.cell]
        values = np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.normal(size=len(design.ids))
        p.append(float(value_tests(design, values)[0][0].p[0]))
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(p) <= 0.001) <= 0.005


@pytest.mark.parametrize("name", ["groups", "few and many", "uneven", "one large", "few large"])
def test_what_every_set_of_one_side_has_and_none_of_the_other_is_found(name: str) -> None:
    """The difference is no likeness: all episodes of a set have it, as all of its side do."""
    design = design_of(*DESIGNS[name])
    everywhere = design.in_a[:, None]
    nearly = everywhere.copy()
    nearly[np.flatnonzero(design.in_a)[-2:]] = False
    for presence in (everywhere, nearly):
        found = rates_of(design, presence)
        assert found.p[0] < 1e-4
        assert 0 < found.low[0] < found.effect[0] < found.high[0]
    values = np.arange(len(design.ids)) % 7 + 100.0 * design.in_a
    shift = value_tests(design, values)[0][0]
    assert shift.p[0] < 1e-4
    assert (shift.effect[0], shift.k_a) == (1, None)


def test_what_one_set_has_is_no_evidence_however_large_it_is() -> None:
    for sizes in DESIGNS.values():
        design = design_of(*sizes)
        assert rates_of(design, (design.cell == 0)[:, None]).p[0] > 0.05


def test_few_sets_are_never_surer_than_their_number_allows() -> None:
    """Of five sets against five there are 252 ways to deal them, whatever the number of episodes."""
    design = design_of([400] * 5, [400] * 5)
    assert rates_of(design, design.in_a[:, None]).p[0] >= 2 / 252
    assert value_tests(design, design.in_a.astype(float))[0][0].p[0] >= 2 / 252


def test_episodes_that_are_sets_of_their_own_are_tested_exactly() -> None:
    from scipy.stats import fisher_exact

    design = design_of([1] * 40, [1] * 50)
    presence = np.zeros((90, 1), bool)
    presence[[*range(15), *range(40, 45)]] = True
    assert freedom(find_sets(design, 0).sides[0]) == np.inf
    greater = rates_of(design, presence).greater[0]
    assert greater == pytest.approx(fisher_exact([[15, 25], [5, 45]], "greater").pvalue)


@pytest.mark.parametrize("sizes", [[8, 8, 8, 8, 6, 6, 10, 10, 5, 5, 9, 9], [60, 60, 9, 9, 3, 2, 4, 1, 2, 2, 1, 1]])
def test_two_cells_of_a_unit_that_a_shuffle_puts_on_one_side_are_one_set(sizes: list[int]) -> None:
    """The same tests as where they had been one cell from the beginning."""
    units = np.repeat(np.arange(6), 2)
    dealt = np.repeat(np.arange(6) % 2 == 0, 2)
    truth = np.arange(12) % 2 == 0
    split = design_of(sizes, [], np.stack([truth, dealt]), units.tolist())
    whole = design_of(np.add.reduceat(sizes, np.arange(0, 12, 2)).tolist(), [], (np.arange(6) % 2 == 0)[None])
    presence = alike(whole, 0.4, 0.5, 300, seed=3)
    one, other = rates_of(split, presence, 1), rates_of(whole, presence)
    assert by_set(find_sets(whole, 0).sides[0]) == (sizes[0] == 60)
    for field in ("k_a", "effect", "low", "high", "greater", "less"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-3, abs=1e-6)
    values = np.random.default_rng(4).normal(size=len(split.ids))
    assert value_tests(split, values)[1][0].p == pytest.approx(value_tests(whole, values)[0][0].p)


def test_what_is_called_detectable_is_detected() -> None:
    """About four times in five, of independent episodes and of sets whose episodes are all alike; far less is not."""
    design, level = design_of([4] * 40, [4] * 50), 1e-4
    power = power_of(design, level)
    assert power.largest == (4, 4)
    assert power.worth == (0, 0)  # The other half has nothing.
    for share, rho in ((power.detectable, 0.0), (power.detectable_alike, 1.0)):
        assert share is not None
        hits = []
        for asked in (share, 0.6 * share):
            presence = alike(design, asked, rho, 500, seed=5) & ~design.in_a[:, None]
            hits.append(float((rates_of(design, presence).less <= level).mean()))
            presence = alike(design, asked, rho, 500, seed=6) & design.in_a[:, None]
            hits.append(float((rates_of(design, presence).greater <= level).mean()))
        assert min(hits[:2]) > 0.7
        assert min(hits[2:]) < 0.6


def test_where_nothing_could_be_found_it_is_said() -> None:
    assert power_of(design_of([40] * 5, [40] * 5), 1e-4).detectable is None
    assert power_of(design_of([1] * 6, [1] * 6), 1e-4).detectable is None
