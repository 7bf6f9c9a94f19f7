"""``investigate export`` as a person meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    lines = [
        {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": str(i)}], "reward": i}
        for i in (4, 5, 4)
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    (folder / "copy.jsonl").write_text(json.dumps(lines[2]) + "\n")
    done = run("ingest", folder / "chat.jsonl", folder / "copy.jsonl", "-w", folder / "workspace", "--no-index")
    assert done.returncode == 0, done.stderr
    return folder / "workspace"


def test_all_some_and_one(workspace: Path, tmp_path: Path) -> None:
    done = run("export", "-o", tmp_path / "all.jsonl", "-w", workspace)
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 episodes are in" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [row["messages"][1]["content"] for row in rows] == ["4", "5", "4"]
    assert run("export", "--where", "reward > 4", "-o", tmp_path / "some.jsonl", "-w", workspace).returncode == 0
    assert len((tmp_path / "some.jsonl").read_text().splitlines()) == 1
    done = run("export", "--where", "reward > 4", "-o", tmp_path / "again.jsonl", "-w", workspace)
    assert done.stderr == f"1 episode is in {tmp_path / 'again.jsonl'}.\n"
    first = str(rows[0]["episode_uid"])
    assert run("export", f"uid:{first}", "-o", tmp_path / "one.jsonl", "-w", workspace).returncode == 0
    assert len((tmp_path / "one.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["scout", "parquet", "duckdb"])
def test_the_other_formats(workspace: Path, tmp_path: Path, name: str) -> None:
    done = run("export", "--format", name, "-o", tmp_path / "out", "-w", workspace)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").exists()
    if name == "scout":
        assert "2 episodes are in" in done.stderr
        assert "1 was a copy of them" in done.stderr


def test_what_cannot_be_is_said(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    for arguments, said in (
        (("-o", tmp_path / "there"), "nothing is overwritten"),
        (("--format", "docx", "-o", tmp_path / "x"), "--format knows scout, jsonl, parquet, duckdb"),
        (("--where", "reward > 9", "-o", tmp_path / "x"), "No episode passes --where"),
        (("1", "--where", "true", "-o", tmp_path / "x"), "in one way: EPISODE…, --where SQL"),
    ):
        done = run("export", *arguments, "-w", workspace)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
    assert (tmp_path / "there").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@pytest.mark.parametrize("name", ["scout", "jsonl", "parquet", "duckdb"])
def test_a_place_that_cannot_be_written_is_said(workspace: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("precious")
    # No folder can be made below a file, and no file in a folder of the kernel's, whoever asks.
    for place in (tmp_path / "file" / "out", Path("/proc/out")):
        done = run("export", "--format", name, "-o", place, "-w", workspace)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(f"Error: Cannot write {place}: ")
        assert done.stderr.endswith("; choose another place with -o.\n")
        assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "precious"
