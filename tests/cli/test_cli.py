"""The command line as a person or a program meets it: exit codes, stdout for data, stderr for talk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]


def run(*arguments: str | Path, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin, capture_output=True, text=True, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


HOSTILE = "[bold]not markup[/bold] [/INST] \x1b[31mred\x1b]0;title\x07 \u202eevil eval awareness"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    lines = [
        {
            "messages": [
                {"role": "user", "content": "Please run the unit tests."},
                {"role": "assistant", "reasoning_content": f"Thought {i}: is this eval awareness?", "content": "Done."},
            ],
            "model": "m",
            "step": i,
            "reward": i / 10,
        }
        for i in range(10)
    ]
    lines.append({"messages": [{"role": "assistant", "content": HOSTILE}], "model": "other"})
    (folder / "chat.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("ingest", folder / "chat.jsonl", "-w", folder / "workspace", "--json")
    first, total = rows(done)
    assert (first["episodes"], first["format"], total["total"], total["episodes"]) == (11, "openai_chat", True, 11)
    return folder / "workspace"


def test_ingest_again_adds_nothing(workspace: Path) -> None:
    *_, total = rows(run("ingest", workspace.parent / "chat.jsonl", "-w", workspace, "--json"))
    assert (total["episodes"], total["unchanged"]) == (0, 11)


def test_episodes_have_the_columns_of_the_contract(workspace: Path) -> None:
    got = rows(run("episodes", "-w", workspace, "--where", "training_step >= 8", "--json"))
    assert [row["training_step"] for row in got] == [8, 9]
    contract = """episode_id uid source record format experiment checkpoint model environment split task_id group_id
        training_step reward success scores stop_reason error started_at n_messages n_parts n_chars duplicate_of
        metadata"""
    assert set(contract.split()) <= set(got[0])
    assert isinstance(got[0]["scores"], dict)


@pytest.mark.parametrize("spelling", ["number", "uid", "record"])
def test_show_takes_every_spelling_of_an_id(workspace: Path, spelling: str) -> None:
    (row, *_) = rows(run("episodes", "-w", workspace, "--json", "--limit", "1"))
    name = {"number": str(row["episode_id"]), "uid": "uid:" + row["uid"][:10], "record": "chat.jsonl#0"}[spelling]
    (shown,) = rows(run("show", name, "-w", workspace, "--json"))
    assert shown["episode"]["uid"] == row["uid"]
    parts = shown["messages"][1]["parts"]
    assert [(part["part_index"], part["kind"]) for part in parts] == [(0, "reasoning"), (1, "text")]


@pytest.mark.parametrize("mode", ["keyword", "regex", "semantic", "hybrid"])
def test_every_hit_is_the_text_at_its_offsets(workspace: Path, mode: str) -> None:
    hits = rows(run("search", "eval awareness", "-w", workspace, "--mode", mode, "--json", "--limit", "20"))
    assert hits
    for hit in hits:
        (shown,) = rows(run("show", str(hit["episode_id"]), "-w", workspace, "--json"))
        text = shown["messages"][hit["message_index"]]["parts"][hit["part_index"]]["text"]
        assert text[hit["start"] : hit["end"]] == hit["snippet"]
        if mode in ("keyword", "regex"):
            assert "eval awareness" in hit["snippet"]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


def test_equal_texts_are_folded_and_counted(workspace: Path) -> None:
    (hit,) = rows(run("search", '"run the unit tests"', "-w", workspace, "--mode", "keyword", "--json"))
    assert hit["duplicates"] == 9


def test_filters(workspace: Path) -> None:
    args = ("search", "awareness", "-w", workspace, "--mode", "keyword", "--json", "--limit", "50")
    assert {row["kind"] for row in rows(run(*args, "--in", "reasoning"))} == {"reasoning"}
    assert len(rows(run(*args, "--where", "training_step = 3"))) == 1
    assert rows(run(*args, "--role", "user")) == []
    assert run(*args, "--in", "thoughts").returncode == 2


def test_nothing_found_is_no_failure(workspace: Path) -> None:
    done = run("search", "zebra", "-w", workspace, "--mode", "keyword")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing matches" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("show", "11"), ("search", '"evil eval"', "--mode", "keyword"), ("sql", "FROM parts SELECT text")]
)
def test_log_text_cannot_drive_the_terminal(workspace: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "-w", workspace)
    assert done.returncode == 0, done.stderr
    assert "[bold]not markup[/bold] [/INST]" in done.stdout
    assert not set(done.stdout) & set("\x1b\x07\u202e")


FAILURES = [
    (("show", "999"), 1, "no episode 999"),
    (("show", "nonsense!"), 2, "no episode id"),
    (("show", "uid:ffffffff"), 1, "no episode"),
    (("sql", "DROP VIEW episodes"), 2, "exactly one SELECT"),
    (("sql", "SELECT nothing FROM episodes"), 2, "nothing"),
    (("episodes", "--where", "1=1; DROP"), 2, "DuckDB"),
    (("episodes", "--where", "true) UNION ALL SELECT 424242 WHERE (true"), 2, "predicate"),
    (("search", '"open'), 2, "quot"),
    (("search", "x", "--mode", "psychic"), 2, "keyword"),
    (("search", "(", "--mode", "regex"), 2, "regular expression"),
    (("ingest", "no/such/path"), 1, "check the path"),
    (("replay", "--probe", "deception"), 2, "--episode"),
    (("replay", "--probe", "deception", "--episode", "1"), 1, "investigate model set"),
    (("replay", "--probe", "deception", "--episode", "1", "--model", "no/such/model"), 1, "investigate model set"),
    (("steer", "--probe", "x", "--outcome", "(", "--episode", "1"), 2, "regular expression"),
    (("probe", "show", "nothing"), 1, "no probe"),
]


@pytest.mark.parametrize(("arguments", "status", "word"), FAILURES)
def test_failures_are_one_clear_sentence(workspace: Path, arguments: tuple[str, ...], status: int, word: str) -> None:
    done = run(*arguments, "-w", workspace)
    assert done.returncode == status, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_workspace(tmp_path: Path) -> None:
    done = run("episodes", "-w", tmp_path / "nothing")
    assert done.returncode == 1
    assert "investigate ingest" in done.stderr


def test_a_file_named_that_cannot_be_read_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no log at all")
    done = run("ingest", tmp_path / "notes.txt", "-w", tmp_path / "w")
    assert done.returncode == 1
    assert "no known format" in done.stderr


def test_a_folder_with_unreadable_files_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "notes.txt").write_text("no log at all")
    (tmp_path / "logs" / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    done = run("ingest", tmp_path / "logs", "-w", tmp_path / "w")
    assert done.returncode == 0
    assert "notes.txt" in done.stderr


def test_many_files_of_one_kind_get_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in range(9):
        (tmp_path / "logs" / f"{name}.txt").write_text("no log at all")
    done = run("ingest", tmp_path / "logs", "-w", tmp_path / "w")
    assert done.returncode == 1
    line, further = done.stderr.strip().splitlines()
    assert line.startswith("Each of 9 files is in no known format")
    assert "sources --unread" in further


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run("ingest", ROOT / "examples", "-w", tmp_path / "w")
    assert done.returncode == 1
    assert "-w DIR" in done.stderr


def test_a_closed_pipe_is_no_failure(workspace: Path) -> None:
    command = " ".join(["|".join([f"{sys.executable} -c '{PROGRAM[2]}' show 11 -w {workspace}", "head -1"])])
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_json_is_json_and_drives_no_terminal(workspace: Path) -> None:
    query = "SELECT sum(n_chars) AS n, 'nan'::DOUBLE AS x, chr(155) || chr(8238) || chr(8232) AS t FROM episodes"
    done = run("sql", query, "-w", workspace, "--json")
    (row,) = rows(done)
    assert isinstance(row["n"], int)
    assert (row["x"], row["t"]) == (None, "\x9b\u202e\u2028")
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.isascii()


def test_piped_tables_hold_whole_cells(workspace: Path) -> None:
    done = run("sql", "SELECT repeat('x', 999) || 'needle' AS text, 1 AS n", "-w", workspace)
    assert done.stdout == "text\tn\n" + "x" * 999 + "needle\t1\n"


def test_ids_that_do_not_exist_are_named_also_from_a_pipe(workspace: Path) -> None:
    done = run("replay", "--from", "-", "--probe", "deception", "-w", workspace, stdin='{"episode_id": 9999}\n')
    assert done.returncode == 1
    assert "no episode 9999" in done.stderr
    assert run("show", "9" * 47, "-w", workspace).returncode == 1


def test_the_workspace_is_found_upwards_and_by_name(workspace: Path, tmp_path: Path) -> None:
    assert len(rows(run("episodes", "--json", INVESTIGATE_WORKSPACE=str(workspace)))) == 11


def test_doctor_reports_without_a_workspace(tmp_path: Path) -> None:
    checks = {row["check"]: row["state"] for row in rows(run("doctor", "-w", tmp_path / "none", "--json"))}
    assert checks["torch"] == "ok"
    assert checks["workspace"] == "none"
