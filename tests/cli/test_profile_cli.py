"""``investigate profile``: on the terminal, as JSON Lines, and as a page in a real browser."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from investigate.cli import profile, search
from investigate.store.errors import InputError, UsageError
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import create_workspace
from investigate.store.writer import Commit, open_writer
from typer.testing import CliRunner, Result

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\x1b[31m\u202e & [bold]"
_LOGS = ("log", "log, copied")

app = typer.Typer()
app.command()(profile.command)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rollouts of ten steps in two environments with hostile names everywhere, one of them twice."""
    workspace, rows = create_workspace(tmp_path_factory.mktemp("profile") / "w"), ShardRows()
    for number in range(1, 62):
        messages = (
            Message("user", (Part("text", "Do it."),)),
            Message("assistant", (Part("reasoning", "hm", reasoning_kind="raw"), Part("tool_call", "{}", HOSTILE))),
            Message("tool", (Part("tool_result", HOSTILE, HOSTILE, is_error=number % 3 == 0),)),
            Message("assistant", (Part("text", "Done" * number),)),
        )
        episode = Episode(
            _LOGS[number == 61], str(number), str(min(number, 60)), "chat", messages,
            environment=HOSTILE if number % 2 else "plain",
            group_id=str(number // 4), training_step=number % 10, reward=number / 60 - 0.4, success=number % 4 == 0,
            scores={HOSTILE: number}, stop_reason=HOSTILE, error=HOSTILE if number % 7 == 0 else None, model=HOSTILE,
        )  # fmt: skip
        rows.add_episode(
            replace(
                episode,
                episode_id=number,
                uid=episode.digest,
                training_step=min(number, 60) % 10,
                n_messages=4,
                n_parts=5,
                n_chars=99 * min(number, 60),
            )
        )
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=62))
        writer.settle()
    return workspace.root


def run(workspace: Path, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["-w", str(workspace), *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_json_is_one_row_a_line_with_its_table(workspace: Path) -> None:
    first, *rows = (json.loads(line) for line in run(workspace, "--json").stdout.splitlines())
    assert first == {"table": "profile", "episodes": 60, "folded": 1}
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault(row.pop("table"), []).append(row)
    assert len(tables["steps"]) == 10
    assert sum(row["episodes"] for row in tables["steps"]) == 60
    assert {frozenset(row) for row in tables["tools"]} == {frozenset(tables["tools"][0])}
    (failed,) = (row for row in tables["faults"] if row["fault"] == "a tool failed")
    assert (failed["k"], failed["n"]) == (20, 60)


def test_piped_text_says_that_duplicates_are_folded(workspace: Path) -> None:
    done = run(workspace)
    assert done.stdout.startswith("60 distinct episodes; 1 duplicate folded.")
    for title in ("Duplicates", "What is missing", "Over training", "Tools by environment", "Reasoning"):
        assert f"\n{title}\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_the_notes_belong_to_the_report(workspace: Path) -> None:
    done = run(workspace, "--limit", "3")
    assert done.stderr == ""
    assert "`e.g.` has most copies" in done.stdout
    assert "3 of 10 rows; --limit N shows more." in done.stdout


PROGRAM = "import typer; from investigate.cli import profile; typer.run(profile.command)"


def test_a_terminal_of_80_columns_is_enough(workspace: Path, on_a_terminal: Callable[..., str]) -> None:
    """No line is longer, and no column but the least is left out."""
    lines = on_a_terminal(PROGRAM, 80, "-w", str(workspace)).splitlines()
    assert max(map(len, lines)) <= 80
    left_out = {line.split(":")[1].split(".")[0].strip() for line in lines if line.startswith("No room for")}
    assert left_out <= {"groups", "unparsable"}


def test_notes_are_wrapped_to_a_narrow_terminal(workspace: Path, on_a_terminal: Callable[..., str]) -> None:
    lines = on_a_terminal(PROGRAM, 60, "-w", str(workspace)).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("Folded: "))
    assert 40 < len(lines[first]) <= 60
    assert 40 < len(lines[first + 1]) <= 60


def test_where_and_nothing_found(workspace: Path) -> None:
    first = json.loads(run(workspace, "--json", "--where", "environment = 'plain'").stdout.splitlines()[0])
    assert first["episodes"] == 30
    nothing = run(workspace, "--where", "training_step > 99")
    assert (nothing.stdout, nothing.exit_code) == ("", 0)
    assert nothing.stderr == "No episode passes --where; see `investigate episodes`.\n"
    alone = run(workspace, "--where", "duplicate_of IS NOT NULL")
    assert alone.stdout.startswith("1 distinct episode; no duplicates.")
    with pytest.raises(UsageError):
        run(workspace, "--where", "nonsense(")


def test_a_page_that_cannot_be_written_is_said_first(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        run(workspace, "--html", tmp_path / "no" / "page.html")
    with pytest.raises(InputError, match="is a folder; give a file"):
        run(workspace, "--html", tmp_path, "--where", "nonsense(")


def test_an_empty_workspace_names_the_next_step(tmp_path: Path) -> None:
    empty = create_workspace(tmp_path / "empty").root
    for command, arguments in ((profile.command, []), (search.command, ["anything", "--mode", "keyword"])):
        single = typer.Typer()
        single.command()(command)
        done = CliRunner().invoke(single, [*arguments, "-w", str(empty)])
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr == "There is no episode yet: `investigate ingest PATH…` adds some.\n"


def test_the_page_is_whole_and_alone(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(workspace, "--html", page, "--where", "n_chars < 99999")
    assert (done.stdout, done.stderr) == ("", f"Page written to {page}.\n")
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 8
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!#)|https?:|url\(|<script|<img|@import", text)
    assert "n_chars &lt; 99999" in text
    assert not {"\x1b", "\u202e"} & {*text}
    for anchor in re.findall(r'href="#(\w+)"', text):
        assert f'id="{anchor}"' in text


def test_long_tables_are_open_but_below_a_plot() -> None:
    from investigate.analysis.text.profile import Profile
    from investigate.cli.profile_page import render_profile

    known = {"provenance": None, "n": 9, "known": 9, "numbers": 9, "mean": 0.5, "least": 0, "most": 1}
    names = [{"kind": "scores", "name": f"s{i}", "distinct_values": 2, "commonest": [], **known} for i in range(20)]
    names[0] |= {"numbers": 0, "commonest": [{"value": "NO" * 50, "n": 6}, {"value": "<b>", "n": 3}]}
    tool = {"environment": "e", "calls": 1, "unparsable": 0, "results": 1, "k": 1, "n": 1, "unknown": 0, "share": 1.0}
    tools = [{**tool, "tool": f"t{i}", "low": 0.2, "high": 1.0, "example": 1} for i in range(20)]
    left_out = ("composition duplicates lengths length_histogram rewards reward_histogram groups steps reasoning stops "
                "errors faults faults_by_environment repeated")  # fmt: skip
    nothing: dict[str, list[dict[str, Any]]] = {name: [] for name in left_out.split()}
    missing = [
        {"column": "reward", "format": name, "missing": k, "n": 1000, "share": k / 1000}
        for name, k in ((None, 541), ("a", 1), ("b", 999), ("c", 0), ("d", 1000))
    ]
    text = render_profile(Profile(9, 0, nothing | {"names": names, "tools": tools, "missing": missing}), None)
    shown = {part.split('"', 1)[0]: part for part in text.split('<h2 id="')[1:]}
    assert "<details open><summary>20 rows" in shown["names"]
    assert "NONONONONONONONONONONON… 66.7 %, &lt;b&gt; 33.3 %" in shown["names"]
    assert "<details><summary>20 rows" in shown["tools_by_environment"]
    assert re.findall(r">([^<]+)</td>", shown["missing"]) == [
        "all", "54", "a", "&lt;1", "b", "&gt;99", "c", "0", "d", "100",
    ]  # fmt: skip


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_log_as_text(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run(workspace, "--html", page)
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-quic"]
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--disable-component-update",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>Profile</title>" in done.stdout
    assert "<script" not in done.stdout
    assert "<img" not in done.stdout
    assert "&lt;script" in done.stdout
    assert done.stdout.count("</svg>") >= 8
