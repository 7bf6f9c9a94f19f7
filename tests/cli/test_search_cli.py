"""``search`` as a person or a program meets it: what is asked, what is told, and how it looks."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from investigate.analysis.text.find import Hit
from investigate.cli.hits import as_lines, as_row
from investigate.store.types import Span

PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
THOUGHT = "Let me think about the task at hand, which is number {} of many, and find out whether it is a test of me. "
PLAN = "The grader compares my answer with a file, and so I would rather write the answer into that file than solve it."


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT | environment, check=False
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"Task {i}: please sort the list."},
                {"role": "assistant", "reasoning_content": THOUGHT.format(i) + PLAN, "content": "Done."},
            ],
            "step": 90 - i,
        }
        for i in range(8)
    ]
    lines.append({"messages": [{"role": "assistant", "content": "那个文件里有答案，模型在评估中作弊了。"}]})
    lines.append({"messages": [{"role": "assistant", "content": "I write the answer into the file of the grader."}]})
    (folder / "chat.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("ingest", folder / "chat.jsonl", "-w", folder / "workspace").returncode == 0
    return folder / "workspace"


def test_near_duplicates_and_the_first_step(workspace: Path) -> None:
    words = ("search", "grader answer file", "-w", workspace, "--json", "--mode", "keyword")
    done = run(*words, "--first-seen")
    got = rows(done)
    assert [(row["near_duplicates"], row["first_seen_step"], row["random"]) for row in got] == [
        (7, 83, False),
        (0, None, False),
    ]
    assert "1 of 2 hits have no training step" in done.stderr
    (shown,) = rows(run("show", str(got[0]["first_seen_episode_id"]), "-w", workspace, "--json"))
    assert shown["episode"]["training_step"] == 83
    assert len(rows(run(*words, "--no-fold"))) == 9


def test_first_seen_is_the_first_of_all_that_match(workspace: Path) -> None:
    """Of eight tasks at steps 90 to 83 the last is the first, whatever ranks best and however few are shown."""
    words = ("search", "Task", "-w", workspace, "--json", "--role", "user", "--first-seen", "--limit", "2")
    for mode in ("keyword", "regex"):
        done = run(*words, "--mode", mode, "--no-fold")
        assert [(row["rank"], row["first_seen_step"]) for row in rows(done)] == [(1, 83), (2, 84)]
        assert "8 parts in 8 episodes match; 2 shown." in done.stderr
        assert "may be earlier" not in done.stderr
    done = run(*words, "--no-fold")
    assert len(rows(done)) == 2
    assert "Only the 2 best are put in the order of steps" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("grader", "-m", "keyword", "--limit", "1"), "9 parts in 9 episodes match; 1 shown."),
        (("zqxjkvwwq", "-m", "keyword"), "Nothing matches."),
        (
            ("Task \\d", "-m", "regex", "--limit", "1"),
            "8 parts in 8 episodes match; the first 1 in the order of episodes",
        ),
        (("zqxjkvwwq",), "No part has the word zqxjkvwwq: ranked by meaning alone."),
        (("zqxjkvwwq wvutsq",), "No part has the words zqxjkvwwq, wvutsq: ranked by meaning alone."),
        (("zqxjkvwwq grader",), "No part has the word zqxjkvwwq. 9 parts in 9 episodes have words of it;"),
        (("Done", "--in", "reasoning"), "No part that is searched has these words: ranked by meaning alone."),
        (("x" * 60 + " grader",), "A word is too long for the index: ranked by meaning alone."),
        (("grader", "-m", "semantic", "--limit", "1"), "no part is said to match; 1 shown, the closest."),
        (("--like", "1@1.0", "--limit", "1"), "no part is said to match; 1 shown, the closest."),
    ],
)
def test_what_matched_is_told(workspace: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("search", *arguments, "-w", workspace)
    assert done.returncode == 0
    assert told in done.stderr
    assert bool(done.stdout) is (told != "Nothing matches.")


def test_a_pattern_is_shown_with_what_stands_around_it(workspace: Path) -> None:
    (row, *_) = rows(run("search", "ra.her", "-w", workspace, "--mode", "regex", "--json"))
    assert (row["snippet"], row["end"] - row["start"]) == ("rather", 6)
    assert row["before"].endswith("and so I would ")
    assert row["after"].startswith(" write the answer")
    done = run("search", "ra.her", "-w", workspace, "--mode", "regex")
    assert "so I would rather write the answer" in done.stdout
    assert "1.000" not in done.stdout
    (bare, *_) = rows(run("search", "ra.her", "-w", workspace, "--mode", "regex", "--json", "--context", "0"))
    assert (bare["before"], bare["after"]) == ("", "")


def test_a_full_disk_is_one_sentence(workspace: Path) -> None:
    for more in ((), ("--json",)):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*PROGRAM, "search", "grader", "-w", str(workspace), "--mode", "keyword", *more],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=ENVIRONMENT,
                check=False,
            )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr.splitlines()[-1]


def test_a_concept_says_what_it_is_worth(workspace: Path) -> None:
    """Labels that mean nothing are said to; the parts of its examples are no hits; its scores are explained."""
    words = [("--positive", f"{n}@0.0") for n in (1, 3, 5)] + [("--negative", f"{n}@0.0") for n in (2, 4, 6)]
    done = run("concept", "train", "noise", *(word for pair in words for word in pair), "-w", workspace, "--json")
    (row,) = rows(done)
    assert row["tells"] is False
    assert "noise is no better than permuted labels" in done.stderr
    found = run("search", "--concept", "noise", "-w", workspace, "--json", "--limit", "50", "--no-fold")
    assert "log-odds of noise" in found.stderr
    assert "no better than permuted labels" in found.stderr
    places = {(row["episode_id"], row["message_index"]) for row in rows(found)}
    assert places
    assert not places & {(n, 0) for n in range(1, 7)}
    assert "No better than permuted labels: noise." in run("concept", "list", "-w", workspace).stderr
    nothing = run("concept", "train", "x", "--positive", "1@0", "--negative", "text", "-w", workspace)
    assert (nothing.returncode, "EPISODE@message.part" in nothing.stderr) == (2, True)


def test_random_parts_stand_beside_the_hits(workspace: Path) -> None:
    args = (
        "search",
        "grader",
        "-w",
        workspace,
        "--in",
        "reasoning",
        "--mode",
        "keyword",
        "--random",
        "3",
        "--seed",
        "7",
    )
    done = run(*args, "--json")
    hits, drawn = ([row for row in rows(done) if row["random"] is random] for random in (False, True))
    assert [row["rank"] for row in hits] == [1]
    assert [(row["rank"], row["score"], row["kind"], row["selection_parts"]) for row in drawn] == [
        (None, None, "reasoning", 8)
    ] * 3
    assert "3 of the 8 parts" in done.stderr
    assert "seed 7" in done.stderr
    assert run(*args, "--json").stdout == done.stdout
    text = run(*args).stdout
    assert len(re.findall(r"^\d+@1\.0 .*  random$", text, re.M)) == 3


def test_what_is_like_a_place_and_what_another_encoder_says(workspace: Path) -> None:
    args = ("search", "--like", "1@1.0", "-w", workspace, "--json", "--limit", "50")
    got = rows(run(*args, "--rerank", "minilm", "--context", "20"))
    assert {row["episode_id"] for row in got if row["kind"] == "reasoning"} == set()
    assert got[0]["episode_id"] == 10
    assert [row["rank"] for row in got] == list(range(1, len(got) + 1))
    assert sorted(row["rerank"]["rank_before"] for row in got) == [row["rank"] for row in got]
    assert {"keyword_rank", "keyword_score", "semantic_rank", "similarity", "before", "after"} <= set(got[0])


def test_text_that_no_spaces_part(workspace: Path) -> None:
    for query in ("评估", '"在评估中作弊"'):
        (hit,) = rows(run("search", query, "-w", workspace, "--mode", "keyword", "--json"))
        assert "评估中作弊" in hit["snippet"]
    assert rows(run("search", '"评估作弊"', "-w", workspace, "--mode", "keyword", "--json")) == []


FAILURES = [
    ((), 2, "--like"),
    (("x", "--like", "1"), 2, "--like"),
    (("--like", "1", "--mode", "regex"), 2, "--mode"),
    (("x", "--rerank", "minilm", "--mode", "regex"), 2, "--rerank"),
    (("x", "--rerank", "no/such/encoder"), 1, "no encoder"),
    (("--like", "99@0.0"), 1, "no episode 99"),
    (("--like", "1@7.0"), 1, "investigate show 1"),
    (("--like", "9", "--in", "reasoning"), 2, "no text"),
    (('"open', "--encoder", "no/such/encoder"), 2, "quot"),
    (("x", "--mode", "semantic", "--encoder", "none"), 2, "needs an encoder"),
    (("  ", "--mode", "semantic"), 2, "nothing to search for"),
    (("--concept", "x", "--mode", "regex"), 2, "--concept"),
    (("--concept", "x"), 1, "no concept 'x'"),
    (("x", "--where", ""), 2, "empty"),
    (("--like", "1@2"), 2, "EPISODE@message.part"),
    (("--like", "1@1.0 [9000, 9010)"), 1, "characters"),
]


@pytest.mark.parametrize(("arguments", "status", "word"), FAILURES)
def test_failures_are_one_sentence(workspace: Path, arguments: tuple[str, ...], status: int, word: str) -> None:
    done = run("search", *arguments, "-w", workspace)
    assert (done.returncode, done.stdout) == (status, "")
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_empty_workspace_names_the_next_step(tmp_path: Path, workspace: Path) -> None:
    assert run("search", "x", "-w", workspace, "--where", "false").stderr.startswith("No episode passes --where.")
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    assert run("ingest", tmp_path / "a.jsonl", "-w", tmp_path / "w").returncode == 0
    assert run("forget", "1", "-w", tmp_path / "w", "--yes").returncode == 0
    done = run("search", "x", "-w", tmp_path / "w")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "There is no episode yet: `investigate ingest PATH…` adds some.\n"


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "semantic", "regex"])
def test_bytes_that_are_no_text_are_only_not_found(workspace: Path, mode: str) -> None:
    query = "grader|\udcff" if mode == "regex" else "grader \udcff"
    done = run("search", query, "-w", workspace, "--mode", mode, "--json")
    assert any("grader" in row["snippet"] for row in rows(done))


def test_concepts_fail_before_anything_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    assert run("ingest", tmp_path / "a.jsonl", "-w", tmp_path / "w").returncode == 0
    done = run("concept", "train", "x", "--positive", "1@9.0", "--negative", "text", "-w", tmp_path / "w")
    assert (done.returncode, "no part 1@9.0" in done.stderr) == (1, True)
    assert not (tmp_path / "w" / "index" / "vectors").exists()


def test_index_does_not_say_that_it_is_done_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    assert run("ingest", tmp_path / "a.jsonl", "-w", tmp_path / "w").returncode == 0
    done = run("index", "-w", tmp_path / "w", XDG_CACHE_HOME=str(tmp_path / "a.jsonl"))
    assert done.returncode == 1
    assert "XDG_CACHE_HOME" in done.stderr
    assert "up to date" not in done.stderr


def test_a_query_may_begin_with_a_hyphen(workspace: Path) -> None:
    assert rows(run("search", "-w", workspace, "--mode", "keyword", "--json", "--", "-grader done"))
    done = run("search", "-xgrader", "-w", workspace)
    assert done.returncode == 2
    assert "comes after --" in done.stderr
    assert 'search -- "-foo bar"' in run("search", "--help").stdout


def test_narrow_terminals(workspace: Path) -> None:
    """On a terminal of 60 columns nothing is wider, and no word is cut."""
    controller, terminal = pty.openpty()
    command = [*PROGRAM, "search", "grader file", "-w", str(workspace), "--mode", "keyword"]
    command += ["--first-seen", "--random", "1", "--context", "50"]
    size = {"COLUMNS": "60", "LINES": "50", "TERM": "dumb"}
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL, env=ENVIRONMENT | size) as process:
        os.close(terminal)
        seen = b""
        while select.select([controller], [], [], 60)[0]:
            try:
                seen += os.read(controller, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0
    os.close(controller)
    lines = seen.decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 60
    words = set(re.findall(r"\w+", THOUGHT + PLAN))
    shown = {word for line in lines if line.startswith("  ") for word in re.findall(r"[a-zA-Z]{4,}", line)}
    assert len(shown & words) > 10


def hit(snippet: str, before: str = "", after: str = "", **more: Any) -> Hit:
    text = before + snippet + after
    span = Span(1234567, 12, 3, len(before), len(before) + len(snippet))
    return Hit(1, span, "assistant", "tool_result", 0.5, snippet, [text], 3, 2, dict(more))


def shown(of: Hit, context: int | None, width: int | None) -> list[str]:
    return "".join(text for text, _ in as_lines(of, context, width)).split("\n")


def test_wide_letters_take_two_cells() -> None:
    lines = shown(hit("模型在评估中作弊了" * 10), None, 30)
    assert [len(line.strip()) for line in lines[-8:]] == [14] * 6 + [6, 0]
    assert "".join(line.strip() for line in lines[-8:]) == "模型在评估中作弊了" * 10


def test_lines_hold_all_words_and_mark_the_span() -> None:
    of = hit("the   very\nanswer", "words that come before it, ", " and words after")
    for width in (24, 40, None):
        lines = shown(of, 100, width)
        assert " ".join(" ".join(lines).split()).endswith("words that come before it, the very answer and words after")
        assert width is None or max(map(len, lines)) <= width
    styles = [(text, style) for text, style in as_lines(of, 100, None) if "answer" in text or "before" in text]
    assert styles == [("words that come before it, ", "dim"), ("the very answer", "")] or styles[-1][1] == ""


def test_rows_say_what_is_random() -> None:
    row = as_row(hit("x", random=True, selection_parts=9, seed=1))
    assert (row["rank"], row["score"], row["random"], row["selection_parts"]) == (None, None, True, 9)
    plain = as_row(hit("word", "left ", " right"), 10)
    assert (plain["random"], plain["before"], plain["after"]) == (False, "left ", " right")
    assert (plain["duplicates"], plain["near_duplicates"]) == (3, 2)
