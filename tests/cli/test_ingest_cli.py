"""``investigate ingest``: what it says of what it read, and of what it did not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from investigate.cli.ingest_report import Report
from investigate.ingest.report import SourceReport
from investigate.store.workspace import create_workspace

PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]
CHAT = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
# Runs the command, then says which modules were imported, and whether readers were begun.
WATCHED = """
import sys
from multiprocessing import forkserver
from investigate.cli import ingest, main
walked = []
import investigate.ingest.files as files
walk = files.walk
files.walk = lambda paths: walk(paths) if walked.append(sorted(sys.modules)) is None else None
try:
    main.main()
finally:
    heavy = {"duckdb", "pyarrow", "numpy"} & set(walked[0])
    print(f"begun {forkserver._forkserver._forkserver_pid is not None}, heavy {sorted(heavy)}", file=sys.stderr)
"""


def run(*arguments: str | Path, code: str = PROGRAM[2], **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "ingest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **options)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def test_an_empty_folder_is_an_error_that_leaves_nothing_behind(logs: Path) -> None:
    done = run("logs", cwd=logs.parent)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: There are no files below logs; name logs, or follow a folder in which some will be with --follow.\n"
    )
    assert os.listdir(logs.parent) == ["logs"]


def test_a_workspace_is_not_ingested(logs: Path) -> None:
    root = create_workspace(logs.parent / "w").root
    for workspace in (root, logs.parent / "new"):
        done = run(root, "-w", workspace)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"Error: {root} is a workspace, which holds what was ingested; name the logs, not the workspace.\n"
        )
    assert sorted(os.listdir(logs.parent)) == ["logs", "w"]


def test_readers_are_begun_only_where_something_is_to_be_read(logs: Path) -> None:
    """And before what takes long to import."""
    (logs / "a.jsonl").write_text(CHAT)
    (logs / "notes.txt").write_text("nothing of ours\n")
    said = []
    for more in ([], [], ["--again"]):
        done = run(logs, "-w", logs.parent / "w", *more, code=WATCHED)
        said.append(done.stderr.splitlines()[-1])
    assert said == ["begun True, heavy []", "begun False, heavy []", "begun True, heavy []"]


def report_of(
    *reports: SourceReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], list[str]]:
    """What is printed, and what is said."""
    workspace = create_workspace(tmp_path / "w")
    Report(as_json=False).print(reports, workspace)
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_files_without_an_episode_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = [SourceReport(f"/logs/{name}.eval", "inspect_eval") for name in "abcdefgh"]
    others = [
        SourceReport("/logs/new", "chat", episodes=1),
        SourceReport("/logs/old", "chat", unchanged=1),
        SourceReport("/logs/skipped", "chat", still_skipped=1),
        SourceReport("/logs/broken", None, error="/logs/broken is empty; nothing to ingest."),
    ]
    _, said = report_of(*nothing, *others, tmp_path=tmp_path, capsys=capsys)
    assert "8 files hold no episode: a.eval, b.eval, c.eval, d.eval, e.eval, f.eval and 2 more names." in said
    _, said = report_of(*nothing[:1], *others, tmp_path=tmp_path, capsys=capsys)
    assert "1 file holds no episode: a.eval." in said
    _, said = report_of(*others, tmp_path=tmp_path, capsys=capsys)
    assert not [line for line in said if "no episode" in line]


def test_values_that_did_not_fit_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = SourceReport("/a", "mapped", 3, values={"reward": 3, "success": 3}, unfit={"reward": 2, "success": 0})
    second = SourceReport("/b", "mapped", 2, values={"reward": 2, "model": 1}, unfit={"reward": 2, "model": 1})
    _, said = report_of(first, second, tmp_path=tmp_path, capsys=capsys)
    assert said[:2] == [
        "model: 1 of 1 value is not a short text; it is in `metadata`.",
        "reward: 4 of 5 values are not a finite number; they are in `metadata`.",
    ]
    assert not [line for line in said if line.startswith("success")]


def test_what_matters_most_stands_first_and_one_is_not_plural(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, said = report_of(SourceReport("/a", "chat", 1, removed=1), tmp_path=tmp_path, capsys=capsys)
    assert printed[0].split("\t")[:5] == ["source", "format", "episodes", "skipped", "unchanged"]
    assert said[0] == "1 episode is no longer in /a, and no longer counts."
    _, said = report_of(SourceReport("/a", "chat", 1, removed=2), tmp_path=tmp_path, capsys=capsys)
    assert said[0] == "2 episodes are no longer in /a, and no longer count."
    failed = [SourceReport(f"/{n}", None, error=f"/{n} is empty.") for n in range(7)]
    _, said = report_of(*failed, tmp_path=tmp_path, capsys=capsys)
    assert said == [
        "Each of 7 files is empty: 0, 1, 2, 3, 4, 5 and 1 more name.",
        "`investigate sources --unread` lists what could not be read.",
    ]


def test_from_values_to_the_sentence(logs: Path) -> None:
    rows = [{"response": "a", "score": "high"}, {"response": "b", "score": 0.5}]
    (logs / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(logs / "odd.jsonl", "--map", "text=response,reward=score", "-w", logs.parent / "w", "--no-index")
    assert done.returncode == 0
    assert re.search(r"^reward: 1 of 2 values is not a finite number; it is in `metadata`\.$", done.stderr, re.M)
