"""What is new in some episodes against a reference, such as an earlier range of training steps.

Takes a reader, the ids of both and, where there is one, an encoder whose vectors are ready; gives rows as ``compare``
does, only of what rose: terms, clusters, tools and scripts (surprise), chunks without near neighbours in the reference
(novelty), and episodes far from everything (outliers). Hypotheses are made in one half and tested in the other. Knows
no screen.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ...store.reader import Reader
from .chunks import chunk_text
from .compare import Comparison, TermPool, pool_of, summarise
from .encode import Encoder
from .features import Flags, find_clusters, flag_families, script_families
from .index import Filters
from .novelty import Vectors, locate, novelty_families
from .scripts import letters_by_script
from .sides import Design, select_sides
from .terms import read_tokens
from .vectors import Chunks, load_chunks

_NAME_CHARS: Final = 120
_SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+|\n\s*|(?<=[。！？])")


def discover_new(
    reader: Reader,
    encoder: Encoder | None,
    later: Sequence[int],
    reference: Sequence[int],
    *,
    kinds: Sequence[str] = ("text", "reasoning"),
    roles: Sequence[str] = ("assistant",),
    fold_by: str | None = None,
    cluster_run: str | None = None,
    seed: int = 0,
    options: tuple[str, str] = ("--later", "--reference"),
) -> Comparison:
    """Side a is ``later``, side b the ``reference``; ``options`` are what chose them, for error messages. Without an
    encoder there is no novelty and there are no outliers. Raises what ``select_sides`` raises, and NotFoundError for a
    cluster run that is not there."""
    design = select_sides(reader, later, reference, fold_by=fold_by, seed=seed, options=options)
    clusters = find_clusters(reader, design, cluster_run)
    with tempfile.TemporaryDirectory(prefix="investigate-") as folder:
        tokens = read_tokens(reader, design.ids, Filters(None, kinds, roles), Path(folder) / "tokens")
        terms = TermPool(tokens, design)
        others = [
            *flag_families(reader, design, clusters),
            *script_families(design, letters_by_script(tokens, design.cell)),
            *_novelty(reader, encoder, design, Filters(design.ids.tolist(), kinds, roles), seed),
        ]
        return summarise(design, [terms.pool, *map(pool_of, others)], terms, clusters, rising=True)


def _novelty(reader: Reader, encoder: Encoder | None, design: Design, filters: Filters, seed: int) -> Iterator[Flags]:
    if encoder is None:
        return
    chunks = load_chunks(reader, encoder, filters)

    def telling(row: int, alike: Vectors, reference: Vectors) -> tuple[str, tuple[int, int, int]]:
        return _telling(reader, encoder, chunks, row, (alike, reference))

    if len(chunks.rows["vector"]):
        yield from novelty_families(locate(chunks, design), telling, seed)


def _telling(
    reader: Reader, encoder: Encoder, chunks: Chunks, row: int, sides: tuple[Vectors, Vectors]
) -> tuple[str, tuple[int, int, int]]:
    """What is new in a chunk: the sentence that is closest to the chunks of its like and farthest from the reference,
    by the difference of both similarities, on one line; and the episode, message and part it stands in."""
    episode, message, part = (int(chunks.rows[name][row]) for name in ("episode_id", "message_index", "part_index"))
    (found,) = reader.rows(
        "SELECT text FROM parts WHERE episode_id = ? AND message_index = ? AND part_index = ?",
        [episode, message, part],
    )
    text = found["text"][int(chunks.rows["start"][row]) : int(chunks.rows["end"][row])]
    sentences = [
        " ".join(sentence[start:end].split())
        for sentence in _SENTENCE.split(text)
        for start, end in chunk_text(sentence, _NAME_CHARS)
    ]
    vectors = encoder.encode(sentences)
    alike, reference = ((vectors @ side.T).max(axis=1) for side in sides)
    return sentences[int((alike - reference).argmax())], (episode, message, part)
