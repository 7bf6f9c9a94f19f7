"""Reading again what is stored: after an importer was mended, with other options, and after it was forgotten."""

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from investigate.analysis.text.index import Filters, search_text, update_text_index
from investigate.analysis.text.tokens import parse_query
from investigate.ingest.files import walk
from investigate.ingest.mapping import parse_mapping
from investigate.ingest.options import Options
from investigate.ingest.plan import group, plan
from investigate.ingest.read import SourceTask, read_task
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.ingest.stored import StoredSources
from investigate.store.compute import Engine, LocalLease
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, Writer, open_writer

PROGRAM = [sys.executable, "-c", "from investigate.cli.main import main; main()"]


def chat(text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **more}) + "\n"


def run(workspace: Workspace, *paths: Path, **options: Any) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk(paths), options=Options(**options), engine=Engine(1)))
        list(update_text_index(writer))
    return reports


def counts(report: SourceReport) -> tuple[int, int, int]:
    assert report.error is None
    return report.episodes, report.unchanged, report.removed


def rows(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with open_reader(workspace) as reader:
        return reader.rows(sql)


def content(workspace: Workspace) -> list[dict[str, Any]]:
    """What an analysis sees, whatever its revision."""
    return rows(
        workspace,
        "SELECT e.* EXCLUDE (episode_id, duplicate_of, revision), p.* EXCLUDE (episode_id, revision) "
        "FROM episodes e JOIN parts p USING (episode_id) ORDER BY ALL",
    )


def found(workspace: Workspace, text: str) -> list[tuple[int, int, int]]:
    return sorted(tuple(key) for key, _ in search_text(workspace, parse_query(text), Filters(), 1000))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "workspace")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def test_a_mended_importer_revises_what_it_reads_differently(
    workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An importer that knows fewer reasoning tags, and the one there is."""
    said = {2: "<inner_thoughts>hidden</inner_thoughts>shown", 5: "<think>always known</think>shown"}
    logged = [chat(said.get(i % 10, f"plain {i}"), reward=i / 7, step=i) for i in range(1200)]
    (logs / "a.jsonl").write_text("".join(logged) + "{torn")
    (logs / "b.jsonl").write_text(chat("untouched"))
    asked = {"format_name": "openai_chat"}
    with monkeypatch.context() as before:
        before.setattr("investigate.ingest.reasoning._TAG", re.compile("<(/?)(think)>"))
        run(workspace, logs, **asked)
    ids = {row["record"]: row["episode_id"] for row in rows(workspace, "FROM episodes WHERE source LIKE '%a.jsonl'")}
    assert len(found(workspace, "hidden")) == 120
    assert [counts(report) for report in run(workspace, logs)] == [(0, 1200, 0), (0, 1, 0)]
    assert rows(workspace, "SELECT max(revision) AS r FROM episodes") == [{"r": 0}]

    assert [counts(report) for report in run(workspace, logs, again=True)] == [(120, 1080, 0), (0, 1, 0)]
    revised = rows(workspace, "SELECT record, episode_id, revision FROM episodes WHERE source LIKE '%a.jsonl'")
    assert {row["record"]: row["episode_id"] for row in revised} == ids
    assert {(row["revision"], int(row["record"]) % 10 == 2) for row in revised} == {(0, False), (1, True)}
    fresh = create_workspace(workspace.root.with_name("fresh"))
    run(fresh, logs)
    assert content(workspace) == content(fresh)
    assert len(rows(workspace, "FROM skipped")) == 1
    kinds = "SELECT kind, count(*) AS n FROM parts WHERE text = 'hidden' GROUP BY ALL"
    assert rows(workspace, kinds) == [{"kind": "reasoning", "n": 120}]
    # A search finds each once, where it is now.
    assert {key[2] for key in found(workspace, "hidden")} == {0}
    assert len(found(workspace, "hidden")) == len(found(workspace, "shown")) // 2 == 120

    assert [counts(report) for report in run(workspace, logs, again=True)] == [(0, 1200, 0), (0, 1, 0)]


def test_again_is_for_every_kind_of_file(workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array, a revised file, one that grew since."""
    lines = [chat(f"<thinking>{i}</thinking>said") for i in range(20)]
    (logs / "array.json").write_text(f"[{','.join(lines)}]")
    (logs / "grown.jsonl").write_text("".join(lines[:10]))
    (logs / "plain.jsonl").write_text(chat("nothing hidden"))
    with monkeypatch.context() as before:
        before.setattr("investigate.ingest.reasoning._TAG", re.compile("<(/?)(think)>"))
        run(workspace, logs)
        (logs / "grown.jsonl").write_text("".join(lines))
        run(workspace, logs)
    got = {Path(report.source).stem: counts(report) for report in run(workspace, logs, again=True)}
    assert got == {"array": (20, 0, 0), "grown": (20, 0, 0), "plain": (0, 1, 0)}
    fresh = create_workspace(workspace.root.with_name("fresh"))
    run(fresh, logs)
    assert content(workspace) == content(fresh)


def test_a_mapping_is_remembered_and_another_reads_anew(workspace: Workspace, logs: Path) -> None:
    path = logs / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"q": f"q{i}", "one": f"1-{i}", "two": f"2-{i}", "s": i}) + "\n" for i in range(3))
    )
    first = {"format_name": "mapped", "columns": parse_mapping("prompt=q,text=one")}
    assert counts(run(workspace, path, **first)[0]) == (3, 0, 0)
    with path.open("a") as file:
        file.write(json.dumps({"q": "q3", "one": "1-3", "two": "2-3", "s": 3}) + "\n")
    assert counts(run(workspace, path)[0]) == (1, 3, 0)
    said = "SELECT text FROM parts WHERE role = 'assistant' ORDER BY ALL"
    assert [row["text"] for row in rows(workspace, said)] == ["1-0", "1-1", "1-2", "1-3"]
    assert counts(run(workspace, path, **first)[0]) == (0, 4, 0)

    other = {"format_name": "mapped", "columns": parse_mapping("prompt=q,text=two,reward=s")}
    assert counts(run(workspace, path, **other)[0]) == (4, 0, 0)
    assert [row["text"] for row in rows(workspace, said)] == ["2-0", "2-1", "2-2", "2-3"]
    got = rows(workspace, "SELECT reward, revision FROM episodes ORDER BY record")
    assert [(row["reward"], row["revision"]) for row in got] == [(0.0, 1), (1.0, 1), (2.0, 1), (3.0, 1)]
    assert counts(run(workspace, path, again=True)[0]) == (0, 4, 0)
    assert [row["text"] for row in rows(workspace, said)] == ["2-0", "2-1", "2-2", "2-3"]


def test_a_reading_that_was_cut_short_is_not_taken_for_whole(
    workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with another mapping that ends after its first batch, as when it is killed."""
    path = logs / "a.jsonl"
    path.write_text("".join(json.dumps({"q": f"q{i}", "one": f"1-{i}", "two": f"2-{i}"}) + "\n" for i in range(9)))
    run(workspace, path, format_name="mapped", columns=parse_mapping("prompt=q,text=one"))
    monkeypatch.setattr("investigate.ingest.read.FLUSH_ROWS", 4)
    other = Options("mapped", None, parse_mapping("prompt=q,text=two"))
    with open_writer(workspace) as writer:
        (task,) = group(workspace.root, _tasks(writer, path, other), lambda: 1)
        batch = next(iter(read_task(task, LocalLease(writer.next_episode_id()))))
        writer.commit(Commit(batch.shards, batch.states, batch.retired, batch.mended, batch.skipped, batch.next_id))
    said = "SELECT text FROM parts WHERE role = 'assistant' ORDER BY ALL"
    assert [row["text"][0] for row in rows(workspace, said)] == ["1"] * 5 + ["2"] * 4
    assert counts(run(workspace, path, format_name="mapped", columns=other.columns)[0]) == (5, 4, 0)
    assert [row["text"] for row in rows(workspace, said)] == [f"2-{i}" for i in range(9)]


def _tasks(writer: Writer, path: Path, options: Options) -> list[SourceTask]:
    (file,) = walk([path])
    with ExitStack() as opened:
        held = StoredSources(writer.workspace, opened).of(file.name, ())
    task = plan(file, writer.known().states[file.name], held, options, {})
    assert isinstance(task, SourceTask)
    return [task]


def test_a_tokenizer_is_remembered(workspace: Workspace, logs: Path, tiny_tokenizer: Any) -> None:
    folder = logs.parent / "tokenizer"
    tiny_tokenizer.save_pretrained(folder)

    def line(step: int, question: str, answer: str) -> str:
        asked = tiny_tokenizer(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        given = tiny_tokenizer(f"{answer}<|im_end|>")["input_ids"]
        n, m = len(asked), len(given)
        sampled = {"loss_mask": [False] * n + [True] * m, "inference_logprobs": [0.0] * n + [-0.5] * m}
        counters = {"step": step, "rank": 0, "micro_step": 0, "micro_sequence_idx": 0, "export_sequence_idx": step}
        return json.dumps({"schema_version": 1, **counters, "token_ids": asked + given, **sampled}) + "\n"

    path = logs / "rank_0.jsonl"
    path.write_text(line(0, "two?", "It is 2."))
    (refused,) = run(workspace, path)
    assert "--tokenizer" in str(refused.error)
    (report,) = run(workspace, path, tokenizer=str(folder))
    assert counts(report) == (1, 0, 0)
    assert counts(run(workspace, path)[0]) == (0, 1, 0)
    with path.open("a") as file:
        file.write(line(1, "three?", "It is 3."))
    assert counts(run(workspace, path)[0]) == (1, 1, 0)
    said = rows(workspace, "SELECT text FROM parts WHERE role = 'assistant' ORDER BY ALL")
    assert [row["text"] for row in said] == ["It is 2.", "It is 3."]
    folder.rename(folder.with_name("elsewhere"))
    (refused,) = run(workspace, path, again=True)
    assert str(folder) in str(refused.error)
    assert counts(run(workspace, path, tokenizer=str(folder.with_name("elsewhere")))[0]) == (0, 2, 0)
    assert counts(run(workspace, path)[0]) == (0, 2, 0)


def command(workspace: Workspace, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    line = [*PROGRAM, *map(str, arguments), "-w", str(workspace.root)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_forgotten_source_is_found_nowhere_and_comes_back(workspace: Workspace, logs: Path) -> None:
    (logs / "a.jsonl").write_text(chat("secret one") + chat("secret in both") + '{"torn')
    (logs / "b.jsonl").write_text(chat("plain") + chat("secret in both"))
    run(workspace, logs)
    whole, hits = content(workspace), found(workspace, "secret")
    assert len(hits) == 3
    assert command(workspace, "forget", logs / "a.jsonl").returncode == 0
    assert content(workspace) == whole

    done = command(workspace, "forget", logs / "a.jsonl", "--yes")
    assert (done.returncode, done.stderr) == (0, f"Forgot 2 episodes of {logs / 'a.jsonl'}.\n")
    (left,) = found(workspace, "secret")
    (row,) = rows(workspace, f"SELECT source, duplicate_of FROM episodes WHERE episode_id = {left[0]}")
    assert row == {"source": str(logs / "b.jsonl"), "duplicate_of": None}
    for view in ("skipped", f"episodes WHERE source = '{logs / 'a.jsonl'}'", "parts WHERE text = 'secret one'"):
        assert rows(workspace, f"FROM {view}") == []
    searched = command(workspace, "search", "secret one", "--mode", "regex", "--json")
    assert (searched.returncode, searched.stdout) == (0, "")
    for path in workspace.data.rglob("*"):
        assert path.is_dir() or "secret one" not in str(pq.read_table(path).to_pylist())

    assert sorted(counts(report) for report in run(workspace, logs)) == [(0, 2, 0), (2, 0, 0)]
    assert content(workspace) == whole
    assert len(found(workspace, "secret")) == 3
    ids = rows(workspace, "SELECT count(DISTINCT episode_id) AS n FROM episodes")
    assert ids == [{"n": 4}]


def test_a_forgotten_episode_stays_away(workspace: Workspace, logs: Path) -> None:
    path = logs / "a.jsonl"
    path.write_text(chat("one") + chat("secret") + chat("three"))
    run(workspace, logs)
    assert command(workspace, "forget", f"{path}#1", "--yes").returncode == 0
    assert found(workspace, "secret") == []
    with path.open("a") as file:
        file.write(chat("four"))
    assert counts(run(workspace, logs)[0]) == (1, 2, 0)
    assert [row["record"] for row in rows(workspace, "FROM episodes ORDER BY record")] == ["0", "2", "3"]
    assert command(workspace, "forget", f"{path}#1", "--yes").returncode == 1
    assert command(workspace, "forget", "nothing.jsonl", "--yes").returncode == 2
    assert len(rows(workspace, "FROM episodes")) == 3
