"""Files that no format knows are told every time and looked at once."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from investigate.ingest.files import walk
from investigate.ingest.plan import Options
from investigate.ingest.run import ingest
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
        writer.remember_unread(replace(known, edition="of last year") for known in writer.unread().values())
    write(file, CHAT)
    assert read(workspace, file) == [(1, False)]


def test_what_cannot_be_opened_is_tried_again(workspace: Workspace, file: Path) -> None:
    write(file, "version https://git-lfs.github.com/spec/v1\n".ljust(len(CHAT)))
    assert read(workspace, file) == [(0, True)]
    write(file, CHAT)
    assert read(workspace, file) == [(1, False)]


def test_members_of_an_archive_that_is_no_log_are_read(workspace: Workspace, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", CHAT)
        archive.writestr("b.txt", "nothing of ours\n")
    assert sorted(read(workspace, path)) == [(0, True), (1, False)]
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk([path])))
    assert sorted((report.unchanged, report.error is not None) for report in reports) == [(0, True), (1, False)]
