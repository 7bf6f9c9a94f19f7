"""The example logs are what their generator writes, and hold what their README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from investigate.ingest.detect import detect, get_format
from investigate.ingest.format import Source
from investigate.store.types import Episode, Skipped

LOGS = Path(__file__).resolve().parents[2] / "examples" / "logs"
FILES = sorted(LOGS.rglob("*.jsonl"))


def read(path: Path) -> list[Episode | Skipped]:
    return list(get_format(detect(path)).read(Source(path, str(path))))


def rollouts(step: int) -> list[dict[str, Any]]:
    lines = (LOGS / "steps" / f"{step}.jsonl").read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line.endswith("}")]


def passes(code: str, asserts: str) -> bool:
    """Runs code that we wrote ourselves."""
    names: dict[str, Any] = {}
    try:
        exec(code + "\n" + asserts, names)
    except (AssertionError, ArithmeticError, LookupError, TypeError, ValueError):
        return False
    return True


def test_the_generator_writes_the_shipped_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", LOGS / "generate.py", tmp_path], check=True)
    written = sorted(tmp_path.rglob("*.jsonl"))
    assert [path.relative_to(tmp_path) for path in written] == [path.relative_to(LOGS) for path in FILES]
    for path in FILES:
        assert (tmp_path / path.relative_to(LOGS)).read_bytes() == path.read_bytes(), path.name


def test_they_are_small_and_in_three_formats() -> None:
    assert sum(path.stat().st_size for path in FILES) < 1_500_000
    formats: Counter[str] = Counter()
    for path in FILES:
        items = read(path)
        skipped = [item for item in items if isinstance(item, Skipped)]
        assert len(skipped) == (path.name == "400.jsonl")
        assert all(message.parts for item in items if isinstance(item, Episode) for message in item.messages)
        formats[detect(path)] += len(items) - len(skipped)
    assert formats == {"openai_chat": 136, "prompt_completion": 191, "claude_code": 24}


def test_only_the_last_line_is_torn() -> None:
    path = LOGS / "steps" / "400.jsonl"
    torn = read(path)[-1]
    assert isinstance(torn, Skipped)
    assert torn.byte_offset == path.read_bytes().rindex(b"\n") + 1


def test_facts_are_read() -> None:
    chats = [item for item in read(LOGS / "chat.jsonl") if isinstance(item, Episode)]
    assert {(chat.environment, chat.model) for chat in chats} == {("service", "river-7b"), ("research", "river-7b")}
    assert {chat.training_step for chat in chats} == {100, 200, 300, 400}
    steps = [item for item in read(LOGS / "steps" / "100.jsonl") if isinstance(item, Episode)]
    assert Counter(Counter(step.group_id for step in steps).values()) == {4: 12}
    assert {step.messages[-1].parts[0].kind for step in steps} == {"reasoning"}


@pytest.mark.parametrize("step", [100, 200, 300, 400])
def test_scores_are_what_the_tests_give(step: int) -> None:
    for row in rollouts(step):
        code = re.search(r"```python\n(.*?)\n```", row["output"], re.DOTALL)
        assert code
        visible = "\n".join(line for line in row["input"].split("\n") if line.startswith("assert "))
        assert passes(code.group(1), visible) == row["score"], row["output"]
        assert passes(code.group(1), visible + "\n" + row["gts"]) == row["acc"], row["output"]


def test_the_readme_counts_what_is_planted() -> None:
    phrases = (LOGS / "content" / "phrases.py").read_text("utf-8")
    names: dict[str, Any] = {}
    exec(phrases, names)
    suspicious = (*names["AWARE"], *names["AWARE_QUIETLY"])
    chats = [json.loads(line) for line in (LOGS / "chat.jsonl").read_text("utf-8").split("\n") if line]
    table = re.findall(
        r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", (LOGS / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert [int(line[0]) for line in table] == [100, 200, 300, 400]
    for step, n_gaming, n_coding, n_chat in (map(int, line) for line in table):
        rows = rollouts(step)
        n_torn = 48 - len(rows)
        gaming = sum(
            any(mark in row["output"] for mark in ("def __eq__", "_CACHE", "fast path\n    if")) for row in rows
        )
        coding = sum(any(said in row["output"] for said in suspicious) for row in rows)
        texts = [json.dumps(chat, ensure_ascii=False) for chat in chats if chat["step"] == step]
        assert 0 <= n_gaming - gaming <= n_torn
        assert 0 <= n_coding - coding <= n_torn
        assert sum(any(said in text for said in suspicious) for text in texts) == n_chat
