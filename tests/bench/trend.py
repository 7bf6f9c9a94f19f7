"""Trends of the planted corpus over many seeds, and of a million episodes: what is found, what is not, in what time.

    python tests/bench/trend.py [--seeds 100] [--million]

Takes the truth of `examples/planted` (who really did it, so that what is measured is the statistics and no detector),
gives shares with their intervals. Lengths are drawn about those of short and long tasks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from investigate.analysis.statistics import Rate
from investigate.analysis.text.trend import ALPHA, Trend, trend_of
from investigate.analysis.text.trend_members import Members

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "planted"))
from draws import truth_table
from settings import HACK_ENVIRONMENTS, Config

ONSET = 22
RISE = 30


def members_of(config: Config, column: Callable[[Any], Any]) -> Members:
    """The truth as columns; ``column`` says who is a hit."""
    table = truth_table(config)
    environments = table["environment"].to_numpy(zero_copy_only=False)
    names, environment = np.unique(environments.astype(str), return_inverse=True)
    is_long = table["length"].to_numpy(zero_copy_only=False).astype(str) == "long"
    rng = np.random.default_rng([config.seed, 99])
    n = table.num_rows
    return Members(
        np.asarray(column(table), bool), table["step"].to_numpy().astype(np.int64), environment, names.tolist(),
        np.arange(n), np.zeros(n, bool), np.exp(rng.normal(np.where(is_long, 7.8, 6.9), 0.15)),
        table["reward"].to_numpy(zero_copy_only=False).astype(float), 0, 0, 0,
    )  # fmt: skip


def planted(*columns: str) -> Callable[[Any], Any]:
    return lambda table: np.any([table[name].to_numpy(zero_copy_only=False) for name in columns], axis=0)


def many(name: str, seeds: int, column: Callable[[Any], Any], **kind: bool) -> list[Trend]:
    started = time.perf_counter()
    trends = [trend_of(members_of(Config(seed=seed, **kind), column), name, "episode", 0) for seed in range(seeds)]
    alarms = Rate(sum(trend.alarm for trend in trends), seeds)
    crude = sum(trend.crude_p <= ALPHA for trend in trends)
    print(f"\n{name}: {seeds} seeds of {trends[0].n:,} episodes, {(time.perf_counter() - started) / seeds:.2f} s each")
    print(f"  alarm at {ALPHA}: {alarms.k}/{seeds} [{alarms.interval[0]:.3f}, {alarms.interval[1]:.3f}]")
    print(f"  crude Cochran–Armitage at {ALPHA}: {crude}/{seeds}")
    for level in (0.01, 0.02, 0.05, 0.1):
        print(f"  p <= {level}: {sum((trend.change.p or 0) <= level for trend in trends)}/{seeds}", end="")
    print()
    return trends


def placed(trends: list[Trend], truth: int) -> None:
    found = [trend for trend in trends if trend.alarm and trend.change_steps]
    places = [trend.change_steps for trend in found if trend.change_steps]
    print(f"  within ±2 of step {truth}: {sum(abs(place[0] - truth) <= 2 for place in places)}/{len(trends)}")
    print(f"  interval holds it: {sum(low <= truth <= high for _, low, high in places)}/{len(places)}", end="")
    print(f", mean width {np.mean([high - low for _, low, high in places]):.1f} steps")
    print(f"  called no single jump: {sum(trend.rest_p <= ALPHA for trend in found)}/{len(found)}")


def top_two(trends: list[Trend]) -> None:
    pairs = [{local.environment for local in trend.environments[:2]} for trend in trends]
    wrong = sum(local.named and local.environment not in HACK_ENVIRONMENTS for t in trends for local in t.environments)
    print(f"  the two environments first: {sum(pair == set(HACK_ENVIRONMENTS) for pair in pairs)}/{len(trends)}")
    print(f"  another environment named: {wrong} of {len(trends) * 6}")
    rewards = [trend.reward for trend in trends if trend.reward.low is not None and trend.reward.high is not None]
    print(f"  rewarded, by the interval: {sum((link.low or 0) > 0 for link in rewards)}/{len(rewards)}")


def million() -> None:
    rng = np.random.default_rng(0)
    n = 1_000_000
    step, environment = np.sort(rng.integers(0, 1000, n)), rng.integers(0, 8, n)
    hit = rng.random(n) < 0.02 + 0.01 * (step > 500)
    members = Members(
        hit, step, environment, list("abcdefgh"), np.arange(n) // 8, np.ones(n, bool), rng.lognormal(7, 1, n),
        rng.normal(0, 1, n), 0, 0, 0,
    )  # fmt: skip
    started = time.perf_counter()
    trend = trend_of(members, "million", "episode", 0)
    print(f"\n1,000,000 episodes in {trend.n_groups:,} groups: {time.perf_counter() - started:.1f} s of statistics")
    print(f"  change at {trend.change_steps}, p = {trend.change.p}; planted at 501 in {len(trend.steps)} bins")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--million", action="store_true", help="only the million episodes")
    given = parser.parse_args()
    if given.million:
        return million()
    for name, columns in (
        ("hack, 0 → 6 % from step 22 in 2 of 8", ("hack",)),
        ("the same, with its decoy of 3 %", ("hack", "skip_requested")),
    ):
        hack = many(name, given.seeds, planted(*columns))
        placed(hack, ONSET)
        top_two(hack)
    placed(many("awareness, 2 → 20 % around step 30", given.seeds, planted("awareness")), RISE)
    many("composition drift alone", given.seeds, planted("awareness"), drift_only=True)
    many("nothing changes", given.seeds, planted("risky_act"), null=True)
    return million()


if __name__ == "__main__":
    main()
