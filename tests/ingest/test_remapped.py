"""Files that are read as something else than before, and values that do not fit where they are mapped to."""

import json
from pathlib import Path
from typing import Any

import pytest
from investigate.ingest import plan
from investigate.ingest.files import walk
from investigate.ingest.mapping import parse_mapping
from investigate.ingest.options import Options
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.store.compute import Engine
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
ROWS = [{"response": "a", "score": 1}, {"response": "b", "score": 2}, {"response": None, "score": 3}]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "w")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(workspace: Workspace, *paths: Path, mapping: str = "", format_name: str | None = None) -> list[SourceReport]:
    columns = parse_mapping(mapping) if mapping else ()
    options = Options("mapped" if mapping else format_name, None, columns)
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk(paths), options=options, engine=Engine(1)))


def skipped(workspace: Workspace) -> list[tuple[str, str]]:
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT record, reason FROM skipped ORDER BY record, reason")
        (counted,) = reader.rows("SELECT sum(skipped)::BIGINT AS n FROM sources")
    assert counted["n"] == len(rows)
    return [(row["record"], row["reason"]) for row in rows]


def test_what_is_skipped_for_another_reason_is_told_anew(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path / "odd.jsonl", ROWS)
    (chat,) = run(workspace, path, format_name="openai_chat")
    as_chat = skipped(workspace)
    assert (chat.episodes, chat.skipped) == (0, 3)
    assert [record for record, _ in as_chat] == ["0", "1", "2"]

    (mapped,) = run(workspace, path, mapping="text=response,reward=score")
    assert (mapped.episodes, mapped.skipped, mapped.still_skipped) == (2, 1, 0)
    assert skipped(workspace) == [("2", "has nothing in response")]

    (back,) = run(workspace, path, format_name="openai_chat")
    assert (back.episodes, back.skipped) == (0, 3)
    assert skipped(workspace) == as_chat, "and the reason of the mapping is gone"

    (again,) = run(workspace, path)
    assert (again.skipped, again.still_skipped) == (0, 3)
    assert skipped(workspace) == as_chat


def test_what_is_skipped_for_the_same_reason_is_told_once(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(CHAT) + "\n{torn\n" + json.dumps(CHAT) + "\n")
    (first,) = run(workspace, path)
    before = skipped(workspace)
    with path.open("a") as file:
        file.write(json.dumps(CHAT) + "\n")
    (grown,) = run(workspace, path)
    path.write_text(path.read_text().replace("hello", "other", 1))  # read from its start again
    (changed,) = run(workspace, path)
    assert [(report.skipped, report.still_skipped) for report in (first, grown, changed)] == [(1, 0), (0, 1), (0, 1)]
    assert skipped(workspace) == before


def test_values_that_a_column_cannot_hold_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    values = [
        {"score": "high", "ok": 2, "step": 2.5},
        {"score": "0.5", "ok": "maybe", "step": 3},
        {"score": float("nan"), "ok": "yes", "step": None},
        {"score": 1},
    ]
    path = write(tmp_path / "odd.jsonl", [{"response": "a", **row} for row in values])
    (report,) = run(workspace, path, mapping="text=response,reward=score,success=ok,training_step=step")
    assert report.values == {"reward": 4, "success": 3, "training_step": 2}
    assert report.unfit == {"reward": 2, "success": 2, "training_step": 1}
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT reward, success, training_step, metadata FROM episodes ORDER BY record::INT")
    assert [row["reward"] for row in rows] == [None, 0.5, None, 1.0]
    assert json.loads(rows[0]["metadata"]) == {"score": "high", "ok": 2, "step": 2.5}


def test_values_that_fit_are_not_complained_of(workspace: Workspace, tmp_path: Path) -> None:
    """Nor is a column that is two things and can be but one of them, nor one beside which the path has a step."""
    path = write(tmp_path / "step_7.jsonl", [{"response": "a", "score": 0.5, "step": 3}])
    (report,) = run(workspace, path, mapping="text=response,reward=score,success=score,training_step=step")
    assert report.values == {"reward": 1, "success": 1, "training_step": 1}
    assert report.unfit == {"reward": 0, "success": 1, "training_step": 0}
    path = write(tmp_path / "step_8.jsonl", [{"response": "b", "step": "late"}])
    (report,) = run(workspace, path, mapping="text=response,training_step=step")
    assert report.unfit == {"training_step": 1}


def test_parts_of_a_long_file_are_counted_together(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PART_BYTES", 2000)
    rows = [{"response": "x" * 90, "score": "high" if i % 4 == 0 else i} for i in range(100)]
    (report,) = run(workspace, write(tmp_path / "odd.jsonl", rows), mapping="text=response,reward=score")
    assert (report.episodes, report.values, report.unfit) == (100, {"reward": 100}, {"reward": 25})


def test_a_log_that_needs_no_mapping_is_called_by_its_format(workspace: Workspace, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.jsonl", ROWS[:2])
    chat = write(tmp_path / "chat.jsonl", [CHAT])
    other = write(tmp_path / "other.jsonl", [{"answer": "c"}])
    reports = {report.source: report for report in run(workspace, tmp_path, mapping="text=response,reward=score")}
    assert reports[str(odd)].episodes == 2
    assert reports[str(chat)].error == (
        f"{chat} has no column response, score, and is a log in the format openai_chat; ingest it without --map."
    )
    assert reports[str(other)].error == f"{other} has no column response, score; it has: answer. Map one of those."
    assert [(report.episodes, report.error) for report in run(workspace, chat)] == [(1, None)]
