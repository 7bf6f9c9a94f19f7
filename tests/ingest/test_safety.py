"""What is built to harm, broken, or changes while it is read: told, and nothing beside it is lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from investigate.ingest import format as format_module
from investigate.ingest import json_stream, unpack, zip_members
from investigate.ingest.files import walk
from investigate.ingest.options import Options
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.store.compute import Engine
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer

DEEP = 1_000_000


def chat(text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **more})


def run(workspace: Workspace, *paths: Path, **options: Any) -> dict[str, SourceReport]:
    """Ingests; the reports by file name, or by member."""
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk(paths), options=Options(**options), engine=Engine(1)))
    return {report.source.rpartition("/logs/")[2]: report for report in reports}


def rows(workspace: Workspace, query: str) -> list[dict[str, Any]]:
    with open_reader(workspace) as reader:
        return reader.rows(query)


def texts(workspace: Workspace) -> list[str]:
    return [row["text"] for row in rows(workspace, "SELECT text FROM parts WHERE role = 'assistant' ORDER BY ALL")]


def skipped(workspace: Workspace) -> list[tuple[str, int, str]]:
    query = "SELECT record, byte_offset, reason FROM skipped ORDER BY source, byte_offset"
    return [(row["record"], row["byte_offset"], row["reason"]) for row in rows(workspace, query)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "workspace")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with a good log, which every test below wants to find read."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "good.jsonl").write_text(chat("good") + "\n")
    return folder


def refused(workspace: Workspace, logs: Path, name: str) -> str:
    """The one error of a file that is not read, next to the good one."""
    reports = run(workspace, logs)
    of_file = {source: report for source, report in reports.items() if source.split("!")[0] == name}
    (report,) = of_file.values()
    assert report.error is not None
    assert "\n" not in report.error
    assert name in report.error
    assert reports["good.jsonl"].error is None
    assert texts(workspace) == ["good"]
    return report.error


# What is packed to harm.


@pytest.fixture
def small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (unpack, zip_members):
        monkeypatch.setattr(module, "RATIO_FREE_BYTES", 100_000)
        monkeypatch.setattr(module, "MAX_RATIO", 100)


@pytest.mark.usefixtures("small_caps")
@pytest.mark.parametrize("suffix", ["zip", "gz", "zst", "eval"])
def test_a_bomb_is_not_unpacked(workspace: Workspace, logs: Path, suffix: str) -> None:
    bomb, path = chat("x" * 5_000_000).encode(), logs / f"bomb.jsonl.{suffix}"
    if suffix in ("zip", "eval"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside.jsonl", bomb)
    else:
        path.write_bytes(gzip.compress(bomb) if suffix == "gz" else zstandard.compress(bomb))
    assert path.stat().st_size * 100 < len(bomb)
    assert "bomb" in refused(workspace, logs, path.name)


@pytest.mark.usefixtures("small_caps")
def test_what_is_packed_well_and_small_is_read(workspace: Workspace, logs: Path) -> None:
    (logs / "small.jsonl.gz").write_bytes(gzip.compress(chat("y" * 90_000).encode()))
    run(workspace, logs)
    assert texts(workspace) == ["good", "y" * 90_000]


def test_a_member_that_says_less_than_it_unpacks_to(workspace: Workspace, logs: Path) -> None:
    with zipfile.ZipFile(logs / "liar.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.jsonl", chat("x" * 10_000_000))
        archive.filelist[0].file_size = 100
    assert "100 bytes" in refused(workspace, logs, "liar.zip")


def test_members_that_overlap(workspace: Workspace, logs: Path) -> None:
    with zipfile.ZipFile(logs / "overlap.zip", "w") as archive:
        archive.writestr("kernel.jsonl", chat("kernel"))
        archive.writestr("second.jsonl", chat("second"))
        archive.filelist[1].header_offset = archive.filelist[0].header_offset
    assert "overlap" in refused(workspace, logs, "overlap.zip")


@pytest.mark.parametrize("name", ["../out.jsonl", "a/../../out.jsonl", "/out.jsonl", "..\\out.jsonl", "\\\\host\\out"])
def test_names_that_lead_out_of_an_archive(workspace: Workspace, logs: Path, name: str) -> None:
    with zipfile.ZipFile(logs / "leads.zip", "w") as archive:
        archive.writestr("in.jsonl", chat("in"))
        archive.writestr(name, chat("out"))
    assert "leads out" in refused(workspace, logs, "leads.zip")
    assert [path.name for path in logs.parent.rglob("out*")] == []


def test_compressed_over_and_over(workspace: Workspace, logs: Path) -> None:
    raw = chat("deep").encode()
    for _ in range(unpack.MAX_LAYERS):
        raw = gzip.compress(raw)
    (logs / "a.jsonl.gz").write_bytes(raw)
    run(workspace, logs)
    assert texts(workspace) == ["deep", "good"]
    (logs / "a.jsonl.gz").write_bytes(zstandard.compress(raw))
    assert "3 times" in str(run(workspace, logs)["a.jsonl.gz"].error)


def test_a_zip_in_a_zip_is_told(workspace: Workspace, logs: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.jsonl", chat("inner"))
    with zipfile.ZipFile(logs / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("b.jsonl", chat("outer"))
    reports = run(workspace, logs)
    assert reports["outer.zip!b.jsonl"].episodes == 1
    assert "inner.zip" in str(reports["outer.zip!inner.zip"].error)
    assert texts(workspace) == ["good", "outer"]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_that_was_cut_short(workspace: Workspace, logs: Path, suffix: str) -> None:
    raw = "".join(chat(os.urandom(500).hex()) + "\n" for _ in range(300)).encode()
    packed = gzip.compress(raw) if suffix == "gz" else zstandard.compress(raw)
    (logs / f"cut.jsonl.{suffix}").write_bytes(packed[: len(packed) // 2])
    assert "copy it again" in refused(workspace, logs, f"cut.jsonl.{suffix}")


# What is no log, and what would run.


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickle_is_refused_and_never_run(workspace: Workspace, logs: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (logs / f"{protocol}.jsonl").write_bytes(pickle.dumps(Planted(trap), protocol))
    (logs / "packed.pkl.gz").write_bytes(gzip.compress(pickle.dumps(Planted(trap))))
    with zipfile.ZipFile(logs / "packed.zip", "w") as archive:
        archive.writestr("a.pkl", pickle.dumps(Planted(trap)))
        archive.writestr("b.jsonl", chat("zipped"))
    code = f'{{"a": open({str(trap)!r}, "w")}}'
    (logs / "code.jsonl").write_text(chat(code, tool_calls=code, score=code, step=code) + "\n")
    game = {"game_index": "Game 1", "step": 0, "timestamp": "t", "player": {"name": "p", "identity": "Crewmate"}}
    said = {"prompt": code, "system_prompt": code, "full_response": code, "response": code}
    (logs / "game.json").write_text(json.dumps(game | {"interaction": said}))
    reports = run(workspace, logs)
    assert not trap.exists()
    pickles = [name for name in reports if name[0].isdigit() or name.endswith((".pkl", ".pkl.gz"))]
    assert len(pickles) == pickle.HIGHEST_PROTOCOL + 3
    assert all(reports[name].error for name in pickles)
    assert {name: "could run code" in str(reports[name].error) for name in pickles} == {
        name: name not in ("0.jsonl", "1.jsonl")
        for name in pickles  # those are text, and in no known format
    }
    assert {"good", "zipped"} <= set(texts(workspace))
    # Negative control: unpickled, it does what it is meant to.
    pickle.loads((logs / "4.jsonl").read_bytes()).close()
    assert trap.exists()


def test_a_checkpoint_is_told_and_never_loaded(workspace: Workspace, logs: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"weights": torch.zeros(3), "planted": Planted(trap)}, logs / "model.pt")
    trap.unlink(missing_ok=True)
    assert "could run code" in refused(workspace, logs, "model.pt")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "raw", "word"),
    [
        ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        ("log.tar", b"a.jsonl".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "tar archive"),
        ("log.bz2", b"BZh91AY&SY", "bzip2"),
        ("log.xz", b"\xfd7zXZ\x00", "xz"),
        ("zeros.jsonl", bytes(10_000), "empty"),
        ("random.jsonl", bytes(range(256)) * 100, "no known format"),
    ],
)
def test_what_is_no_log_is_named(workspace: Workspace, logs: Path, name: str, raw: bytes, word: str) -> None:
    (logs / name).write_bytes(raw)
    assert word in refused(workspace, logs, name)


def test_a_database_is_named(workspace: Workspace, logs: Path) -> None:
    connection = sqlite3.connect(logs / "log.jsonl")
    connection.execute("CREATE TABLE messages (role, content)")
    connection.close()
    assert "SQLite" in refused(workspace, logs, "log.jsonl")


# Records that no parser likes, among good ones.


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_million_levels_in_a_line(workspace: Workspace, logs: Path) -> None:
    lines = [
        chat("one"),
        nested(DEEP),
        '{"a":' * DEEP + "1" + "}" * DEEP,
        "[" * DEEP,
        chat("@").replace('"@"', nested(DEEP)),
        chat("two"),
    ]
    (logs / "deep.jsonl").write_text("\n".join(lines) + "\n")
    reports = run(workspace, logs)
    assert (reports["deep.jsonl"].episodes, reports["deep.jsonl"].skipped) == (2, 4)
    assert texts(workspace) == ["good", "one", "two"]
    offsets = [sum(len(line) + 1 for line in lines[:number]) for number in range(1, 5)]
    assert [(record, offset) for record, offset, _ in skipped(workspace)] == list(zip("1234", offsets, strict=True))


def test_a_million_levels_in_a_document(workspace: Workspace, logs: Path) -> None:
    """What begins so is in no known format; with the format named, all but the deep element is read."""
    (logs / "deep.json").write_text(f"[{chat('one')},\n{nested(DEEP)},\n{chat('two')}]")
    assert "no known format" in refused(workspace, logs, "deep.json")
    report = run(workspace, logs / "deep.json", format_name="openai_chat")["deep.json"]
    assert (report.episodes, report.skipped) == (2, 1)
    assert texts(workspace) == ["good", "one", "two"]
    assert skipped(workspace)[0][:2] == ("1", len(chat("one")) + 3)


@pytest.mark.parametrize("name", ["alone", "within", "beside"])
def test_a_document_of_a_million_levels(workspace: Workspace, logs: Path, name: str) -> None:
    whole = {"alone": '"@"', "within": chat("@"), "beside": chat("three", more="@")}[name]
    (logs / "deep.json").write_text(whole.replace('"@"', nested(DEEP)))
    assert "no known format" in refused(workspace, logs, "deep.json")
    report = run(workspace, logs / "deep.json", format_name="openai_chat")["deep.json"]
    assert (report.episodes, report.skipped) == (0, 1)


@pytest.mark.parametrize("depth", [90, 250, 400, 600, 900, 2000])
def test_what_can_be_parsed_can_be_stored(workspace: Workspace, logs: Path, depth: int) -> None:
    """Parsers go deeper than serialisers: the record is kept, or it is told."""
    line = chat("deep", more="@", reward=1.0).replace('"@"', '[{"a":' * (depth // 2) + '"é"' + "}]" * (depth // 2))
    (logs / "deep.jsonl").write_text(f"{line}\n{chat('next')}\n")
    report = run(workspace, logs / "deep.jsonl", format_name="openai_chat")["deep.jsonl"]
    assert (report.episodes, report.skipped) == ((2, 0) if depth < 1000 else (1, 1))
    assert "next" in texts(workspace)
    found = rows(workspace, "SELECT metadata FROM episodes WHERE reward = 1")
    assert all("é" in row["metadata"] for row in found)


def test_a_line_longer_than_a_record(workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_module, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(json_stream, "MAX_RECORD_BYTES", 1000)
    lines = [chat("one"), chat("x" * 5000), chat("two"), chat("y" * 1000), chat("three")]
    path = logs / "long.jsonl"
    path.write_text("\n".join(lines) + "\n")
    run(workspace, logs)
    assert texts(workspace) == ["good", "one", "three", "two"]
    long = [(str(number), sum(len(line) + 1 for line in lines[:number])) for number in (1, 3)]
    assert [(record, offset) for record, offset, _ in skipped(workspace)] == long
    assert all("longer" in reason for *_, reason in skipped(workspace))
    with path.open("a") as file:
        file.write(chat("four") + "\n")
    report = run(workspace, logs)["long.jsonl"]
    assert (report.episodes, report.bytes) == (1, len(chat("four")) + 1)
    (row,) = rows(workspace, "SELECT e.record FROM parts JOIN episodes e USING (episode_id) WHERE text = 'four'")
    assert row["record"] == "5"
    (logs / "long.json").write_text(f"[{','.join(lines)}]")
    run(workspace, logs)
    assert texts(workspace) == ["four", "good", "one", "one", "three", "three", "two", "two"]


def test_odd_characters_are_kept(workspace: Workspace, logs: Path) -> None:
    raw = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "%s"}], "id": "%s"}\n'
    said = [("nul \\u0000 here", "n"), ("lone \\ud800 here", "\\udfff"), ("line\u2028sep\u2029\x85end", "u")]
    path = logs / "odd.jsonl"
    path.write_bytes("".join(raw % pair for pair in said).encode())
    report = run(workspace, logs)["odd.jsonl"]
    assert (report.episodes, report.skipped) == (3, 0)
    assert texts(workspace) == ["good", "line\u2028sep\u2029\x85end", "lone \ufffd here", "nul \x00 here"]
    found = rows(workspace, "SELECT text, n_replaced FROM parts WHERE n_replaced > 0")
    assert found == [{"text": "lone \ufffd here", "n_replaced": 1}]


def test_bytes_that_are_no_text_are_told(workspace: Workspace, logs: Path) -> None:
    lines = [
        chat("one").encode(),
        b'{"messages": "\x00"}',
        b"\x00" * 50,
        b'{"messages": "\xff\xfe"}',
        chat("two").encode(),
    ]
    (logs / "bytes.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    report = run(workspace, logs)["bytes.jsonl"]
    assert (report.episodes, report.skipped) == (2, 3)
    assert [record for record, _, _ in skipped(workspace)] == ["1", "2", "3"]


def test_numbers_that_json_has_not(workspace: Workspace, logs: Path) -> None:
    values = ("NaN", "Infinity", "-Infinity", str(2**80), "1e999", "-" + "9" * 400)
    lines = [chat(text, reward="@", step="@", odd="@").replace('"@"', text) for text in values]
    (logs / "numbers.jsonl").write_text("\n".join([*lines, chat("last", reward=0.5, step=3)]) + "\n")
    report = run(workspace, logs)["numbers.jsonl"]
    assert (report.episodes, report.skipped) == (7, 0)
    found = rows(
        workspace,
        "SELECT reward, training_step, metadata FROM episodes WHERE source LIKE '%/numbers.jsonl' ORDER BY episode_id",
    )
    kept = [json.loads(row["metadata"])["odd"] for row in found[:-1]]
    assert kept == ["nan", "inf", "-inf", str(2**80), "inf", "-" + "9" * 400]
    assert [row["training_step"] for row in found] == [None] * 6 + [3]
    assert [row["reward"] for row in found if row["reward"] is not None] == [float(2**80), 0.5]


def test_the_last_of_equal_keys_counts(workspace: Workspace, logs: Path) -> None:
    twice = '{"reward": 1, ' + chat("twice", reward=0)[1:]
    (logs / "keys.jsonl").write_text(twice + "\n")
    run(workspace, logs)
    assert rows(workspace, "SELECT reward FROM episodes WHERE source LIKE '%/keys.jsonl'") == [{"reward": 0.0}]


def test_an_id_leads_to_no_other_folder(workspace: Workspace, logs: Path) -> None:
    """A session names the files that its messages are in."""
    secret = logs.parent / "secret"
    secret.mkdir()
    message = {"id": "../../../../secret", "role": "user", "sessionID": "s"}
    (secret / "a.json").write_text(json.dumps(message | {"messageID": message["id"], "type": "text", "text": "secret"}))
    storage = logs / "storage"
    for folder in ("session/project", "message/s", "part"):
        (storage / folder).mkdir(parents=True)
    (storage / "message" / "s" / "m.json").write_text(json.dumps(message))
    for name, identity in (("s", "s"), ("t", message["id"])):
        session = {"id": identity, "projectID": "p", "directory": "/", "title": "t", "version": "1", "time": {}}
        (storage / "session" / "project" / f"{name}.json").write_text(json.dumps(session))
    run(workspace, logs)
    assert rows(workspace, "SELECT count(*) AS n FROM parts WHERE text LIKE '%secret%'") == [{"n": 0}]


# Files that change while they are read.

FILLER = "lorem ipsum " * 2000
N_LINES = 50


def lines_of(name: str) -> list[str]:
    return [chat(f"{name} {number} {FILLER}") + "\n" for number in range(N_LINES)]


def cut(path: Path) -> None:
    with path.open("r+") as file:
        file.truncate(path.stat().st_size // 2 + 7)


def empty(path: Path) -> None:
    path.write_text(chat("rewritten") + "\n")


def append(path: Path) -> None:
    with path.open("a") as file:
        file.writelines([chat("appended") + "\n", chat("torn")[:20]])


def replace_it(path: Path) -> None:
    other = path.with_name(".other")
    other.write_text("".join(lines_of("other")))
    other.rename(path)


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(b"lorem"))
        file.write(b"LOREM")


@pytest.mark.parametrize("change", [cut, empty, append, replace_it, edit], ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", ["lines", "array"])
def test_a_file_that_changes_while_it_is_read(
    workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], kind: str
) -> None:
    """What is stored may be of either state at first; the next run makes it what the file is."""
    path = logs / "z.jsonl"
    lines = lines_of("z")
    path.write_text("".join(lines) if kind == "lines" else f"[{','.join(lines)}]")
    monkeypatch.setattr("investigate.ingest.read.FLUSH_ROWS", 20)
    with open_writer(workspace) as writer:
        reports = ingest(writer, walk([logs]), engine=Engine(1))
        assert next(reports).source.endswith("good.jsonl")
        assert 1 < len(texts(workspace)) < N_LINES
        change(path)
        list(reports)
    assert "good" in texts(workspace)
    run(workspace, logs)
    fresh = create_workspace(workspace.root.parent / "fresh")
    run(fresh, logs)
    assert skipped(workspace) == skipped(fresh)
    # What was read of a record before it broke is kept.
    assert len(texts(workspace)) - len(texts(fresh)) <= len(skipped(fresh))
    assert set(texts(fresh)) <= set(texts(workspace))


def test_a_file_that_goes_away(workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x", "y", "z"):
        (logs / f"{name}.jsonl").write_text("".join(lines_of(name)))
    monkeypatch.setattr("investigate.ingest.read.FLUSH_ROWS", 20)
    with open_writer(workspace) as writer:
        reports = ingest(writer, walk([logs]), engine=Engine(1))
        next(reports)
        (logs / "y.jsonl").unlink()  # planned, not opened yet
        errors = {Path(report.source).name: report.error for report in reports}
    assert "Cannot read" in str(errors.pop("y.jsonl"))
    assert errors == {"x.jsonl": None, "z.jsonl": None}
    assert len(texts(workspace)) == 1 + 2 * N_LINES


def test_a_log_that_is_written_meanwhile(workspace: Workspace, logs: Path) -> None:
    """Line by line, each in two pieces; what is torn at the end of one run is whole in a later one."""
    path, n_lines = logs / "live.jsonl", 300

    def write() -> None:
        with path.open("w") as file:
            for number in range(n_lines):
                line = chat(f"{number:03}") + "\n"
                for piece in (line[:30], line[30:]):
                    file.write(piece)
                    file.flush()
                    time.sleep(0.0005)

    path.touch()
    writer = threading.Thread(target=write)
    writer.start()
    n_runs = 0
    while writer.is_alive():
        run(workspace, logs)
        n_runs += 1
    run(workspace, logs)
    assert n_runs > 1
    assert texts(workspace) == [*(f"{number:03}" for number in range(n_lines)), "good"]
    assert skipped(workspace) == []
    assert rows(workspace, "SELECT max(revision) AS r, count(DISTINCT uid) AS n FROM episodes") == [
        {"r": 0, "n": n_lines + 1}
    ]


# Folders and names.


def test_links_that_lead_round_and_round(workspace: Workspace, logs: Path) -> None:
    (logs / "up").symlink_to(logs)
    (logs / "self.jsonl").symlink_to(logs / "self.jsonl")
    (logs / "gone.jsonl").symlink_to(logs / "nowhere.jsonl")
    (logs / "again.jsonl").symlink_to(logs / "good.jsonl")
    assert [report.episodes for report in run(workspace, logs).values()] == [1]
    assert texts(workspace) == ["good"]


def test_a_pipe_is_not_waited_for(workspace: Workspace, logs: Path) -> None:
    os.mkfifo(logs / "pipe.jsonl")
    (logs / "link.jsonl").symlink_to(logs / "pipe.jsonl")
    assert list(run(workspace, logs)) == ["good.jsonl"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(workspace: Workspace, logs: Path) -> None:
    (logs / "closed.jsonl").write_text(chat("closed"))
    (logs / "closed.jsonl").chmod(0)
    assert "permission" in refused(workspace, logs, "closed.jsonl").lower()


NAMES = [
    b"new\nline",
    b"\x1b[31mred\x1b[0m",
    b"latin-\xe9",
    b"[bold]markup",
    "\u202edlog".encode(),
    b"a!b",
    b"'; --",
]


def test_odd_names(workspace: Workspace, logs: Path) -> None:
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(os.fsencode(logs) + b"/" + name + b".jsonl")).write_text(chat(f"odd {number}") + "\n")
        Path(os.fsdecode(os.fsencode(logs) + b"/" + name + b".bad")).write_bytes(b"\x01\x02")
    reports = run(workspace, logs)
    assert len(reports) == 1 + 2 * len(NAMES)
    assert sum(report.error is not None for report in reports.values()) == len(NAMES)
    assert texts(workspace) == ["good", *(f"odd {number}" for number in range(len(NAMES)))]
    assert [report.unchanged for report in run(workspace, logs).values() if report.error is None] == [1] * 8


def test_odd_names_are_shown_without_control(tmp_path: Path, logs: Path) -> None:
    for name in NAMES[:3]:
        Path(os.fsdecode(os.fsencode(logs) + b"/" + name + b".bad")).write_bytes(b"\x01\x02")
    with zipfile.ZipFile(logs / "odd.zip", "w") as archive:
        archive.writestr("\x1b[31mred\nline.bad", "\x01")
    command = [sys.executable, "-c", "from investigate.cli.main import main; main()"]
    ingest_them = [*command, "ingest", str(logs), "-w", str(tmp_path / "w"), "--no-index"]
    for more in ([], ["--json"]):
        done = subprocess.run([*ingest_them, *more], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
