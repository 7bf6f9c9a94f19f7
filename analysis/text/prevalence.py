"""How often clusters occur by training step, reward and model, and where they occur more than elsewhere.

Takes facts about episodes and which of them have which cluster; gives shares with intervals and p-values corrected for
their number. Episodes of one group were sampled from one prompt, so intervals and tests count what they are worth as
independent ones. Knows no vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.reader import Reader
from ..testing import benjamini_hochberg, fisher_greater, worth
from .population import Estimate

BY: Final = ("training_step", "reward", "model")
_MOST_STEPS: Final = 8
_LEAST: Final = 5
"""Episodes on each side of a comparison: of fewer, no count has a small p-value."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Facts:
    """Of n episodes, in order of their ids: what is known of each, None where nothing is; ``group`` (n,) numbers what
    was sampled from one prompt."""

    episode_ids: NDArray[np.int64]
    group: NDArray[np.int64]
    values: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Share:
    """``k`` of the ``n`` episodes with this ``value`` of ``by`` have the cluster; 95 % Wilson interval, with ``n`` as
    many as they are worth where they come in groups."""

    by: str
    value: str
    k: int
    n: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Enrichment:
    """The cluster in ``k`` of the ``n`` episodes with this ``value`` of ``by``, and in ``k_other`` of the ``n_other``
    whose value is another one. ``p``: Fisher's exact test, two-sided (twice the tail on the side of the rates), with
    both sides shrunk to what their groups are worth; ``q`` over all clusters and values together (Benjamini and
    Hochberg 1995)."""

    by: str
    value: str
    k: int
    n: int
    k_other: int
    n_other: int
    ratio: float
    p: float
    q: float


def select_facts(reader: Reader, episode_ids: Sequence[int] | NDArray[np.int64]) -> Facts:
    """Facts of these episodes. A reward is low, middle or high among the rewards of its environment, for those of two
    environments need not mean the same; training steps are up to eight ranges of about as many episodes each."""
    ids = np.unique(np.asarray(episode_ids, np.int64))
    rows = reader.rows(
        """SELECT episode_id, environment, model, success, reward, training_step,
                  CASE WHEN group_id IS NOT NULL THEN hash(environment, group_id) ELSE hash(episode_id) END AS g
           FROM episodes WHERE episode_id IN (SELECT unnest(?)) ORDER BY episode_id""",
        [ids.tolist()],
    )
    columns: dict[str, list[Any]] = {
        name: [row[name] for row in rows] for name in ("environment", "model", "success", "reward", "training_step")
    }
    values = {
        "training_step": _steps(columns["training_step"]),
        "reward": _thirds(columns["reward"], columns["environment"]),
        "model": columns["model"],
        "environment": columns["environment"],
        "success": [None if value is None else str(bool(value)).lower() for value in columns["success"]],
    }
    group = np.unique(np.array([row["g"] for row in rows], np.uint64), return_inverse=True)[1]
    return Facts(np.array([row["episode_id"] for row in rows], np.int64), group, values)


def _steps(steps: list[int | None]) -> list[str | None]:
    known = np.array(sorted(step for step in steps if step is not None))
    distinct = np.unique(known)
    if len(distinct) <= _MOST_STEPS:
        return [None if step is None else str(step) for step in steps]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _MOST_STEPS + 1)[1:], method="higher"))
    names, low = [], int(distinct[0])
    for edge in edges:
        names.append(f"{low}–{edge}" if low < edge else str(edge))
        low = int(distinct[min(np.searchsorted(distinct, edge, side="right"), len(distinct) - 1)])
    return [None if step is None else names[int(np.searchsorted(edges, step))] for step in steps]


def _thirds(rewards: list[float | None], environments: list[str | None]) -> list[str | None]:
    """By the mid-rank within the environment: equal rewards fall into the same third."""
    thirds: list[str | None] = [None] * len(rewards)
    for environment in set(environments):
        places = [
            i
            for i, (reward, where) in enumerate(zip(rewards, environments, strict=True))
            if where == environment and reward is not None and np.isfinite(reward)
        ]
        ordered = np.sort(np.array([rewards[i] for i in places], float))
        for i in places:
            reward = float(rewards[i] or 0.0)
            rank = (np.searchsorted(ordered, reward) + np.searchsorted(ordered, reward, side="right")) / 2
            share = rank / len(ordered)
            thirds[i] = "low" if share < 1 / 3 else "high" if share > 2 / 3 else "middle"
    return thirds


def prevalence(facts: Facts, has: Mapping[int, Bools]) -> dict[int, list[Share]]:
    """Per cluster its share by each of ``BY``, in order of steps, of rewards, and of models by name."""
    shares: dict[int, list[Share]] = {number: [] for number in has}
    for by in BY:
        for value, mask in _masks(facts, by):
            for number, members in has.items():
                estimate = _estimate(members[mask], facts.group[mask])
                low, high = estimate.share_interval
                k = int(estimate.total)
                shares[number].append(Share(by, value, k, estimate.n, k / estimate.n, low or 0.0, _or_one(high)))
    return shares


def _or_one(high: float | None) -> float:
    return 1.0 if high is None else high


def enrichments(facts: Facts, has: Mapping[int, Bools]) -> dict[int, list[Enrichment]]:
    """Per cluster where it is more or less common than elsewhere, the smallest q first: by environment, model, success
    and reward. What has fewer than five episodes on a side is not compared."""
    sides = []
    for by in ("environment", "model", "success", "reward"):
        values = facts.values[by]
        known = np.array([value is not None for value in values], bool)
        masks = _masks(facts, by)
        for value, mask in masks:
            other = known & ~mask
            # Of two values the second comparison is the first, seen from the other side.
            if min(mask.sum(), other.sum()) >= _LEAST and not (len(masks) == 2 and value == masks[0][0]):
                sides.append((by, value, mask, other))
    tested = [(number, members, side) for number, members in has.items() for side in sides]
    if not tested:
        return {number: [] for number in has}
    counts = [(_counts(members, facts.group, mask), _counts(members, facts.group, other))
              for _, members, (_, _, mask, other) in tested]  # fmt: skip
    k_a, n_a, deff_a, k_b, n_b, deff_b = np.array([(*a, *b) for a, b in counts]).T
    up = k_a / n_a < k_b / n_b  # rounded towards each other, so that rounding makes no difference
    worth_a, worth_b = worth(k_a, n_a, deff_a, up), worth(k_b, n_b, deff_b, ~up)
    more, fewer = fisher_greater(*worth_a, *worth_b), fisher_greater(*worth_b, *worth_a)
    # The tail on the side of the rates: of a side that is worth one episode, rounding can turn the difference around.
    p = np.minimum(1.0, 2 * np.where(up, fewer, more))
    found: dict[int, list[Enrichment]] = {number: [] for number in has}
    for row, (number, _, (by, value, *_)) in enumerate(tested):
        rates = k_a[row] / n_a[row], k_b[row] / n_b[row]
        ratio = rates[0] / rates[1] if rates[1] else float("inf") if rates[0] else float("nan")
        found[number].append(
            Enrichment(by, value, int(k_a[row]), int(n_a[row]), int(k_b[row]), int(n_b[row]), ratio, float(p[row]), 1.0)
        )
    return _corrected(found)


def _corrected(found: dict[int, list[Enrichment]]) -> dict[int, list[Enrichment]]:
    every = [(number, one) for number, listed in found.items() for one in listed]
    q_values = benjamini_hochberg([one.p for _, one in every])
    corrected: dict[int, list[Enrichment]] = {number: [] for number in found}
    for (number, one), q in zip(every, q_values, strict=True):
        fields = {name: getattr(one, name) for name in one.__slots__} | {"q": float(q)}
        corrected[number].append(Enrichment(**fields))
    return {number: sorted(listed, key=lambda one: (one.q, one.p)) for number, listed in corrected.items()}


def _counts(members: Bools, group: NDArray[np.int64], mask: Bools) -> tuple[float, float, float]:
    """k, n and how many episodes are worth one."""
    estimate = _estimate(members[mask], group[mask])
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


def _estimate(members: Bools, group: NDArray[np.int64]) -> Estimate:
    groups, codes = np.unique(group, return_inverse=True)
    sizes, sums = np.bincount(codes), np.bincount(codes, weights=members)
    mean = float(members.mean())
    spread = float(((sums - sizes * mean) ** 2).sum())
    return Estimate(len(members), 0, float(members.sum()), len(groups), spread, bool(members.any() != members.all()))


_ORDER: Final[dict[str, Callable[[str], Any]]] = {
    "training_step": lambda value: int(value.split("–")[0]),
    "reward": ("low", "middle", "high").index,
}


def _masks(facts: Facts, by: str) -> list[tuple[str, Bools]]:
    values = np.array(facts.values[by], object)
    known = sorted({value for value in facts.values[by] if value is not None}, key=_ORDER.get(by, str))
    return [(value, values == value) for value in known]
