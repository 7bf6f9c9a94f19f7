"""``investigate forget``: files, folders, archives and episodes by name."""

import json
import zipfile
from pathlib import Path

import pytest
import typer
from investigate.cli import forget
from investigate.ingest.files import walk
from investigate.ingest.run import ingest
from investigate.store.compute import Engine
from investigate.store.errors import NotFoundError, UsageError
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer
from typer.testing import CliRunner

app = typer.Typer()
app.command()(forget.command)


def chat(text: str) -> str:
    return json.dumps({"messages": [{"role": "assistant", "content": text}]}) + "\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """logs/{a,b}.jsonl, logs/12/c.jsonl, logs/z.zip with two members, logs-too/d.jsonl, and a file that is no log."""
    (tmp_path / "logs" / "12").mkdir(parents=True)
    (tmp_path / "logs-too").mkdir()
    for name in ("logs/a", "logs/b", "logs/12/c", "logs-too/d"):
        (tmp_path / f"{name}.jsonl").write_text(chat(name))
    (tmp_path / "logs" / "12" / "notes.txt").write_text("nothing of ours\n")
    with zipfile.ZipFile(tmp_path / "logs" / "z.zip", "w") as archive:
        archive.writestr("e.jsonl", chat("e"))
        archive.writestr("f.jsonl", chat("f"))
    made = create_workspace(tmp_path / "w")
    with open_writer(made) as writer:
        list(ingest(writer, walk([tmp_path / "logs", tmp_path / "logs-too"]), engine=Engine(1)))
    monkeypatch.chdir(tmp_path)
    return made


def run(workspace: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["-w", str(workspace.root), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stderr


def left(workspace: Workspace) -> list[str]:
    """The sources that still have an episode, or stand on the list."""
    with open_reader(workspace) as reader:
        rows = reader.rows(
            "SELECT source FROM sources UNION SELECT source FROM episodes UNION SELECT source FROM unread ORDER BY 1"
        )
    return [row["source"].rpartition("/")[2] for row in rows]


ALL = ["d.jsonl", "c.jsonl", "notes.txt", "a.jsonl", "b.jsonl", "z.zip", "z.zip!e.jsonl", "z.zip!f.jsonl"]


def test_a_folder_is_all_that_is_below_it(workspace: Workspace) -> None:
    assert left(workspace) == ALL
    # The zip itself and the file that is no log are on the list too.
    assert run(workspace, "logs") == "This would forget 5 episodes of 7 sources; add --yes to do it.\n"
    assert left(workspace) == ALL
    run(workspace, "logs/12/", "--yes")
    assert left(workspace) == [name for name in ALL if name not in ("c.jsonl", "notes.txt")]
    run(workspace, "logs", "--yes")
    assert left(workspace) == ["d.jsonl"]


def test_an_archive_is_all_its_members(workspace: Workspace) -> None:
    run(workspace, "logs/z.zip", "--yes")
    assert left(workspace) == [name for name in ALL if not name.startswith("z.zip")]


def test_digits_are_an_episode_also_beside_a_folder_of_that_name(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("logs")
    with pytest.raises(NotFoundError, match="There is no episode 12"):
        run(workspace, "12")
    assert run(workspace, "./12").startswith("This would forget 1 episode of ")


def test_a_file_that_is_misspelt_leads_to_the_list(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="name it as `investigate sources` does"):
        run(workspace, "lgos/a.jsonl")
    assert run(workspace, "a.jsonl").startswith("This would forget 1 episode of ")
