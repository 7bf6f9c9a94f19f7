"""``investigate trend``: how often something happens over training, at one composition, and whether it changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import InOption, JsonOption, RoleOption, SeedOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.trend import Trend
    from ..analysis.text.trend_members import Behaviour


def command(
    query: Annotated[
        str | None,
        typer.Argument(metavar="[QUERY]", help='Words (any of them), "phrases in quotes", -excluded; or a pattern.'),
    ] = None,
    workspace: WorkspaceOption = None,
    mode: Annotated[str, typer.Option("--mode", "-m", help="keyword or regex.")] = "keyword",
    kinds: InOption = None,
    roles: RoleOption = None,
    predicate: Annotated[
        str | None, typer.Option("--sql", metavar="PREDICATE", help="Instead: episodes for which this SQL holds.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="RUN/ID", help="Instead: episodes of a stored cluster.")
    ] = None,
    where: WhereOption = None,
    length: Annotated[
        str, typer.Option("--length", help="Which length to hold equal: episode, prompt or none.")
    ] = "episode",
    seed: SeedOption = 0,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how often something happens over training steps, beside the rate at an equal mix of environments and
    lengths; find the step where it changes, where, and whether it is rewarded."""
    from ..analysis.text.trend import as_tables, make_trend
    from ..analysis.text.trend_members import near_words
    from ..store.errors import InputError
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .encoding import update_index

    if html is not None and not html.absolute().parent.is_dir():
        raise InputError(f"There is no folder {html.absolute().parent}; choose another file for --html.")
    behaviour = _behaviour(query, mode, kinds, roles, predicate, cluster)
    opened = open_workspace(workspace)
    with open_reader(opened) as reader:
        if behaviour.kind == "keyword":
            update_index(reader)
        trend = make_trend(reader, behaviour, where=where, length=length, seed=seed)
        near = near_words(reader, behaviour, where) if not trend.k and behaviour.kind == "keyword" else []
    parameters = {
        "kind": behaviour.kind, "text": behaviour.text, "in": kinds, "role": roles, "where": where, "length": length,
        "seed": seed,
    }  # fmt: skip
    with open_writer(opened) as writer:
        run_id = writer.commit_run("trend", parameters, as_tables(trend))
    _print(trend, behaviour, run_id, near, as_json)
    if html is not None:
        _write_page(html, trend, where)


def _behaviour(
    query: str | None, mode: str, kinds: str | None, roles: str | None, predicate: str | None, cluster: str | None
) -> Behaviour:
    from ..analysis.text.trend_members import MODES, Behaviour
    from ..store.errors import UsageError
    from ..store.types import KINDS, ROLES
    from .selection import choices

    if sum(given is not None for given in (query, predicate, cluster)) != 1:
        raise UsageError("Say what to count in one way: QUERY, --sql PREDICATE or --cluster RUN/ID.")
    if mode not in MODES:
        raise UsageError(
            f"--mode takes keyword or regex; {mode} ranks parts and says of none that it matches, so it has no rate."
        )
    if query is None:
        if kinds or roles:
            raise UsageError("--in and --role restrict where a QUERY is looked for; leave them out, or use --where.")
        return Behaviour("sql", predicate) if predicate is not None else Behaviour("cluster", cluster or "")
    return Behaviour(mode, query, choices(kinds, KINDS, "--in"), choices(roles, ROLES, "--role"))


def summary(trend: Trend, run_id: str) -> dict[str, Any]:
    """The last line of ``trend --json``."""
    from ..analysis.text.trend import ALPHA
    from ..analysis.text.trend_verdicts import caveats, verdicts

    change, place, shift = trend.change, trend.change_steps, trend.shift
    step, low, high = place or (None, None, None)
    names = (
        "k",
        "n",
        "n_steps",
        "n_groups",
        "n_strata",
        "folded",
        "without_step",
        "unknown",
        "mixed",
        "icc",
        "design_effect",
    )
    return {
        "summary": True, "run_id": run_id, "series": trend.series, "length": trend.length,
        **{name: getattr(trend, name) for name in names},
        "alarm": trend.alarm, "level": ALPHA, "p": change.p, "change_step": step, "change_low": low,
        "change_high": high, "environment_p": trend.environment_p, "rest_p": trend.rest_p,
        "detectable": change.detectable,
        "shift": _fields(shift) if shift else None,
        "crude_z": trend.crude_z, "crude_p": trend.crude_p, "trend_z": trend.trend_z, "trend_p": trend.trend_p,
        "environments": [_fields(local) for local in trend.environments],
        "reward": _fields(trend.reward), "verdict": verdicts(trend), "caveats": caveats(trend),
    }  # fmt: skip


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _print(trend: Trend, behaviour: Behaviour, run_id: str, near: list[tuple[str, int]], as_json: bool) -> None:
    from ..analysis.text.trend import points
    from ..analysis.text.trend_verdicts import caveats, verdicts
    from .output import print_json, print_text, say

    if as_json:
        words = [{"word": word, "episodes": n} for word, n in near]
        print_json([*points(trend), summary(trend, run_id) | {"near": words}])
        return
    if trend.k:
        _print_tables(trend)
    for sentence in verdicts(trend):
        print_text(sentence)
    if near:
        print_text(f"Words near it: {', '.join(f'{word} ({n:,})' for word, n in near)}; endings count.")
    for sentence in [*_any_word(behaviour), *caveats(trend)]:
        say(sentence)
    say(f"Stored as {run_id}.")


def _print_tables(trend: Trend) -> None:
    from .output import print_table, print_text
    from .trend_rows import LOCAL_COLUMNS, LOCAL_DROP, POINT_COLUMNS, POINT_DROP, local_rows, point_rows, sparklines

    print_table(POINT_COLUMNS, point_rows(trend), right=POINT_COLUMNS, drop=POINT_DROP)
    print_text()
    local = local_rows(trend)
    if len(local) > 1:
        print_table(LOCAL_COLUMNS, local, right=LOCAL_COLUMNS[1:], drop=LOCAL_DROP)
        print_text()
    for line in sparklines(trend):
        print_text(line)
    print_text()


def _any_word(behaviour: Behaviour) -> list[str]:
    """A keyword query is met by any of its words, which is easily more than was meant."""
    from ..analysis.text.tokens import parse_query

    if behaviour.kind != "keyword":
        return []
    terms = parse_query(behaviour.text).terms
    if len(terms) < 2:
        return []
    return [f"Counted: episodes with any of the words {', '.join(terms)}; put them in quotes for the phrase."]


def _write_page(path: Path, trend: Trend, where: str | None) -> None:
    from ..store.errors import InputError
    from .output import say
    from .trend_page import render_trend

    try:
        path.write_text(render_trend(trend, where), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --html.") from None
    say(f"Page written to {path}.")
