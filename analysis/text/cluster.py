"""What kinds of episode there are: embed, reduce, cluster, name.

Takes a reader and an encoder, gives clusters of episodes with names, representatives and stability, and stores them as
a run. The numbers are made in ``clusters.py`` and ``topics.py``. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...store.errors import InputError
from ...store.reader import Reader
from ...store.schemas import CLUSTER_MEMBERS, CLUSTERS
from .clusters import cluster_vectors, representatives, stability
from .encode import Encoder, tfidf_vectors
from .index import Filters
from .topics import name_clusters
from .vectors import load_chunks

NOISE = -1
MIN_EPISODES = 10
TEXT_CHARS = 4_000
"""An episode is named by the beginning of what it says: names need its topic, not its length."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Episodes that are alike. ``representatives`` are the ids closest to its middle, best first; ``stability`` is the
    mean Jaccard overlap over bootstrap repetitions, NaN for noise."""

    cluster_id: int
    size: int
    share: float
    label: str
    terms: tuple[str, ...]
    representatives: tuple[int, ...]
    stability: float


@dataclass(frozen=True, slots=True)
class Clusters:
    """All clusters, the noise among them as number −1; ``members`` has (cluster, episode, probability)."""

    clusters: list[Cluster]
    members: list[tuple[int, int, float]]
    encoder: str
    warning: str | None
    n_folded: int
    """Episodes left out because an earlier one of those asked for has the same raw record."""


def cluster_episodes(
    reader: Reader,
    encoder: Encoder | None,
    *,
    episode_ids: Sequence[int] | None = None,
    kinds: Sequence[str] = ("text", "reasoning"),
    roles: Sequence[str] = ("assistant",),
    min_size: int | None = None,
    seed: int = 0,
) -> Clusters:
    """Cluster episodes by what the chosen roles say in them. Without an encoder, by their words (TF-IDF).

    Raises InputError when there is too little to cluster.
    """
    filters = Filters(episode_ids, kinds, roles)
    texts, n_folded = _texts(reader, filters)
    if encoder is not None:
        vectors = _episode_vectors(reader, encoder, filters)
        texts = {episode_id: text for episode_id, text in texts.items() if episode_id in vectors}
    if len(texts) < MIN_EPISODES:
        raise InputError(
            f"{len(texts)} episodes have something to cluster by, and it takes {MIN_EPISODES}; loosen --where, --in or "
            "--role, or run `investigate index`."
        )
    ids = list(texts)
    if encoder is not None:
        matrix = np.stack([vectors[episode_id] for episode_id in ids])
    else:
        matrix = tfidf_vectors(list(texts.values()), seed=seed)
    found = cluster_vectors(matrix, min_cluster_size=min_size, seed=seed)
    clusters = _describe(ids, list(texts.values()), matrix, found.labels, min_size, seed)
    members = [
        (int(label), episode_id, float(probability))
        for episode_id, label, probability in zip(ids, found.labels, found.probabilities, strict=True)
    ]
    return Clusters(clusters, members, encoder.name if encoder else "tfidf", found.warning, n_folded)


def _texts(reader: Reader, filters: Filters) -> tuple[dict[int, str], int]:
    conditions, parameters = (
        ["kind IN (SELECT unnest(?))", "role IN (SELECT unnest(?))"],
        [filters.kinds, filters.roles],
    )
    if filters.episode_ids is not None:
        conditions.append("episode_id IN (SELECT unnest(?))")
        parameters.append(filters.episode_ids)  # type: ignore[arg-type]
    rows = reader.rows(
        f"""
        SELECT p.episode_id, any_value(coalesce(e.duplicate_of, p.episode_id)) AS original,
               string_agg(left(p.text, {TEXT_CHARS}), chr(10) ORDER BY message_index, part_index) AS text
        FROM (SELECT * FROM parts WHERE {" AND ".join(conditions)}) p JOIN episodes e USING (episode_id)
        GROUP BY p.episode_id ORDER BY p.episode_id""",
        [list(values) for values in parameters if values is not None],
    )
    # The original itself may not be among those asked for, so the first that is stands for it.
    first = {row["original"]: row for row in reversed(rows)}
    kept = {row["episode_id"]: row["text"][:TEXT_CHARS] for row in rows if first[row["original"]] is row}
    return {episode_id: text for episode_id, text in kept.items() if text.strip()}, len(rows) - len(kept)


def _episode_vectors(reader: Reader, encoder: Encoder, filters: Filters) -> dict[int, NDArray[np.float32]]:
    """The mean of an episode's chunks, at unit length."""
    chunks = load_chunks(reader, encoder, filters)
    ids, places = np.unique(chunks.rows["episode_id"], return_inverse=True)
    sums = np.zeros((len(ids), encoder.dimension), np.float32)
    np.add.at(sums, places, chunks.vectors[chunks.rows["vector"]].astype(np.float32))
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return dict(zip(ids.tolist(), sums, strict=True))


def _describe(
    ids: list[int], texts: list[str], vectors: NDArray[Any], labels: NDArray[Any], min_size: int | None, seed: int
) -> list[Cluster]:
    names = name_clusters(texts, labels)
    middle = representatives(vectors, labels)
    steady = stability(vectors, labels, seed=seed, min_cluster_size=min_size)
    clusters = []
    for label in sorted(set(labels.tolist()), key=lambda value: (value == NOISE, -int((labels == value).sum()))):
        size = int((labels == label).sum())
        terms = tuple(names.get(label, ())) if label != NOISE else ()
        clusters.append(
            Cluster(
                label,
                size,
                size / len(ids),
                ", ".join(terms[:4]) if label != NOISE else "(none)",
                terms,
                tuple(ids[i] for i in middle.get(label, ())),
                float(steady.get(label, float("nan"))),
            )
        )
    return clusters


def as_tables(clusters: Clusters) -> dict[str, pa.Table]:
    """The rows that a run stores, without their ``run_id``."""
    columns = [name for name in CLUSTERS.names if name != "run_id"]
    rows = {name: [getattr(cluster, name) for cluster in clusters.clusters] for name in columns}
    numbers, ids, probabilities = zip(*clusters.members, strict=True)
    members = {"cluster_id": numbers, "episode_id": ids, "probability": probabilities}
    return {
        "clusters": pa.table(rows, pa.schema([CLUSTERS.field(name) for name in columns])),
        "cluster_members": pa.table(members, pa.schema([CLUSTER_MEMBERS.field(name) for name in members])),
    }
