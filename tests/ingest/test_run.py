"""Ingest as a whole: once is twice, what grows grows, what is bad is told, and a killed run loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from investigate.ingest.files import walk
from investigate.ingest.format import Source
from investigate.ingest.options import Options
from investigate.ingest.read import ReadTask, SourceTask, read_task
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.store.catalog import SourceState, connect_for_reading
from investigate.store.compute import Engine, LocalLease
from investigate.store.errors import InputError, StoreError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Skipped
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, Writer, open_writer


def chat(text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **more})


def run(workspace: Workspace, *paths: Path, **options: Any) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk(paths), **options))


def stored(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, keyed by uid, without ids."""
    with open_reader(workspace) as reader:
        episodes = reader.rows(
            "SELECT * EXCLUDE (episode_id, duplicate_of), duplicate_of IS NULL AS first FROM episodes"
        )
        parts = reader.rows(
            "SELECT e.uid, e.source, p.* EXCLUDE (episode_id) FROM parts p JOIN episodes e USING (episode_id)"
        )
        skipped = reader.rows("FROM skipped")
    rows = {"episodes": episodes, "parts": parts, "skipped": skipped}
    return {name: sorted((tuple(row.values()) for row in values), key=repr) for name, values in rows.items()}


def texts(workspace: Workspace) -> list[str]:
    with open_reader(workspace) as reader:
        return [row["text"] for row in reader.rows("SELECT text FROM parts WHERE role = 'assistant' ORDER BY ALL")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "workspace")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def write(path: Path, lines: Iterable[str], end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end)
    return path


def test_twice_is_once(workspace: Workspace, logs: Path) -> None:
    write(logs / "a.jsonl", [chat(f"answer {i}") for i in range(5)])
    assert [report.episodes for report in run(workspace, logs)] == [5]
    before = stored(workspace)
    (again,) = run(workspace, logs)
    assert (again.episodes, again.unchanged) == (0, 5)
    os.utime(logs / "a.jsonl", (1, 1))
    (touched,) = run(workspace, logs)
    assert (touched.episodes, touched.unchanged, touched.removed) == (0, 5, 0)
    assert stored(workspace) == before


def test_equal_records_stay_and_are_marked(workspace: Workspace, logs: Path) -> None:
    write(logs / "a.jsonl", [chat("same"), chat("other"), chat("same")])
    write(logs / "b.jsonl", [chat("same")])
    run(workspace, logs)
    with open_reader(workspace) as reader:
        rows = reader.rows("SELECT source, record, episode_id, uid, duplicate_of FROM episodes ORDER BY source, record")
    assert len(rows) == 4
    original = rows[0]
    assert [row["duplicate_of"] for row in rows] == [None, None, None, original["episode_id"]]
    assert rows[2]["uid"] != original["uid"] == rows[3]["uid"]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_grown_file_is_read_from_where_it_stopped(workspace: Workspace, logs: Path, end: str) -> None:
    path = write(logs / "a.jsonl", [chat("one"), chat("two")], end)
    run(workspace, logs)
    write(path, [chat("one"), chat("two"), chat("three"), chat("one")])
    (report,) = run(workspace, logs)
    assert (report.episodes, report.skipped) == (2, 0)
    assert texts(workspace) == ["one", "one", "three", "two"]
    fresh = create_workspace(workspace.root.parent / "fresh")
    run(fresh, logs)
    assert stored(workspace) == stored(fresh)


def test_a_torn_last_line_is_told_and_mended(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat("one"), chat("two")[:20]], "")
    (report,) = run(workspace, logs)
    assert (report.episodes, report.skipped) == (1, 1)
    with open_reader(workspace) as reader:
        (row,) = reader.rows("FROM skipped")
    assert (row["record"], row["byte_offset"]) == ("1", len(chat("one")) + 1)
    write(path, [chat("one"), chat("two")])
    run(workspace, logs)
    assert texts(workspace) == ["one", "two"]
    with open_reader(workspace) as reader:
        assert reader.rows("FROM skipped") == []


def test_a_changed_record_is_a_revision_with_the_same_id(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat("one"), chat("two")])
    run(workspace, logs)
    with open_reader(workspace) as reader:
        before = {row["record"]: row for row in reader.rows("FROM episodes")}
    write(path, [chat("one"), chat("two, but longer")])
    (report,) = run(workspace, logs)
    assert (report.episodes, report.unchanged) == (1, 1)
    with open_reader(workspace) as reader:
        after = {row["record"]: row for row in reader.rows("FROM episodes")}
    assert after["0"] == before["0"]
    assert after["1"]["episode_id"] == before["1"]["episode_id"]
    assert after["1"]["uid"] != before["1"]["uid"]
    assert texts(workspace) == ["one", "two, but longer"]


def test_bad_lines_among_good_ones(workspace: Workspace, logs: Path) -> None:
    lines = [chat("one"), "{torn", "[1, 2]", "\x00", '{"messages": 5}', chat("two")]
    write(logs / "a.jsonl", lines)
    (report,) = run(workspace, logs)
    assert texts(workspace) == ["one", "two"]
    assert report.skipped == 4
    with open_reader(workspace) as reader:
        offsets = {row["record"]: row["byte_offset"] for row in reader.rows("FROM skipped")}
    raw = (logs / "a.jsonl").read_bytes()
    for record, offset in offsets.items():
        assert raw[offset:].startswith(lines[int(record)].encode())


def test_what_cannot_be_read_is_named(workspace: Workspace, logs: Path) -> None:
    (logs / "unknown.bin").write_bytes(b"\x01\x02 nothing")
    (logs / "empty.jsonl").write_bytes(b"")
    (logs / "pointer.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (logs / "dump.pkl").write_bytes(b"\x80\x04 run me")
    (logs / "broken.eval").write_bytes(b"PK\x03\x04 truncated")
    write(logs / "good.jsonl", [chat("one")])
    reports = {Path(report.source).name: report for report in run(workspace, logs)}
    errors = {name: report.error for name, report in reports.items()}
    assert errors.pop("good.jsonl") is None
    for name, word in {
        "unknown.bin": "no known format", "empty.jsonl": "empty", "pointer.jsonl": "git lfs pull", "dump.pkl": "pickle",
        "broken.eval": "zip",
    }.items():  # fmt: skip
        assert word in str(errors[name])
        assert "\n" not in str(errors[name])
    assert texts(workspace) == ["one"]


def test_a_path_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        run(workspace, tmp_path / "nothing")


def test_it_does_not_walk_into_a_workspace(tmp_path: Path) -> None:
    inside = create_workspace(tmp_path / ".investigate")
    write(tmp_path / "a.jsonl", [chat("one")])
    assert [Path(report.source).name for report in run(inside, tmp_path)] == ["a.jsonl"]


def test_one_writer_at_a_time(workspace: Workspace) -> None:
    with open_writer(workspace), pytest.raises(StoreError, match="is writing"), open_writer(workspace):
        pass


def test_orphans_are_swept(workspace: Workspace) -> None:
    orphan = workspace.data / "parts" / "orphan.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(b"half")
    orphan.with_name("x.parquet.tmp").write_bytes(b"half")
    with open_writer(workspace):
        assert list(orphan.parent.iterdir()) == []


SEARCHER = """
import sys, time
from pathlib import Path
from investigate.analysis.text.find import Question, find
from investigate.analysis.text.index import Filters
from investigate.store.reader import open_reader
from investigate.store.workspace import open_workspace
workspace, stop = open_workspace(Path(sys.argv[1])), Path(sys.argv[2])
searches, seen = 0, 0
while not stop.exists():
    with open_reader(workspace) as reader:
        (row,) = reader.rows("SELECT count(*) AS n FROM episodes")
        assert row["n"] >= seen, (row, seen)
        seen = row["n"]
        for mode in ("keyword", "regex"):
            for hit in find(reader, mode, Question("needle", Filters(), 5)):
                assert "needle" in hit.snippet
    searches += 1
print(searches, seen)
"""

INGEST = "from investigate.cli.main import main; main()"


@pytest.mark.slow
def test_killed_and_run_again_is_never_killed(tmp_path: Path) -> None:
    """kill -9 of the writer in the middle, its readers going down with it, while another process searches."""
    logs = tmp_path / "logs"
    logs.mkdir()
    filler = "lorem ipsum dolor sit amet " * 900
    for name in range(5):
        # Each file is a task of its own, so that commits come one after the other.
        lines = [chat(f"needle {name} {i} {filler[: 100 * (i % 7)]}{filler}", step=i) for i in range(1400)]
        write(logs / f"{name}.jsonl", [*lines, '{"torn'], "")
    killed, stop = create_workspace(tmp_path / "killed"), tmp_path / "stop"
    searcher = subprocess.Popen(
        [sys.executable, "-c", SEARCHER, str(killed.root), str(stop)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    command = [sys.executable, "-c", INGEST, "ingest", str(logs), "-w", str(killed.root), "--jobs", "2", "--json"]
    n_kills = 0
    for wanted in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _n_shards(killed) < wanted:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            n_kills += 1
        process.wait()
    assert n_kills, "the ingest was never interrupted"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stop.touch()
    out, err = searcher.communicate(timeout=60)
    assert searcher.returncode == 0, err
    assert int(out.split()[0]) > 1

    undisturbed = create_workspace(tmp_path / "undisturbed")
    run(undisturbed, logs, engine=Engine(1))
    assert stored(killed) == stored(undisturbed)
    with open_reader(killed) as reader:
        known = {shard.path for table in ("episodes", "parts", "skipped") for shard in reader.shards(table)}
    assert {path.relative_to(killed.root).as_posix() for path in killed.data.rglob("*") if path.is_file()} == known


def _n_shards(workspace: Workspace) -> int:
    with connect_for_reading(workspace.catalog_path) as catalog:
        return int(catalog.execute("SELECT count(*) FROM shards WHERE table_name = 'parts'").fetchone()[0])


def choices(*texts: str) -> str:
    said = [{"message": {"role": "assistant", "content": text}} for text in texts]
    return json.dumps({"request": {"messages": [{"role": "user", "content": "q"}]}, "response": {"choices": said}})


def test_a_run_that_ends_within_a_line_goes_on_within_it(
    workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(logs / "a.jsonl", [choices("a", "b", "c"), choices("d", "e", "f")])
    monkeypatch.setattr("investigate.ingest.read.FLUSH_ROWS", 1)
    for n_batches in range(1, 6):
        cut = create_workspace(workspace.root.parent / f"cut-{n_batches}")
        with open_writer(cut) as writer:
            (task,) = _tasks(writer, logs)
            for _, batch in zip(range(n_batches), read_task(task, LocalLease(1)), strict=False):
                writer.commit(
                    Commit(batch.shards, batch.states, batch.retired, batch.mended, batch.skipped, batch.next_id)
                )
        run(cut, logs)
        assert texts(cut) == list("abcdef"), n_batches


def _tasks(writer: Writer, logs: Path) -> list[ReadTask]:
    path = logs / "a.jsonl"
    stat = path.stat()
    state = SourceState(str(path.resolve()), "openai_chat", stat.st_size, stat.st_mtime_ns)
    source = Source(path.resolve(), state.source, end=stat.st_size)
    return [ReadTask(writer.workspace.root, (SourceTask(source, state),))]


def test_an_edit_in_place_is_noticed(workspace: Workspace, logs: Path) -> None:
    filler = "x" * 3000
    path = write(logs / "a.jsonl", [chat(f"{i} {filler}", reward=0) for i in range(100)])
    run(workspace, logs)
    lines = path.read_text().splitlines()
    lines[50] = lines[50].replace('"reward": 0', '"reward": 1')
    write(path, lines)
    os.utime(path, (1, 1))
    (report,) = run(workspace, logs)
    assert (report.episodes, report.unchanged) == (1, 99)
    lines[51] = lines[51].replace('"reward": 0', '"reward": 1')
    write(path, [*lines, chat("appended")])
    (report,) = run(workspace, logs)
    assert (report.episodes, report.unchanged) == (2, 99)
    with open_reader(workspace) as reader:
        assert reader.rows("SELECT sum(reward) AS r, count(*) AS n FROM episodes") == [{"r": 2.0, "n": 101}]


def test_what_is_no_longer_in_a_file_no_longer_counts(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat(str(i)) for i in range(10)])
    run(workspace, logs)
    write(path, [chat(str(i)) for i in range(3)])
    (report,) = run(workspace, logs)
    assert (report.removed, report.unchanged) == (7, 3)
    assert texts(workspace) == ["0", "1", "2"]


def test_uids_stay_apart_when_records_move(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat("A"), chat("B"), chat("A")])
    run(workspace, logs)
    write(path, [chat("C"), chat("B"), chat("A"), chat("A")])
    run(workspace, logs)
    with open_reader(workspace) as reader:
        (row,) = reader.rows("SELECT count(*) AS n, count(DISTINCT uid) AS uids FROM episodes")
    assert row == {"n": 4, "uids": 4}


def test_a_record_that_breaks_again_is_told_again(workspace: Workspace, logs: Path) -> None:
    path = logs / "a.jsonl"
    for second, skipped in (("{torn", 1), (chat("mended"), 0), ("{torn", 1)):
        write(path, [chat("one"), second])
        run(workspace, logs)
        with open_reader(workspace) as reader:
            assert len(reader.rows("FROM skipped")) == skipped


def test_another_format_reads_a_file_anew(workspace: Workspace, logs: Path) -> None:
    row = {"prompt": "p", "completion": "c", "messages": [{"role": "user", "content": "hello"}]}
    write(logs / "a.jsonl", [json.dumps(row)])
    run(workspace, logs)
    run(workspace, logs, options=Options("prompt_completion"))
    with open_reader(workspace) as reader:
        assert [row["format"] for row in reader.rows("FROM episodes")] == ["prompt_completion"]


def test_lone_surrogates_and_odd_names_stop_nothing(workspace: Workspace, logs: Path) -> None:
    facts = r'"model": "m\ud800", "id": "\ud800", "error": "\ud800"'
    line = r'{"messages": [{"role": "assistant", "content": "x \ud800"}], ' + facts + "}"
    write(logs / "a.jsonl", [line, chat("two")])
    write(Path(os.fsdecode(os.fsencode(logs) + b"/caf\xe9.jsonl")), [chat("three")])
    run(workspace, logs)
    assert texts(workspace) == ["three", "two", "x \ufffd"]
    with open_reader(workspace) as reader:
        assert any("\\xe9" in row["source"] for row in reader.rows("SELECT source FROM episodes"))


def test_what_is_no_file_is_refused(workspace: Workspace, logs: Path) -> None:
    os.mkfifo(logs / "pipe")
    assert run(workspace, logs) == []
    with pytest.raises(InputError, match="neither a file nor a folder"):
        run(workspace, logs / "pipe")


def test_the_first_episode_is_number_one(workspace: Workspace, logs: Path) -> None:
    (logs / "a.eval").write_bytes(b"PK\x03\x04 truncated")
    run(workspace, logs)
    write(logs / "b.jsonl", [chat("one")])
    run(workspace, logs)
    with open_reader(workspace) as reader:
        assert reader.select_ids() == [1]


def test_a_half_made_workspace_is_finished(tmp_path: Path) -> None:
    (tmp_path / "w" / "data").mkdir(parents=True)
    assert create_workspace(tmp_path / "w").root == tmp_path / "w"
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        create_workspace(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="other things"):
        create_workspace(tmp_path / "other")


def test_a_reward_that_is_no_number_matches_no_range(workspace: Workspace, logs: Path) -> None:
    lines = [chat("a", reward=1.0), chat("b", reward=float("nan")), chat("c", reward=float("inf"))]
    write(logs / "a.jsonl", lines)
    run(workspace, logs)
    with open_reader(workspace) as reader:
        assert reader.rows("SELECT count(*) AS n FROM episodes WHERE reward BETWEEN 5 AND 9") == [{"n": 0}]
        assert reader.rows("SELECT reward FROM episodes ORDER BY record") == [{"reward": r} for r in (1.0, None, None)]


def test_what_was_read_of_a_record_stays_when_it_breaks(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat("one"), choices("a", "b"), chat("two"), choices("c")])
    run(workspace, logs)
    write(path, [chat("one"), "{torn", "{torn", choices("d")])
    (report,) = run(workspace, logs)
    assert (report.skipped, report.removed) == (2, 0)
    assert texts(workspace) == ["a", "b", "d", "one", "two"]
    write(path, [chat("one"), choices("a", "b")])
    (report,) = run(workspace, logs)
    assert (report.unchanged, report.removed) == (3, 2)
    assert stored(workspace)["skipped"] == []
    assert texts(workspace) == ["a", "b", "one"]


def test_a_line_that_breaks_after_it_gave_an_episode_stays_skipped(workspace: Workspace) -> None:
    """Its first episode seems to mend it, each time it is read."""
    place = ("a.jsonl", "0", 0, "its second choice is broken")
    for mended in ((), (place,)):
        with open_writer(workspace) as writer:
            rows = ShardRows()
            rows.add_skipped(Skipped(*place))
            state = SourceState("a.jsonl", "openai_chat", 1, 1)
            writer.commit(Commit(rows.write(workspace.root), [state], mended=mended, skipped=[place]))
        assert len(stored(workspace)["skipped"]) == 1


def test_times_to_the_nanosecond(workspace: Workspace, logs: Path) -> None:
    """As pandas writes them; Python's times hold microseconds."""
    messages = [json.loads(chat(str(i)))["messages"] for i in range(3)]
    nanoseconds = [1, 1_700_000_000_123_456_789, None]
    columns: dict[str, Any] = {"messages": pa.array(messages)}
    for name, kind in {"at": pa.timestamp("ns"), "zoned": pa.timestamp("ns", "UTC"), "took": pa.duration("ns")}.items():
        columns[name] = pa.array(nanoseconds, kind)
    within = pa.struct([("at", pa.timestamp("ns"))])
    columns["within"] = pa.array([[{"at": value}] for value in nanoseconds], pa.list_(within))
    pq.write_table(pa.table(columns), logs / "a.parquet")
    (report,) = run(workspace, logs)
    assert (report.episodes, report.skipped, report.error) == (3, 0, None)
    with open_reader(workspace) as reader:
        found = [json.loads(row["metadata"]) for row in reader.rows("SELECT metadata FROM episodes ORDER BY record")]
    assert found[1] == {
        "at": "2023-11-14T22:13:20.123456",
        "zoned": "2023-11-14T22:13:20.123456+00:00",
        "took": 1_700_000_000.123456,
        "within": [{"at": "2023-11-14T22:13:20.123456"}],
    }
    pq.write_table(pa.table(columns | {"at": pa.array([2**40] * 3, pa.timestamp("s"))}), logs / "a.parquet")
    (report,) = run(workspace, logs)
    assert "out of range" in str(report.error)


def test_a_report_names_the_columns_that_stayed_empty(workspace: Workspace, logs: Path) -> None:
    path = write(logs / "a.jsonl", [chat("one", reward=1.0), chat("two")])
    other = write(logs / "b.jsonl", [chat("three")])
    first, second = sorted(run(workspace, path, other), key=lambda report: report.source)
    assert "reward" not in first.empty
    assert {"labels", "training_step"} <= set(first.empty)
    assert set(second.empty) == {*first.empty, "reward"}
    assert [report.empty for report in run(workspace, path)] == [[]]  # of no new episode there is nothing to say
