"""How well search finds what is known to be there: nDCG@10 of every mode over the query set.

    python tests/bench/retrieval.py --encoder minilm --encoder static --rerank minilm --keep DIR

Takes the public transcripts, ingests them once, and copies the parts in scope into a corpus of their own: the program
searches that as it searches any workspace, and encodes no more than that. Prints tables; ``--keep`` keeps the corpus
with its indexes and vectors for the next run. Intervals are 95 %, from a bootstrap that draws whole folders.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from harness import ROOT, Failed, investigate, run
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Array, Encoder, load_encoder
from investigate.analysis.text.find import Question, find
from investigate.analysis.text.index import Filters, update_text_index
from investigate.analysis.text.rerank import RERANKED, rerank
from investigate.analysis.text.vectors import load_chunks
from investigate.store.reader import Reader, open_reader
from investigate.store.schemas import EPISODES, PARTS
from investigate.store.shards import write_shard
from investigate.store.workspace import Workspace, create_workspace, open_workspace
from investigate.store.writer import Commit, open_writer
from queries import KINDS, Corpus, Query, faults, fingerprint, load_corpora, load_queries
from ranking import DEPTH, bootstrap_mean, bootstrap_ratio, first_of_each, ndcg


@dataclass(frozen=True, slots=True)
class System:
    """A way to search: a mode, with an encoder where it takes one, and one that the best hits are scored again by."""

    name: str
    mode: str
    encoder: Encoder | None = None
    second: Encoder | None = None


@dataclass(frozen=True, slots=True)
class Judgements:
    """The set in one workspace, sound."""

    queries: list[Query]
    corpora: dict[str, Corpus]
    fingerprint: str


def main() -> None:
    options = _options()
    with _folder(options.keep) as folder:
        whole = _whole(folder / "transcripts", options.transcripts)
        with open_reader(whole) as reader:
            judged = _judgements(reader)
            corpus = _corpus(folder / f"corpus-{judged.fingerprint}", reader, judged)
        _describe(judged)
        systems = [System("keyword", "keyword")]
        second = _remembering(_encoder(options.rerank, corpus)) if options.rerank else None
        for name in options.encoder:
            encoder = _encoder(name, corpus)
            _encode(corpus, encoder)
            systems += [System(f"{mode} {name}", mode, encoder) for mode in ("semantic", "hybrid")]
            if second is not None:
                systems.append(System(f"hybrid {name} --rerank {options.rerank}", "hybrid", encoder, second))
        with open_reader(corpus) as reader:
            scores = {system.name: _scores(reader, system, judged) for system in systems}
    _print(judged.queries, scores)
    if options.scores:
        _write_scores(options.scores, judged.queries, scores)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transcripts", type=Path, default=ROOT.parent / "shared" / "transcripts", metavar="DIR")
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME", help="may be given several times")
    parser.add_argument("--rerank", metavar="NAME", help="an encoder; every hybrid is run with it and without")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for the workspaces; default: a temporary folder")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="write a JSON line per query here")
    return parser.parse_args()


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="investigate-") as folder:
        yield Path(folder)


def _whole(folder: Path, transcripts: Path) -> Workspace:
    """The workspace of all transcripts; ingesting them again reads only what is new."""
    if not transcripts.is_dir():
        raise SystemExit(f"There are no transcripts at {transcripts}; say where with --transcripts.")
    run(investigate("ingest", transcripts, "--no-index", "-w", folder))
    return open_workspace(folder)


def _judgements(reader: Reader) -> Judgements:
    corpora = load_corpora(reader)
    queries = load_queries(reader, corpora)
    if found := faults(queries, corpora):
        raise Failed("the query set is not what it claims to be:\n" + "\n".join(found))
    return Judgements(queries, corpora, fingerprint(queries, corpora))


def _corpus(folder: Path, reader: Reader, judged: Judgements) -> Workspace:
    """A workspace of the parts in scope alone, under their own ids, indexed. One that is kept is used again as long as
    it is whole and of these ids."""
    mark, ids = folder / "ids.json", {name: sorted(corpus.texts) for name, corpus in judged.corpora.items()}
    if mark.exists() and json.loads(mark.read_text()) == ids:
        return open_workspace(folder)
    shutil.rmtree(folder, ignore_errors=True)
    conditions = []
    for corpus in judged.corpora.values():
        kinds, roles = _listed(map(repr, corpus.kinds)), _listed(map(repr, corpus.roles))
        conditions.append(f"(episode_id IN {_listed(map(str, corpus.texts))} AND kind IN {kinds} AND role IN {roles})")
    parts = reader.table(
        f"SELECT {', '.join(PARTS.names)} FROM parts WHERE {' OR '.join(conditions)} "
        "ORDER BY episode_id, message_index, part_index"
    )
    used = _listed(map(str, set(parts["episode_id"].to_pylist())))
    episodes = reader.table(
        f"SELECT {', '.join(EPISODES.names)} FROM episodes WHERE episode_id IN {used} ORDER BY episode_id"
    )
    workspace = create_workspace(folder)
    with open_writer(workspace) as writer:
        shards = [
            write_shard(workspace.root, f"data/{table}/corpus.parquet", table, "corpus", rows.cast(schema))
            for table, rows, schema in (("episodes", episodes, EPISODES), ("parts", parts, PARTS))
        ]
        writer.commit(Commit(shards, [], next_episode_id=max(episodes["episode_id"].to_pylist()) + 1))
        for _ in update_text_index(writer):
            pass
    mark.write_text(json.dumps(ids))
    return workspace


def _listed(values: Iterable[str]) -> str:
    return f"({', '.join(values)})"


def _encoder(name: str, workspace: Workspace) -> Encoder:
    encoder = load_encoder(name, workspace.root)
    if encoder is None:
        raise SystemExit(f"There is no encoder {name!r} here.")
    return encoder


def _remembering(encoder: Encoder) -> Encoder:
    """The same encoder, asked once for each text: queries find the same parts over and over."""
    known: dict[str, Array] = {}

    def encode(texts: list[str]) -> Array:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, encoder.encode(new), strict=True))
        return np.array([known[text] for text in texts], np.float32).reshape(len(texts), encoder.dimension)

    return replace(encoder, encode=encode)


def _encode(workspace: Workspace, encoder: Encoder) -> None:
    began, n_chars = time.perf_counter(), 0
    with open_writer(workspace) as writer:
        for n in update_vectors(writer, encoder):
            n_chars += n
            print(f"\r{encoder.name}: {n_chars:,} characters", end="", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    with open_reader(workspace) as reader:
        chunks = load_chunks(reader, encoder)
    n_vectors = len(chunks.vectors)
    spent = f"encoded in {seconds:.1f} s, {n_vectors / seconds:,.0f} a second" if n_chars else "encoded before"
    print(f"\n{encoder.name}: {len(chunks.rows['vector']):,} chunks, {n_vectors:,} vectors, {spent}", flush=True)


def _scores(reader: Reader, system: System, judged: Judgements) -> list[float]:
    """nDCG@10 of each query."""
    return [
        ndcg(_ranking(reader, system, query, judged.corpora[query.scope]), query.grades) for query in judged.queries
    ]


def _ranking(reader: Reader, system: System, query: Query, corpus: Corpus) -> list[int]:
    """The first episodes that a search finds, each where its best part stands, equals folded."""
    filters = Filters(tuple(corpus.texts), corpus.kinds, corpus.roles)
    limit = RERANKED
    while True:
        question = Question(query.text, filters, limit, system.encoder)
        hits = find(reader, system.mode, question, fold=False)
        n_found = len(hits)
        if system.second is not None:
            hits = rerank(reader, system.mode, question, hits[:RERANKED], system.second) + hits[RERANKED:]
        items = first_of_each((hit.span.episode_id for hit in hits), corpus.same)
        if len(items) >= DEPTH or n_found < limit:
            return items[:DEPTH]
        limit *= 4


def _describe(judged: Judgements) -> None:
    queries, corpora = judged.queries, judged.corpora
    by_kind = ", ".join(f"{sum(query.kind == kind for query in queries)} {kind}" for kind in KINDS)
    print(
        f"set {judged.fingerprint}: {len(queries)} queries ({by_kind}) over {len({q.folder for q in queries})} folders"
    )
    for name, corpus in corpora.items():
        sizes = [len(query.grades) for query in queries if query.scope == name]
        n_parts = sum(map(len, corpus.texts.values()))
        print(
            f"  {name}: {len(sizes)} queries, {min(sizes)} to {max(sizes)} relevant of "
            f"{len(corpus.texts):,} episodes, {n_parts:,} parts"
        )


def _print(queries: Sequence[Query], scores: dict[str, list[float]]) -> None:
    folders = [query.folder for query in queries]
    print(f"\nnDCG@{DEPTH} [95 %, folders drawn], n = {len(queries)} queries in {len(set(folders))} folders")
    width = max(map(len, scores))
    print(f"{'':{width}}  {'all':22}" + "".join(f"  {kind:>10}" for kind in KINDS))
    for name, values in scores.items():
        by_kind = "".join(f"  {_mean(queries, values, kind):10.3f}" for kind in KINDS)
        print(f"{name:{width}}  {bootstrap_mean(values, folders)!s:22}{by_kind}")
    print("\npaired, of the same queries")
    for name, other in _pairs(list(scores)):
        differences = [a - b for a, b in zip(scores[name], scores[other], strict=True)]
        share = bootstrap_ratio(scores[name], scores[other], folders)
        print(f"{name} less {other}: {bootstrap_mean(differences, folders)}; share of it {share}")


def _mean(queries: Sequence[Query], values: Sequence[float], kind: str) -> float:
    chosen = [value for query, value in zip(queries, values, strict=True) if query.kind == kind]
    return sum(chosen) / len(chosen) if chosen else float("nan")


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each hybrid with both of its members, and each encoder with the first one, mode by mode."""
    for name in names:
        mode, *encoder = name.split()
        if mode == "hybrid":
            yield name, "keyword"
            yield name, f"semantic {encoder[0]}"
        first = next(other for other in names if other.split()[0] == mode)
        if first != name:
            yield name, first


def _write_scores(path: Path, queries: Sequence[Query], scores: dict[str, list[float]]) -> None:
    with path.open("w") as file:
        for i, query in enumerate(queries):
            row = {"query": query.name, "text": query.text, "kind": query.kind, "folder": query.folder}
            file.write(json.dumps(row | {name: round(values[i], 4) for name, values in scores.items()}) + "\n")


if __name__ == "__main__":
    main()
