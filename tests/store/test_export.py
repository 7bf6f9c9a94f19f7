"""What is exported is all there, in the shapes that others read, and under its name only when it is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from investigate.ingest.format import Source
from investigate.ingest.formats import openai_chat, scout
from investigate.ingest.parquet_rows import first_rows
from investigate.store import export
from investigate.store.catalog import SourceState
from investigate.store.errors import StoreError, UsageError
from investigate.store.reader import Reader, open_reader
from investigate.store.select import select_episodes
from investigate.store.shards import ShardRows
from investigate.store.types import Call, Episode, Message, Part
from investigate.store.workspace import create_workspace
from investigate.store.writer import Commit, open_writer

TAGGED = Part("reasoning", "I think.", reasoning_kind="raw", location="content.<think>")
RAW = Part("reasoning", "Hm.", reasoning_kind="raw", location="content.reasoning")
CALL = Part("tool_call", '{"cmd":"ls"}', tool_name="bash", tool_call_id="c1")
RESULT = Part("tool_result", "a b", tool_name="bash", tool_call_id="c1", is_error=False)

MAIN = (
    Message("system", (Part("text", "Be brief."),)),
    Message("user", (Part("text", "List."), Part("media", "map.png", media_type="image/png"))),
    Message("assistant", (Part("text", "An example answer."),), given=True),
    Message("assistant", (TAGGED, Part("text", "Listing."), CALL)),
    Message("tool", (RESULT,)),
    Message("assistant", (RAW, Part("text", "Two"), Part("text", "files.")), agent="planner"),
)
RETRY = Message("assistant", (Part("text", "A first try."),), branch="retry:1")
FULL = Episode(
    source="/logs/a.jsonl",
    record="0",
    digest="d" * 32,
    format="planted",
    messages=(*MAIN, RETRY),
    calls=(Call(0, message_index=3, completion_ids=(1, 2), logprobs=(-0.5, -1.0)),),
    experiment="x",
    model="m",
    environment="files",
    split="eval",
    task_id="7",
    group_id="g",
    training_step=4,
    reward=0.5,
    success=False,
    scores={"quality": 0.5, "style": "C"},
    labels={"condition": "told"},
    verdicts={"lie": True},
    provenance={"quality": "verifier"},
    stop_reason="stop",
    error="boom",
    started_at="2026-01-01T00:00:00+00:00",
    metadata={"epoch": 2, "total_time": 1.5, "input_tokens": 3, "output_tokens": 4, "nested": {"a": [1]}},
    identity="run:1",
)


def workspace(tmp_path: Path, *episodes: Episode) -> Any:
    made = create_workspace(tmp_path / "workspace")
    with open_writer(made) as writer:
        rows = ShardRows()
        for number, episode in enumerate(episodes, start=1):
            uid = episode.uid or f"{number:032x}"
            rows.add_episode(replace(episode, episode_id=number, uid=uid, record=str(number)))
        state = SourceState("log", "x", 1, 1, done=True)
        writer.commit(Commit(rows.write(made.root), [state], next_episode_id=len(episodes) + 1))
    return open_reader(made)


def talk(*parts: Part, role: str = "assistant") -> Episode:
    return Episode("s", "0", "d", messages=(Message("user", (Part("text", "q"),)), Message(role, parts)))


def read_jsonl(path: Path) -> list[Episode]:
    assert openai_chat.FORMAT.sniff(path.read_bytes()[: 1 << 16], path) == 0.85
    got = list(openai_chat.FORMAT.read(Source(path, str(path))))
    assert all(isinstance(item, Episode) for item in got)
    return got  # type: ignore[return-value]


def read_scout(folder: Path) -> list[Episode]:
    got = []
    for path in sorted(folder.glob("*.parquet")):
        assert scout.FORMAT.sniff(first_rows(path, 3)[: 1 << 16], path) == 0.95
        got += list(scout.FORMAT.read(Source(path, str(path))))
    assert all(isinstance(item, Episode) for item in got)
    return got  # type: ignore[return-value]


def shape(message: Message) -> tuple[Any, ...]:
    parts = [(part.kind, part.text, part.tool_name, part.tool_call_id, part.reasoning_kind) for part in message.parts]
    return (message.role, message.agent, parts)


def test_json_lines_are_read_back_as_they_were(tmp_path: Path) -> None:
    with workspace(tmp_path, FULL) as reader:
        assert export.export_jsonl(reader, [1], tmp_path / "out.jsonl") == 1
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["messages"][3]["content"] == "<think>I think.</think>Listing."
    assert row["messages"][3]["tool_calls"][0]["function"] == {"name": "bash", "arguments": '{"cmd":"ls"}'}
    assert row["messages"][2]["given"] is True
    assert row["branches"] == {"retry:1": [{"role": "assistant", "content": "A first try."}]}
    (got,) = read_jsonl(tmp_path / "out.jsonl")
    assert [shape(message) for message in got.messages] == [shape(message) for message in MAIN]
    for name in ("model", "environment", "task_id", "group_id", "training_step", "reward", "success", "scores"):
        assert getattr(got, name) == getattr(FULL, name)
    for name in ("labels", "verdicts", "provenance", "metadata"):
        assert got.metadata[name] == getattr(FULL, name)


@pytest.mark.parametrize(
    "parts",
    [
        (Part("reasoning", "a", reasoning_kind="raw", location="content.</think>"), Part("text", "b")),
        (Part("reasoning", "cut off", reasoning_kind="raw", location="content.<think>…"),),
        (Part("text", "x "), TAGGED, Part("text", " y"), TAGGED, TAGGED),
        (TAGGED, Part("text", "a stray </think> after")),
        (Part("reasoning", "asked for", reasoning_kind="scratchpad", location="content.<thinking>"), Part("text", "b")),
        (Part("reasoning", "in short", reasoning_kind="summary", location="content.reasoning"), Part("text", "b")),
        (Part("tool_call", "{not json", tool_name="bash", tool_call_id="c", parse_error="no"),),
        (Part("tool_call", "{}", tool_name="a", tool_call_id="1"), Part("tool_call", "", tool_name="b")),
        (Part("text", "one"), Part("text", "two")),
        (Part("tool_call", '{"q":1}', tool_name="search", tool_call_id="s"), RESULT, Part("text", "found")),
        (Part("text", ""),),
    ],
)
def test_every_way_to_think_and_to_call_survives_json_lines(tmp_path: Path, parts: tuple[Part, ...]) -> None:
    with workspace(tmp_path, talk(*parts)) as reader:
        export.export_jsonl(reader, [1], tmp_path / "out.jsonl")
    (got,) = read_jsonl(tmp_path / "out.jsonl")
    kept = [part for part in got.messages[1].parts if part.text or part.kind != "text"]
    wanted = [part for part in parts if part.text or part.kind != "text"]
    assert [(p.kind, p.text, p.tool_name, p.tool_call_id, p.reasoning_kind) for p in kept] == [
        (p.kind, p.text, p.tool_name, p.tool_call_id, p.reasoning_kind) for p in wanted
    ]
    assert [part.parse_error is None for part in kept] == [part.parse_error is None for part in wanted]


@pytest.mark.parametrize("role", ["tool", "user"])
def test_several_results_in_one_message_stay_apart(tmp_path: Path, role: str) -> None:
    failed = Part("tool_result", "no", tool_name="rm", tool_call_id="c2", is_error=True)
    with workspace(tmp_path, talk(RESULT, failed, role=role)) as reader:
        export.export_jsonl(reader, [1], tmp_path / "out.jsonl")
        export.export_scout(reader, [1], tmp_path / "scout")
    (got,) = read_jsonl(tmp_path / "out.jsonl")
    found = [(part.text, part.tool_call_id, part.is_error) for part in got.messages[1].parts]
    assert found == [("a b", "c1", False), ("no", "c2", True)]
    (told,) = read_scout(tmp_path / "scout")
    assert [(m.role, m.parts[0].text, m.parts[0].is_error) for m in told.messages[1:]] == [
        ("tool", "a b", False),
        ("tool", "no", True),
    ]


def test_a_scout_database_is_read_back_as_it_was(tmp_path: Path) -> None:
    with workspace(tmp_path, FULL) as reader:
        assert export.export_scout(reader, [1], tmp_path / "out") == 1
    (path,) = (tmp_path / "out").glob("*.parquet")
    (row,) = pq.read_table(path).to_pylist()
    assert list(row)[:23] == export.SCOUT.names[:23]
    assert (row["transcript_id"], row["task_set"], row["task_repeat"], row["total_tokens"]) == (
        f"{1:032x}",
        "files",
        2,
        7,
    )
    assert json.loads(row["score"]) == {"quality": 0.5, "style": "C"}
    messages = json.loads(row["messages"])
    assert messages[3]["tool_calls"] == [
        {"id": "c1", "function": "bash", "arguments": {"cmd": "ls"}, "parse_error": None, "type": "function"}
    ]
    assert messages[3]["content"][0]["type"] == "reasoning"
    assert messages[3]["metadata"] == {"reasoning": [{"kind": "raw", "location": "content.<think>"}]}
    assert [message.get("source") for message in messages] == [None, None, "input", "generate", None, "generate"]
    assert row["message_count"] == len(messages) == 6
    (got,) = read_scout(tmp_path / "out")
    assert [(m.branch, m.given, *shape(m)) for m in got.messages] == [
        (m.branch, m.given, *shape(m)) for m in FULL.messages
    ]
    names = ("experiment", "model", "environment", "split", "task_id", "group_id", "training_step", "reward", "success")
    for name in (
        *names,
        "scores",
        "labels",
        "verdicts",
        "provenance",
        "stop_reason",
        "error",
        "started_at",
        "identity",
    ):
        assert getattr(got, name) == getattr(FULL, name)
    assert got.metadata["nested"] == {"a": [1]}
    assert got.metadata["source_uri"] == "/logs/a.jsonl"


@pytest.mark.parametrize("text", ["{not json", "[1]", '"x"', "7"])
def test_arguments_that_are_no_object_are_kept_raw_with_the_reason(tmp_path: Path, text: str) -> None:
    with workspace(tmp_path, talk(Part("tool_call", text, tool_name="bash"))) as reader:
        export.export_scout(reader, [1], tmp_path / "out")
    (got,) = read_scout(tmp_path / "out")
    (call,) = got.messages[1].parts
    assert json.loads(call.text) == {"raw": text}
    assert call.parse_error


def test_a_users_call_is_told_as_text(tmp_path: Path) -> None:
    with workspace(tmp_path, talk(Part("text", "I look."), CALL, role="user")) as reader:
        export.export_scout(reader, [1], tmp_path / "out")
        export.export_jsonl(reader, [1], tmp_path / "out.jsonl")
    (got,) = read_scout(tmp_path / "out")
    called = {"tool_call": {"function": "bash", "arguments": CALL.text}}
    assert [part.text for part in got.messages[1].parts] == ["I look.", json.dumps(called, separators=(",", ":"))]
    (line,) = read_jsonl(tmp_path / "out.jsonl")
    assert line.messages[1].parts[1] == CALL


def test_calls_without_ids_are_answered_in_their_order(tmp_path: Path) -> None:
    calls = Message("assistant", (Part("tool_call", "{}", tool_name="a"), Part("tool_call", "{}", tool_name="b")))
    answers = [Message("tool", (Part("tool_result", text),)) for text in ("of a", "of b")]
    with workspace(tmp_path, Episode("s", "0", "d", messages=(calls, *answers))) as reader:
        export.export_scout(reader, [1], tmp_path / "out")
    (got,) = read_scout(tmp_path / "out")
    assert [message.parts[0].tool_name for message in got.messages[1:]] == ["a", "b"]


def test_encrypted_reasoning_stays_encrypted(tmp_path: Path) -> None:
    where = "content.reasoning"
    summary = Part("reasoning", "in short", reasoning_kind="summary", location=where)
    hidden = Part("reasoning", redacted=True, reasoning_kind="encrypted", location=where)
    with workspace(tmp_path, talk(summary, hidden, Part("text", "b"))) as reader:
        export.export_scout(reader, [1], tmp_path / "out")
        export.export_jsonl(reader, [1], tmp_path / "out.jsonl")
    (got,) = read_scout(tmp_path / "out")
    assert got.messages[1].parts[:2] == (summary, hidden)
    (line,) = read_jsonl(tmp_path / "out.jsonl")
    assert [(part.reasoning_kind, part.redacted) for part in line.messages[1].parts[:2]] == [
        ("summary", False),
        ("encrypted", True),
    ]


def test_copies_are_one_transcript_and_files_are_not_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_FILE_CHARS", 1)
    many = [replace(FULL, uid=f"{number % 60:032x}") for number in range(90)]
    with workspace(tmp_path, *many) as reader:
        assert export.export_scout(reader, range(1, 91), tmp_path / "out") == 60
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in files].count(25) == 2
    index = sorted((tmp_path / "out" / "_index").glob("*.idx"))
    listed = [name for path in index for name in pq.read_table(path)["filename"].to_pylist()]
    assert len(files) == len(index) == 3
    assert sorted(listed) == sorted(path.name for path in files for _ in range(pq.read_metadata(path).num_rows))
    assert "messages" not in pq.read_schema(index[0]).names


def test_tables_are_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_AT_ONCE", 2)
    with workspace(tmp_path, FULL, FULL, FULL) as reader:
        assert export.export_parquet(reader, [3, 1, 2], tmp_path / "out") == 3
        assert export.export_duckdb(reader, [3, 1, 2], tmp_path / "out.duckdb") == 3
        for name in export.TABLES:
            wanted = reader.rows(f"SELECT * FROM {name} ORDER BY {export.TABLES[name]}")
            assert pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist() == wanted
            with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
                assert connection.sql(f"FROM {name}").to_arrow_table().to_pylist() == wanted


WRITERS = [export.export_scout, export.export_jsonl, export.export_parquet, export.export_duckdb]


@pytest.mark.parametrize("write", WRITERS)
def test_nothing_is_overwritten(tmp_path: Path, write: Any) -> None:
    target = tmp_path / "out"
    target.write_text("precious")
    with workspace(tmp_path, FULL) as reader, pytest.raises(UsageError, match="nothing is overwritten"):
        write(reader, [1], target)
    assert target.read_text() == "precious"


class _Breaks:
    """A reader whose second question fails, as when the disk goes away."""

    def __init__(self, reader: Reader, n_answers: int) -> None:
        self._reader, self._left = reader, n_answers

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise StoreError("the disk is gone")

    def table(self, *question: Any) -> Any:
        self._count()
        return self._reader.table(*question)

    def rows(self, *question: Any) -> Any:
        self._count()
        return self._reader.rows(*question)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("n_answers", [0, 4])
def test_a_crash_leaves_nothing_under_the_name_nor_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, n_answers: int
) -> None:
    monkeypatch.setattr(export, "_AT_ONCE", 1)
    monkeypatch.setattr(export, "_GROUP_ROWS", 1)
    with workspace(tmp_path, *[FULL] * 4) as reader:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(StoreError, match="the disk is gone"):
            write(_Breaks(reader, n_answers), [1, 2, 3, 4], tmp_path / "new" / "out")
        assert list((tmp_path / "new").iterdir()) == []
        (tmp_path / "new").rmdir()
        assert sorted(tmp_path.iterdir()) == before
        assert write(reader, [1, 2, 3, 4], tmp_path / "new" / "out") == 4


def test_the_reader_of_the_tests_gives_what_is_stored(tmp_path: Path) -> None:
    with workspace(tmp_path, FULL) as reader:
        (got,) = select_episodes(reader, [1])
    assert got.messages == FULL.messages
