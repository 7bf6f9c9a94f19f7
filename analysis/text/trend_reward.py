"""Is a behaviour rewarded? Rewards with it and without it, among episodes that are otherwise alike.

Takes one value per episode, gives a difference with its interval. Pure numbers; a reward that is missing is no zero: it
is counted, and in no mean.

A prompt may come back at many steps, and over the steps both the behaviour and the reward move; so only episodes of one
group at one step are held against each other, and intervals count what hangs together once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..standardise import Floats, Ints

LEAST_BLOCKS: Final = 10
"""With fewer, what they vary by says little, so there is no interval."""
_NONE_SEEN: Final = 3.0
"""Rule of three: what was seen in none of n is, at 95 %, in less than 3 / n (Hanley and Lippman-Hand 1983)."""


@dataclass(frozen=True, slots=True)
class RewardLink:
    """``difference``: mean reward of episodes with the behaviour less that of those without, within blocks; None where
    no block has both. ``n_with`` and ``n_without`` are the episodes of those ``n_blocks``, which lie in ``n_units``
    groups (or are units themselves); ``mean_*``, ``known_*`` and ``missing_*`` are over all episodes."""

    block: str
    difference: float | None
    low: float | None
    high: float | None
    n_blocks: int
    n_units: int
    n_with: int
    n_without: int
    mean_with: float | None
    mean_without: float | None
    known_with: int
    known_without: int
    missing_with: int
    missing_without: int


def reward_link(hit: NDArray[np.bool_], reward: Floats, group: Ints, step: Ints, cell: Ints) -> RewardLink:
    """Within a group at a step where ten or more groups have both kinds of episode there, else within cells: strata at
    a step or in a bin of steps.

    The difference is that of a regression with an effect for each block: blocks weigh ``n1 n0 / (n1 + n0)``. 95 %
    interval by Student's t from the jackknife that leaves out whole groups, or cells (CR3: Bell and McCaffrey 2002);
    where none differs from the others, by the rule of three and the range of the rewards.
    """
    known = np.isfinite(reward)
    hits, rewards = hit[known], reward[known]
    groups, steps = (np.unique(values[known], return_inverse=True)[1] for values in (group, step))
    at_step = groups * (int(steps.max(initial=0)) + 1) + steps
    block, found = "group", _blocks(hits, rewards, at_step, groups)
    if found.n_units < LEAST_BLOCKS:
        block, found = "stratum", _blocks(hits, rewards, cell[known], cell[known])
    difference, low, high = None, None, None
    if found.n_units:
        difference = float(found.weight @ found.effect / found.weight.sum())
    if difference is not None and found.n_units >= LEAST_BLOCKS:
        half = _half_width(found, difference, float(np.ptp(rewards)))
        low, high = difference - half, difference + half
    counts: dict[str, Any] = {}
    for name, chosen in (("with", hit), ("without", ~hit)):
        values = reward[chosen & known]
        counts[f"mean_{name}"] = float(values.mean()) if len(values) else None
        counts[f"known_{name}"] = len(values)
        counts[f"missing_{name}"] = int((chosen & ~known).sum())
    return RewardLink(
        block, difference, low, high, len(found.weight), found.n_units, found.n_with, found.n_without, **counts
    )


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Of the blocks with both kinds: weight, difference of means, the unit of each; and their episodes."""

    weight: Floats
    effect: Floats
    unit: Ints
    n_units: int
    n_with: int
    n_without: int


def _blocks(hit: NDArray[np.bool_], reward: Floats, block: Ints, unit: Ints) -> _Blocks:
    names, first, code = np.unique(block, return_index=True, return_inverse=True)
    n1, n0 = (np.bincount(code[chosen], minlength=len(names)) for chosen in (hit, ~hit))
    s1, s0 = (np.bincount(code[chosen], weights=reward[chosen], minlength=len(names)) for chosen in (hit, ~hit))
    both = (n1 > 0) & (n0 > 0)
    n1, n0, s1, s0 = n1[both], n0[both], s1[both], s0[both]
    units, of = np.unique(unit[first[both]], return_inverse=True)
    return _Blocks(n1 * n0 / (n1 + n0), s1 / n1 - s0 / n0, of, len(units), int(n1.sum()), int(n0.sum()))


def _half_width(blocks: _Blocks, difference: float, reach: float) -> float:
    from scipy.stats import t

    n = blocks.n_units
    weight = np.bincount(blocks.unit, weights=blocks.weight)
    apart = np.bincount(blocks.unit, weights=blocks.weight * (blocks.effect - difference))
    error = float(np.sqrt((n - 1) / n * np.square(apart / (weight.sum() - weight)).sum()))
    if error <= 1e-9 * reach:
        return _NONE_SEEN / n * reach
    return float(t.ppf(0.975, n - 1)) * error
