"""A source that is not what it was: overwritten, rewritten in part, read by another format, an archive packed anew."""

import gzip
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from investigate.ingest.files import walk
from investigate.ingest.options import Options
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.store.compute import Engine
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


def chats(run: str, n: int, start: int = 0) -> list[str]:
    turns = [
        [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"{run} answer {i}"}]
        for i in range(start, start + n)
    ]
    return [json.dumps({"messages": messages}) for messages in turns]


def completions(n: int) -> list[str]:
    return [json.dumps({"prompt": f"p{i}", "completion": f"c{i}"}) for i in range(n)]


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines))


def run(workspace: Workspace, path: Path, **options: Any) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk([path]), options=Options(**options)))


def answers(workspace: Workspace) -> list[str]:
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT text FROM parts WHERE role = 'assistant' ORDER BY text")
    return [row["text"] for row in rows]


def source(workspace: Workspace) -> dict[str, Any]:
    with open_reader(workspace) as reader:
        (row,) = reader.rows("SELECT format, done, episodes, skipped FROM sources")
    return row


@pytest.mark.parametrize("name", ["among_us", "inspect_eval", "tau2_bench", "prompt_completion"])
def test_a_format_that_was_named_by_mistake_is_not_kept(workspace: Workspace, path: Path, name: str) -> None:
    write(path, chats("first", 3))
    run(workspace, path)
    before = answers(workspace)
    run(workspace, path, format_name=name)
    assert answers(workspace) == before
    write(path, chats("first", 5))
    (report,) = run(workspace, path)
    assert report.error is None
    assert (report.format, report.episodes, report.unchanged) == ("openai_chat", 2, 3)
    assert source(workspace) == {"format": "openai_chat", "done": True, "episodes": 5, "skipped": 0}


def test_a_format_that_was_named_rightly_is_kept(workspace: Workspace, path: Path) -> None:
    write(path, completions(3))
    run(workspace, path, format_name="mapped", columns=(("text", "completion"),))
    write(path, completions(5))
    (report,) = run(workspace, path)
    assert (report.format, report.episodes, report.unchanged) == ("mapped", 2, 3)


def test_a_mapping_is_kept_also_where_nothing_came_of_it_yet(workspace: Workspace, path: Path) -> None:
    write(path, [json.dumps({"response": "", "of": i}) for i in range(3)])
    (report,) = run(workspace, path, format_name="mapped", columns=(("text", "response"),))
    assert report.skipped == 3
    with path.open("a") as file:
        file.write(json.dumps({"response": "said", "of": 3}) + "\n")
    (report,) = run(workspace, path)
    assert (report.error, report.episodes) == (None, 1)


@pytest.mark.parametrize("emptied", [False, True])
def test_a_file_that_was_overwritten_in_another_format(workspace: Workspace, path: Path, emptied: bool) -> None:
    write(path, chats("first", 3))
    run(workspace, path)
    if emptied:
        path.write_text("")
        run(workspace, path)
    write(path, completions(4))
    (report,) = run(workspace, path)
    assert (report.format, report.error, report.skipped) == ("prompt_completion", None, 0)
    assert answers(workspace) == [f"c{i}" for i in range(4)]


def test_a_broken_line_of_another_run_keeps_nothing_of_the_first(workspace: Workspace, path: Path) -> None:
    write(path, chats("first", 6))
    run(workspace, path)
    second = chats("second", 6)
    write(path, [*second[:2], second[2][:20], *second[3:]])
    (report,) = run(workspace, path)
    assert (report.episodes, report.skipped, report.removed) == (5, 1, 1)
    assert answers(workspace) == [f"second answer {i}" for i in (0, 1, 3, 4, 5)]


def test_a_broken_line_among_those_of_the_same_run_loses_nothing(workspace: Workspace, path: Path) -> None:
    lines = chats("first", 6)
    write(path, lines)
    run(workspace, path)
    write(path, [chats("other", 1)[0], lines[1], lines[2][:20], *lines[3:]])
    (report,) = run(workspace, path)
    assert (report.skipped, report.removed) == (1, 0)
    assert "first answer 2" in answers(workspace)


def test_what_an_archive_no_longer_holds_is_retired(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"

    def pack(*names: str) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(f"{name}.jsonl", "".join(line + "\n" for line in [*chats(name, 2), "{broken"]))

    pack("a", "b", "c")
    run(workspace, path)
    pack("a", "b")
    removed = {Path(report.source).name: report.removed for report in run(workspace, path)}
    assert removed == {"logs.zip!a.jsonl": 0, "logs.zip!b.jsonl": 0, "logs.zip!c.jsonl": 2}
    assert answers(workspace) == ["a answer 0", "a answer 1", "b answer 0", "b answer 1"]
    with open_reader(workspace) as reader:
        (skipped,) = reader.rows("SELECT count(*) AS n FROM skipped")
    assert skipped["n"] == 2
    pack("a", "b", "c")
    assert sum(report.episodes for report in run(workspace, path)) == 2


def test_an_archive_that_is_a_log_now_keeps_no_members(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", "".join(line + "\n" for line in chats("first", 2)))
    run(workspace, path)
    write(path, chats("second", 1))
    assert sorted(report.removed for report in run(workspace, path)) == [0, 2]
    assert answers(workspace) == ["second answer 0"]


def test_a_file_that_is_named_like_a_member_is_none(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    write(folder / "wow", chats("first", 1))
    write(folder / "wow!.jsonl", chats("second", 1))
    run(workspace, folder)
    write(folder / "wow", chats("first", 2))
    assert sum(report.removed for report in run(workspace, folder)) == 0
    assert answers(workspace) == ["first answer 0", "first answer 1", "second answer 0"]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json"])
def test_the_format_that_was_named_stays_where_only_the_time_changed(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    rows = [
        {"messages": [{"role": "assistant", "content": f"m{i}"}], "prompt": f"p{i}", "completion": f"c{i}"}
        for i in range(3)
    ]
    path = tmp_path / f"a.{kind}"
    text = json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    (detected,) = run(create_workspace(tmp_path / "other"), path)
    assert detected.format == "openai_chat"
    run(workspace, path, format_name="prompt_completion")
    os.utime(path, ns=(1, 1))
    (report,) = run(workspace, path)
    assert (report.format, report.episodes, report.unchanged) == ("prompt_completion", 0, 3)
    assert answers(workspace) == ["c0", "c1", "c2"]


def test_copies_of_a_log_that_has_lost_its_head_are_seen(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = chats("first", 3)
    write(path, lines)
    run(workspace, path)
    write(path, lines[1:])
    run(workspace, path)
    shutil.copy(path, tmp_path / "b.jsonl")
    run(workspace, tmp_path / "b.jsonl")
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT source, duplicate_of IS NOT NULL AS copied FROM episodes ORDER BY source, record")
    assert [(Path(row["source"]).name, row["copied"]) for row in rows] == [
        ("a.jsonl", False), ("a.jsonl", False), ("b.jsonl", True), ("b.jsonl", True),
    ]  # fmt: skip


def test_files_are_looked_at_while_others_are_read(workspace: Workspace, tmp_path: Path, monkeypatch: Any) -> None:
    """To look at thousands takes as long as to start the readers; one that goes meanwhile is told of."""
    monkeypatch.setattr("investigate.ingest.plan.LEAST_TASK_BYTES", 1)
    folder = tmp_path / "logs"
    folder.mkdir()
    for i in range(4):
        write(folder / f"{i}.jsonl", chats(f"run{i}", 2))
    with open_writer(workspace) as writer:
        reports = ingest(writer, walk([folder]), engine=Engine(1))
        first = next(reports)
        (folder / "3.jsonl").unlink()
        others = list(reports)
    assert first.episodes == 2
    assert [report.episodes for report in others] == [2, 2, 0]
    assert "No such file" in str(others[-1].error)


def test_many_sources_are_read_again_together(workspace: Workspace, tmp_path: Path, monkeypatch: Any) -> None:
    """Each with what was stored of it, and of nothing else."""
    monkeypatch.setattr("investigate.ingest.stored.HELD_AT_ONCE", 3)
    monkeypatch.setattr("investigate.ingest.run.HELD_AT_ONCE", 3)
    monkeypatch.setattr("investigate.ingest.stored._AT_ONCE", 4)
    folder = tmp_path / "logs"
    folder.mkdir()
    for i in range(10):
        write(folder / f"{i}.jsonl", chats(f"run{i}", 1 + i % 3))
    n = sum(report.episodes for report in run(workspace, folder))
    again = run(workspace, folder, again=True)
    assert [(report.episodes, report.unchanged) for report in again] == [(0, 1 + i % 3) for i in range(10)]
    write(folder / "4.jsonl", chats("changed", 2))
    write(folder / "5.jsonl", chats("run5", 4))
    changed = {Path(report.source).stem: report for report in run(workspace, folder) if report.episodes}
    assert {name: (report.episodes, report.unchanged) for name, report in changed.items()} == {"4": (2, 0), "5": (1, 3)}
    assert len(answers(workspace)) == n + 1
