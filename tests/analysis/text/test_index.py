"""The full-text index over a real workspace: revisions, crashes, filters, damage."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from investigate.analysis.text.index import (
    INDEX_NAME,
    Filters,
    pending_shards,
    search_text,
    update_text_index,
)
from investigate.analysis.text.tokens import parse_query
from investigate.store.errors import StoreError
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer

Store = Callable[..., None]


def update(workspace: Workspace) -> int:
    with open_writer(workspace) as writer:
        return len(list(update_text_index(writer)))


def found(workspace: Workspace, query: str, **filters: object) -> list[tuple[int, int, int]]:
    hits = search_text(workspace, parse_query(query), Filters(**filters), 100)  # type: ignore[arg-type]
    return sorted(tuple(key) for key, _ in hits)


def test_what_is_stored_is_found_once_indexed(workspace: Workspace, store: Store) -> None:
    assert found(workspace, "apple") == []
    store({1: [("user", "text", "an apple"), ("assistant", "text", "a pear")], 2: [("user", "text", "Apple pie")]})
    assert update(workspace) == 1
    assert found(workspace, "apple") == [(1, 0, 0), (2, 0, 0)]
    assert found(workspace, "apple -pie") == [(1, 0, 0)]
    assert found(workspace, '"apple pie"') == [(2, 0, 0)]
    assert update(workspace) == 0


def test_only_new_shards_are_pending(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "first")]})
    update(workspace)
    store({2: [("user", "text", "second")]})
    with open_writer(workspace) as writer, open_reader(workspace) as reader:
        (pending,) = pending_shards(reader, writer.indexed(INDEX_NAME))
        assert pending == reader.shards("parts")[1]
        assert list(update_text_index(writer)) == [pending]
        assert pending_shards(reader, writer.indexed(INDEX_NAME)) == []
    assert found(workspace, "first second") == [(1, 0, 0), (2, 0, 0)]


@pytest.mark.parametrize("between", [True, False])
def test_a_revision_replaces_its_text(workspace: Workspace, store: Store, between: bool) -> None:
    """Also its later parts, which the revision may not have; and whether or not the index was brought up to date."""
    store({1: [("user", "text", "old one"), ("assistant", "text", "old two")], 2: [("user", "text", "old three")]})
    if between:
        update(workspace)
    store({1: [("user", "text", "new one")]}, revision=1)
    update(workspace)
    assert found(workspace, "old") == [(2, 0, 0)]
    assert found(workspace, "new") == [(1, 0, 0)]


def test_a_crash_between_the_commits_doubles_nothing(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "needle")]})
    store({2: [("user", "text", "needle")]})
    update(workspace)
    with open_writer(workspace) as writer:
        writer.forget_index(INDEX_NAME)  # as if it had been killed before it could say so
    assert update(workspace) == 2
    assert found(workspace, "needle") == [(1, 0, 0), (2, 0, 0)]


def test_filters(workspace: Workspace, store: Store) -> None:
    said = [("user", "text", "x"), ("assistant", "reasoning", "x"), ("assistant", "text", "x"), ("tool", "media", "x")]
    store(dict.fromkeys((1, 2, 3), said))
    update(workspace)
    assert len(found(workspace, "x")) == 12
    assert found(workspace, "x", kinds=["reasoning"]) == [(1, 1, 0), (2, 1, 0), (3, 1, 0)]
    assert found(workspace, "x", roles=["user", "tool"], episode_ids=[2]) == [(2, 0, 0), (2, 3, 0)]
    assert found(workspace, "x", kinds=["text"], roles=["assistant"], episode_ids=[1, 3]) == [(1, 2, 0), (3, 2, 0)]
    assert found(workspace, "x", episode_ids=[]) == []
    assert found(workspace, "x", episode_ids=[9]) == []


def test_a_removed_folder_is_made_again(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "needle")]})
    update(workspace)
    folder = workspace.index(INDEX_NAME)
    (folder / "meta.json").write_text("no json")
    with pytest.raises(StoreError, match="remove that folder"):
        found(workspace, "needle")
    (folder / "meta.json").unlink()
    assert update(workspace) == 1
    assert found(workspace, "needle") == [(1, 0, 0)]
