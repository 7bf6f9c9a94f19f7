"""Which episodes are marked as logged twice, from planted digests and identities."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from investigate.ingest.stored import uid_of
from investigate.store.duplicates import find_duplicates
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode
from investigate.store.workspace import create_workspace
from investigate.store.writer import Commit, open_writer

Planted = list[tuple[str, str, str | None] | tuple[str, str, str | None, int]]
"""(source, digest, identity) and characters, if any; their ids count from 1."""


def marked(tmp_path: Path, episodes: Planted, steps: Sequence[int | None] = ()) -> dict[int, int]:
    workspace = create_workspace(tmp_path / "ws")
    rows = ShardRows()
    before: Counter[tuple[str, str]] = Counter()
    for number, (source, digest, identity, *n_chars) in enumerate(episodes, 1):
        step = steps[number - 1] if steps else None
        episode = Episode(source, str(number), digest, identity=identity, training_step=step)
        uid = uid_of(digest, before[source, digest])
        before[source, digest] += 1
        lengths = {"n_messages": 0, "n_parts": 0, "n_chars": sum(n_chars)}
        rows.add_episode(episode, format="chat", episode_id=number, uid=uid, revision=0, **lengths)
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=len(episodes) + 1))
    with open_reader(workspace) as reader:
        return dict(find_duplicates(reader))


@pytest.mark.parametrize(
    ("episodes", "expected"),
    [
        ([("a", "d1", None), ("a", "d2", None), ("a", "d3", "i")], {}),
        ([("a", "d1", None), ("a", "d2", None), ("b", "d1", None)], {3: 1}),
        # equal rows of one file are samples, whose number tells; a copy of the file has as many
        ([("a", "d1", None)] * 3 + [("b", "d1", None)] * 3, {4: 1, 5: 2, 6: 3}),
        ([("a", "d1", None)] * 3 + [("b", "d1", None)], {4: 1}),
        # but not those of which the log says that they are one
        ([("a", "d1", "i"), ("a", "d1", "i")], {2: 1}),
        ([("a", "d1", "i"), ("b", "d2", "i")], {2: 1}),
        # the original is the first by source, whatever its id
        ([("b", "d1", None), ("a", "d1", None)], {1: 2}),
        # the original is the fullest, and among equals the first by source
        ([("a", "d1", "i", 10), ("b", "d2", "i", 30), ("c", "d3", "i", 30), ("d", "d4", None, 99)], {1: 2, 3: 2}),
        # also where only a chain leads to it
        ([("a", "d1", "i", 5), ("a", "d2", "i", 4), ("b", "d2", "j", 4), ("a", "d3", "j", 9)], {1: 4, 2: 4, 3: 4}),
        # 1 and 2 share an identity, 2 and 3 their bytes, 3 and 4 another identity: one run, logged four times
        ([("a", "d1", "i"), ("a", "d2", "i"), ("b", "d2", "j"), ("b", "d3", "j")], {2: 1, 3: 1, 4: 1}),
        # the same chain with its links in the other order
        ([("a", "d3", "j"), ("a", "d1", "i"), ("a", "d2", "j"), ("b", "d2", "i")], {2: 1, 3: 1, 4: 1}),
    ],
)
def test_episodes_that_were_logged_twice(tmp_path: Path, episodes: Planted, expected: dict[int, int]) -> None:
    assert marked(tmp_path, episodes) == expected


def test_equal_rows_of_two_steps_are_two_samples(tmp_path: Path) -> None:
    """A policy that has collapsed says the same at every step; what is logged again of a step is a copy."""
    episodes: Planted = [("1.jsonl", "d", None), ("2.jsonl", "d", None), ("copy/2.jsonl", "d", None)]
    assert marked(tmp_path, episodes, steps=[1, 2, 2]) == {3: 2}
