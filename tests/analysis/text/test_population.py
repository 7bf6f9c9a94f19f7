"""Intervals over groups, against other ways of computing them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
from investigate.analysis.statistics import Z95, Rate
from investigate.analysis.text.population import Estimate, Population, clustered, estimate
from investigate.store.errors import UsageError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, open_writer
from scipy import stats


def of_groups(groups: Sequence[Sequence[float]]) -> Estimate:
    values = [value for group in groups for value in group]
    mean = sum(values) / len(values)
    spread = sum((sum(group) - len(group) * mean) ** 2 for group in groups)
    return Estimate(len(values), 0, sum(values), len(groups), spread, min(values) < max(values))


@pytest.mark.parametrize("n", [2, 5, 31, 32, 400])
def test_of_single_episodes_the_interval_of_a_mean_is_students(n: int) -> None:
    rng = random.Random(n)
    values = [rng.gauss(3, 2) for _ in range(n)]
    low, high = of_groups([[value] for value in values]).mean_interval
    wanted = stats.t.interval(0.95, n - 1, loc=sum(values) / n, scale=stats.tstd(values) / sqrt(n))
    assert (low, high) == pytest.approx(wanted, rel=2e-3)


def test_of_single_episodes_the_interval_of_a_share_is_wilsons() -> None:
    found = of_groups([[1.0]] * 7 + [[0.0]] * 23)
    assert found.share_interval == pytest.approx(Rate(7, 30).interval)


def test_copies_of_an_answer_add_nothing() -> None:
    """Each prompt always answered alike: eight times the episodes know as much as one of each."""
    once = of_groups([[1.0]] * 12 + [[0.0]] * 28)
    often = of_groups([[1.0] * 8] * 12 + [[0.0] * 8] * 28)
    assert often.mean_interval == pytest.approx(once.mean_interval)
    low, high = often.share_interval
    assert low is not None
    assert high is not None
    naive_low, naive_high = Rate(96, 320).interval
    assert high - low > 2 * (naive_high - naive_low)
    assert (low, high) == pytest.approx(once.share_interval, abs=0.02)


def test_groups_that_never_vary_count_once_each() -> None:
    assert of_groups([[0.0] * 8] * 20).share_interval == pytest.approx(Rate(0, 20).interval)
    assert of_groups([[0.0] * 8] * 20).mean_interval == (None, None)


def test_one_group_and_nothing() -> None:
    assert of_groups([[1.0, 0.0, 1.0]]).mean_interval == (None, None)
    assert of_groups([[1.0, 0.0, 1.0]]).share_interval == pytest.approx(Rate(2, 3).interval)
    nothing = Estimate(0, 4, 0.0, 0, 0.0, False)
    assert nothing.as_share() == {"k": 0, "n": 0, "unknown": 4, "share": None, "low": None, "high": None}
    assert nothing.mean_interval == (None, None)


def test_the_interval_of_a_share_covers_the_truth_where_groups_differ() -> None:
    rng, covered, naive, n_draws = random.Random(0), 0, 0, 400
    for _ in range(n_draws):
        chances = [rng.betavariate(0.6, 1.4) for _ in range(30)]
        found = of_groups([[float(rng.random() < chance) for _ in range(8)] for chance in chances])
        low, high = found.share_interval
        assert low is not None
        assert high is not None
        covered += low <= 0.3 <= high
        below, above = Rate(round(found.total), found.n).interval
        naive += below <= 0.3 <= above
    assert covered / n_draws > 0.92
    assert naive / n_draws < 0.85


def test_the_interval_is_narrower_than_by_students_t_only_beyond_many_groups() -> None:
    few, many = of_groups([[0.0, 1.0], [2.0, 3.0]]), of_groups([[float(i % 2)] for i in range(1000)])
    low, high = few.mean_interval
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 12.706 * sqrt(2 * 8 / 16), rel=1e-3)
    low, high = many.mean_interval
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * Z95 * 0.5 / sqrt(999), rel=1e-2)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = create_workspace(tmp_path / "w")
    rows = ShardRows()
    planted = [
        # environment, group, reward, digest
        ("a", "1", 1.0, "d1"), ("a", "1", 3.0, "d2"), ("a", "2", 5.0, "d3"), ("a", None, 7.0, "d4"),
        ("a", None, None, "d5"), ("a", None, 7.0, "d4"), ("b", "1", float("nan"), "d6"), (None, "1", 2.0, "d7"),
    ]  # fmt: skip
    for number, (environment, group, reward, digest) in enumerate(planted, start=1):
        episode = Episode(f"log-{number}", "0", digest, environment=environment, group_id=group, reward=reward)
        rows.add_episode(replace(episode, episode_id=number, uid=digest))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=9))
        writer.settle()
    return workspace


def test_sums_over_groups_are_those_computed_by_hand(workspace: Workspace) -> None:
    asked = clustered("e", ["environment"], {"reward": "coalesce(reward, 'nan')"}, totals=True)
    with open_reader(workspace) as reader:
        rows = Population(reader).rows(asked)
        found = {row["environment"]: estimate(row, "reward") for row in rows}
    assert set(found) == {"a", "b", "(none)", None}
    assert replace(found["a"], spread=0.0) == Estimate(4, 1, 16.0, 3, 0.0, True)
    assert found["a"].spread == pytest.approx((4 - 2 * 4) ** 2 + (5 - 4) ** 2 + (7 - 4) ** 2)
    assert found["b"] == Estimate(0, 1, 0.0, 0, 0.0, False)
    # A group's name says which group only within its environment: 1 of a, 2 of a, 1 of (none) and one episode alone.
    assert (found[None].n, found[None].unknown, found[None].n_groups) == (5, 2, 4)
    assert [row["reward.example"] for row in rows if row["environment"] == "a"] == [1]


def test_a_predicate_narrows_and_cannot_widen(workspace: Workspace) -> None:
    with open_reader(workspace) as reader:
        assert Population(reader, "reward IN (5, 7) -- and no more").rows("SELECT count(*) AS n FROM e") == [{"n": 2}]
        assert Population(reader, "true OR true").rows("SELECT count(*) AS n FROM e") == [{"n": 7}]
        # It speaks of the view as the user knows it: no environment is NULL.
        assert Population(reader, "environment IS NULL").rows("SELECT environment FROM e") == [
            {"environment": "(none)"}
        ]
        for bad in ("true) UNION ALL FROM episodes WHERE (true", "nothing > 1", "true; DROP VIEW episodes", "("):
            with pytest.raises(UsageError):
                Population(reader, bad).check()
        late = Population(reader, "source::INT > 1")
        late.check()
        with pytest.raises(UsageError, match="log"):
            late.rows("SELECT * FROM e")
