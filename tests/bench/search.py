"""The benchmark of search, run by hand on a machine that does nothing else.

    python tests/bench/search.py [--parts 1000000] [--tmp DIR] [--log]

Makes the planted corpus until it has so many parts, ingests and indexes it, and asks the same questions of our indexes,
of DuckDB's scans over the same Parquet files and of an SQLite FTS5 table of the same rows. Correctness comes first:
each index must find just the parts that a scan finds, and the ten nearest vectors must be those of an exact product in
single precision. Takes options, prints times with the machine; ``--log`` adds them to LOG.md. Knows nothing of quality
(`retrieval.py` does).
"""

from __future__ import annotations

import argparse
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, Bench, Failed, append_entry, expect, investigate, machine, row, run
from investigate.analysis.text.embed import prepare, update_vectors
from investigate.analysis.text.encode import load_encoder
from investigate.analysis.text.find import Question, find
from investigate.analysis.text.index import Filters, search_text, update_text_index
from investigate.analysis.text.tokens import Query
from investigate.analysis.text.vectors import load_chunks, open_vectors
from investigate.store.reader import Reader, open_reader
from investigate.store.workspace import TEXT_INDEX, Workspace, open_workspace
from investigate.store.writer import open_writer
from memory import watched

sys.path.insert(0, str(ROOT / "examples" / "planted"))

_PARTS_PER_EPISODE = 15
_QUESTIONS, _CHECKED, _COMMANDS = 40, 8, 5
_WORD = re.compile(r"[a-z]{4,12}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="where logs and workspaces go, removed at the end")
    parser.add_argument("--log", action="store_true", help="add what was measured to LOG.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="investigate-bench-", dir=options.tmp) as folder:
        bench = Bench(Path(folder).resolve(), 0, None, ROOT)
        bench.say(machine(bench))
        try:
            _measure(bench, options.parts)
        except Failed as error:
            bench.say(f"FAILED: {error}")
    if options.log:
        append_entry(f"search, {options.parts:,} parts", bench.lines)
    return 0


def _measure(bench: Bench, n_parts: int) -> None:
    workspace = _corpus(bench, n_parts)
    _build(bench, workspace)
    encoder = load_encoder("static", workspace.root)
    if encoder is None:
        raise Failed("needs the extra `offline`")
    fts = bench.fresh()
    with open_reader(workspace) as reader:
        questions = _questions(reader)
        words = [question.split()[0] for question in questions[:_CHECKED]]
        _fts5(bench, reader, fts)
        _check_words(bench, reader, workspace, fts, words)
        _check_vectors(bench, reader, encoder, questions[:_CHECKED])
        index = open_vectors(reader, encoder)
        asked = iter(encoder.ask(questions))
        filters = Filters()

        def semantic(question: str) -> Any:
            return index.search(next(asked), filters, 10)

        timings: dict[str, Callable[[str], Any]] = {
            "keyword, index alone": lambda q: search_text(workspace, Query(tuple(q.split()), (), ()), filters, 10),
            "semantic, product and best ten": semantic,
            "keyword, hits with spans": lambda q: find(reader, "keyword", Question(q, filters, 10)),
            "semantic, the question read by MiniLM": lambda q: find(
                reader, "semantic", Question(q, filters, 10, encoder)
            ),
            "hybrid": lambda q: find(reader, "hybrid", Question(q, filters, 10, encoder)),
            "SQLite FTS5, bm25": lambda q: _ask_fts5(fts, q),
        }
        bench.say(f"in process, {len(questions)} questions of two words, the index warm:")
        bench.table(("", "p50 ms", "p95 ms"), [(name, *_times(ask, questions)) for name, ask in timings.items()])
        scans: dict[str, Callable[[str], Any]] = {
            "DuckDB LIKE": lambda q: reader.rows("SELECT count(*) FROM parts WHERE lower(text) LIKE ?", [f"%{q}%"]),
            "DuckDB regexp_matches": lambda q: reader.rows(
                "SELECT count(*) FROM parts WHERE regexp_matches(text, ?, 'i')", [rf"\b{q}\b"]
            ),
        }
        bench.table(("scans", "p50 ms", "p95 ms"), [(name, *_times(ask, words[:5])) for name, ask in scans.items()])
    _commands(bench, workspace, questions)


def _corpus(bench: Bench, n_parts: int) -> Workspace:
    """The planted corpus with at least so many parts, ingested by the command."""
    from corpus import LOGS, write
    from settings import Config

    logs, workspace = bench.fresh(), bench.fresh()
    n_episodes = n_parts // _PARTS_PER_EPISODE
    while True:
        write(Config(episodes=n_episodes), logs)
        n_bytes = sum(path.stat().st_size for path in (logs / LOGS).rglob("*") if path.is_file())
        done = run(investigate("ingest", logs / LOGS, "--no-index", "-w", workspace))
        found = row(workspace, "SELECT count(*) AS n, sum(length(text))::BIGINT AS chars FROM parts")
        if found["n"] >= n_parts:
            break
        n_episodes = int(n_episodes * n_parts / found["n"] * 1.01) + 1
        logs, workspace = bench.fresh(), bench.fresh()
    bench.say(
        f"corpus: {n_episodes:,} planted episodes, {found['n']:,} parts, {found['chars'] / 1e6:.0f} M characters, "
        f"{n_bytes / 1e6:.0f} MB of logs; ingested in {done.seconds:.1f} s"
    )
    return open_workspace(workspace)


def _build(bench: Bench, workspace: Workspace) -> None:
    n_bytes = row(workspace.root, "SELECT sum(strlen(text))::BIGINT AS n FROM parts")["n"]
    with open_writer(workspace) as writer:
        began = time.perf_counter()
        for _ in update_text_index(writer):
            pass
        seconds = time.perf_counter() - began
        bench.say(
            f"text index: {seconds:.1f} s, {n_bytes / 1e6 / seconds:.1f} MB/s; {_size(workspace.index(TEXT_INDEX))}"
        )
        encoder, slow = load_encoder("static", workspace.root), load_encoder("minilm")
        if encoder is None or slow is None:
            raise Failed("needs the extra `offline`")
        encoder.encode(["distilled before the clock runs"])
        began = time.perf_counter()
        with open_reader(workspace) as reader:
            prepare(reader, encoder)
        fitted = time.perf_counter() - began
        began = time.perf_counter()
        for _ in update_vectors(writer, encoder):
            pass
        seconds = time.perf_counter() - began
    with open_reader(workspace) as reader:
        index = open_vectors(reader, encoder)
        n_chunks = sum(segment.rows.shape[1] for segment in index.segments)
        n_vectors = sum(len(segment.vectors) for segment in index.segments)
        texts = [hit["text"] for hit in reader.rows("SELECT text FROM parts WHERE length(text) > 200 LIMIT 3000")]
    rates = {}
    for name, one, n in (("static", encoder, 3000), ("MiniLM", slow, 600)):
        chosen = list(dict.fromkeys(text[:800] for text in texts))[:n]
        one.encode(chosen[:250])  # torch is imported by now
        began = time.perf_counter()
        one.encode(chosen)
        rates[name] = len(chosen) / (time.perf_counter() - began)
    bench.say(
        f"vectors: fitted in {fitted:.1f} s, {n_chunks:,} chunks ({n_vectors:,} distinct) in {seconds:.1f} s: "
        f"{n_chunks / seconds:,.0f} chunks/s, {n_bytes / 1e6 / seconds:.1f} MB/s; {_size(workspace.index('vectors'))}"
    )
    bench.say(
        f"encoders alone, the same texts of 200 to 800 characters: static {rates['static']:,.0f}/s, MiniLM "
        f"{rates['MiniLM']:,.1f}/s: {rates['static'] / rates['MiniLM']:.0f} times"
    )


def _questions(reader: Reader) -> list[str]:
    """Two words of one part drawn at random, so that there is something to find."""
    rows = reader.rows("SELECT text FROM parts WHERE length(text) > 80 USING SAMPLE 400 ROWS (reservoir, 7)")
    chance = random.Random(0)
    questions = []
    for text in (found["text"] for found in rows):
        words = sorted(set(_WORD.findall(text)))
        if len(words) > 5:
            questions.append(" ".join(chance.sample(words, 2)))
    return list(dict.fromkeys(questions))[:_QUESTIONS]


def _fts5(bench: Bench, reader: Reader, path: Path) -> None:
    began = time.perf_counter()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='unicode61')")
        for shard in reader.shards("parts"):
            for batch in reader.batches(shard, ("text",)):
                connection.executemany("INSERT INTO t (text) VALUES (?)", zip(batch["text"].to_pylist(), strict=True))
    bench.say(f"SQLite FTS5 of the same rows: {time.perf_counter() - began:.1f} s; {path.stat().st_size / 1e6:.0f} MB")


def _ask_fts5(path: Path, question: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        terms = " OR ".join(question.split())
        return connection.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY bm25(t) LIMIT 10", (terms,)).fetchall()


def _check_words(bench: Bench, reader: Reader, workspace: Workspace, fts: Path, words: Sequence[str]) -> None:
    """Every part with the word is found, and no other."""
    for word in words:
        scanned = reader.rows(
            "SELECT episode_id, message_index, part_index FROM parts WHERE regexp_matches(lower(text), ?)",
            [rf"(^|[^\p{{L}}\p{{N}}]){word}($|[^\p{{L}}\p{{N}}])"],
        )
        expected = {tuple(found.values()) for found in scanned}
        hits = search_text(workspace, Query((word,), (), ()), Filters(), len(expected) + 10)
        expect(f"parts with {word!r}", {tuple(key) for key, _ in hits} ^ expected, set())
        with sqlite3.connect(fts) as connection:
            (n,) = connection.execute("SELECT count(*) FROM t WHERE t MATCH ?", (word,)).fetchone()
        expect(f"rows of FTS5 with {word!r}", n, len(expected))
    bench.say(f"checked: of {len(words)} words the index, FTS5 and a scan find the same parts")


def _check_vectors(bench: Bench, reader: Reader, encoder: Any, questions: Sequence[str]) -> None:
    chunks = load_chunks(reader, encoder)
    index = open_vectors(reader, encoder)
    for question in questions:
        query = encoder.ask([question])[0]
        blocks = (
            chunks.vectors[i : i + 65_536].astype(np.float32) @ query for i in range(0, len(chunks.vectors), 65_536)
        )
        exact = np.concatenate(list(blocks))[chunks.rows["vector"]]
        hits = index.search(query, Filters(), 10)
        best = np.sort(exact)[::-1]
        if abs(hits[0].similarity - best[0]) > 1e-3 or hits[-1].similarity > best[9] + 1e-3:
            raise Failed(f"the nearest to {question!r} are not those of an exact product")
    bench.say(f"checked: of {len(questions)} questions the nearest are those of an exact product in single precision")


def _times(ask: Callable[[str], Any], questions: Sequence[str]) -> tuple[str, str]:
    seconds = []
    for question in questions:
        began = time.perf_counter()
        ask(question)
        seconds.append(time.perf_counter() - began)
    ordered = sorted(seconds)
    return f"{1e3 * statistics.median(ordered):.1f}", f"{1e3 * ordered[int(0.95 * len(ordered))]:.1f}"


def _commands(bench: Bench, workspace: Workspace, questions: Sequence[str]) -> None:
    bench.say(f"whole commands, a fresh process each, warm, median (least to most) of {_COMMANDS}:")
    for options in (["--mode", "keyword"], ["--mode", "semantic"], [], ["--rerank", "minilm"]):
        commands = [investigate("search", question, "-w", workspace.root, *options) for question in questions]
        run(commands[-1])
        seconds = sorted(run(command).seconds for command in commands[:_COMMANDS])
        peak = watched(commands[0]).together / 1e6
        name = " ".join(["search", *options])
        bench.say(
            f"  {name}: {statistics.median(seconds):.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}), peak {peak:.0f} MB"
        )


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.0f} MB on disk"


if __name__ == "__main__":
    sys.exit(main())
