"""The guarded road for user SQL: every attack must fail and leave the workspace as it was."""

from pathlib import Path

import pytest
from investigate.store.catalog import SourceState
from investigate.store.errors import StoreError, UsageError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, open_writer


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "workspace")
    with open_writer(made) as writer:
        rows = ShardRows()
        for i in range(1, 4):
            message = Message("user", (Part("text", f"text {i}"),))
            rows.add_episode(Episode("log", str(i), f"{i:032x}", messages=(message,), episode_id=i, uid=f"{i:032x}"))
        writer.commit(Commit(rows.write(made.root), [SourceState("log", "x", 1, 1, done=True)], next_episode_id=4))
    return made


def _files(workspace: Workspace) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(workspace.data.rglob("*")) if path.is_file()}


ATTACKS = [
    "DROP VIEW episodes",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW episodes",
    "COPY (SELECT 1) TO '{shard}'",
    "WITH x AS (COPY (SELECT 1 AS a) TO '{shard}') SELECT 1",
    "WITH x AS (COPY (SELECT 1 AS a) TO '{shard}') FROM x",
    "ATTACH '{root}/catalog.sqlite' AS c",
    "ATTACH '{root}/new.db' AS c",
    "INSERT INTO duplicates VALUES (1, 2)",
    "WITH x AS (DELETE FROM duplicates RETURNING *) SELECT * FROM x",
    "CREATE TABLE t AS SELECT 1",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET allowed_paths",
    "PRAGMA enable_profiling",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE '{root}/x'",
    "IMPORT DATABASE '{root}/x'",
    "CALL pragma_version()",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM read_parquet('{root}/elsewhere/*.parquet')",
    "SELECT getenv('HOME')",
    "SELECT * FROM sqlite_scan('{root}/catalog.sqlite', 'shards')",
    "SELECT 1) ; DROP TABLE duplicates; --",
    "SELECT 1) TO '{root}/x' --",
    "VACUUM",
    "CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{shard}'",
    "",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_and_changes_nothing(workspace: Workspace, attack: str) -> None:
    before = _files(workspace)
    shard = next(iter(before))
    with open_reader(workspace) as reader, pytest.raises(UsageError):
        reader.user_table(attack.format(shard=shard, root=workspace.root))
    assert _files(workspace) == before
    assert sorted(p.name for p in workspace.root.iterdir() if p.name in ("x", "new.db")) == []


def test_python_variables_are_out_of_reach(workspace: Workspace) -> None:
    import pyarrow as pa

    frame = pa.table({"secret": [1]})
    with open_reader(workspace) as reader, pytest.raises(UsageError):
        reader.user_table("SELECT * FROM frame")
    assert frame.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) AS n FROM episodes", [{"n": 3}]),
        ("SELECT episode_id FROM episodes ORDER BY episode_id DESC", [{"episode_id": i} for i in (3, 2, 1)]),
        ("FROM messages SELECT text WHERE episode_id = 2;", [{"text": "text 2"}]),
        ("WITH a AS (SELECT 1 AS x) SELECT x FROM a -- comment", [{"x": 1}]),
        ("SELECT ';' AS semicolon", [{"semicolon": ";"}]),
    ],
)
def test_questions_are_answered_in_order(workspace: Workspace, sql: str, expected: list[dict[str, object]]) -> None:
    with open_reader(workspace) as reader:
        assert reader.user_table(sql).to_pylist() == expected


def test_where_is_a_predicate_and_nothing_else(workspace: Workspace) -> None:
    with open_reader(workspace) as reader:
        assert reader.select_ids("episode_id > 1") == [2, 3]
        assert reader.select_ids("episode_id > 1 -- or so") == [2, 3]
        assert reader.select_ids(None, limit=1) == [1]
        for empty in ("", " \n"):
            with pytest.raises(UsageError, match="empty"):
                reader.select_ids(empty)
        with pytest.raises(UsageError):
            reader.select_ids("1=1); DROP TABLE duplicates; --")
        with pytest.raises(UsageError):
            reader.select_ids("no_such_column = 1")


def _shard(workspace: Workspace, table: str) -> Path:
    return next((workspace.data / table).glob("*.parquet"))


def test_a_file_that_is_gone_is_named_with_what_brings_it_back(workspace: Workspace) -> None:
    with open_reader(workspace) as reader:
        (shard,) = reader.shards("parts")
        lost = _shard(workspace, "parts")
        kept = lost.read_bytes()
        lost.unlink()
        for ask in (
            lambda: reader.rows("FROM parts"),
            lambda: reader.user_table("FROM parts"),
            lambda: reader.group_sizes(shard),
            lambda: list(reader.batches(shard, ["text"])),
        ):
            with pytest.raises(StoreError, match=f"lacks {lost}: put it back from a copy of the workspace, or ingest"):
                ask()
        lost.write_bytes(kept)
        assert len(reader.rows("FROM parts")) == 3


def test_a_file_that_is_gone_before_the_views_are_made_is_named_too(workspace: Workspace) -> None:
    lost = sorted(_shard(workspace, table) for table in ("episodes", "parts"))
    for path in lost:
        path.unlink()
    with pytest.raises(StoreError, match=f"lacks {lost[0]} and 1 more of its files"), open_reader(workspace) as reader:
        reader.rows("FROM episodes")


def test_a_file_that_is_cut_off_is_said(workspace: Workspace) -> None:
    shard = _shard(workspace, "parts")
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(StoreError, match="cannot be read"), open_reader(workspace) as reader:
        reader.rows("FROM parts")
