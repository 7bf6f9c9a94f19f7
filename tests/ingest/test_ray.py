"""Ingest on a Ray cluster: a node that dies, ^C, and what is no cluster. The rows are those of one process. A cluster
and whoever uses it are processes of their own, for Ray warns and leaves threads behind."""

import gzip
import importlib.util
import json
import random
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from investigate.ingest.files import walk
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.store.catalog import connect_for_reading
from investigate.store.compute import Engine
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

CLUSTER = """
import os, subprocess, sys, time
from ray.cluster_utils import Cluster

# A node that is gone is noticed within seconds rather than half a minute.
quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
common = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**common, "include_dashboard": False, "_system_config": quick})
node = cluster.add_node(**common)
raylet = str(node.all_processes["raylet"][0].process.pid)

def n_working():
    shown = subprocess.run(["ps", "-A", "-o", "ppid=,command="], capture_output=True, text=True, check=True).stdout
    return sum(line.split()[:2] == [raylet, "ray::_work"] for line in shown.splitlines())

print(cluster.address, flush=True)
for _ in sys.stdin:  # each line asks for the death of the second node, while it is at work
    while not n_working():
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""

INGEST = """
import investigate.ingest.plan as plan
from investigate.cli.main import main
plan.PART_BYTES, plan.TASK_BYTES = 4_000_000, 6_000_000
main()
"""


class Nodes:
    """A cluster of two nodes with one core each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill_one(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._said() == "killed"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", CLUSTER], text=True, **pipes) as process:
        yield Nodes(process)
        process.communicate()


def command(workspace: Workspace, logs: Path, address: str) -> list[str]:
    engine = ["--engine", "ray", "--address", address, "--no-index", "--json"]
    return [sys.executable, "-c", INGEST, "ingest", str(logs), "-w", str(workspace.root), *engine]


def chat(text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **more}) + "\n"


def conversations(name: str, n: int, draw: random.Random) -> str:
    """Some of them equal ones of the same file, and of others."""
    filler = "lorem ipsum dolor sit amet " * 40
    lines = [chat(f"{name} {i} {filler[: draw.randrange(900)]}", step=i) for i in range(n)]
    equal = chat("the same"), chat(f"the same in {name}")
    return "".join(draw.choice(equal) if draw.random() < 0.02 else line for line in lines)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    draw = random.Random(7)
    for i in range(4):
        (folder / f"long{i}.jsonl").write_text(conversations(f"long{i}", 20_000, draw) + '{"torn')
    for i in range(32):
        (folder / f"short{i}.jsonl").write_text(conversations(f"short{i}", draw.randrange(1, 1500), draw))
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(conversations("packed", 800, draw).encode(), 1))
    rows = [json.loads(line) for line in conversations("array", 500, draw).splitlines()]
    (folder / "array.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    with zipfile.ZipFile(folder / "logs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"inside/{i}.jsonl", conversations(f"inside{i}", 300, draw))
    cut = gzip.compress(draw.randbytes(300_000).hex().join((chat("whole"), "\n")).encode(), 1)
    (folder / "cut.jsonl.gz").write_bytes(cut[:-1000])
    return folder


def stored(workspace: Workspace) -> dict[str, pa.Table]:
    """All rows in the order of their uids, without ids."""
    with open_reader(workspace) as reader:
        return {
            "episodes": reader.table(
                "SELECT * EXCLUDE (episode_id, duplicate_of), duplicate_of IS NULL AS first FROM episodes "
                "ORDER BY uid, source"
            ),
            "parts": reader.table(
                "SELECT e.uid, e.source, p.* EXCLUDE (episode_id) FROM parts p JOIN episodes e USING (episode_id) "
                "ORDER BY uid, source, message_index, part_index"
            ),
            "skipped": reader.table("FROM skipped ORDER BY ALL"),
            "sources": reader.table("SELECT * EXCLUDE ingested_at FROM sources ORDER BY source"),
        }


def read_here(workspace: Workspace, *paths: Path | str) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk(paths), engine=Engine(1)))


@pytest.fixture(scope="module")
def expected(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    undisturbed = create_workspace(tmp_path_factory.mktemp("undisturbed"))
    reports = read_here(undisturbed, logs)
    assert [Path(report.source).name for report in reports if report.error] == ["cut.jsonl.gz"]
    return stored(undisturbed)


def n_commits(workspace: Workspace) -> int:
    with connect_for_reading(workspace.catalog_path) as catalog:
        return int(catalog.execute("SELECT count(*) FROM shards WHERE table_name = 'episodes'").fetchone()[0])


def wait_for_commits(workspace: Workspace, wanted: int, process: "subprocess.Popen[str]") -> None:
    while n_commits(workspace) < wanted:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def assert_whole(workspace: Workspace, expected: dict[str, pa.Table]) -> None:
    for name, rows in stored(workspace).items():
        assert rows.equals(expected[name]), name
    with open_writer(workspace), open_reader(workspace) as reader:
        (ids,) = reader.rows(
            "SELECT count(*) AS n, count(DISTINCT episode_id) AS ids, min(episode_id) AS m FROM episodes"
        )
        known = {shard.path for table in ("episodes", "parts", "calls", "skipped") for shard in reader.shards(table)}
    assert (ids["n"], ids["m"] > 0) == (ids["ids"], True)
    assert {
        path.relative_to(workspace.root).as_posix() for path in workspace.data.rglob("*") if path.is_file()
    } == known


@needs_ray
@pytest.mark.slow
def test_a_node_that_dies_and_an_interrupt_change_nothing(
    nodes: Nodes, logs: Path, expected: dict[str, pa.Table], tmp_path: Path
) -> None:
    workspace = create_workspace(tmp_path / "workspace")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(workspace, logs, nodes.address), **pipes) as process:
        wait_for_commits(workspace, 2, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["Interrupted; what was finished is stored. Run the same command again to go on."]
    before = n_commits(workspace)
    assert before >= 2
    with subprocess.Popen(command(workspace, logs, nodes.address), **pipes) as process:
        wait_for_commits(workspace, before + 1, process)
        nodes.kill_one()
        assert process.poll() is None
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    *reports, total = map(json.loads, out.splitlines())
    assert total["total"] is True
    errors = {Path(report["source"]).name: report["error"] for report in reports if report["error"]}
    assert list(errors) == ["cut.jsonl.gz"]
    assert not [line for line in err.splitlines() if "ray" in line.lower()]
    assert_whole(workspace, expected)
    (again,) = [report for report in read_here(workspace, logs) if report.episodes or report.removed or report.error]
    assert Path(again.source).name == "cut.jsonl.gz"


@needs_ray
def test_no_cluster_is_said_in_a_sentence(logs: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    workspace = create_workspace(tmp_path / "workspace")
    for where in (address, "nonsense"):
        done = subprocess.run(command(workspace, logs, where), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        (said,) = done.stderr.splitlines()
        assert said.startswith(f"Error: There is no Ray cluster at {where} ")
        assert "ray start --head" in said
    # Where nothing is to be read, none is needed.
    read = tmp_path / "read.jsonl"
    read.write_text(chat("hi"))
    with open_writer(workspace) as writer:
        assert [report.episodes for report in ingest(writer, walk([read]))] == [1]
    done = subprocess.run(command(workspace, read, address), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["unchanged"] == 1


LACKING = """
import sys, types
from investigate.store.errors import StoreError
from investigate.store.ray_engine import run_on_ray
module = types.ModuleType("only_here")
exec("def work(task, lease):\\n    yield task", module.__dict__)
module.work.__module__ = "only_here"
sys.modules["only_here"] = module
def divide(task, lease):
    yield task / 0
for function in (module.work, divide):
    try:
        list(run_on_ray(function, [1], first_id=1, address=sys.argv[1]))
    except StoreError as error:
        print(error)
    except ZeroDivisionError as error:
        print("yield task / 0" in str(error))
"""


@needs_ray
@pytest.mark.slow
def test_a_node_that_lacks_a_package_and_a_bug_are_told_apart(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(LACKING)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), nodes.address], capture_output=True, text=True, check=False
    )
    lacking, bug = done.stdout.splitlines()
    assert "lacks a package" in lacking
    assert "only_here" in lacking
    assert bug == "True"


@pytest.mark.parametrize("query", ["", "?ignored=by+a+local+folder"])
def test_a_uri_gives_the_rows_of_the_path(tmp_path: Path, query: str) -> None:
    """Through the filesystems of pyarrow, as a bucket would be; no Ray in it."""
    folder = tmp_path / "runs"
    (folder / "café 5%?").mkdir(parents=True)
    (folder / "a.jsonl").write_text(conversations("a", 50, random.Random(1)) + '{"torn')
    packed = gzip.compress(conversations("b", 50, random.Random(2)).encode())
    (folder / "café 5%?" / "b c#.jsonl.gz").write_bytes(packed)
    (folder / "empty.jsonl").write_bytes(b"")
    by_path, by_uri = create_workspace(tmp_path / "by_path"), create_workspace(tmp_path / "by_uri")
    uri = f"file://{folder}{query}"
    read_here(by_path, folder)
    reports = read_here(by_uri, uri)
    assert [report.source for report in reports if report.error] == [f"file://{folder}/empty.jsonl{query}"]
    for name, rows in stored(by_uri).items():
        place = rows.schema.get_field_index("source")
        sources = [unquote(source.removeprefix("file://").removesuffix(query)) for source in rows["source"].to_pylist()]
        assert rows.set_column(place, rows.schema.field("source"), pa.array(sources)).equals(stored(by_path)[name]), (
            name
        )
    assert all(report.episodes == 0 for report in read_here(by_uri, uri))
    with (folder / "a.jsonl").open("a") as file:
        file.write("\n" + chat("grown"))
    assert sum(report.episodes for report in read_here(by_uri, uri)) == 1
