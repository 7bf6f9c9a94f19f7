"""Where clusters occur more or less than elsewhere: by environment and model, and within environments by outcome.

Takes facts about episodes and which of them have which cluster; gives counts, ratios and p-values corrected for their
number. Some environments are easier than others and bring other clusters, so success and reward, compared over all of
them, would only name the environment: they are compared within each. Knows no vectors and no screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..testing import benjamini_hochberg, fisher_greater, worth
from .population import Estimate
from .prevalence import Bools, Facts, group_estimate, masks

ACROSS: Final = ("environment", "model")
WITHIN: Final = ("success", "reward")
_LEAST: Final = 5
"""Episodes on each side of a comparison: of fewer, no count has a small p-value."""
_SMALLEST: Final = 1e-290
"""Below it a probability is no longer exact."""

Ints = NDArray[np.int64]
Counts = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Enrichment:
    """The cluster in ``k`` of the ``n`` episodes with this ``value`` of ``by``, and in ``k_other`` of the ``n_other``
    whose value is another one; ``q`` over all clusters and values together (Benjamini and Hochberg 1995).

    Of environment and model ``ratio`` is that of the two rates, and ``p`` Fisher's exact test with both sides shrunk to
    what their groups are worth. Of success and reward only environments with both sides count; ``ratio`` is that of
    Mantel and Haenszel (1959), and ``p`` the exact test of one rate within each environment (Birch 1964), its score
    divided by the root of the design effect (Rao and Scott 1981). Both are twice the tail on the side of the rates.
    """

    by: str
    value: str
    k: int
    n: int
    k_other: int
    n_other: int
    ratio: float
    p: float
    q: float


Sides = tuple[Bools, Bools]


def enrichments(facts: Facts, has: Mapping[int, Bools]) -> dict[int, list[Enrichment]]:
    """Per cluster where it is more or less common than elsewhere, the smallest q first: by environment, model, success
    and reward. What has fewer than five episodes on a side is not compared."""
    environment = np.unique([value or "" for value in facts.values["environment"]], return_inverse=True)[1]
    tested: list[tuple[int, Enrichment]] = []
    for by in (*ACROSS, *WITHIN):
        asked = [
            (number, value, sides) for value, sides in _sides(facts, by, environment) for number in has
        ]  # fmt: skip
        if by in ACROSS:
            effects = _across([(has[number], sides) for number, _, sides in asked], facts.group)
        else:
            effects = [_within(has[number], facts.group, environment, sides) for number, _, sides in asked]
        for (number, value, sides), (ratio, p) in zip(asked, effects, strict=True):
            k_a, n_a, k_b, n_b = (int(n) for side in sides for n in (has[number][side].sum(), side.sum()))
            tested.append((number, Enrichment(by, value, k_a, n_a, k_b, n_b, ratio, p, 1.0)))
    found: dict[int, list[Enrichment]] = {number: [] for number in has}
    q_values = benjamini_hochberg([one.p for _, one in tested]).tolist()
    for (number, one), q in zip(tested, q_values, strict=True):
        found[number].append(replace(one, q=q))
    return {number: sorted(listed, key=lambda one: (one.q, one.p)) for number, listed in found.items()}


def _sides(facts: Facts, by: str, environment: Ints) -> list[tuple[str, Sides]]:
    """Each value with the episodes that have it and those that have another, if there are enough of both."""
    known = np.array([value is not None for value in facts.values[by]], bool)
    listed, compared = masks(facts, by), []
    for value, mask in listed:
        # Of two values the second comparison is the first, seen from the other side.
        if len(listed) == 2 and value == listed[0][0]:
            continue
        sides = (mask, known & ~mask)
        if by in WITHIN:
            both = np.isin(environment, np.intersect1d(environment[sides[0]], environment[sides[1]]))
            sides = (sides[0] & both, sides[1] & both)
        if min(sides[0].sum(), sides[1].sum()) >= _LEAST:
            compared.append((value, sides))
    return compared


def _across(asked: Sequence[tuple[Bools, Sides]], group: Ints) -> list[tuple[float, float]]:
    """Ratio of the rates and p of each."""
    if not asked:
        return []
    counts = [[count for side in sides for count in _counts(members[side], group[side])] for members, sides in asked]
    k_a, n_a, deff_a, k_b, n_b, deff_b = np.array(counts).T
    up = k_a / n_a < k_b / n_b  # rounded towards each other, so that rounding makes no difference
    a, b = worth(k_a, n_a, deff_a, up), worth(k_b, n_b, deff_b, ~up)
    # The tail on the side of the rates: of a side that is worth one episode, rounding can turn the difference around.
    p = np.minimum(1.0, 2 * np.where(up, fisher_greater(*b, *a), fisher_greater(*a, *b)))
    return list(zip(map(_ratio, (k_a / n_a).tolist(), (k_b / n_b).tolist()), p.tolist(), strict=True))


def _within(members: Bools, group: Ints, stratum: Ints, sides: Sides) -> tuple[float, float]:
    """Ratio and p at equal strata, each of which has both sides."""
    from scipy.stats import norm

    (k_a, n_a), (k_b, n_b) = (
        (np.bincount(stratum[side], weights=members[side], minlength=len(stratum)),
         np.bincount(stratum[side], minlength=len(stratum))) for side in sides
    )  # fmt: skip
    there = (n_a > 0) & (n_b > 0)
    k_a, n_a, k_b, n_b = k_a[there], n_a[there], k_b[there], n_b[there]
    n, k = n_a + n_b, k_a + k_b
    apart = float((k_a - n_a * k / n).sum())
    variance = float((n_a * n_b * k * (n - k) / (n**2 * np.maximum(n - 1, 1))).sum())
    if variance == 0:
        return _ratio(float((k_a * n_b / n).sum()), float((k_b * n_a / n).sum())), 1.0
    tail = _tail(k_a, n_a, k, n, up=apart > 0)
    score = norm.isf(tail) if tail > _SMALLEST else (abs(apart) - 0.5) / np.sqrt(variance)
    effects = [_design_effect_within(members[side], group[side], stratum[side]) for side in sides]
    # The variance of a difference of rates is mostly that of the smaller side.
    effect = (effects[0] * n_b.sum() + effects[1] * n_a.sum()) / n.sum()
    p = min(1.0, 2 * float(norm.sf(max(score, 0.0) / np.sqrt(effect))))
    return _ratio(float((k_a * n_b / n).sum()), float((k_b * n_a / n).sum())), p


def _tail(k_a: Counts, n_a: Counts, k: Counts, n: Counts, up: bool) -> float:
    """The chance of as many on side a, or more (``up``), or as few, with the totals of each stratum given."""
    from scipy.stats import hypergeom

    chances, seen = np.ones(1), 0
    for k_here, a_here, with_, total in zip(k_a, n_a, k, n, strict=True):
        least = max(0, int(with_ + a_here - total))
        numbers = np.arange(least, int(min(with_, a_here)) + 1)
        chances = np.convolve(chances, hypergeom.pmf(numbers, int(total), int(with_), int(a_here)))
        seen += int(k_here) - least
    return float(min(1.0, (chances[seen:] if up else chances[: seen + 1]).sum()))


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("inf") if a else float("nan")


def _counts(members: Bools, group: Ints) -> tuple[float, float, float]:
    """k, n and how many episodes are worth one."""
    estimate = group_estimate(members, group)
    return estimate.total, estimate.n, _design_effect(estimate)


def _design_effect(estimate: Estimate) -> float:
    """The variance of the share over groups by that of as many independent episodes (Kish 1965); where the share does
    not vary, each group counts once."""
    if estimate.n_groups in (1, estimate.n):
        return float(estimate.n) if estimate.n_groups == 1 else 1.0
    mean = estimate.total / estimate.n
    if not estimate.varies:
        return estimate.n / estimate.n_groups
    variance = estimate.n_groups / (estimate.n_groups - 1) * estimate.spread / estimate.n**2
    return min(float(estimate.n), max(1.0, variance * estimate.n / (mean * (1 - mean))))


def _design_effect_within(members: Bools, group: Ints, stratum: Ints) -> float:
    """The same of one side, about the share of each stratum: of strata that differ, episodes are no more alike."""
    n = len(members)
    share = np.bincount(stratum, weights=members) / np.maximum(np.bincount(stratum), 1)
    apart = members - share[stratum]
    groups, codes = np.unique(group, return_inverse=True)
    n_groups, n_strata = len(groups), len(np.unique(stratum))
    if n_groups == n:
        return 1.0
    alone, together = float((apart**2).sum()), float((np.bincount(codes, weights=apart) ** 2).sum())
    if n_groups <= n_strata or alone < 1e-9:
        return n / n_groups
    return min(float(n), max(1.0, together / alone * n_groups / (n_groups - n_strata) * (n - n_strata) / n))
