"""Which episodes were logged twice.

Takes a reader, gives pairs of episode and original. Knows digests, identities and lengths, not where they come from.
"""

from __future__ import annotations

import numpy as np

from .reader import Reader

_REPEATED = """
WITH numbered AS (
    SELECT *, try_cast(split_part(record, '/', 1) AS BIGINT) AS line,
           row_number() OVER (PARTITION BY source, digest ORDER BY line, record, episode_id) AS occurrence
    FROM episodes),
copies AS (
    SELECT *, hash(digest, occurrence, experiment, checkpoint, model, split, training_step) AS copy FROM numbered),
keys AS (
    SELECT episode_id, copy, coalesce(identity, copy::VARCHAR) AS identity, row_number() OVER (
        ORDER BY n_chars DESC, source, line, episode_id) - 1 AS place
    FROM copies),
counted AS (
    SELECT *, count(*) OVER (PARTITION BY copy) AS n_equal, count(*) OVER (PARTITION BY identity) AS n_same FROM keys)
SELECT episode_id, place, dense_rank() OVER (ORDER BY copy) - 1 AS copy,
       dense_rank() OVER (ORDER BY identity) - 1 AS identity
FROM counted WHERE n_equal > 1 OR n_same > 1 ORDER BY place
"""


def find_duplicates(reader: Reader) -> list[tuple[int, int]]:
    """(episode_id, original) of every episode that is a copy of another or has its identity, or those of one that is
    itself such a duplicate.

    A copy is the same record of another source, with the same facts: equal bytes, and as many equal ones before it. So
    a file that was copied is one, and n equal rows of one file stay n: they are the samples of a policy that has
    collapsed, and to fold them would falsify every rate. Equal rows of two files are taken for copies, since bytes do
    not tell them from samples. The fullest is the original: an identity may stand in one file with a
    summary, in another with the whole run. Among equals it is the first by source and place within it: ids come in that
    order only where one reader reads.
    """
    found = reader.table(_REPEATED)
    episode_ids = found["episode_id"].to_numpy()
    keys = [found[name].to_numpy() for name in ("copy", "identity")]
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
