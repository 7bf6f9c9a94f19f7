"""`investigate ingest --follow` beside a program that writes its logs, and another that writes to the workspace."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from investigate.analysis.text.index import Filters, search_text
from investigate.analysis.text.tokens import parse_query
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, open_workspace

PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]

LOGGER = """
import json, random, sys, time

# Piece by piece, as buffers do: what is there ends anywhere, within a character too.
draw = random.Random(11)
with open(sys.argv[1], "ab", buffering=0) as file:
    for number in range(int(sys.argv[2])):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"needle é🙂 {number}"}]
        line = json.dumps({"messages": messages, "step": number}, ensure_ascii=False).encode() + b"\\n"
        cuts = sorted(draw.randrange(len(line)) for _ in range(2))
        for start, end in zip([0, *cuts], [*cuts, len(line)]):
            file.write(line[start:end])
            time.sleep(draw.choice([0, 0, 0.05]))
"""
N_LOGGED = 80


class Following:
    """The program while it follows a folder."""

    def __init__(self, logs: Path) -> None:
        self._out, self._err = logs.parent / "out", logs.parent / "err"
        root = logs.parent / "workspace"
        command = [*PROGRAM, "ingest", str(logs), "-w", str(root), "--follow", "--interval", "0.2", "--json"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        self.until(lambda: "Following" in self.err())
        self.workspace = open_workspace(root)

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def err(self) -> str:
        return self._err.read_text()

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    def until(self, true: Callable[[], Any]) -> None:
        while not true():
            assert self.process.poll() is None, self.err()
            time.sleep(0.05)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=60) == 130
        assert "Traceback" not in self.err()
        assert self.err().splitlines()[-1].startswith("Interrupted; what was finished is stored.")


def rows(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with open_reader(workspace) as reader:
        return reader.rows(sql)


def episodes_of(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return [row for row in rows(workspace, "FROM episodes ORDER BY training_step") if row["source"].endswith(name)]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "old.jsonl").write_text('{"messages": [{"role": "assistant", "content": "was there"}], "step": -1}\n')
    return folder


def test_what_is_written_meanwhile_is_stored_once(logs: Path) -> None:
    with Following(logs) as following:
        with subprocess.Popen([sys.executable, "-c", LOGGER, str(logs / "old.jsonl"), str(N_LOGGED)]) as logger:
            following.until(lambda: len(episodes_of(following.workspace, "old.jsonl")) > 5)
            with subprocess.Popen([sys.executable, "-c", LOGGER, str(logs / "new.jsonl"), str(N_LOGGED)]) as other:
                # Another command has its turn between two rounds, if need be after some that it is refused.
                command = [*PROGRAM, "index", "-w", str(following.workspace.root)]
                while (turn := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
                    assert "is writing to" in turn.stderr
                    assert following.process.poll() is None
                assert other.wait() == 0
            assert logger.wait() == 0
        following.until(lambda: rows(following.workspace, "SELECT count(*) AS n FROM episodes")[0]["n"] > 2 * N_LOGGED)
        following.until(
            lambda: len(search_text(following.workspace, parse_query("needle"), Filters(), 999)) == 2 * N_LOGGED
        )
        following.interrupt()

    for name, steps in (("old.jsonl", range(-1, N_LOGGED)), ("new.jsonl", range(N_LOGGED))):
        stored = episodes_of(following.workspace, name)
        assert [row["training_step"] for row in stored] == list(steps)
        assert {(row["revision"], row["format"]) for row in stored} == {(0, "openai_chat")}
        reported = [report for report in following.reports() if str(report.get("source")).endswith(name)]
        assert sum(report["episodes"] for report in reported) == len(stored)
        assert len(reported) > 2, "it did not follow, it read once"
    assert rows(following.workspace, "FROM skipped") == []
    said = rows(following.workspace, "SELECT DISTINCT text FROM parts WHERE role = 'assistant' AND text LIKE 'needle%'")
    assert {row["text"] for row in said} == {f"needle é🙂 {number}" for number in range(N_LOGGED)}
    again = subprocess.run(
        [*PROGRAM, "ingest", str(logs), "-w", str(following.workspace.root), "--json"], capture_output=True, check=True
    )
    assert json.loads(again.stdout.splitlines()[-1])["episodes"] == 0


def test_half_a_line_does_not_decide_what_a_file_is(logs: Path) -> None:
    """The first half of this line is one of another format."""
    row = {"instruction": "Say it.", "output": "It.", "generator": "m", "dataset": "d"}
    line = json.dumps(row) + "\n"
    with Following(logs) as following:
        with (logs / "new.jsonl").open("w") as file:
            file.write(line[: line.index('"generator"')])
            file.flush()
            following.until(lambda: [row for row in rows(following.workspace, "FROM sources") if not row["episodes"]])
            file.write(line[line.index('"generator"') :])
        following.until(lambda: episodes_of(following.workspace, "new.jsonl"))
        following.interrupt()
    assert [row["format"] for row in episodes_of(following.workspace, "new.jsonl")] == ["alpaca_eval"]
    assert rows(following.workspace, "FROM skipped") == []


def test_a_folder_that_is_away_for_a_while_is_said_once(logs: Path) -> None:
    with Following(logs) as following:
        logs.rename(logs.with_name("away"))
        following.until(lambda: "There is no" in following.err())
        time.sleep(1)
        logs.with_name("away").rename(logs)
        (logs / "new.jsonl").write_text('{"messages": [{"role": "assistant", "content": "back"}], "step": 1}\n')
        following.until(lambda: episodes_of(following.workspace, "new.jsonl"))
        following.interrupt()
    assert following.err().count("There is no") == 1
    assert len(rows(following.workspace, "FROM episodes")) == 2


def test_episodes_that_are_gone_are_said(logs: Path) -> None:
    path = logs / "old.jsonl"
    path.write_text(path.read_text() * 3)
    with Following(logs) as following:
        path.write_text(path.read_text().splitlines(keepends=True)[0])
        following.until(lambda: "no longer in" in following.err())
        following.interrupt()
    assert f"2 episodes are no longer in {path}, and no longer count." in following.err()


def test_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with Following(tmp_path / "logs") as following:
        (tmp_path / "logs" / "new.jsonl").write_text('{"messages": [{"role": "assistant", "content": "first"}]}\n')
        following.until(lambda: episodes_of(following.workspace, "new.jsonl"))
        following.interrupt()


def test_an_interrupt_at_any_moment_is_one(logs: Path) -> None:
    """Amid a question to the database as well, which makes an error of its own of it."""
    draw = random.Random(4)
    for number in range(5):
        with Following(logs) as following:
            with (logs / "old.jsonl").open("a") as file:
                file.write(json.dumps({"messages": [{"role": "assistant", "content": f"said {number}"}]}) + "\n")
            time.sleep(draw.uniform(0.15, 0.45))
            following.interrupt()
    subprocess.run(
        [*PROGRAM, "ingest", str(logs), "-w", str(following.workspace.root)], capture_output=True, check=True
    )
    assert rows(following.workspace, "SELECT count(*) AS n, count(DISTINCT uid) AS u FROM episodes") == [
        {"n": 6, "u": 6}
    ]
