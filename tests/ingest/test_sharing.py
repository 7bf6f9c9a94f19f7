"""A long file that readers share gives what one reader gives, whatever became of it in between.

The parts are made small; a run is cut short as by a kill, before any of its commits; readers end in any order.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from investigate.ingest.files import walk
from investigate.ingest.options import Options
from investigate.ingest.plan import group, plan
from investigate.ingest.read import ReadTask, SourceTask, read_task
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.ingest.stored import StoredSources
from investigate.store.catalog import SourceState
from investigate.store.compute import Engine, IdLease, LocalLease, run_tasks
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, Writer, open_writer

Content = dict[str, list[tuple[str, ...]]]


class CutShort(BaseException):
    """The run ends here, as if it were killed."""


def chat(text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **more})


def choices(*texts: str) -> str:
    said = [{"message": {"role": "assistant", "content": text}} for text in texts]
    return json.dumps({"request": {"messages": [{"role": "user", "content": "q"}]}, "response": {"choices": said}})


def write(path: Path, lines: Iterable[str], tail: str = "") -> Path:
    path.write_bytes(("".join(line + "\n" for line in lines) + tail).encode())
    return path


def content(workspace: Workspace) -> Content:
    """All rows without ids, originals by their uids, and how far the source was read."""
    with open_reader(workspace) as reader:
        tables = {
            "episodes": reader.rows(
                "SELECT e.* EXCLUDE (episode_id, duplicate_of, revision), o.uid AS original FROM episodes e "
                "LEFT JOIN episodes o ON o.episode_id = e.duplicate_of"
            ),
            "parts": reader.rows(
                "SELECT e.uid, p.* EXCLUDE (episode_id, revision) FROM parts p JOIN episodes e USING (episode_id)"
            ),
            "skipped": reader.rows("FROM skipped"),
            "sources": reader.rows(
                'SELECT s.*, t."offset", t.n_records FROM (SELECT * EXCLUDE (ingested_at) FROM sources) s '
                "JOIN source_states t USING (source)"
            ),
        }
    return {name: sorted(tuple(map(str, row.values())) for row in rows) for name, rows in tables.items()}


def records(workspace: Workspace) -> list[tuple[str, str]]:
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT record, uid FROM episodes ORDER BY split_part(record, '/', 1)::INT, record")
    return [(row["record"], row["uid"]) for row in rows]


Run = Callable[..., SourceReport]


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Workspace]:
    made = iter(range(1000))
    return lambda: create_workspace(tmp_path / f"workspace-{next(made)}")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ingest a file: by one reader, or in parts of so many bytes by readers that take turns at random."""

    def go(workspace: Workspace, path: Path, part: int | None = None, flush: int = 100_000, **options: Any) -> Any:
        with monkeypatch.context() as patch, open_writer(workspace) as writer:
            patch.setattr("investigate.ingest.read.FLUSH_ROWS", flush)
            if part is not None:
                patch.setattr("investigate.ingest.plan.PART_BYTES", part)
                patch.setattr("investigate.ingest.plan._BLOCK_BYTES", 64)
                patch.setattr("investigate.ingest.run.run_tasks", in_turns(random.Random(part + flush)))
            (report,) = ingest(writer, walk([path]), options=Options(**options), engine=Engine(1))
        assert report.error is None
        return report

    return go


def in_turns(draw: random.Random) -> Any:
    def run_all(function: Any, tasks: Iterable[ReadTask], *, first_id: int, engine: Engine) -> Iterator[Any]:
        lease, waiting = LocalLease(first_id), list(tasks)
        running: list[Iterator[Any]] = []
        while waiting or running:
            while waiting and len(running) < 3:
                running.append(iter(function(waiting.pop(0), lease)))
            reader = draw.choice(running)
            try:
                yield next(reader)
            except StopIteration:
                running.remove(reader)

    return run_all


def cut_short(n_commits: int, patch: pytest.MonkeyPatch) -> None:
    """Let a run end when it is about to commit for the next time."""
    commit, left = Writer.commit, iter(range(n_commits))

    def count(writer: Writer, batch: Commit) -> None:
        if next(left, None) is None:
            raise CutShort
        commit(writer, batch)

    patch.setattr(Writer, "commit", count)


class History:
    """A file that changes as logs do: appended to, torn, truncated, edited, written anew."""

    def __init__(self, path: Path, draw: random.Random) -> None:
        self.path, self.draw = path, draw
        self.lines = [chat("first"), *self._lines(40)]
        self.appended_only = True
        self._torn = ""
        self._n = 0
        self._write()

    def change(self) -> bool:
        """True where what is unchanged is to be read again, too."""
        kind = self.draw.choice(["append", "append", "append", "truncate", "edit", "rewrite", "touch", "again"])
        if kind != "truncate" and self._torn:
            self.lines.append(self._torn)
        self._torn = ""
        if kind == "append":
            self.lines += self._lines(25)
        elif kind == "truncate":
            del self.lines[self.draw.randint(1, len(self.lines)) :]
        elif kind == "edit":
            self.lines[self.draw.randint(1, len(self.lines)) - 1] = chat(f"edited {self._n}")
        elif kind == "rewrite":
            self.lines = [chat("first"), *self._lines(40)]
        self.appended_only &= kind in ("append", "touch", "again")
        self._write()
        return kind == "again"

    def _lines(self, at_most: int) -> list[str]:
        return [self._line() for _ in range(self.draw.randint(1, at_most))]

    def _line(self) -> str:
        kinds = (
            lambda: self.draw.choice(["", "{torn", "[1, 2]", "\x00", '{"messages": 5}', "  \r"]),
            lambda: choices(*self.draw.choices("abc", k=self.draw.randint(1, 3))),
            lambda: chat(self.draw.choice("abc")),
            lambda: chat(f"{self.draw.random():.1f}") + self.draw.choice(["", "\r"]),
        )
        return self.draw.choices(kinds, (2, 2, 3, 4))[0]()

    def _write(self) -> None:
        self._n += 1
        if self.draw.random() < 0.4:
            self._torn = chat(f"torn {self._n}")
        write(self.path, self.lines, self._torn[: self.draw.randint(0, len(self._torn))])
        os.utime(self.path, ns=(self._n, self._n))


@pytest.mark.parametrize("seed", range(6))
def test_any_history_in_parts_is_that_of_one_reader(
    seed: int, tmp_path: Path, fresh: Callable[[], Workspace], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short again and again, in parts or not: what is there in the end is what one undisturbed reader gives."""
    draw = random.Random(seed)
    history = History(tmp_path / "a.jsonl", draw)
    alone, shared = fresh(), fresh()
    again = False
    for _ in range(3):
        part, flush = draw.choice([100, 150, 400, 1000]), draw.choice([1, 2, 5, 1000])
        run(alone, history.path, again=again)
        while draw.random() < 0.6:
            with monkeypatch.context() as patch:
                cut_short(draw.randint(0, 6), patch)
                try:
                    run(shared, history.path, part, flush, again=again)
                except CutShort:
                    continue
        run(shared, history.path, part, flush, again=again)
        assert content(shared) == content(alone)
        if history.appended_only:
            new = fresh()
            run(new, history.path)
            assert content(shared) == content(new)
        again = history.change()


@pytest.mark.slow
def test_parts_cut_short_after_any_commit_leave_no_gap(
    tmp_path: Path, fresh: Callable[[], Workspace], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [chat(str(i % 7)) if i % 5 else choices("x", str(i)) for i in range(24)]
    path = write(tmp_path / "a.jsonl", lines, chat("torn")[:30])
    alone = fresh()
    run(alone, path)
    expected = content(alone)
    n_cut = 0
    for n_commits in range(30):
        cut = fresh()
        with monkeypatch.context() as patch:
            cut_short(n_commits, patch)
            try:
                run(cut, path, 600, 4)
                break
            except CutShort:
                n_cut += 1
        found = [record for record, _ in records(cut)]
        assert found == [record for record, _ in records(alone)][: len(found)]
        assert n_commits == 0 or len(found) > 0
        run(cut, path, 600, 4)
        assert content(cut) == expected, n_commits
    assert n_cut >= 8


def test_a_rewritten_file_whose_reading_was_cut_short_does_not_mix_two_runs(
    tmp_path: Path, fresh: Callable[[], Workspace], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", ["{bad" if i % 4 == 2 else choices("a", "b") for i in range(20)])
    cut = fresh()
    run(cut, path)
    assert len(records(cut)) == 30
    write(path, [chat(str(i)) if i != 3 else "" for i in range(15)])
    with monkeypatch.context() as patch:
        cut_short(2, patch)
        with pytest.raises(CutShort):
            run(cut, path, flush=5)
    assert run(cut, path).removed > 0
    assert [record for record, _ in records(cut)] == [str(i) for i in range(15) if i != 3]
    assert content(cut)["skipped"] == []


def test_a_grown_file_is_read_from_where_it_stopped(tmp_path: Path, fresh: Callable[[], Workspace], run: Run) -> None:
    lines = [chat(str(i)) for i in range(100)]
    path = write(tmp_path / "a.jsonl", lines)
    n_before = path.stat().st_size
    more = [*lines, *(chat(f"more {i}") for i in range(50))]
    for first, second in ((None, None), (None, 500), (500, None), (500, 500)):
        workspace = fresh()
        write(path, lines)
        run(workspace, path, first)
        write(path, more)
        report = run(workspace, path, second)
        assert (report.bytes, report.episodes, report.unchanged) == (path.stat().st_size - n_before, 50, 100)
        # Every byte before counts, also on either side of where two parts met.
        for place in (5, 499, n_before - 3) if second else ():
            raw = bytearray(path.read_bytes())
            raw[place : place + 1] = b"0" if raw[place : place + 1] != b"0" else b"1"
            path.write_bytes(raw + chat("another").encode() + b"\n")
            changed = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "changed")))
            assert run(changed, path, second).bytes == path.stat().st_size
            shutil.rmtree(changed.root)
            write(path, more)


def test_a_column_is_empty_where_it_is_in_every_part(tmp_path: Path, fresh: Callable[[], Workspace], run: Run) -> None:
    lines = [chat(str(i), **({"reward": 1.0} if i == place else {})) for place in (0, 99) for i in range(100)]
    for chosen in (lines[:100], lines[100:], lines[1:100]):
        path = write(tmp_path / "a.jsonl", chosen)
        whole, parts = run(fresh(), path), run(fresh(), path, 500)
        assert parts.empty == whole.empty
        assert ("reward" in whole.empty) == (chosen == lines[1:100])


def test_numbers_taken_out_of_turn_are_not_given_again(
    tmp_path: Path, fresh: Callable[[], Workspace], run: Run
) -> None:
    """A record keeps its uid where it moves within the file, so that equal ones are not numbered in a row."""
    path = write(tmp_path / "a.jsonl", [chat("a"), chat("b"), chat("a")])
    found = []
    for part in (None, 100):
        workspace = fresh()
        write(path, [chat("a"), chat("b"), chat("a")])
        run(workspace, path)
        write(path, [chat("c"), chat("b"), chat("a"), chat("a"), chat("a")])
        run(workspace, path)
        write(path, [chat("c"), chat("b"), *[chat("a")] * 6, chat("b"), *[chat("a")] * 6])
        run(workspace, path, part)
        found.append(records(workspace))
        assert len({uid for _, uid in found[-1]}) == 15
    assert found[0] == found[1]


def test_objects_over_several_lines_are_not_shared(tmp_path: Path, fresh: Callable[[], Workspace], run: Run) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(json.loads(chat(str(i))), indent=1) + "\n" for i in range(30)))
    workspace = fresh()
    report = run(workspace, path, 600)
    assert (report.episodes, report.skipped) == (30, 0)


def test_records_of_another_format_need_no_number(tmp_path: Path, fresh: Callable[[], Workspace], run: Run) -> None:
    """A session is one record, named by its id; read as lines of their own it is shared."""
    row = {"type": "user", "sessionId": "s", "version": "1", "cwd": "/x", "timestamp": "2025-01-01T00:00:00Z"}
    lines = [
        json.dumps(row | {"uuid": f"u{i}", "parentUuid": f"u{i - 1}" if i else None, "messages": [],
                          "message": {"role": "user", "content": f"hi {i}"}})
        for i in range(30)
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", lines)
    workspace = fresh()
    assert run(workspace, path).format == "claude_code"
    report = run(workspace, path, 600, format_name="openai_chat")
    assert (report.format, report.removed) == ("openai_chat", 1)


def test_a_part_that_cannot_be_read_holds_back_what_follows(
    tmp_path: Path, fresh: Callable[[], Workspace], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", [chat(str(i)) for i in range(60)])
    alone, shared = fresh(), fresh()
    run(alone, path)

    def failing(task: ReadTask, lease: IdLease) -> Iterator[Any]:
        if task.part == 3:
            path.rename(tmp_path / "away")
        yield from read_task(task, lease)
        if task.part == 3:
            (tmp_path / "away").rename(path)

    with monkeypatch.context() as patch, open_writer(shared) as writer:
        patch.setattr("investigate.ingest.plan.PART_BYTES", 600)
        patch.setattr("investigate.ingest.plan._BLOCK_BYTES", 64)
        patch.setattr("investigate.ingest.run.read_task", failing)
        (report,) = ingest(writer, walk([path]), engine=Engine(1))
        (state,) = writer.known().states.values()
    assert "No such file" in str(report.error)
    found = records(shared)
    assert 0 < len(found) < 60
    assert found == records(alone)[: len(found)]
    assert (state.done, state.n_records) == (False, len(found))
    assert run(shared, path, 600).episodes == 60 - len(found)
    assert content(shared) == content(alone)


def planned(workspace: Workspace, path: Path, state: SourceState | None = None) -> SourceTask:
    (file,) = walk([path])
    with ExitStack() as opened:
        held = StoredSources(workspace, opened).of(file.name, ())
    task = plan(file, state, held, Options(), {})
    assert isinstance(task, SourceTask)
    return task


def test_parts_end_with_lines_and_make_up_the_file(
    tmp_path: Path, fresh: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("investigate.ingest.plan.PART_BYTES", 500)
    monkeypatch.setattr("investigate.ingest.plan._BLOCK_BYTES", 64)
    lines = ["", *(chat("x" * (i % 90)) for i in range(50)), chat("long" * 700), "", "", chat("end")]
    path = write(tmp_path / "a.jsonl", lines, "{torn")
    raw, workspace = path.read_bytes(), fresh()
    task = planned(workspace, path)
    parts = [part.sources[0].source for part in group(workspace.root, [task], lambda: 1)]
    assert len(parts) > 5
    assert parts[0].start == parts[0].first_record == 0
    assert parts[-1].end == len(raw)
    for before, after in pairwise(parts):
        assert before.end == after.start
        assert raw[after.start - 1 : after.start] == b"\n"
        assert after.first_record == raw[: after.start].count(b"\n")


def test_what_is_read_is_there_before_all_parts_are_known(
    tmp_path: Path, fresh: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To divide a file takes as long as to read it from disk, and a run that ends meanwhile must have stored some."""
    path = write(tmp_path / "a.jsonl", [chat(str(i)) for i in range(100)])
    workspace = fresh()
    with monkeypatch.context() as patch:
        patch.setattr("investigate.ingest.plan.PART_BYTES", 300)
        patch.setattr("investigate.ingest.plan._BLOCK_BYTES", 64)
        tasks = list(group(workspace.root, [planned(workspace, path)], lambda: 1))
    given = []

    def slowly() -> Iterator[ReadTask]:
        for task in tasks:
            given.append(task)
            yield task
            for _ in range(600 if len(given) == 2 else 2):
                if not any(workspace.data.rglob("*.parquet")):
                    time.sleep(0.05)
            time.sleep(0.05)

    results = run_tasks(read_task, slowly(), first_id=1, engine=Engine(2))
    next(results)
    assert len(given) < len(tasks)
    assert sum(1 for _ in results) == len(tasks) - 1


def test_a_column_that_comes_late_in_the_file(tmp_path: Path, fresh: Callable[[], Workspace], run: Run) -> None:
    rows = [{"q": f"q{i}", "a": f"a{i}"} | ({"score": 0.5} if i >= 40 else {}) for i in range(60)]
    path = write(tmp_path / "a.jsonl", map(json.dumps, rows))
    columns = (("prompt", "q"), ("text", "a"), ("reward", "score"))
    for part in (None, 300):
        workspace = fresh()
        assert run(workspace, path, part, format_name="mapped", columns=columns).episodes == 60
        with open_reader(workspace) as reader:
            assert reader.rows("SELECT sum(reward) AS r FROM episodes") == [{"r": 10.0}]
