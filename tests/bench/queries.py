"""Questions with known answers over the public transcripts: what retrieval is judged by.

Takes a reader on a workspace of those transcripts; gives, per query, the episodes to search in, the kinds and roles of
parts, and the grade of each relevant episode. A grade comes from what the logs' authors recorded (family, task, theme,
score, role: SQL on the ``episodes`` view), never from what a search returned. The queries were written from the labels
and from reading episodes, before any system was run on them. A `paraphrase` shares no stem of a content word with any
part of a relevant episode in its scope; ``faults`` checks that and all else that is claimed here. Knows no search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from investigate.store.reader import Reader
from query_scopes import SCOPES, Scope
from query_texts import LISTED, Listed
from ranking import content_stems

LEAST_RELEVANT: Final = 5
MOST_RELEVANT: Final = 300
LEAST_RATIO: Final = 10
"""Episodes in the corpus to each relevant one."""
KINDS: Final = ("direct", "paraphrase", "reasoning", "tool")


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a scope is in one workspace: episodes of which no two have equal texts in it.

    ``texts`` are an episode's parts in scope. ``same`` names for each episode, those left out as equals included, the
    one that stands for it.
    """

    kinds: tuple[str, ...]
    roles: tuple[str, ...]
    texts: dict[int, tuple[str, ...]]
    same: dict[int, int]


@dataclass(frozen=True, slots=True)
class Query:
    """``grades`` are those of the relevant episodes in scope; ``folder`` is where most of them come from."""

    name: str
    text: str
    kind: str
    scope: str
    folder: str
    grades: dict[int, int]


def load_corpora(reader: Reader) -> dict[str, Corpus]:
    """Each scope's episodes, chosen by hash, so that they are the same whatever the order of ingestion was."""
    return {scope.name: _corpus(reader, scope) for scope in SCOPES}


def _corpus(reader: Reader, scope: Scope) -> Corpus:
    kinds, roles = ", ".join(map(repr, scope.kinds)), ", ".join(map(repr, scope.roles))
    rows = reader.rows(f"""
        WITH within AS (
            SELECT episode_id, list(text ORDER BY message_index, part_index) AS texts FROM parts
            WHERE kind IN ({kinds}) AND role IN ({roles}) AND trim(text) <> '' GROUP BY episode_id),
        candidates AS (
            SELECT *, md5(to_json(texts)) AS digest,
                   row_number() OVER (PARTITION BY texts ORDER BY uid, source) AS copy
            FROM episodes JOIN within USING (episode_id) WHERE {scope.where}),
        chosen AS (
            SELECT episode_id, digest FROM candidates WHERE copy = 1
            QUALIFY row_number() OVER (PARTITION BY {scope.family} ORDER BY digest) <= {scope.per_family})
        SELECT c.episode_id, chosen.episode_id AS item, c.texts FROM candidates c JOIN chosen USING (digest)
        ORDER BY c.episode_id""")
    texts = {row["episode_id"]: tuple(row["texts"]) for row in rows if row["episode_id"] == row["item"]}
    return Corpus(scope.kinds, scope.roles, texts, {row["episode_id"]: row["item"] for row in rows})


def load_queries(reader: Reader, corpora: dict[str, Corpus]) -> list[Query]:
    """All queries, judged in this workspace."""
    columns = ", ".join(f"CASE WHEN {one.relevant} THEN {_grade(one)} END AS grade_{i}" for i, one in enumerate(LISTED))
    rows = reader.rows(f"SELECT episode_id, source, {columns} FROM episodes")
    counts = Counter[str]()
    queries = []
    for i, one in enumerate(LISTED):
        counts[one.scope] += 1
        judged = [(row["episode_id"], row["source"], grade) for row in rows if (grade := row[f"grade_{i}"])]
        queries.append(_judged(f"{one.scope}-{counts[one.scope]}", one, judged, corpora[one.scope].same))
    return queries


def _grade(listed: Listed) -> str:
    return f"CASE WHEN {listed.best} THEN 2 ELSE 1 END" if listed.best else "1"


def _judged(name: str, listed: Listed, judged: Sequence[tuple[int, str, int]], same: dict[int, int]) -> Query:
    grades: dict[int, int] = {}
    folders = Counter[str]()
    for episode_id, source, grade in judged:
        if episode_id in same:
            item = same[episode_id]
            grades[item] = max(grade, grades.get(item, 0))
            folders[_folder(source)] += 1
    folder = folders.most_common(1)[0][0] if folders else ""
    return Query(name, listed.text, listed.kind, listed.scope, folder, grades)


def _folder(source: str) -> str:
    """The folder of the transcripts that a source lies in."""
    return next((part for part in source.split("/") if part in FOLDERS), "")


FOLDERS: Final = frozenset(
    (
        "among-us", "atropos", "bloom-examples", "cot-monitor-stress-test", "docent-sample", "hawk-sample",
        "inspect-scout", "lie-detector", "openhands", "reasoning-gym-training", "rlvr-misalignment-onset",
        "sandbagging-agents", "swe-agent", "tau-bench", "tau2-bench", "thought-anchors", "tinker-reward-hacking",
        "tinker-rl-logs", "verifiers-outputs",
    )
)  # fmt: skip


def faults(queries: Sequence[Query], corpora: dict[str, Corpus]) -> list[str]:
    """What is not as this module claims, a sentence each; nothing of a sound set."""
    found = [fault for query in queries for fault in _faults_of(query, corpora[query.scope])]
    n_paraphrases = sum(query.kind == "paraphrase" for query in queries)
    if 3 * n_paraphrases < len(queries):
        found.append(f"{n_paraphrases} of {len(queries)} queries are paraphrases, fewer than a third")
    if len({query.folder for query in queries}) < 8:
        found.append("the answers lie in fewer than 8 folders")
    return found


def _faults_of(query: Query, corpus: Corpus) -> Iterator[str]:
    n_relevant, n_items = len(query.grades), len(corpus.texts)
    if not LEAST_RELEVANT <= n_relevant <= MOST_RELEVANT:
        yield f"{query.name} ({query.text}) has {n_relevant} relevant episodes"
    if n_items < LEAST_RATIO * n_relevant:
        yield f"{query.name} ({query.text}) has {n_relevant} relevant of {n_items} episodes, more than a tenth"
    if query.kind not in KINDS:
        yield f"{query.name} is of an unknown kind, {query.kind}"
    shared = shared_stems(query, corpus)
    if query.kind == "paraphrase" and shared:
        yield f"{query.name} ({query.text}) shares {', '.join(sorted(shared))} with its answers"
    if query.kind == "direct" and not shared:
        yield f"{query.name} ({query.text}) shares no word with its answers"


def shared_stems(query: Query, corpus: Corpus) -> frozenset[str]:
    """Stems of content words that the query and any part of a relevant episode in scope have in common."""
    asked = content_stems(query.text)
    relevant = (text for item in query.grades for text in corpus.texts[item])
    return frozenset(stem for text in relevant for stem in asked & content_stems(text))


def fingerprint(queries: Sequence[Query], corpora: dict[str, Corpus]) -> str:
    """Which set was judged: equal in two workspaces that hold the same transcripts and the same queries."""
    digest = sha256()
    for corpus in corpora.values():
        digest.update(repr(sorted(corpus.texts.values())).encode())
    for query in queries:
        texts = corpora[query.scope].texts
        grades = sorted((texts[item], grade) for item, grade in query.grades.items())
        digest.update(repr((query.name, query.text, query.kind, grades)).encode())
    return digest.hexdigest()[:12]
