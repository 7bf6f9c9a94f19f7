"""What is new in some episodes against a reference, such as an earlier range of training steps.

Takes a reader, the ids of both and, where there is one, an encoder whose vectors are ready; gives rows as ``compare``
does, only of what rose: terms, clusters, tools and scripts (surprise), chunks without near neighbours in the reference
(novelty), and episodes far from everything (outliers). Hypotheses are made in one half and tested in the other. Knows
no screen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ...store.reader import Reader
from .compare import Comparison, TermPool, pool_of, summarise
from .encode import Encoder
from .features import Flags, flag_families, script_families
from .index import Filters
from .novelty import locate, novelty_families
from .scripts import letters_by_script
from .sides import Design, select_sides
from .terms import read_tokens
from .vectors import Chunks, load_chunks

_SNIPPET_CHARS: Final = 120


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
) -> Comparison:
    """Side a is ``later``, side b the ``reference``. Without an encoder there is no novelty and there are no outliers.
    Raises what ``select_sides`` raises, and NotFoundError for a cluster run that is not there."""
    design = select_sides(reader, later, reference, fold_by=fold_by, seed=seed)
    with tempfile.TemporaryDirectory(prefix="investigate-") as folder:
        tokens = read_tokens(reader, design.ids, Filters(None, kinds, roles), Path(folder) / "tokens")
        terms = TermPool(tokens, design)
        others = [
            *flag_families(reader, design, cluster_run),
            *script_families(design, letters_by_script(tokens, design.cell)),
            *_novelty(reader, encoder, design, Filters(design.ids.tolist(), kinds, roles), seed),
        ]
        return summarise(design, [terms.pool, *map(pool_of, others)], terms, rising=True)


def _novelty(reader: Reader, encoder: Encoder | None, design: Design, filters: Filters, seed: int) -> Iterator[Flags]:
    if encoder is None:
        return
    chunks = load_chunks(reader, encoder, filters)
    if len(chunks.rows["vector"]):
        yield from novelty_families(locate(chunks, design), lambda row: _snippet(reader, chunks, row), seed)


def _snippet(reader: Reader, chunks: Chunks, row: int) -> str:
    """The beginning of a chunk, on one line."""
    place = {
        name: int(chunks.rows[name][row]) for name in ("episode_id", "message_index", "part_index", "start", "end")
    }
    (part,) = reader.rows(
        "SELECT text FROM parts WHERE episode_id = ? AND message_index = ? AND part_index = ?",
        [place["episode_id"], place["message_index"], place["part_index"]],
    )
    text = " ".join(part["text"][place["start"] : place["end"]].split())
    return text if len(text) <= _SNIPPET_CHARS else text[: _SNIPPET_CHARS - 1] + "…"
