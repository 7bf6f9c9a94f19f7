"""``investigate sources``: what came of every file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from investigate.cli import sources
from investigate.store.catalog import SourceState, Unread
from investigate.store.errors import UsageError
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part, Skipped
from investigate.store.workspace import create_workspace, open_workspace
from investigate.store.writer import Commit, open_writer
from typer.testing import CliRunner, Result

app = typer.Typer()
app.command()(sources.command)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """a.jsonl is done with two episodes and three bad records, b.jsonl unfinished, c.jsonl empty."""
    workspace, rows = create_workspace(tmp_path / "w"), ShardRows()
    message = Message("assistant", (Part("text", "hi"), Part("text", "ho")))
    for number, (source, model, scores) in enumerate(
        [("/logs/a.jsonl", "m", {}), ("/logs/a.jsonl", None, {"x": 1}), ("/logs/b.jsonl", "m", {})], start=1
    ):
        rows.add_episode(
            Episode(source, str(number), str(number), "chat", (message,), model=model, scores=scores, n_parts=2,
                    n_messages=1, n_chars=4, episode_id=number, uid=f"{number:032x}")
        )  # fmt: skip
    for record, offset, reason in [("7", 700, "no messages"), ("3", 300, "no messages"), ("x", -1, "[bold]odd")]:
        rows.add_skipped(Skipped("/logs/a.jsonl", record, offset, reason))
    states = [
        SourceState("/logs/a.jsonl", "chat", 1234, 0, done=True), SourceState("/logs/b.jsonl", "chat", 99, 0),
        SourceState("/logs/c.jsonl", "other", 0, 0, done=True),
    ]  # fmt: skip
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), states, next_episode_id=4))
    return workspace.root


def run(workspace: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(app, ["-w", str(workspace), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_source_with_what_came_of_it(workspace: Path) -> None:
    found = {row["source"]: row for row in rows(run(workspace, "--json"))}
    assert list(found) == ["/logs/b.jsonl", "/logs/a.jsonl", "/logs/c.jsonl"], "unfinished first, then skipped"
    a, b, c = (found[f"/logs/{name}.jsonl"] for name in "abc")
    assert (a["format"], a["episodes"], a["parts"], a["skipped"], a["bytes"], a["done"]) == (
        "chat",
        2,
        4,
        3,
        1234,
        True,
    )
    assert (b["done"], b["episodes"], b["skipped"], c["episodes"]) == (False, 1, 0, 0)
    assert {"model", "scores"} & {*a["empty"]} == set(), "filled in one episode is not empty"
    assert {"scores", "reward", "labels"} <= {*b["empty"]}
    assert "model" not in b["empty"]
    assert c["empty"] == []


def test_piped_cells_are_whole(workspace: Path) -> None:
    done = run(workspace)
    head, *lines = (line.split("\t") for line in done.stdout.splitlines())
    assert head == ["source", "format", "episodes", "parts", "skipped", "bytes", "when"]
    assert lines[0][:6] == ["/logs/b.jsonl", "chat", "1", "2", "0", "99"]
    assert lines[0][6] == "unfinished"
    assert datetime.fromisoformat(lines[1][6])
    assert "3 sources: 3 episodes, 6 parts, 3 skipped." in done.stderr
    assert "1 of them unfinished" in done.stderr


def test_why_records_were_skipped(workspace: Path) -> None:
    first, second = rows(run(workspace, "--skipped", "--json"))
    assert (first["reason"], first["n"], first["first_byte"], first["first_record"]) == ("no messages", 2, 300, "3")
    assert (second["reason"], second["n"], second["first_byte"]) == ("[bold]odd", 1, None)
    assert first["format"] == "chat"
    assert "2\t300\tno messages\t/logs/a.jsonl" in run(workspace, "--skipped").stdout


def test_columns_that_stayed_empty(workspace: Path) -> None:
    found = {(row["format"], row["column"]): row for row in rows(run(workspace, "--empty", "--json", "--limit", "99"))}
    assert (found["chat", "reward"]["empty_in"], found["chat", "reward"]["sources"]) == (2, 2)
    assert found["chat", "scores"]["empty_in"] == 1
    assert ("chat", "model") not in found
    assert not any(name == "other" for name, _ in found), "a source without episodes leaves no column empty"


def test_a_limit_is_said(workspace: Path) -> None:
    done = run(workspace, "--limit", "1", "--json")
    assert len(rows(done)) == 1
    assert "1 of 3 sources; --limit N shows more." in done.stderr


def test_nothing_there_and_two_questions_at_once(workspace: Path, tmp_path: Path) -> None:
    empty = create_workspace(tmp_path / "empty").root
    assert run(empty).stdout == ""
    assert "Nothing was skipped." in run(empty, "--skipped").stderr
    assert run(empty).stderr == "Nothing is stored yet; `investigate ingest PATH` reads logs.\n"
    assert "Every file could be read." in run(empty, "--unread").stderr
    with pytest.raises(UsageError, match="Ask for one of"):
        run(workspace, "--skipped", "--empty")


def test_files_that_could_not_be_read(workspace: Path) -> None:
    """Of one that was read before, the reason stands in place of its age: to go on would not help."""
    unread = [
        Unread("/logs/b.jsonl", 9, 1, "", "/logs/b.jsonl does not unpack; copy it again."),
        Unread("/logs/d.txt", 7, 1, "x", "/logs/d.txt is in no known format."),
        Unread("/logs/e.zip", 8, 1, "x", ""),  # its members are read in its place
    ]
    with open_writer(open_workspace(workspace)) as writer:
        writer.remember_unread(unread)
    assert rows(run(workspace, "--unread", "--json")) == [
        {"source": file.source, "bytes": file.bytes, "reason": file.reason} for file in unread[:2]
    ]
    assert run(workspace, "--unread").stdout.splitlines()[1] == "/logs/b.jsonl\t… does not unpack; copy it again."
    done = run(workspace)
    assert done.stdout.splitlines()[1].split("\t")[-1] == unread[0].reason
    assert "unfinished" not in done.stdout + done.stderr
    assert "2 files could not be read: `investigate sources --unread` shows why." in done.stderr
    found = {row["source"]: row["unread"] for row in rows(run(workspace, "--json"))}
    assert found == {"/logs/b.jsonl": unread[0].reason, "/logs/a.jsonl": None, "/logs/c.jsonl": None}


def test_one_is_not_plural(tmp_path: Path) -> None:
    with open_writer(create_workspace(tmp_path / "one")) as writer:
        writer.commit(Commit([], [SourceState("/logs/a.jsonl", "chat", 1, 0, done=True)]))
        writer.remember_unread([Unread("/logs/d.txt", 7, 1, "x", "/logs/d.txt is in no known format.")])
    assert run(tmp_path / "one").stderr.splitlines() == [
        "1 source: 0 episodes, 0 parts, 0 skipped.",
        "1 file could not be read: `investigate sources --unread` shows why.",
    ]


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0"), (999, "999"), (1000, "1.0k"), (9960, "10k"), (1234567, "1.2M"), (10**13, "10T")]
)
def test_sizes_fit_a_column(n_bytes: int, text: str) -> None:
    assert sources._size(n_bytes) == text


def test_ages() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ages = [sources._age((now - timedelta(seconds=s)).isoformat(), now) for s in (-5, 59, 61, 7300, 200000)]
    assert ages == ["now", "now", "1 min ago", "2 h ago", "2 d ago"]
