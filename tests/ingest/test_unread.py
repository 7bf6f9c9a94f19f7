"""Files that cannot be read are remembered; those that no format knows are told every time and looked at once."""

import gzip
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from investigate.ingest.files import walk
from investigate.ingest.options import Options
from investigate.ingest.run import ingest
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}) + "\n"
WHEN = (1_700_000_000_000_000_000, 1_700_000_000_000_000_000)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    write(path, "x" * (len(CHAT) - 1) + "\n")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, ns=WHEN)


def read(workspace: Workspace, *paths: Path, again: bool = False) -> list[tuple[int, bool]]:
    """(episodes, was there an error) of each report."""
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk(paths), options=Options(again=again)))
    return [(report.episodes, report.error is not None) for report in reports]


def test_what_looks_the_same_from_outside_is_not_opened(workspace: Workspace, file: Path) -> None:
    assert read(workspace, file) == [(0, True)]
    write(file, CHAT)  # a log now, of the same size and time
    assert read(workspace, file) == [(0, True)]
    assert read(workspace, file, again=True) == [(1, False)]


def test_what_has_changed_is_looked_at(workspace: Workspace, file: Path) -> None:
    assert read(workspace, file) == [(0, True)]
    file.write_text(CHAT)
    assert read(workspace, file) == [(1, False)]


def test_the_reason_is_told_each_time(workspace: Workspace, file: Path) -> None:
    with open_writer(workspace) as writer:
        first, second = (list(ingest(writer, walk([file]))) for _ in range(2))
    assert first[0].error == second[0].error
    assert "is in no known format" in str(second[0].error)


def test_other_formats_look_again(workspace: Workspace, file: Path) -> None:
    assert read(workspace, file) == [(0, True)]
    with open_writer(workspace) as writer:
        writer.remember_unread(replace(known, edition="of last year") for known in writer.known().unread.values())
    write(file, CHAT)
    assert read(workspace, file) == [(1, False)]


def test_what_cannot_be_opened_is_tried_again(workspace: Workspace, file: Path) -> None:
    """What does not unpack may be half copied: its size and time may already be those of the whole."""
    packed = gzip.compress(CHAT.encode() * 50, mtime=0)
    path = file.with_name("log.jsonl.gz")
    path.write_bytes(packed[:-20] + bytes(20))
    os.utime(path, ns=WHEN)
    assert [failed for _, failed in read(workspace, path)] == [True]
    path.write_bytes(packed)
    os.utime(path, ns=WHEN)
    assert [failed for _, failed in read(workspace, path)] == [False]


def test_members_of_an_archive_that_is_no_log_are_read(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", CHAT)
        archive.writestr("b.txt", "nothing of ours\n")
    assert sorted(read(workspace, path)) == [(0, True), (1, False)]
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk([path])))
    assert sorted((report.unchanged, report.error is not None) for report in reports) == [(0, True), (1, False)]


def reasons(workspace: Workspace) -> dict[str, str]:
    """What is said of each file that could not be read, by its name."""
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT source, reason FROM unread WHERE reason <> ''")
    return {Path(row["source"]).name: row["reason"] for row in rows}


def test_every_file_that_cannot_be_read_is_remembered_until_it_can(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    whole = gzip.compress(CHAT.encode() * 50)
    (logs / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (logs / "cut.zip").write_bytes(b"PK\x03\x04 and no directory")
    (logs / "cut.eval").write_bytes(b"PK\x03\x04 and no directory")
    (logs / "cut.parquet").write_bytes(b"PAR1 and no footer")
    (logs / "empty.jsonl").write_text("")
    (logs / "notes.txt").write_text("nothing of ours\n")
    (logs / "good.jsonl").write_text(CHAT)
    with zipfile.ZipFile(logs / "good.zip", "w") as archive:
        archive.writestr("inside.jsonl", CHAT)
    read(workspace, logs)
    said = reasons(workspace)
    assert set(said) == {"cut.jsonl.gz", "cut.zip", "cut.eval", "cut.parquet", "empty.jsonl", "notes.txt"}
    assert "does not unpack" in said["cut.jsonl.gz"]
    read(workspace, logs)
    assert reasons(workspace) == said
    with open_writer(workspace) as writer:
        found = writer.known().unread.values()
    refused = {Path(file.source).name for file in found if file.edition}
    assert refused == {"notes.txt", "empty.jsonl", "good.zip", "cut.zip"}

    (logs / "cut.jsonl.gz").write_bytes(whole)
    (logs / "cut.parquet").write_text(CHAT)
    (logs / "empty.jsonl").write_text(CHAT)
    read(workspace, logs)
    assert set(reasons(workspace)) == {"cut.zip", "cut.eval", "notes.txt"}


def test_a_file_that_was_read_and_is_cut_now(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole := gzip.compress(CHAT.encode() * 50))
    stat = path.stat()
    assert read(workspace, path) == [(50, False)]
    path.write_bytes(whole[: len(whole) // 2])
    assert read(workspace, path) == [(0, True)]
    assert "does not unpack" in reasons(workspace)["a.jsonl.gz"]
    path.write_bytes(whole)
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert read(workspace, path) == [(0, False)]
    assert reasons(workspace) == {}


def test_a_way_of_reading_that_fails_says_nothing_of_a_file_that_was_read(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(CHAT)
    assert read(workspace, path) == [(1, False)]
    options = Options("mapped", None, (("text", "response"),))
    with open_writer(workspace) as writer:
        (report,) = ingest(writer, walk([path]), options=options)
    assert "has no column response" in str(report.error)
    assert reasons(workspace) == {}
