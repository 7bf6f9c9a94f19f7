"""What is as it was is told from the catalog alone, and nothing else is."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from investigate.analysis.text.index import Filters, TextIndex, update_text_index
from investigate.analysis.text.tokens import parse_query
from investigate.ingest.files import walk
from investigate.ingest.options import Options
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.ingest.unchanged import report_all
from investigate.store import catalog
from investigate.store.compact import compact
from investigate.store.workspace import TEXT_INDEX, Workspace, create_workspace
from investigate.store.writer import Commit, open_writer

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}) + "\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A log with a broken line, one that is whole, an archive of two, a file of no format, and an empty one."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.jsonl").write_text(CHAT + "{broken\n" + CHAT)
    (folder / "b.jsonl").write_text(CHAT)
    with zipfile.ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr("inside.jsonl", CHAT)
        archive.writestr("other.txt", "nothing of ours\n")
    (folder / "notes.txt").write_text("nothing of ours\n")
    (folder / "empty.jsonl").write_text("")
    return folder


def read(workspace: Workspace, *paths: Path, options: Options | None = None) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk(paths), options=options))


def known(workspace: Workspace, *paths: Path, options: Options | None = None) -> list[SourceReport] | None:
    with catalog.connect_for_reading(workspace.catalog_path) as connection:
        found = catalog.read_known(connection)
    return report_all(walk(paths), found, options or Options())


def test_the_catalog_says_what_a_further_reading_would(workspace: Workspace, logs: Path) -> None:
    assert known(workspace, logs) is None
    first = read(workspace, logs)
    said = known(workspace, logs)
    assert said == read(workspace, logs)
    assert said is not None
    assert len(said) == len(first)
    counts = {Path(report.source).name: (report.unchanged, report.still_skipped, report.error) for report in said}
    assert [counts[name][:2] for name in ("a.jsonl", "b.jsonl", "c.zip!inside.jsonl")] == [(2, 1), (1, 0), (1, 0)]
    errors = {name for name, (_, _, error) in counts.items() if error}
    assert errors == {"c.zip!other.txt", "notes.txt", "empty.jsonl"}


@pytest.mark.parametrize("name", ["a.jsonl", "c.zip", "notes.txt", "empty.jsonl", "new.jsonl"])
def test_any_change_is_read(workspace: Workspace, logs: Path, name: str) -> None:
    read(workspace, logs)
    path = logs / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("more.jsonl", CHAT)
    else:
        path.write_text((path.read_text() if path.exists() else "") + CHAT)
    assert known(workspace, logs) is None


def test_a_time_of_modification_is_a_change(workspace: Workspace, logs: Path) -> None:
    read(workspace, logs)
    os.utime(logs / "b.jsonl", ns=(1, 1))
    assert known(workspace, logs) is None
    assert [report.unchanged for report in read(workspace, logs / "b.jsonl")] == [1]


@pytest.mark.parametrize("options", [Options(again=True), Options("prompt_completion"), Options(tokenizer="/there")])
def test_what_is_asked_for_otherwise_is_read(workspace: Workspace, logs: Path, options: Options) -> None:
    read(workspace, logs / "a.jsonl")
    assert known(workspace, logs / "a.jsonl", options=options) is None
    assert known(workspace, logs / "a.jsonl", options=Options("openai_chat")) is not None


def test_what_may_be_put_right_from_outside_is_looked_at(workspace: Workspace, logs: Path) -> None:
    """A folder that may not be looked into is not refused for what it is."""
    read(workspace, logs)
    with open_writer(workspace) as writer:
        (file,) = walk([logs / "notes.txt"])
        unread = writer.known().unread[file.name]
        writer.remember_unread([replace(unread, edition="")])
    assert known(workspace, logs / "notes.txt") is None
    with open_writer(workspace) as writer:
        writer.remember_unread([replace(unread, edition="of other readers")])
    assert known(workspace, logs / "notes.txt") is None


def test_what_is_gone_is_no_longer_told(workspace: Workspace, logs: Path) -> None:
    read(workspace, logs)
    (logs / "notes.txt").unlink()
    assert known(workspace, logs) is None
    read(workspace, logs)
    assert known(workspace, logs) is not None
    with open_writer(workspace) as writer:
        assert {Path(name).name for name in writer.known().unread} == {"c.zip", "c.zip!other.txt", "empty.jsonl"}


def test_names_that_are_no_text_are_remembered(workspace: Workspace, logs: Path) -> None:
    with open(os.fsencode(logs) + b"/bad\xe9.bin", "wb") as file:
        file.write(b"nothing of ours\n")
    assert read(workspace, logs)
    assert known(workspace, logs) == read(workspace, logs)


def test_merging_shards_is_nothing_new(workspace: Workspace, logs: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.zip"):
        read(workspace, logs / name)
    with open_writer(workspace) as writer:
        assert compact(writer, max_small=1)
    assert known(workspace, logs / "a.jsonl") is not None


def test_nothing_is_said_before_it_was_counted(workspace: Workspace, logs: Path) -> None:
    """As when a run was killed after its last commit."""
    before = read(workspace, logs / "b.jsonl")
    with open_writer(workspace) as writer:
        writer.commit(Commit([], []))
    assert known(workspace, logs / "b.jsonl") is None
    (after,) = read(workspace, logs / "b.jsonl")
    assert after.unchanged == before[0].episodes == 1
    assert known(workspace, logs / "b.jsonl") == [after]


def test_a_catalog_from_before_counts_is_counted(workspace: Workspace, logs: Path) -> None:
    read(workspace, logs)
    with catalog.connect(workspace.catalog_path) as connection:
        connection.execute("DROP TABLE source_counts")
        connection.execute("DELETE FROM counters WHERE name = 'unsettled'")
    assert known(workspace, logs) is None
    assert sum(report.unchanged for report in read(workspace, logs)) == 4
    assert known(workspace, logs) is not None


def test_what_an_index_lacks_or_holds_no_longer_rightly_is_seen(workspace: Workspace, logs: Path) -> None:
    def is_indexed() -> bool:
        with catalog.connect_for_reading(workspace.catalog_path) as connection:
            return catalog.is_indexed(connection, TEXT_INDEX)

    read(workspace, logs)
    assert not is_indexed()
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
    assert is_indexed()
    (logs / "a.jsonl").write_text(CHAT)
    read(workspace, logs)
    assert not is_indexed()
    with open_writer(workspace) as writer:
        assert not list(update_text_index(writer))
    assert is_indexed()
    assert TextIndex(workspace).count(parse_query("hello"), Filters()) == (3, 3)


_COMMAND = """
import sys
from investigate.cli.main import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(sorted({"pyarrow", "numpy", "duckdb", "tantivy"} & sys.modules.keys()), file=sys.stderr)
"""


def test_the_command_loads_nothing_to_say_so(workspace: Workspace, logs: Path) -> None:
    """But it does to index what an earlier run left, and where something was forgotten."""

    def run(command: str, *arguments: str) -> tuple[str, str]:
        whole = [sys.executable, "-c", _COMMAND, command, "-w", str(workspace.root), *arguments]
        done = subprocess.run(whole, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout, done.stderr.splitlines()[-1]

    _, loaded = run("ingest", "--no-index", str(logs))
    assert "pyarrow" in loaded
    assert run("ingest", "--no-index", str(logs))[1] == "[]"
    second, loaded = run("ingest", str(logs))
    assert "tantivy" in loaded
    assert run("ingest", str(logs)) == (second, "[]")
    run("forget", "--yes", str(logs / "b.jsonl"))
    third, loaded = run("ingest", str(logs))
    assert "pyarrow" in loaded
    assert third.splitlines()[-1].split("\t")[2:5] == ["1", "0", "3"]
