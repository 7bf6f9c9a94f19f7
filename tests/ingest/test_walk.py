"""Which files there are: what may not be looked into is told, what is a workspace is refused."""

import os
from pathlib import Path

import pytest
from investigate.ingest.files import walk
from investigate.ingest.run import ingest
from investigate.store.errors import InputError
from investigate.store.workspace import create_workspace, is_workspace
from investigate.store.writer import open_writer

CHAT = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


def test_what_cannot_be_looked_at_is_no_workspace() -> None:
    assert not is_workspace(Path("x" * 300))  # no file has so long a name: the system answers with an error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path, mode: int) -> None:
    """With 444 the names in it can be read, and nothing else."""
    closed = tmp_path / "logs" / "closed"
    (closed / "below").mkdir(parents=True)
    (closed / "a.jsonl").write_text(CHAT)
    (tmp_path / "logs" / "b.jsonl").write_text(CHAT)
    closed.chmod(mode)
    try:
        with open_writer(create_workspace(tmp_path / "w")) as writer:
            reports = {Path(report.source).name: report for report in ingest(writer, walk([tmp_path / "logs"]))}
    finally:
        closed.chmod(0o755)
    assert set(reports) == {"closed", "b.jsonl"}
    assert reports["b.jsonl"].episodes == 1
    assert reports["closed"].error == f"Cannot look into {closed}; check the folder's permissions."


def test_a_workspace_is_passed_by_below_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    root = create_workspace(tmp_path / "w").root
    (tmp_path / "a.jsonl").write_text(CHAT)
    assert [file.path.name for file in walk([tmp_path])] == ["a.jsonl"]
    with pytest.raises(InputError, match="is a workspace, which holds what was ingested; name the logs"):
        list(walk([root]))
