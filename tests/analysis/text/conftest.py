"""Small workspaces, and an encoder without weights: words hashed into 64 dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text.encode import Encoder
from investigate.analysis.text.tokens import find_tokens
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, open_writer

Store = Callable[..., None]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "workspace")


@pytest.fixture
def store(workspace: Workspace) -> Store:
    """``store({id: [(role, kind, text), …]}, revision=0)``: one shard of episodes, each message a single part. Equal
    episodes are marked as duplicates."""

    def add(episodes: dict[int, list[tuple[str, str, str]]], revision: int = 0) -> None:
        rows = ShardRows()
        for episode_id, parts in episodes.items():
            messages = tuple(Message(role, (Part(kind, text),)) for role, kind, text in parts)
            digest = sha256(repr(messages).encode()).hexdigest()[:32]
            n_chars = sum(len(text) for *_, text in parts)
            episode = Episode(f"log-{episode_id:06}", "0", digest, "chat", messages, episode_id=episode_id)
            rows.add_episode(replace(episode, uid=digest, revision=revision, n_chars=n_chars))
        retired = [(episode_id, old) for episode_id in episodes for old in range(revision)]
        with open_writer(workspace) as writer:
            writer.commit(Commit(rows.write(workspace.root), [], retired))
            writer.settle()

    return add


@pytest.fixture
def encoder() -> Encoder:
    return word_encoder([])


def word_encoder(seen: list[str], fits: Callable[[str], bool] = lambda text: True) -> Encoder:
    """Texts with words in common are alike; what is encoded is added to ``seen``."""

    def vector(text: str) -> np.ndarray:
        sums = np.zeros(64, np.float32)
        for word, _, _ in find_tokens(text):
            digest = sha256(word.encode()).digest()
            sums[digest[0] % 64] += 1 if digest[1] % 2 else -1
        return sums / max(float(np.linalg.norm(sums)), 1e-9)

    def encode(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.stack([vector(text) for text in texts]) if texts else np.zeros((0, 64), np.float32)

    def all_fit(texts: Iterable[str]) -> list[bool]:
        return [fits(text) for text in texts]

    return Encoder("words", 64, "0" * 64, encode, all_fit)


@pytest.fixture
def make_encoder() -> Callable[..., Encoder]:
    return word_encoder
