"""What is new against a reference: planted topics are found, told, and confirmed; nothing is found in nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text.compare import Comparison
from investigate.analysis.text.discover import discover_new
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Encoder
from investigate.store.errors import InputError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import create_workspace
from investigate.store.writer import Commit, open_writer

USUAL = [
    "flight airline ticket luggage boarding",
    "butter flour recipe onion garlic",
    "loop array pointer compile integer",
]
NEW = "badger burrow moonlight whisker tunnel"


def texts(n: int, seed: int, topics: Sequence[str] = USUAL) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.permutation(topics[i % len(topics)].split())) + f" n{i}" for i in range(n)]


def discover(path: Path, later: Sequence[str], reference: Sequence[str], encoder: Encoder | None) -> Comparison:
    workspace, rows = create_workspace(path), ShardRows()
    for i, text in enumerate([*later, *reference], 1):
        message = Message("assistant", (Part("text", text),))
        episode = Episode("log", f"{i:06}", sha256(text.encode()).hexdigest()[:32], "chat", (message,), episode_id=i)
        rows.add_episode(replace(episode, uid=f"{i:032x}", n_chars=len(text)))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=len(later) + len(reference) + 1))
        if encoder is not None:
            list(update_vectors(writer, encoder))
    with open_reader(workspace) as reader:
        ends = len(later), len(later) + len(reference)
        return discover_new(reader, encoder, range(1, ends[0] + 1), range(ends[0] + 1, ends[1] + 1))


def test_a_new_topic_is_found_by_words_and_by_meaning(tmp_path: Path, encoder: Encoder) -> None:
    later = texts(160, 0)
    for i in range(0, 160, 4):
        later[i] = texts(160, i, [NEW])[i]
    found = discover(tmp_path / "w", later, texts(200, 1), encoder)
    words = {row.name: row for row in found.differences if row.kind == "term"}
    assert words["badger"].confirmed
    assert words["badger"].k_b == words["badger"].confirm_k_b == 0
    (topic,) = (row for row in found.differences if row.kind == "new")
    assert set(NEW.split()) < set(topic.name.split())
    assert topic.confirmed
    assert (topic.k_a, topic.confirm_k_a, topic.k_b, topic.confirm_k_b) == (
        words["badger"].k_a,
        words["badger"].confirm_k_a,
        0,
        0,
    )
    assert {i % 4 for i in topic.exemplars} == {1}
    assert topic.place == f"{topic.exemplars[0]}@0.0"
    assert all(row.place is None for row in found.differences if row.kind != "new")
    novelty = next(row for row in found.differences if row.kind == "novelty")
    assert novelty.confirmed
    assert {i % 4 for i in novelty.exemplars} == {1}
    assert words["badger"].theme == topic.theme
    assert all(row.effect > 0 for row in found.differences)


def test_what_is_new_is_shown_not_the_beginning_of_what_it_stands_in(tmp_path: Path, encoder: Encoder) -> None:
    """A long passage of the usual, the new sentence near its end."""
    rng = np.random.default_rng(0)

    def passage(middle: str) -> str:
        return f"{' '.join(f'{topic.capitalize()} as ever.' for topic in USUAL)} {middle.capitalize()}. That is all."

    later = [passage(text) for text in texts(160, 0)]
    for i in range(0, 160, 4):
        later[i] = passage(f"{' '.join(rng.permutation(NEW.split()))} {' '.join(rng.permutation(NEW.split()))}")
    found = discover(tmp_path / "w", later, [passage(text) for text in texts(200, 1)], encoder)
    topic = next(row for row in found.differences if row.kind == "new" and row.confirmed)
    assert set(topic.name.lower().strip(".").split()) == set(NEW.split())
    assert topic.place == f"{topic.exemplars[0]}@0.0"
    assert topic.exemplars[0] % 4 == 1


def test_what_only_the_reference_has_is_not_new(tmp_path: Path, encoder: Encoder) -> None:
    found = discover(tmp_path / "w", texts(200, 2), [*texts(160, 3), *texts(60, 4, [NEW])], encoder)
    assert not any("badger" in row.name for row in found.differences)
    assert not any(row.kind in ("new", "novelty") and row.confirmed for row in found.differences)


def test_episodes_like_nothing_else_are_outliers(tmp_path: Path, make_encoder: Callable[..., Encoder]) -> None:
    strange = [" ".join(f"{chr(97 + i % 26)}{chr(97 + i // 26)}{j}" for j in "qwertz") for i in range(40)]
    found = discover(tmp_path / "w", [*strange, *texts(60, 5)], texts(150, 6), make_encoder([]))
    outlier = next(row for row in found.differences if row.kind == "outlier")
    assert outlier.confirmed
    assert set(outlier.exemplars) <= set(range(1, 41))


@pytest.mark.parametrize("seed", range(4))
def test_more_of_the_same_is_nothing_new(tmp_path: Path, encoder: Encoder, seed: int) -> None:
    found = discover(tmp_path / "w", texts(150, 10 + seed), texts(150, 20 + seed), encoder)
    assert found.n_confirmed == 0
    assert {"term", "novelty", "outlier"} <= found.tried.keys()


def test_without_an_encoder_there_are_words(tmp_path: Path) -> None:
    found = discover(tmp_path / "w", [*texts(80, 7), *texts(60, 8, [NEW])], texts(150, 9), None)
    assert "novelty" not in found.tried
    assert any(row.name == "badger" and row.confirmed for row in found.differences)


def test_too_little_to_learn_from(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="--reference leaves 4 independent"):
        discover(tmp_path / "w", texts(40, 1), texts(4, 2), encoder)
