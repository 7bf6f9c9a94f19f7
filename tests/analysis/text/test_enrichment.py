"""Outcomes within environments: what only names an environment is no finding, a link within it is, chance is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from investigate.analysis.text.enrichment import Enrichment, enrichments
from investigate.analysis.text.prevalence import Facts, select_facts
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace
from investigate.store.writer import Commit, open_writer
from numpy.typing import NDArray
from scipy.stats import fisher_exact


def facts(environment: Sequence[str | None], reward: Sequence[str], group: NDArray[np.int64] | None = None) -> Facts:
    n = len(environment)
    values = {"training_step": [None] * n, "model": [None] * n, "success": [None] * n}
    values |= {"environment": list(environment), "reward": list(reward)}
    return Facts(np.arange(n), np.arange(n) if group is None else group, values)


def of_reward(of: Facts, has: NDArray[np.bool_]) -> list[Enrichment]:
    return [one for one in enrichments(of, {0: has})[0] if one.by == "reward"]


def drawn(
    seed: int, rate: dict[str, float], member: dict[tuple[str, str], float], n: int = 400
) -> tuple[Facts, NDArray[np.bool_]]:
    """Environments of ``n`` episodes, with the rate of high rewards in each, and how often the cluster is in what."""
    rng = np.random.default_rng(seed)
    environment = np.repeat(list(rate), n)
    reward = np.where(rng.random(len(environment)) < np.repeat(list(rate.values()), n), "high", "low")
    chance = [member[pair] for pair in zip(environment.tolist(), reward.tolist(), strict=True)]
    return facts(environment.tolist(), reward.tolist()), rng.random(len(environment)) < chance


def test_a_cluster_of_an_easy_environment_is_not_said_to_be_rewarded() -> None:
    """Common in an environment where nine of ten succeed, rare in one where one does: over both, reward would be it."""
    rates = {"easy": 0.9, "hard": 0.1}
    of, has = drawn(0, rates, {(where, reward): 0.5 if where == "easy" else 0.02 for where in rates
                               for reward in ("low", "high")})  # fmt: skip
    high = np.array(of.values["reward"]) == "high"
    assert fisher_exact([[has[high].sum(), (~has[high]).sum()], [has[~high].sum(), (~has[~high]).sum()]]).pvalue < 1e-9
    (one,) = of_reward(of, has)
    assert one.q > 0.05
    assert one.ratio == pytest.approx(1, abs=0.2)


def test_a_link_within_environments_is_found_though_it_is_turned_around_over_them() -> None:
    """Rewarded in each environment; over both it looks punished, for it is common where rewards are rare (Simpson)."""
    rates = {"easy": 0.9, "hard": 0.1}
    chance = {("easy", "high"): 0.12, ("easy", "low"): 0.02, ("hard", "high"): 0.8, ("hard", "low"): 0.4}
    of, has = drawn(1, rates, chance)
    (one,) = of_reward(of, has)
    assert (one.value, one.q < 1e-4, one.ratio > 1.5) == ("high", True, True)
    assert one.k / one.n < one.k_other / one.n_other


def test_one_environment_is_fishers_test() -> None:
    of = facts(["a"] * 60, ["high"] * 20 + ["low"] * 40)
    has = np.isin(np.arange(60), [*range(9), *range(20, 24)])
    (one,) = of_reward(of, has)
    assert (one.k, one.n, one.k_other, one.n_other) == (9, 20, 4, 40)
    assert one.p == pytest.approx(2 * fisher_exact([[9, 11], [4, 36]], alternative="greater").pvalue)
    assert one.ratio == pytest.approx(9 / 20 / (4 / 40))


def test_an_environment_of_one_reward_says_nothing_of_it() -> None:
    of = facts(["a"] * 60 + ["b"] * 60, ["high"] * 60 + ["low", "high"] * 30)
    (one,) = of_reward(of, np.arange(120) < 60)
    assert (one.n, one.n_other, one.p) == (30, 30, 1.0)
    of = facts(["a"] * 60 + ["b"] * 60, ["high"] * 60 + ["low"] * 60)
    assert of_reward(of, np.arange(120) < 60) == []


def test_chance_alone_is_seldom_a_finding_where_groups_are_alike() -> None:
    """Prompts of eight that mostly share a reward and a cluster; taken as independent, many seeds would find."""
    found = alone = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(60), 8)
        reward = np.where(rng.random(480) < np.repeat(rng.choice([0.05, 0.95], 60), 8), "high", "low").tolist()
        has = rng.random(480) < np.repeat(rng.choice([0.05, 0.95], 60), 8)
        environment = np.repeat(["a", "b"], 240).tolist()
        (one,), (free,) = of_reward(facts(environment, reward, group), has), of_reward(facts(environment, reward), has)
        found += one.p < 0.05
        alone += free.p < 0.05
    assert found <= 6
    assert alone > 12


def test_thousands_that_all_agree_have_no_chance_to_be_chance_and_no_number_breaks() -> None:
    of = facts(["a"] * 8000, ["high", "low"] * 4000)
    (one,) = of_reward(of, np.arange(8000) % 2 == 0)
    assert (one.value, one.ratio, one.p < 1e-200) == ("high", np.inf, True)
    group = np.repeat(np.arange(8), 1000)
    (one,) = of_reward(facts(["a"] * 8000, ["high"] * 4000 + ["low"] * 4000, group), np.arange(8000) < 4000)
    assert 1e-5 < one.p < 0.2


def test_two_rewards_are_low_and_high_whatever_their_shares(workspace: Workspace) -> None:
    """0 and 1 at nine, five and one of ten; three rewards; one reward alone, which says nothing."""
    rewards = {"easy": [1.0] * 9 + [0.0], "even": [0.0, 1.0] * 5, "hard": [0.0] * 9 + [1.0],
               "three": [0.0] + [0.5] * 8 + [1.0], "one": [1.0] * 10}  # fmt: skip
    rows, places = ShardRows(), [(where, reward) for where, listed in rewards.items() for reward in listed]
    for number, (where, reward) in enumerate(places, 1):
        message = Message("assistant", (Part("text", "a"),))
        episode = Episode("log", str(number), str(number), "chat", (message,), environment=where, reward=reward)
        rows.add_episode(replace(episode, episode_id=number, uid=f"{number:032x}"))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=len(places) + 1))
    with open_reader(workspace) as reader:
        named = select_facts(reader, range(1, len(places) + 1)).values["reward"]
    expected = {0.0: "low", 0.5: "middle", 1.0: "high"}
    assert named == [None if where == "one" else expected[reward] for where, reward in places]
