"""Prevalence and enrichment of clusters: planted links are found, chance is not, a group is no independent evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from investigate.analysis.statistics import Rate
from investigate.analysis.text.enrichment import enrichments
from investigate.analysis.text.prevalence import Facts, prevalence, select_facts
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace
from investigate.store.writer import Commit, open_writer


def facts(n: int, group: Sequence[int] | None = None, **values: Sequence[Any]) -> Facts:
    known = {name: list(values.get(name, [None] * n)) for name in ("training_step", "reward", "model", "environment")}
    known["success"] = list(values.get("success", [None] * n))
    return Facts(np.arange(n), np.asarray(range(n) if group is None else group), known)


def test_shares_are_counts_with_wilson_intervals() -> None:
    of = facts(60, model=["a"] * 40 + ["b"] * 20)
    has = {3: np.arange(60) % 4 == 0}
    shares = {share.value: share for share in prevalence(of, has)[3]}
    assert [(share.k, share.n) for share in shares.values()] == [(10, 40), (5, 20)]
    assert (shares["a"].low, shares["a"].high) == pytest.approx(Rate(10, 40).interval)


def test_a_group_counts_as_what_it_is_worth() -> None:
    """Twenty groups of ten, all of a group alike: as wide as twenty episodes, and no finding where those give none."""
    group = np.repeat(np.arange(20), 10)
    members = group % 10 < 4
    model = np.where(group < 10, "a", "b").tolist()
    members = np.where(group < 10, group % 10 < 7, group % 10 < 2)
    alone, together = facts(200, model=model), facts(200, group, model=model)
    free = prevalence(alone, {0: members})[0][0]
    tied = prevalence(together, {0: members})[0][0]
    assert (free.k, free.n, tied.k, tied.n) == (70, 100, 70, 100)
    assert tied.high - tied.low > 2.5 * (free.high - free.low)
    (of_alone,) = enrichments(alone, {0: members})[0]
    (of_groups,) = enrichments(together, {0: members})[0]
    assert of_alone.q < 1e-6
    assert of_groups.q > 0.02


def test_a_planted_link_is_found_and_named() -> None:
    generator = np.random.default_rng(0)
    model = generator.choice(["a", "b", "c"], 600).tolist()
    environment = generator.choice(["x", "y", "z"], 600).tolist()
    rate = np.where(np.array(model) == "b", 0.5, 0.1)
    has = {0: generator.random(600) < rate, **{i: generator.random(600) < 0.2 for i in range(1, 6)}}
    found = enrichments(facts(600, model=model, environment=environment), has)
    best = found[0][0]
    assert (best.by, best.value) == ("model", "b")
    assert best.q < 1e-6
    assert best.ratio == pytest.approx(5, rel=0.4)
    assert best.k + best.k_other == int(has[0].sum())


def test_chance_alone_is_seldom_a_finding() -> None:
    n_false = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        of = facts(
            300, np.repeat(np.arange(75), 4),
            model=generator.choice(["a", "b", "c"], 75).repeat(4).tolist(),
            success=generator.choice(["false", "true"], 300).tolist(),
        )  # fmt: skip
        likely = generator.random((6, 75)).repeat(4, axis=1) ** 2
        has = {i: generator.random(300) < likely[i] for i in range(6)}
        n_false += any(one.q < 0.05 for listed in enrichments(of, has).values() for one in listed)
    assert n_false <= 5


def test_a_side_that_one_group_is_worth_one_episode_of_shows_no_enrichment() -> None:
    """1 of 600 of one prompt against 12 of 3,000: rounded, 1 of 1 would be the rarer one's whole evidence."""
    group = [0] * 600 + [*range(1, 3001)]
    of = facts(3600, group, model=["x"] * 600 + ["y"] * 3000)
    has = np.zeros(3600, bool)
    has[[0, *range(600, 612)]] = True
    (one,) = enrichments(of, {0: has})[0]
    assert (one.k, one.n, one.k_other, one.n_other) == (12, 3000, 1, 600)
    assert one.q > 0.5


def test_nothing_to_compare() -> None:
    assert enrichments(facts(20, model=["a"] * 18 + ["b"] * 2), {0: np.ones(20, bool)}) == {0: []}
    assert prevalence(facts(20), {0: np.ones(20, bool)}) == {0: []}
    assert enrichments(facts(20), {}) == {}


def test_facts_of_a_workspace(workspace: Workspace) -> None:
    """Rewards of two environments on two scales; a hundred steps."""
    rows = ShardRows()
    for number in range(1, 201):
        episode = Episode(
            "log", str(number), str(number), "chat", (Message("assistant", (Part("text", "a"),)),),
            environment="x" if number <= 100 else "y", reward=number / 100 if number <= 100 else 50.0 * number,
            training_step=(number - 1) % 100, group_id=str(number // 4), model=None if number % 2 else "m",
        )  # fmt: skip
        rows.add_episode(replace(episode, episode_id=number, uid=f"{number:032x}"))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=201))
    with open_reader(workspace) as reader:
        found = select_facts(reader, range(1, 201))
    thirds = np.array(found.values["reward"])
    assert [int((thirds[half] == "high").sum()) for half in (slice(0, 100), slice(100, 200))] == [33, 33]
    steps = list(dict.fromkeys(found.values["training_step"]))
    assert steps[0].startswith("0–")
    assert steps[-1].endswith("–99")
    assert 4 <= len(steps) <= 8
    assert found.values["model"][:2] == [None, "m"]
    assert len(np.unique(found.group)) == 52  # group 25 stands in both environments
