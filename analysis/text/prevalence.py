"""How often clusters occur by training step, reward and model, and where they occur more or less than elsewhere.

Takes facts about episodes and which of them have which cluster; gives shares with intervals and p-values corrected for
their number. Episodes of one group were sampled from one prompt, so intervals and tests count what they are worth as
independent ones. Success and reward are compared within environments, of which some are easier than others; how it is
tested is in ``enrichment.py``. Knows no vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.reader import Reader
from .population import Estimate

BY: Final = ("training_step", "reward", "model")
_MOST_STEPS: Final = 8

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


def select_facts(reader: Reader, episode_ids: Sequence[int] | NDArray[np.int64]) -> Facts:
    """Facts of these episodes. A reward is low, middle or high among the rewards of its environment, for those of two
    environments need not mean the same, and nothing where all of them are equal; training steps are up to eight ranges
    of about as many episodes each."""
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
    """By the mid-rank within the environment: equal rewards fall into the same third. The least of all is always low
    and the greatest high, however many episodes have it: of two rewards, such as 0 and 1, there is no middle."""
    thirds: list[str | None] = [None] * len(rewards)
    for environment in set(environments):
        places = [
            i
            for i, (reward, where) in enumerate(zip(rewards, environments, strict=True))
            if where == environment and reward is not None and np.isfinite(reward)
        ]
        ordered = np.sort(np.array([rewards[i] for i in places], float))
        if not len(ordered) or ordered[0] == ordered[-1]:
            continue
        for i in places:
            reward = float(rewards[i] or 0.0)
            rank = (np.searchsorted(ordered, reward) + np.searchsorted(ordered, reward, side="right")) / 2
            share = {ordered[0]: 0.0, ordered[-1]: 1.0}.get(reward, rank / len(ordered))
            thirds[i] = "low" if share < 1 / 3 else "high" if share > 2 / 3 else "middle"
    return thirds


def prevalence(facts: Facts, has: Mapping[int, Bools]) -> dict[int, list[Share]]:
    """Per cluster its share by each of ``BY``, in order of steps, of rewards, and of models by name."""
    shares: dict[int, list[Share]] = {number: [] for number in has}
    for by in BY:
        for value, mask in masks(facts, by):
            for number, members in has.items():
                estimate = group_estimate(members[mask], facts.group[mask])
                low, high = estimate.share_interval
                k = int(estimate.total)
                shares[number].append(Share(by, value, k, estimate.n, k / estimate.n, low or 0.0, _or_one(high)))
    return shares


def _or_one(high: float | None) -> float:
    return 1.0 if high is None else high


def group_estimate(members: Bools, group: NDArray[np.int64]) -> Estimate:
    """What the share of ``members`` (n,) rests on, with ``group`` (n,) saying which were sampled together."""
    groups, codes = np.unique(group, return_inverse=True)
    sizes, sums = np.bincount(codes), np.bincount(codes, weights=members)
    mean = float(members.mean())
    spread = float(((sums - sizes * mean) ** 2).sum())
    return Estimate(len(members), 0, float(members.sum()), len(groups), spread, bool(members.any() != members.all()))


_ORDER: Final[dict[str, Callable[[str], Any]]] = {
    "training_step": lambda value: int(value.split("–")[0]),
    "reward": ("low", "middle", "high").index,
}


def masks(facts: Facts, by: str) -> list[tuple[str, Bools]]:
    """Each value of ``by`` in its order, and which episodes (n,) have it."""
    values = np.array(facts.values[by], object)
    known = sorted({value for value in facts.values[by] if value is not None}, key=_ORDER.get(by, str))
    return [(value, values == value) for value in known]
