"""``investigate replay``: the same tokens through the model, and what a probe reads there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    EpisodeOption,
    FromOption,
    JsonOption,
    KindOption,
    ModelOption,
    ProbeOption,
    WhereOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from ..analysis.model.replay import Reading


READER = (
    "Reader activations: this is not the model that wrote the log, so the scores say nothing of what its author held."
)


AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="REGEX", help="Read the token at the end of this match in what the assistant wrote."),
]
MaskOption = Annotated[
    str | None,
    typer.Option("--mask", help="Read all, assistant, reasoning or last; default: as the probe was trained."),
]
FidelityOption = Annotated[bool, typer.Option("--fidelity/--no-fidelity", help="Is this the model that wrote the log?")]
TokensOption = Annotated[bool, typer.Option("--tokens", help="With --json: every token with its score.")]
PageOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the coloured text as a page.")]
SaveOption = Annotated[
    Path | None, typer.Option("--save-activations", metavar="FILE", help="Write activations as safetensors.")
]
LayersOption = Annotated[
    str | None, typer.Option("--layers", metavar="LIST", help="Which layers to save; default: the probe's.")
]


def command(
    probe: ProbeOption,
    episode: EpisodeOption = None,
    where: WhereOption = None,
    source: FromOption = None,
    workspace: WorkspaceOption = None,
    model: ModelOption = None,
    kind: KindOption = None,
    at: AtOption = None,
    mask: MaskOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many episodes.")] = 20,
    check: FidelityOption = True,
    tokens: TokensOption = False,
    html: PageOption = None,
    save: SaveOption = None,
    layers: LayersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put episodes through the model that wrote them, token by token, and show what a probe reads."""
    from ..analysis.model.replay import as_tables
    from ..analysis.model.saving import plan_saving, save_activations
    from ..store.reader import open_reader
    from ..store.select import select_episodes
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .loading import load, model_for
    from .output import say, track
    from .probing import ready_probe
    from .selection import selected_ids

    _check(mask, html, save, layers)
    opened = open_workspace(workspace)
    with open_reader(opened) as reader:
        ids = selected_ids(reader, episode, where, source, limit)
        loaded = load(model_for(reader, ids, model), head=check)
        episodes = list(select_episodes(reader, ids))
    fitted = ready_probe(opened, loaded, probe, kind)
    readings = list(track(_readings(loaded, episodes, fitted, at, mask, check), "replay", len(episodes)))
    parameters = {
        "probe": probe,
        "kind": fitted.kind,
        "model": loaded.name,
        "layer": fitted.layer,
        "at": at,
        "mask": mask,
    }
    with open_writer(opened) as writer:
        run_id = writer.commit_run("replay", parameters, as_tables(readings))
    _print(run_id, loaded.name, readings, as_json, tokens)
    if html is not None:
        _write_page(html, fitted.concept, readings)
    if save is not None:
        calls, numbers, n_bytes = plan_saving(loaded, episodes, layers or str(fitted.layer))
        say(f"Writing {n_bytes / 1e6:,.1f} MB of activations ({len(calls)} calls, layers {numbers}) to {save}.")
        save_activations(save, loaded, calls, numbers)


def _check(mask: str | None, html: Path | None, save: Path | None, layers: str | None) -> None:
    """Find out what cannot work before a model is loaded."""
    from ..analysis.model.reading import MASKS
    from ..store.errors import InputError, UsageError

    if mask is not None and mask not in MASKS:
        raise UsageError(f"There is no mask {mask!r}; there are: {', '.join(MASKS)}.")
    if layers is not None and save is None:
        raise UsageError("--layers says which activations are saved; give --save-activations FILE with it.")
    for option, file in (("--html", html), ("--save-activations", save)):
        if file is not None and not file.absolute().parent.is_dir():
            raise InputError(f"There is no folder {file.absolute().parent}; choose another file for {option}.")


def _readings(loaded: Any, episodes: list[Any], probe: Any, at: str | None, mask: str | None, check: bool) -> Any:
    from dataclasses import replace as changed

    from ..analysis.model.fidelity import Fidelity
    from ..analysis.model.probe import check_fit
    from ..analysis.model.replay import check_fidelity, replay
    from ..analysis.model.train import identity_of
    from .output import say

    warning = check_fit(probe, identity_of(loaded))
    if warning:
        say(warning)
    verdict: Fidelity | None = check_fidelity(loaded, episodes) if check else None
    if verdict is not None:
        say(
            f"Fidelity {verdict.verdict} by {verdict.method}: {verdict.note or 'is this the model that wrote the log?'}"
        )
    chosen_at = at if at is not None or mask is not None else probe.read
    for reading in replay(loaded, episodes, probe, at=chosen_at, mask=mask or probe.mask):
        notes = (*reading.notes, READER) if verdict is not None and verdict.verdict == "fail" else reading.notes
        yield changed(reading, fidelity=_as_dict(verdict), notes=notes)


def _as_dict(verdict: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {"verdict": "not checked"} if verdict is None else asdict(verdict)


def as_row(run_id: str, model: str, reading: Reading, tokens: bool) -> dict[str, Any]:
    """The contract of ``replay --json``."""
    row = {
        "run_id": run_id,
        "episode_id": reading.episode.episode_id,
        "model": model,
        "probe": reading.probe,
        "layers": [reading.layer],
        "token_source": reading.token_source,
        "score": reading.score if reading.n_read else None,
        "n_read": reading.n_read,
        "fidelity": reading.fidelity,
        "notes": list(reading.notes),
        "spans": [{name: getattr(span, name) for name in span.__slots__} for span in reading.spans],
    }
    if tokens:
        row["tokens"] = [{name: getattr(token, name) for name in token.__slots__} for token in reading.tokens]
    return row


def _print(run_id: str, model: str, readings: list[Reading], as_json: bool, tokens: bool) -> None:
    from .output import print_json, say

    if as_json:
        print_json(as_row(run_id, model, reading, tokens) for reading in readings)
        return
    from .page import scale_of

    scale = scale_of(readings)
    for reading in readings:
        _print_reading(reading, scale)
    say(f"{run_id}: {len(readings)} episodes through {model}. Red: high, blue: low, full colour at ±{scale:.3g}; "
        "underlined: read.")  # fmt: skip


def _print_reading(reading: Reading, scale: float) -> None:
    from .output import print_styled, print_text
    from .page import pieces_of, shade

    score = f"{reading.score:+.3f} over {reading.n_read} tokens read" if reading.n_read else "nothing read"
    print_styled([(f"\nEpisode {reading.episode.episode_id}", "bold cyan"), (
        f"  {reading.probe} {score}; layer {reading.layer}, tokens from {reading.token_source}", "")])  # fmt: skip
    for note in reading.notes:
        print_text(f"  note: {note}")
    by_part = {(span.message_index, span.part_index): span for span in reading.spans}
    for message_index in dict.fromkeys(span.message_index for span in reading.spans):
        for part_index, pieces in pieces_of(reading, message_index).items():
            span = by_part.get((message_index, part_index))
            if span is None:
                continue
            facts = f"mean {span.mean:+.3f}  max {span.max:+.3f}  last {span.last:+.3f}  ({span.n_tokens} tokens)"
            print_styled([(f"{message_index}.{part_index} {span.role} · {span.kind}  ", "bold"), (facts, "dim")])
            styled = []
            for text, value, read in pieces:
                red, green, blue, strength = (*shade(value, scale),) if value is not None else (0, 0, 0, 0.0)
                dim = [round(channel * strength * 0.7) for channel in (red, green, blue)]
                style = f"white on rgb({dim[0]},{dim[1]},{dim[2]})" if strength > 0.08 else ""
                styled.append((text, f"{style} underline".strip() if read else style))
            print_styled(styled)


def _write_page(path: Path, concept: str, readings: list[Reading]) -> None:
    from ..store.errors import InputError
    from .output import say
    from .page import render_page

    try:
        path.write_text(render_page(f"{concept}: {len(readings)} episodes replayed", readings), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --html.") from None
    say(f"Page written to {path}.")
