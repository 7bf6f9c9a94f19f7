"""Merging and forgetting: the same rows in fewer files, nothing of what was forgotten, readers undisturbed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from investigate.analysis.text.index import Filters, search_text, update_text_index
from investigate.analysis.text.tokens import parse_query
from investigate.cli.forget import command as forget_command
from investigate.store.catalog import SourceState
from investigate.store.compact import compact, forget
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Call, Episode, Message, Part, Skipped
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, Writer, open_writer


def add(writer: Writer, episode_id: int, text: str, revision: int = 0) -> None:
    rows = ShardRows()
    message = Message("assistant", (Part("text", text),))
    call = Call(0, 0, prompt_ids=(1, 2), completion_ids=(3,), logprobs=(-0.5,))
    episode = Episode(f"s{episode_id % 3}", str(episode_id), f"d{episode_id}", messages=(message,), calls=(call,))
    rows.add_episode(episode, episode_id=episode_id, uid=f"u{episode_id}", revision=revision, n_chars=len(text))
    if episode_id % 4 == 0:
        rows.add_skipped(Skipped(f"s{episode_id % 3}", "x", episode_id, "bad"))
    retired = [(episode_id, revision - 1)] if revision else []
    state = SourceState(f"s{episode_id % 3}", "openai_chat", 1, 1, done=True)
    writer.commit(Commit(rows.write(writer.workspace.root), [state], retired, next_episode_id=episode_id + 1))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "w")
    with open_writer(made) as writer:
        for episode_id in range(1, 21):
            add(writer, episode_id, f"word{episode_id} common")
        add(writer, 5, "rewritten common", revision=1)
        list(update_text_index(writer))
    return made


def content(workspace: Workspace) -> list[list[tuple[Any, ...]]]:
    with open_reader(workspace) as reader:
        views = ("episodes", "parts", "calls", "skipped", "sources")
        return [sorted(tuple(map(str, row.values())) for row in reader.rows(f"FROM {view}")) for view in views]


def files(workspace: Workspace) -> list[Path]:
    return sorted(workspace.data.rglob("*.parquet*"))


def found(workspace: Workspace, text: str) -> list[int]:
    return sorted({key.episode_id for key, _ in search_text(workspace, parse_query(text), Filters(), 100)})


def test_many_small_shards_become_one_with_the_same_rows(workspace: Workspace) -> None:
    before = content(workspace)
    with open_writer(workspace) as writer:
        assert compact(writer, max_small=100) == 0
        assert compact(writer, max_small=3) == 21 * 3 + 5
        assert list(update_text_index(writer)) == []  # what was indexed is
    assert content(workspace) == before
    assert found(workspace, "common") == list(range(1, 21))
    with open_reader(workspace) as reader:
        assert [len(reader.shards(table)) for table in ("episodes", "parts", "calls", "skipped")] == [1, 1, 1, 1]
        (shard,) = reader.shards("parts")
    assert "word5 common" not in pq.read_table(workspace.root / shard.path)["text"].to_pylist()


def test_replaced_files_stay_an_hour_for_readers_that_know_them(workspace: Workspace) -> None:
    with open_reader(workspace) as early:
        with open_writer(workspace) as writer:
            compact(writer, max_small=3)
        n_files = len(files(workspace))
        assert n_files == 21 * 3 + 5 + 4
        with open_writer(workspace):
            assert len(files(workspace)) == n_files
        assert len(early.rows("FROM parts")) == 20
        with open_writer(workspace) as writer:
            writer.sweep(grace_seconds=0)
        assert len(files(workspace)) == 4
        assert len(early.rows("FROM parts")) == 20  # by a new snapshot
        assert early.user_table("SELECT * FROM episodes").num_rows == 20


def test_shards_that_an_index_lacks_are_not_merged_into_one_that_it_holds(workspace: Workspace) -> None:
    with open_writer(workspace) as writer:
        for episode_id in range(21, 27):
            add(writer, episode_id, f"late{episode_id} common")
        compact(writer, max_small=3)
        assert len(list(update_text_index(writer))) == 1
    assert found(workspace, "common") == list(range(1, 27))


def test_what_is_forgotten_is_in_no_file(workspace: Workspace) -> None:
    with open_writer(workspace) as writer:
        forget(writer, [7])
    with open_reader(workspace) as reader:
        assert reader.select_ids() == [*range(1, 7), *range(8, 21)]
        assert reader.rows("SELECT count(*) AS n FROM calls") == [{"n": 19}]
    texts = [
        text for path in workspace.data.glob("parts/*.parquet") for text in pq.read_table(path)["text"].to_pylist()
    ]
    assert "word8 common" in texts
    assert "word7 common" not in texts


def test_a_run_that_is_killed_while_it_forgets_leaves_none_or_all(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next ingest would call a source unchanged of which nothing is stored."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with open_writer(workspace) as writer:
        for moment in ("_forget", "sweep"):
            with open_reader(workspace) as reader:
                ids = [row["episode_id"] for row in reader.rows("SELECT episode_id FROM episodes WHERE source = 's1'")]
            with monkeypatch.context() as patch:
                patch.setattr(Writer, moment, killed)
                with pytest.raises(KeyboardInterrupt):
                    forget(writer, ids, ["s1"])
            with open_reader(workspace) as reader:
                (left,) = reader.rows("SELECT count(*) AS n FROM episodes WHERE source = 's1'")
            assert (left["n"] > 0) == ("s1" in writer.known().states) == (moment == "_forget")


def test_a_forgotten_source_is_as_if_never_read(workspace: Workspace) -> None:
    with open_reader(workspace) as reader:
        ids = [row["episode_id"] for row in reader.rows("SELECT episode_id FROM episodes WHERE source = 's1'")]
    with open_writer(workspace) as writer:
        forget(writer, ids, ["s1"])
        assert set(writer.known().states) == {"s0", "s2"}
    with open_reader(workspace) as reader:
        assert reader.rows("SELECT count(*) AS n FROM skipped WHERE source = 's1'") == [{"n": 0}]
        assert reader.rows("SELECT count(*) AS n FROM skipped") == [{"n": 3}]
        assert len(reader.rows("FROM episodes")) == 20 - len(ids)


def test_a_writer_killed_while_merging_leaves_the_old_shards(workspace: Workspace) -> None:
    before = content(workspace)
    pid = os.fork()
    if pid == 0:
        with open_writer(workspace) as writer:
            writer.replace = lambda *_, **__: os._exit(9)  # type: ignore[assignment,method-assign]
            compact(writer, max_small=3)
    os.waitpid(pid, 0)
    with open_writer(workspace):
        assert len(files(workspace)) == 21 * 3 + 5
    assert content(workspace) == before


def test_what_a_forgotten_source_once_held_is_in_no_file_either(workspace: Workspace) -> None:
    """Episode 5 was rewritten and 8 is no longer in the log; both are still in the files."""
    with open_writer(workspace) as writer:
        writer.commit(Commit([], [], retired=[(8, 0)]))
    assert found(workspace, "word8") == [8]
    forget_command(["s2"], workspace.root, yes=True)
    texts = [
        text for path in workspace.data.glob("parts/*.parquet") for text in pq.read_table(path)["text"].to_pylist()
    ]
    assert sorted(texts) == sorted(f"word{i} common" for i in range(1, 21) if i % 3 != 2)
    assert found(workspace, "word8") == found(workspace, "rewritten") == []
    assert len(found(workspace, "common")) == 13


def test_a_reader_whose_files_are_gone_names_those_there_are(workspace: Workspace) -> None:
    with open_reader(workspace) as early:
        before = [shard.path for shard in early.shards("parts")]
        with open_writer(workspace) as writer:
            forget(writer, [7])
        after = early.shards("parts")
        assert len(set(before) - {shard.path for shard in after}) == 1
        texts = [
            text for shard in after for batch in early.batches(shard, ["text"]) for text in batch["text"].to_pylist()
        ]
        assert sum(early.group_sizes(shard)[0] for shard in after if shard.n_rows) == len(texts) == 20
    assert "word7 common" not in texts
