"""What ``export_scout`` writes, read by Inspect Scout itself.

Runs where ``inspect_scout`` can be imported, or where INVESTIGATE_PEERS names a python that can.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from investigate.ingest.detect import detect, get_format
from investigate.ingest.format import Source
from investigate.store.catalog import SourceState
from investigate.store.export import export_scout
from investigate.store.reader import open_reader
from investigate.store.select import select_episodes
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, open_writer

EXAMPLES = Path(__file__).resolve().parents[1] / "ingest" / "formats" / "examples"

LOGS = ("inspect_eval.eval", "scout.parquet", "docent.json", "openai_chat.jsonl", "prompt_completion.jsonl")

# Run by the python that has Scout: everything it reads of a database, as JSON.
READ = """
import asyncio, json, sys
from inspect_scout import transcripts_from
from inspect_scout._transcript.types import TranscriptContent

async def main():
    found = []
    transcripts = transcripts_from(sys.argv[1])
    async with transcripts.reader() as reader:
        async for info in reader.index():
            transcript = await reader.read(info, TranscriptContent(messages="all", events="all"))
            found.append({
                "id": info.transcript_id, "model": info.model, "task_set": info.task_set, "task_id": info.task_id,
                "repeat": info.task_repeat, "score": info.score, "success": info.success, "error": info.error,
                "count": info.message_count, "metadata": {key: info.metadata[key] for key in info.metadata},
                "messages": [message.model_dump() for message in transcript.messages],
            })
    print(json.dumps(found, default=str))

asyncio.run(main())
"""


def peer() -> str:
    if python := os.environ.get("INVESTIGATE_PEERS"):
        return python
    if importlib.util.find_spec("inspect_scout") is None:
        pytest.skip("neither inspect_scout nor INVESTIGATE_PEERS is there")
    return sys.executable


def read_with_scout(folder: Path) -> dict[str, dict[str, Any]]:
    done = subprocess.run([peer(), "-c", READ, str(folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    return {row["id"]: row for row in json.loads(done.stdout)}


def planted() -> Episode:
    messages = (
        Message("system", (Part("text", "Be brief."),)),
        Message(
            "user", (Part("text", "Ünïcode \u2028 and \U0001f600"), Part("media", "map.png", media_type="image/png"))
        ),
        Message("assistant", (Part("text", "an example"),), given=True),
        Message(
            "assistant",
            (
                Part("reasoning", "hm", reasoning_kind="scratchpad", location="content.<thinking>"),
                Part("reasoning", "in short", redacted=True, reasoning_kind="encrypted", location="content.reasoning"),
                Part("text", "Calling."),
                Part("tool_call", "{broken", tool_name="bash", parse_error="no JSON"),
                Part("tool_call", '{"a":1}', tool_name="ls", tool_call_id="c2"),
            ),
        ),
        Message("tool", (Part("tool_result", "failed", tool_name="bash", is_error=True),)),
        Message("tool", (Part("tool_result", "ok", tool_name="ls", tool_call_id="c2", is_error=False),)),
        Message("assistant", (Part("text", "lost"),), branch="retry:1", agent="planner"),
    )
    return Episode("s", "planted", "d", messages=messages, scores={"a": 1.0, "b": {"c": [None]}}, reward=0.5)


def store(tmp_path: Path) -> tuple[Workspace, int]:
    """A workspace with the planted episode and those of some logs."""
    episodes = [planted()]
    for name in LOGS:
        path = EXAMPLES / name
        found = get_format(detect(path)).read(Source(path, str(path)))
        episodes += [item for item in found if isinstance(item, Episode)]
    workspace = create_workspace(tmp_path / "workspace")
    with open_writer(workspace) as writer:
        rows = ShardRows()
        for number, episode in enumerate(episodes, start=1):
            rows.add_episode(replace(episode, episode_id=number, uid=f"{number:032x}"))
        state = SourceState("log", "x", 1, 1, done=True)
        writer.commit(Commit(rows.write(workspace.root), [state], next_episode_id=len(episodes) + 1))
    return workspace, len(episodes)


def in_plain(message: dict[str, Any]) -> list[str]:
    """The texts of a message as Scout has it."""
    content = message["content"]
    if isinstance(content, str):
        return [content] if content else []
    keys = {"text": "text", "document": "document", "image": "image"}
    texts = []
    for block in content:
        if block["type"] == "reasoning":
            texts.append(block["summary"] if block["redacted"] or not block["reasoning"] else block["reasoning"])
        elif block["type"] == "tool_use":
            texts += [block["arguments"], block["result"]]
        else:
            texts.append(block[keys[block["type"]]])
    return [text for text in texts if text]


def test_scout_reads_every_transcript_with_our_messages(tmp_path: Path) -> None:
    workspace, n_episodes = store(tmp_path)
    with open_reader(workspace) as reader:
        ids = reader.select_ids()
        assert export_scout(reader, ids, tmp_path / "out") == n_episodes > 10
        episodes = list(select_episodes(reader, ids))
    seen = read_with_scout(tmp_path / "out")
    assert len(seen) == n_episodes
    for episode in episodes:
        row = seen[episode.uid]
        assert (row["model"], row["task_set"], row["task_id"]) == (episode.model, episode.environment, episode.task_id)
        assert (row["success"], row["error"], row["count"]) == (episode.success, episode.error, len(row["messages"]))
        main = [message for message in episode.messages if message.branch is None]
        ours = [part.text for m in main for part in m.parts if part.text and part.kind != "tool_call"]
        theirs = [text for message in row["messages"] for text in in_plain(message)]
        assert sorted(theirs) == sorted(ours + [p.text for m in main for p in m.parts if _is_server_call(m, p)])
        called = [part for m in main for part in m.parts if part.kind == "tool_call" and not _is_server_call(m, part)]
        calls = [call for message in row["messages"] for call in message.get("tool_calls") or ()]
        assert [call["function"] for call in calls] == [part.tool_name or "unknown" for part in called]
        assert all(isinstance(call["arguments"], dict) for call in calls)
        roles = [message["role"] for message in row["messages"]]
        if not any(part.kind == "tool_result" for m in main for part in m.parts if m.role != "tool"):
            assert [role for role in roles if role != "tool"] == [m.role for m in main if m.role != "tool"]


def _is_server_call(message: Message, part: Part) -> bool:
    answered = {other.tool_call_id for other in message.parts if other.kind == "tool_result"}
    return message.role == "assistant" and part.kind == "tool_call" and part.tool_call_id in answered


def test_scout_has_the_planted_message_by_message(tmp_path: Path) -> None:
    workspace, _ = store(tmp_path)
    with open_reader(workspace) as reader:
        export_scout(reader, [1], tmp_path / "out")
    (row,) = read_with_scout(tmp_path / "out").values()
    _, user, given, called, failed, told = row["messages"]
    assert user["content"][0]["text"] == "Ünïcode \u2028 and \U0001f600"
    assert (given["source"], called["source"]) == ("input", "generate")
    assert [block.get("redacted") for block in called["content"]] == [False, True, None]
    assert called["content"][1]["summary"] == "in short"
    assert called["tool_calls"][0]["arguments"] == {"raw": "{broken"}
    assert called["tool_calls"][0]["parse_error"] == "no JSON"
    assert failed["tool_call_id"] == called["tool_calls"][0]["id"]
    assert failed["error"] == {"type": "unknown", "message": "failed"}
    assert (told["tool_call_id"], told["function"], told["error"]) == ("c2", "ls", None)
    assert row["score"] == {"a": 1.0, "b": {"c": [None]}}
    assert row["metadata"]["reward"] == 0.5
    (lost,) = row["metadata"]["branches"]["retry:1"]
    assert (lost["content"], lost["metadata"]) == ("lost", {"agent": "planner"})
