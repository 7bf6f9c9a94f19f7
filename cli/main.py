"""The program: its commands, and the boundary where expected failures become one sentence.

Takes the command line, gives an exit status: 0 done, 1 expected failure, 2 usage, 130 interrupted. Command modules
import what is heavy inside their bodies, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Annotated

import typer

from .. import __version__
from ..store.errors import InvestigateError
from . import (
    cluster,
    compare,
    concept,
    discover,
    doctor,
    episodes,
    export,
    forget,
    index,
    ingest,
    model,
    probe,
    profile,
    replay,
    search,
    show,
    sources,
    sql,
    steer,
    trend,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a quota, a file: no fault of the program."""

app = typer.Typer(
    name="investigate",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find out why a language model did what its transcript shows: search logs, replay episodes through the "
    "model, probe and intervene.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"investigate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


app.command("ingest")(ingest.command)
app.command("sources")(sources.command)
app.command("profile")(profile.command)
app.command("forget")(forget.command)
app.command("episodes")(episodes.command)
app.command("show")(show.command)
app.command("search")(search.command)
app.command("index")(index.command)
app.command("cluster")(cluster.command)
app.command("compare")(compare.command)
app.command("discover")(discover.command)
app.command("trend")(trend.command)
app.add_typer(concept.app, name="concept")
app.command("sql")(sql.command)
app.add_typer(model.app, name="model")
app.command("replay")(replay.command)
app.add_typer(probe.app, name="probe")
app.command("steer")(steer.command)
app.command("export")(export.command)
app.command("doctor")(doctor.command)


def main() -> None:
    """Run the command line. A pipe closed by its reader (``| head``) is no failure."""
    # Threads that wait by spinning starve each other on a machine that has other work: seconds become minutes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = _status()
        if sys.stdout is not None:
            sys.stdout.flush()
    except InvestigateError as error:
        _say(f"Error: {error}")
        sys.exit(error.exit_code)
    except SystemExit as end:
        # The library behind the commands ends the program itself when a pipe is closed.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(0)
        raise
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at exit.
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        sys.stdout = None
        what = error.filename or "What this command writes to"
        _say(f"Error: {what} is full ({os.strerror(error.errno)}); make room and run the same command again.")
        sys.exit(1)
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        if getattr(error, "option_name", None):
            _say("What begins with a hyphen and is no option comes after --, as in `investigate search -- -word`.")
        sys.exit(getattr(error, "exit_code", 2))
    if status == 130:
        _say("Interrupted; what was finished is stored. Run the same command again to go on.")
    sys.exit(status if isinstance(status, int) else 0)


def _status() -> object:
    """What the command ends with: 130 after ^C, also where a library makes another error of that, as DuckDB does."""
    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        return app(standalone_mode=False)
    except Exception:
        if not interrupts:
            raise
        return 130


def _say(text: str) -> None:
    from .output import say

    say(text)
