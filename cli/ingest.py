"""``investigate ingest``: log files into the workspace. Calls ingest, then brings the text index up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from ..ingest.files import Named
    from ..ingest.options import Options
    from ..ingest.report import SourceReport
    from ..store.compute import Engine
    from ..store.workspace import Workspace
    from .ingest_report import Report

_PATHS = typer.Argument(metavar="PATH…", help="Log files, folders of them, zips, or URIs such as s3://bucket/runs.")
_FORMAT = typer.Option("--format", metavar="NAME", help="Read every file as this format; `list` prints them all.")
_MAP = typer.Option("--map", metavar="FACT=COLUMN,…", help="Read rows of no known format: text=response,reward=score.")
_TOKENIZER = typer.Option("--tokenizer", metavar="DIR", help="For logs of token ids: a folder with tokenizer.json.")
_AGAIN = typer.Option("--again", help="Read unchanged files too, and store what is read differently now.")
_FOLLOW = typer.Option("--follow", help="Go on reading what is still being written, until interrupted.")
_INTERVAL = typer.Option("--interval", min=0.1, metavar="SECONDS", help="With --follow: how long to wait in between.")
_JOBS = typer.Option("--jobs", min=1, metavar="N", help="Reader processes; default: one per core.")
_ENGINE = typer.Option("--engine", metavar="NAME", help="Where readers run: local, or ray for a Ray cluster.")
_ADDRESS = typer.Option("--address", metavar="HOST:PORT", help="With --engine ray: the cluster; default: that of Ray.")
_NO_INDEX = typer.Option("--no-index", help="Leave the text index to the first search.")


def command(
    paths: Annotated[list[str] | None, _PATHS] = None,
    workspace: WorkspaceOption = None,
    format_name: Annotated[str | None, _FORMAT] = None,
    mapping: Annotated[str | None, _MAP] = None,
    tokenizer: Annotated[Path | None, _TOKENIZER] = None,
    again: Annotated[bool, _AGAIN] = False,
    follow: Annotated[bool, _FOLLOW] = False,
    interval: Annotated[float, _INTERVAL] = 2.0,
    jobs: Annotated[int | None, _JOBS] = None,
    engine: Annotated[str, _ENGINE] = "local",
    address: Annotated[str | None, _ADDRESS] = None,
    no_index: Annotated[bool, _NO_INDEX] = False,
    as_json: JsonOption = False,
) -> None:
    """Store log files: evaluations, agents, RL rollouts, chats. Running it again adds only what is new."""
    from ..store.workspace import create_workspace, locate

    if format_name == "list":
        from .ingest_report import print_formats

        print_formats(as_json)
        return
    if engine == "local" and jobs != 1 and not (locate(workspace) / "format_version").exists():
        _begin_readers()
    from ..ingest.files import walk
    from ..store.errors import InputError
    from .ingest_report import Report

    files = list(walk(_given(paths)))
    options = _options(format_name, mapping, tokenizer, again)
    where = _engine(engine, address, jobs)
    if not files and not follow:
        raise InputError(
            f"There are no files below {', '.join(_given(paths))}; name logs, or follow a folder in which some will be "
            "with --follow."
        )
    opened = create_workspace(workspace)
    report = Report(as_json)
    report.print(_ingest(opened, files, options, where, no_index), opened)
    if follow:
        _follow(opened, _given(paths), options, where, no_index, report, interval)
    if report.failed & {file.name for file in files if file.named} or (report.failed and not report.n_read):
        raise typer.Exit(1)


def _given(paths: list[str] | None) -> list[str]:
    from ..store.errors import UsageError

    if not paths:
        raise UsageError("Name the log files or folders to ingest: `investigate ingest logs/`.")
    return paths


def _options(format_name: str | None, mapping: str | None, tokenizer: Path | None, again: bool) -> Options:
    from ..ingest.options import Options
    from ..store.errors import UsageError

    if mapping is not None and format_name not in (None, "mapped"):
        raise UsageError("--map describes rows of no known format; leave out --format.")
    if mapping is None and format_name == "mapped":
        raise UsageError("--format mapped needs --map, such as --map text=response,reward=score.")
    if tokenizer is not None and not tokenizer.exists():
        raise UsageError(f"There is no tokenizer at {tokenizer}; give a folder with a tokenizer.json.")
    columns: tuple[tuple[str, str], ...] = ()
    if mapping is not None:
        from ..ingest.mapping import parse_mapping

        columns = parse_mapping(mapping)
    name = "mapped" if columns else format_name
    return Options(name, None if tokenizer is None else str(tokenizer.resolve()), columns, again)


def _engine(name: str, address: str | None, jobs: int | None) -> Engine:
    from ..store.compute import Engine
    from ..store.errors import UsageError

    if name not in ("local", "ray"):
        raise UsageError(f"There is no engine {name!r}; there are: local, ray.")
    if address is not None and name != "ray":
        raise UsageError("--address is a Ray cluster's; add --engine ray.")
    return Engine(jobs, (address or "auto") if name == "ray" else None)


def _ingest(
    workspace: Workspace, files: list[Named], options: Options, engine: Engine, no_index: bool
) -> Iterator[SourceReport]:
    """Ingest, index, and merge small shards: one run of the writer. None is needed where all is as it was."""
    if (unchanged := _unchanged(workspace, files, options, no_index)) is not None:
        yield from unchanged
        return
    if engine.address is None and engine.jobs != 1:
        _begin_readers()
    from ..analysis.text.index import update_text_index
    from ..ingest.run import ingest
    from ..store.compact import compact
    from ..store.writer import open_writer
    from .output import track

    with open_writer(workspace) as writer:
        yield from track(ingest(writer, files, options=options, engine=engine), "ingest", len(files))
        if not no_index:
            for _ in track(update_text_index(writer), "index"):
                pass
        compact(writer)


def _begin_readers() -> None:
    """Readers take a while to start, beside what is done here: they are begun as soon as it is known that there is
    something to read."""
    from ..store.compute import prepare

    prepare("investigate.ingest.read")


def _unchanged(workspace: Workspace, files: list[Named], options: Options, no_index: bool) -> list[SourceReport] | None:
    """What is known of the files; None where anything is to be done."""
    from ..ingest.unchanged import report_all
    from ..store import catalog
    from ..store.workspace import TEXT_INDEX

    with catalog.connect_for_reading(workspace.catalog_path) as connection:
        if not no_index and not catalog.is_indexed(connection, TEXT_INDEX):
            return None
        known = catalog.read_known(connection)
    return report_all(files, known, options)


def _follow(
    workspace: Workspace,
    paths: list[str],
    options: Options,
    engine: Engine,
    no_index: bool,
    report: Report,
    interval: float,
) -> None:
    """Read on what grows, until interrupted. Between two rounds others may write. A folder that is away for a while, as
    one that is being moved, is said once."""
    import time
    from dataclasses import replace

    from ..ingest.files import walk
    from ..store.errors import BusyError, InputError
    from .output import say

    say("Following; interrupt with ^C.")
    options = replace(options, again=False)
    said = ""
    while True:
        time.sleep(interval)
        try:
            report.print_news(_ingest(workspace, list(walk(paths)), options, engine, no_index))
            said = ""
        except BusyError:
            continue
        except InputError as error:
            if str(error) != said:
                said = str(error)
                say(said)
