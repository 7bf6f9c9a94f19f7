"""What every part of the benchmark needs: a place for files, whole processes with their time, and what is said of it.

Takes a temporary folder and the options of the command, gives ``Bench``. Knows how `investigate` is started and what
machine this is, not what is measured.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import made_logs
from investigate.store.reader import Reader, open_reader
from investigate.store.workspace import open_workspace

ROOT = Path(__file__).resolve().parents[2]
LOG = Path(__file__).resolve().with_name("LOG.md")
_OUR_LIBRARIES = ("investigate", "duckdb", "pyarrow", "orjson", "numpy", "zstandard")
_PEER_LIBRARIES = ("datasets", "pyarrow", "inspect_ai", "pydantic")
_VERSIONS = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


class Failed(Exception):
    """Something is not as it must be, so that its time means nothing."""


class Absent(Exception):
    """A part cannot be run here; the message says what it needs."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process from start to end."""

    seconds: float
    out: str


@dataclass(slots=True)
class Bench:
    """One run of the benchmark. Files go below ``folder``; what is said is printed and kept in ``lines``."""

    folder: Path
    gb: float
    peers: Path | None
    inspect_logs: Path
    lines: list[str] = field(default_factory=list)
    _n_fresh: int = 0

    def say(self, text: str) -> None:
        """Print, without the names of this machine's folders."""
        places = {self.folder: "…", self.inspect_logs: self.inspect_logs.name, ROOT: "."}
        if self.peers is not None:
            places[self.peers.parent.parent] = "PEERS"
        for place, name in places.items():
            text = text.replace(str(place), name)
        for line in text.splitlines():
            print(line, flush=True)
            self.lines.append(line)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Say a table; all columns but the first are aligned to the right."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.say("  ".join([row[0].ljust(widths[0]), *cells]))

    def fresh(self) -> Path:
        """A path below the folder where there is nothing yet."""
        self._n_fresh += 1
        return self.folder / f"fresh-{self._n_fresh}"

    def chat(self, gb: float) -> Path:
        """A chat log of this size, read once so that it is in the file cache."""
        path = self.folder / f"chat-{gb:g}.jsonl"
        if not path.exists():
            made_logs.write_chat(path, int(gb * 1e9))
        read_once(path)
        return path

    def peers_python(self) -> str:
        if self.peers is None:
            raise Absent("needs --peers: a python that has the peers installed")
        return str(self.peers)


def investigate(*arguments: str | Path) -> list[str]:
    """The command line as a user types it: the script beside this python."""
    script = Path(sys.executable).with_name("investigate")
    if not script.exists():
        raise Absent(f"needs the script {script.name} beside {Path(sys.executable).name}: install the package")
    return [str(script), *map(str, arguments)]


def run(command: Sequence[str], **environment: str) -> Process:
    """Run a process to its end. Raises Failed where it fails.

    It may keep compiled modules, which the peers, installed by pip, have as well.
    """
    os.sync()  # What earlier runs wrote is not to be written in this one's time.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**inherited, **environment})
    seconds = time.perf_counter() - began
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    return Process(seconds, done.stdout)


def ask(workspace: Path, question: Callable[[Reader], Any]) -> Any:
    """Ask a workspace something."""
    with open_reader(open_workspace(workspace)) as reader:
        return question(reader)


def row(workspace: Path, sql: str) -> dict[str, Any]:
    """The one row of an answer."""
    (found,) = ask(workspace, lambda reader: reader.rows(sql))
    return dict(found)


def expect(what: str, found: Any, expected: Any) -> None:
    """Raise Failed where something is not what it must be."""
    if found != expected:
        raise Failed(f"{what}: found {found!r}, expected {expected!r}")


def alternate(n: int, ours: Callable[[], float], theirs: Callable[[], float]) -> list[tuple[float, float]]:
    """``n`` pairs of seconds (ours, theirs), one straight after the other; who goes first alternates."""
    pairs = []
    for index in range(n):
        if index % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), theirs()))
    return pairs


def say_pairs(bench: Bench, peer: str, megabytes: float, pairs: Sequence[tuple[float, float]]) -> None:
    """Each pair and the medians. A ratio above 1 says that ours is faster."""
    rows = []
    for index, (ours, theirs) in enumerate(pairs, 1):
        rows.append((f"pair {index}", *_speed(megabytes, ours), *_speed(megabytes, theirs), f"{theirs / ours:.2f}"))
    ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratios = [second / first for first, second in pairs]
    median = statistics.median(ratios)
    rows.append((f"median of {len(pairs)}", *_speed(megabytes, ours), *_speed(megabytes, theirs), f"{median:.2f}"))
    bench.table(("", "ours MB/s", "s", f"{peer} MB/s", "s", "ratio"), rows)
    bench.say(f"ratio to {peer}: {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n = {len(pairs)} pairs)")


def _speed(megabytes: float, seconds: float) -> tuple[str, str]:
    return f"{megabytes / seconds:.1f}", f"{seconds:.2f}"


def read_once(path: Path) -> None:
    """Bring a file into the file cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def remove(path: Path) -> None:
    """A file or folder, whatever it is."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def machine(bench: Bench) -> str:
    """What was measured on, and with which versions."""
    memory = _proc("/proc/meminfo", "MemTotal").removesuffix("kB").strip()
    ours = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _OUR_LIBRARIES)
    disk = shutil.disk_usage(bench.folder)
    lines = [
        f"machine: {len(os.sched_getaffinity(0))} cores of {_proc('/proc/cpuinfo', 'model name')}, "
        f"{int(memory) / 1e6:.1f} GB memory, {_filesystem(bench.folder)} with {disk.free / 1e9:.0f} GB free, "
        f"Linux {platform.release()}, load {os.getloadavg()[0]:.2f} at the start",
        f"versions: Python {platform.python_version()}, {ours}; commit {_commit()}",
    ]
    if bench.peers is not None:
        found = json.loads(run([str(bench.peers), "-c", _VERSIONS, *_PEER_LIBRARIES]).out)
        lines.append("peers: " + ", ".join(f"{name} {version or 'absent'}" for name, version in found.items()))
    return "\n".join(lines)


def _proc(path: str, name: str) -> str:
    with open(path, encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(name)), "?")


def _filesystem(folder: Path) -> str:
    best, kind = "", "?"
    with open("/proc/mounts", encoding="utf-8") as file:
        for line in file:
            _, mounted, found, *_ = line.split()
            if str(folder).startswith(mounted) and len(mounted) > len(best):
                best, kind = mounted, found
    return kind


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=9"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def append_entry(title: str, lines: Sequence[str]) -> None:
    """Add a dated entry to the log."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    entry = "\n".join(["", f"## {now}: {title}", "", "```text", *lines, "```", ""])
    LOG.write_text(LOG.read_text(encoding="utf-8") + entry, encoding="utf-8")
