"""The corpus as a stream, and as files.

    OUT/logs/openai/step_012.jsonl      OUT/logs/anthropic/step_012.jsonl      OUT/logs/verl/12.jsonl
    OUT/logs/inspect/step_012/shell-admin.eval                                 OUT/truth.parquet

Takes a ``Config``; ``generate`` gives records with their truth, ``write`` makes the files. Only ``OUT/logs`` is to be
ingested. Goes step by step, so memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from zipfile import ZipFile, ZipInfo

import numpy as np
import orjson
import pyarrow.parquet as pq
from draws import Columns, key_of, steps, task_ids, to_table
from settings import ENVIRONMENTS, FORMATS, N_STEPS, PROVIDERS, Config
from tell import N_NUMBERS, n_filling, tell
from wire import MODEL, RENDER, Facts, spoil

LOGS: Final = "logs"
TRUTH: Final = "truth.parquet"
KEY_SQL: Final = "coalesce(metadata->>'$.rollout_id', metadata->>'$.sample_metadata.rollout_id')"
"""The truth's ``key`` as an expression over the view ``episodes``."""
STEP_SQL: Final = "coalesce(training_step, CAST(metadata->>'$.sample_metadata.step' AS INTEGER))"
"""The truth's ``step`` likewise: Inspect's logs have no place of their own for a training step."""

_CHUNK: Final = 2000
"""Episodes whose random numbers are in memory at once."""
_EPOCH: Final = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log: a line without its newline, or a member of a zip. ``bad`` ones cannot be parsed."""

    format: str
    step: int
    environment: str
    name: str
    content: bytes
    bad: bool = False

    @property
    def file(self) -> str:
        """Its file, below the folder of logs."""
        if self.format == "verl":
            return f"verl/{self.step}.jsonl"
        if self.format == "inspect":
            return f"inspect/step_{self.step:03d}/{self.environment}.eval"
        return f"{self.format}/step_{self.step:03d}.jsonl"


def generate(config: Config) -> Iterator[tuple[Record, dict[str, Any] | None]]:
    """Every record with its row of truth; a bad one has none, and follows the record that it was made of."""
    for columns in steps(config):
        rows = iter(to_table(config, columns).to_pylist())
        for record in records(config, columns):
            yield record, None if record.bad else next(rows)


def records(config: Config, columns: Columns) -> Iterator[Record]:
    """The records of one step, in the order of its columns."""
    step = int(columns["step"][0])
    values = {name: array.tolist() for name, array in columns.items()}
    own_tasks = task_ids(columns)
    names = list(values)
    numbers, filling = _numbers(config, columns)
    for start in range(0, len(own_tasks), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        drawn = zip(numbers[chunk].tolist(), filling[chunk].tolist(), own_tasks[chunk], strict=True)
        told = zip(*(values[name][chunk] for name in names), strict=True)
        for row_values, (text, fill, task_id) in zip(told, drawn, strict=True):
            row = dict(zip(names, row_values, strict=True))
            log, environment = FORMATS[row["format"]], ENVIRONMENTS[row["environment"]]
            facts = Facts(
                key_of(config, row["index"]),
                row["index"],
                step,
                environment,
                task_id,
                PROVIDERS[row["provider"]],
                None if row["reward_missing"] else row["reward"],
                row["truncated"],
            )
            content = RENDER[log](tell(row, text, fill, config.chars), facts)
            name = f"{task_id}_epoch_{row['index']}"
            yield Record(log, step, environment, name, content)
            if row["bad_row_follows"]:
                yield Record(log, step, environment, f"{name}-again", spoil(content, text[0]), bad=True)


def write(config: Config, out: Path) -> int:
    """Logs and truth below ``out``; gives the number of bad rows. Raises FileExistsError where there are some."""
    (out / LOGS).mkdir(parents=True)
    n_bad = 0
    with ExitStack() as opened:
        truth: pq.ParquetWriter | None = None
        for columns in steps(config):
            table = to_table(config, columns)
            truth = truth or opened.enter_context(pq.ParquetWriter(out / TRUTH, table.schema, compression="zstd"))
            truth.write_table(table)
            n_bad += _write_step(config, columns, out / LOGS)
    return n_bad


def _write_step(config: Config, columns: Columns, logs: Path) -> int:
    n_bad = 0
    lines: dict[str, BinaryIO] = {}
    zips: dict[str, ZipFile] = {}
    with ExitStack() as opened:
        for record in records(config, columns):
            n_bad += record.bad
            path = record.file
            if record.format == "inspect":
                if path not in zips:
                    zips[path] = opened.enter_context(_start(logs / path, record))
                _add(zips[path], f"samples/{record.name}.json", record.content)
                continue
            if path not in lines:
                (logs / path).parent.mkdir(exist_ok=True)
                lines[path] = opened.enter_context((logs / path).open("xb"))
            lines[path].write(record.content + b"\n")
        for path, log in zips.items():
            _add(log, "header.json", orjson.dumps(_header(Path(path).stem, "success")))
    return n_bad


def _start(path: Path, record: Record) -> ZipFile:
    """A new Inspect log, its journal written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = ZipFile(path, "x")
    _add(log, "_journal/start.json", orjson.dumps(_header(record.environment, "started")))
    return log


def _header(environment: str, status: str) -> dict[str, Any]:
    return {"version": 2, "status": status, "eval": {"task": environment, "model": MODEL}, "plan": {}}


def _add(log: ZipFile, name: str, content: bytes) -> None:
    log.writestr(ZipInfo(name, _EPOCH), content)


def _numbers(config: Config, columns: Columns) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The random numbers of each text, and of its filling. One that nearly repeats another has the other's, but for its
    ticket and its first filling sentence."""
    step, n = int(columns["step"][0]), len(columns["index"])
    random = np.random.default_rng([config.seed, step, N_STEPS])
    numbers = random.integers(0, 1 << 30, (n, N_NUMBERS), np.int32)
    filling = random.integers(0, 1 << 30, (n, n_filling(config.chars)), np.int32)
    original = columns["original"] - columns["index"][0]
    tickets, firsts = numbers[:, -1].copy(), filling[:, 0].copy()
    numbers, filling = numbers[original], filling[original]
    numbers[:, -1], filling[:, 0] = tickets, firsts
    return numbers, filling
