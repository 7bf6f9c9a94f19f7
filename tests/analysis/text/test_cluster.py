"""Clusters of episodes over a real workspace: planted topics come back, duplicates count once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from investigate.analysis.text.cluster import NOISE, as_tables, cluster_episodes
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Encoder
from investigate.store.errors import InputError, UsageError
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer
from sklearn.metrics import adjusted_mutual_info_score

Store = Callable[..., None]
TOPICS = {
    "flight": "flight airline ticket luggage boarding passenger airport cancel refund seat",
    "sorting": "sorting algorithm array function pointer compile recursion loop integer string",
    "cooking": "cooking oven butter flour recipe onion garlic simmer pepper dough",
}


def planted(n: int = 20, start: int = 1) -> dict[int, list[tuple[str, str, str]]]:
    """``n`` episodes of each topic, seven of its ten words each; what the user says is the same everywhere."""
    numbers = random.Random(0)
    topics = [words.split() for words in TOPICS.values() for _ in range(n)]
    return {
        episode_id: [("user", "text", "please help"), ("assistant", "text", " ".join(numbers.sample(words, 7)))]
        for episode_id, words in enumerate(topics, start)
    }


@pytest.mark.parametrize("by", ["words", "vectors"])
def test_planted_topics_are_recovered(workspace: Workspace, store: Store, encoder: Encoder, by: str) -> None:
    store(planted())
    with open_writer(workspace) as writer:
        list(update_vectors(writer, encoder))
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, encoder if by == "vectors" else None)
    assert found.encoder == ("words" if by == "vectors" else "tfidf")
    assert (found.collapse, found.warning) == (None, None)
    truth = [(episode_id - 1) // 20 for _, episode_id, _ in found.members]
    assert adjusted_mutual_info_score(truth, [label for label, _, _ in found.members]) > 0.8
    real = [cluster for cluster in found.clusters if cluster.cluster_id != NOISE]
    assert len(real) == 3
    for cluster in real:
        (topic,) = {(episode_id - 1) // 20 for episode_id in cluster.representatives}
        assert set(" ".join(cluster.terms).split()) <= set([*TOPICS.values()][topic].split())
        assert cluster.stability > 0.6
    assert sum(cluster.size for cluster in found.clusters) == 60
    assert sum(cluster.share for cluster in found.clusters) == pytest.approx(1)


def test_duplicates_are_folded_inside_the_selection(workspace: Workspace, store: Store) -> None:
    episodes = planted()
    store(episodes)
    store({100 + episode_id: parts for episode_id, parts in episodes.items() if episode_id <= 40})
    with open_reader(workspace) as reader:
        whole = cluster_episodes(reader, None)
        copies = cluster_episodes(reader, None, episode_ids=range(41, 141))
        overlapping = cluster_episodes(reader, None, episode_ids=[*range(31, 61), *range(101, 141)])
    assert (whole.n_folded, len(whole.members)) == (40, 60)
    assert {episode_id for _, episode_id, _ in whole.members} == set(range(1, 61))
    assert (copies.n_folded, len(copies.members)) == (0, 60)
    assert {episode_id for _, episode_id, _ in copies.members} == {*range(41, 61), *range(101, 141)}
    assert (overlapping.n_folded, len(overlapping.members)) == (10, 60)
    assert {episode_id for _, episode_id, _ in overlapping.members} == {*range(31, 61), *range(101, 131)}


def test_copies_without_their_original_fold_into_one(workspace: Workspace, store: Store) -> None:
    store(planted())
    store({100: planted()[1], 101: planted()[1], 102: planted()[1]})
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, None, episode_ids=range(2, 103))
    assert found.n_folded == 2
    assert {100, 101, 102} & {episode_id for _, episode_id, _ in found.members} == {100}


def test_too_little_to_cluster(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({**planted(3), 50: [("assistant", "text", " \n")]})
    with open_reader(workspace) as reader:
        with pytest.raises(InputError, match="9 episodes"):
            cluster_episodes(reader, None)
        with pytest.raises(InputError, match="0 episodes"):
            cluster_episodes(reader, None, roles=["tool"])
        with pytest.raises(InputError, match="investigate index"):
            cluster_episodes(reader, encoder)


def test_tables_hold_what_was_found(workspace: Workspace, store: Store) -> None:
    store(planted())
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, None)
    tables = as_tables(found)
    with open_writer(workspace) as writer:
        run_id = writer.commit_run("clusters", {}, tables)
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT * FROM cluster_members")
        sizes = {row["cluster_id"]: row["size"] for row in reader.rows("SELECT * FROM clusters")}
    assert {row["run_id"] for row in rows} == {run_id}
    assert [(row["cluster_id"], row["episode_id"]) for row in rows] == [members[:2] for members in found.members]
    assert sizes == {cluster.cluster_id: cluster.size for cluster in found.clusters}
    assert {row[name] for row in rows for name in ("message_index", "part_index", "start", "end")} == {None}


@pytest.mark.parametrize("by", ["words", "vectors"])
@pytest.mark.parametrize("level", ["message", "chunk"])
def test_members_have_their_places(workspace: Workspace, store: Store, encoder: Encoder, level: str, by: str) -> None:
    """Each episode says something of all three topics, so only below it are there topics."""
    numbers = random.Random(0)
    store({
        episode_id: [("assistant", "text", " ".join(numbers.sample(words.split(), 7))) for words in TOPICS.values()]
        for episode_id in range(1, 31)
    })  # fmt: skip
    with open_writer(workspace) as writer:
        list(update_vectors(writer, encoder))
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, encoder if by == "vectors" else None, level=level)
        texts = {
            (row["episode_id"], row["message_index"]): row["text"]
            for row in reader.rows("SELECT episode_id, message_index, text FROM parts")
        }
    rows = as_tables(found)["cluster_members"].to_pylist()
    assert len(rows) == 90
    assert adjusted_mutual_info_score(
        [row["message_index"] for row in rows], [row["cluster_id"] for row in rows]
    ) > 0.8  # fmt: skip
    if level == "message":
        assert {(row["part_index"], row["start"], row["end"]) for row in rows} == {(None, None, None)}
    else:
        for row, text in zip(rows, (found.units.texts[i] for i in found.units.equals), strict=True):
            assert texts[row["episode_id"], row["message_index"]][row["start"] : row["end"]] == text


def test_copies_of_a_text_are_one_item_and_all_members(workspace: Workspace, store: Store) -> None:
    """Sixty answers, twenty of them said by three episodes each, and one that thirty episodes give word for word."""
    episodes = planted()
    for copy in (1, 2):
        for episode_id in range(1, 21):
            episodes[100 * copy + episode_id] = [("user", "text", str(copy)), *episodes[episode_id][1:]]
    for episode_id in range(400, 430):
        episodes[episode_id] = [("user", "text", str(episode_id)), ("assistant", "text", "zebra quartz oblong")]
    store(episodes)
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, None)
    assert (found.n_folded, len(found.members), len(found.units.texts)) == (0, 130, 61)
    label_of = {episode_id: label for label, episode_id, _ in found.members}
    assert all(label_of[episode_id] == label_of[100 + episode_id] for episode_id in range(1, 21))
    (alone,) = {label_of[episode_id] for episode_id in range(400, 430)}
    cluster = next(cluster for cluster in found.clusters if cluster.cluster_id == alone)
    assert (cluster.size, cluster.distinct, cluster.stability) == (30, 1, 1.0)
    assert sum(cluster.size for cluster in found.clusters) == 130


def test_no_groups_are_said_and_none_are_given(workspace: Workspace, store: Store) -> None:
    numbers = random.Random(0)
    words = [a + b + c for a in "bdgk" for b in "aeio" for c in "lmnr"]
    store({i: [("assistant", "text", " ".join(numbers.choices(words, k=40)))] for i in range(1, 121)})
    with open_reader(workspace) as reader:
        found = cluster_episodes(reader, None)
    assert "No groups" in (found.collapse or "")
    assert "--level" in (found.collapse or "")
    assert (found.clusters, found.members) == ([], [])


def test_an_unknown_level_is_named(workspace: Workspace, store: Store) -> None:
    store(planted(5))
    with open_reader(workspace) as reader, pytest.raises(UsageError, match=r"turn.*episode, message, chunk"):
        cluster_episodes(reader, None, level="turn")
