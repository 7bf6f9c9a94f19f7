"""Which episodes were logged twice.

Takes a reader, gives pairs of episode and original. Knows digests, identities and lengths, not where they come from.
"""

from __future__ import annotations

import numpy as np

from .reader import Reader

_REPEATED = """
WITH keys AS (
    SELECT episode_id, digest, coalesce(identity, digest) AS identity, row_number() OVER (
        ORDER BY n_chars DESC, source, try_cast(split_part(record, '/', 1) AS BIGINT), episode_id) - 1 AS place
    FROM episodes),
counted AS (
    SELECT *, count(*) OVER (PARTITION BY digest) AS n_equal, count(*) OVER (PARTITION BY identity) AS n_same FROM keys)
SELECT episode_id, place, dense_rank() OVER (ORDER BY digest) - 1 AS digest,
       dense_rank() OVER (ORDER BY identity) - 1 AS identity
FROM counted WHERE n_equal > 1 OR n_same > 1 ORDER BY place
"""


def find_duplicates(reader: Reader) -> list[tuple[int, int]]:
    """(episode_id, original) of every episode with the raw bytes or the identity of another, or of one that is itself
    such a duplicate. The fullest is the original: an identity may stand in one file with a summary, in another with the
    whole run. Among equals it is the first by source and place within it: ids come in that order only where one reader
    reads."""
    found = reader.table(_REPEATED)
    episode_ids = found["episode_id"].to_numpy()
    keys = [found[name].to_numpy() for name in ("digest", "identity")]
    first = np.arange(found.num_rows)
    while True:
        before = first
        for key in keys:
            least = np.full(found.num_rows, found.num_rows)
            np.minimum.at(least, key, first)
            first = least[key]
        if np.array_equal(before, first):
            break
    repeats = np.flatnonzero(first != np.arange(found.num_rows))
    return list(zip(episode_ids[repeats].tolist(), episode_ids[first[repeats]].tolist(), strict=True))
