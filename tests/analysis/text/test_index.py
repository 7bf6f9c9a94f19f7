"""The full-text index over a real workspace: revisions, crashes, filters, damage."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import pytest
from investigate.analysis.text.index import (
    Filters,
    count_documents,
    coverage,
    forget_in_index,
    pending_shards,
    search_text,
    update_text_index,
)
from investigate.analysis.text.tokens import parse_query
from investigate.store.compact import compact, forget
from investigate.store.errors import StoreError
from investigate.store.reader import open_reader
from investigate.store.workspace import TEXT_INDEX, Workspace
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
        (pending,) = pending_shards(reader, writer.indexed(TEXT_INDEX))
        assert pending == reader.shards("parts")[1]
        assert list(update_text_index(writer)) == [pending]
        assert pending_shards(reader, writer.indexed(TEXT_INDEX)) == []
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
        writer.forget_index(TEXT_INDEX)  # as if it had been killed before it could say so
    assert update(workspace) == 2
    assert found(workspace, "needle") == [(1, 0, 0), (2, 0, 0)]


def test_a_crash_before_shards_are_merged_doubles_nothing(workspace: Workspace, store: Store) -> None:
    """What was indexed under a name that no shard has any more is not added to."""
    for n in range(1, 4):
        store({n: [("user", "text", "needle")]})
    update(workspace)
    with open_writer(workspace) as writer:
        writer.forget_index(TEXT_INDEX)
        assert compact(writer, max_small=1) > 0
        forget_in_index(writer, [3])
        forget(writer, [3])
    assert update(workspace) == 1
    assert found(workspace, "needle") == [(1, 0, 0), (2, 0, 0)]


def test_more_may_be_asked_for_than_there_is(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "needle")]})
    update(workspace)
    assert len(search_text(workspace, parse_query("needle"), Filters(), 2**62)) == 1


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
    folder = workspace.index(TEXT_INDEX)
    (folder / "meta.json").write_text("no json")
    with pytest.raises(StoreError, match="remove that folder"):
        found(workspace, "needle")
    (folder / "meta.json").unlink()
    assert update(workspace) == 1
    assert found(workspace, "needle") == [(1, 0, 0)]


def test_letters_that_no_spaces_part(workspace: Workspace, store: Store) -> None:
    said = [
        "I must answer. 模型在评估中作弊了。 Done.",
        "これはテストです",
        "이 평가는 시험이다",
        "ฉันคิดว่านี่คือการทดสอบ",
        "test",
    ]
    store({number: [("assistant", "reasoning", text)] for number, text in enumerate(said, start=1)})
    update(workspace)
    for query, ids in {
        "评估": [1],
        '"评估中作弊"': [1],
        '"评估作弊"': [],
        "估评": [],
        "評価": [],
        "テスト": [2],
        '"テスト"': [2],
        "평가": [3],
        '"평가는 시험"': [3],
        "평가를": [3],
        '"평가를"': [],
        "ทดสอบ": [4],
        "test": [5],
        "answer -评估": [],
        "answer -评价": [1],
        "done 中": [1],
    }.items():
        assert [key[0] for key in found(workspace, query)] == ids, query


def test_an_index_of_an_older_kind_is_built_anew(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "needle")]})
    former = workspace.index("text")
    former.mkdir(parents=True)
    (former / "meta.json").write_text("what an older version left")
    with open_writer(workspace) as writer, open_reader(workspace) as reader:
        writer.mark_indexed("text", [shard.shard_id for shard in reader.shards("parts")])
    assert update(workspace) == 1
    assert found(workspace, "needle") == [(1, 0, 0)]
    assert not former.exists()
    with open_writer(workspace) as writer:
        assert writer.indexed("text") == set()


def test_coverage_is_the_share_of_the_information(workspace: Workspace, store: Store) -> None:
    assert count_documents(workspace, ["a"]) == ({}, 0)
    assert coverage(workspace, parse_query("a"), "a") == 0
    store({n: [("user", "text", "apple " * n + ("pear" if n < 3 else "plum"))] for n in range(1, 9)})
    update(workspace)
    assert count_documents(workspace, ["apple", "pear", "none"]) == ({"apple": 8, "pear": 2, "none": 0}, 8)
    apple, pear, none = log(1 + 0.5 / 8.5), log(1 + 6.5 / 2.5), log(1 + 8.5 / 0.5)
    for query, text, share in [
        ("apple pear", "a pear, an APPLE", 1),
        ("apple pear", "apple", apple / (apple + pear)),
        ("apple none", "apple", apple / (apple + none)),
        ('"apple pear" none', "pear apple", (apple + pear) / (apple + pear + none)),
        ("apple", "plum", 0),
    ]:
        assert coverage(workspace, parse_query(query), text) == pytest.approx(share), query
