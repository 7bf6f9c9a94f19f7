"""Which files are as the workspace knows them.

Takes files and what the catalog says of them, gives the reports of those that need not be read. Opens no file but
archives and loads neither Arrow nor a format: a folder is mostly found as it was, and to say so should take no time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from pathlib import Path

from ..store.catalog import Known, SourceState
from ..store.errors import InputError
from .files import Named, members
from .options import Options
from .report import SourceReport


@cache
def edition() -> str:
    """What every format is read by, as a digest: it changes when one of them does."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    states = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in (file.stat(),)]
    return blake2b(repr(states).encode(), digest_size=16).hexdigest()


def report_all(files: Iterable[Named], known: Known, options: Options) -> list[SourceReport] | None:
    """What is known of the files; None when anything is to be done."""
    return None if gone(known.unread) else _report_each(files, known, options)


def _report_each(files: Iterable[Named], known: Known, options: Options) -> list[SourceReport] | None:
    reports: list[SourceReport] = []
    for file in files:
        of_file = report_unchanged(file, known, options)
        if of_file is None:
            return None
        reports += of_file
    return reports


def report_unchanged(file: Named, known: Known, options: Options) -> list[SourceReport] | None:
    """What is known of a file, or of the members of an archive; None when it is to be read."""
    if options.again:
        return None
    try:
        n_bytes, mtime_ns = file.state()
    except OSError:
        return None
    name, state, unread = file.name, known.states.get(file.name), known.unread.get(file.name)
    if (
        state
        and is_stored(state, n_bytes, mtime_ns)
        and name in known.counts
        and options.are_met_by(state.format, state.options)
    ):
        episodes, skipped = known.counts[name]
        return [SourceReport(name, state.format, unchanged=episodes, still_skipped=skipped, bytes=state.bytes)]
    if (
        unread is None
        or options.format_name is not None
        or (unread.bytes, unread.mtime_ns, unread.edition) != (n_bytes, mtime_ns, edition())
    ):
        return None
    if unread.reason:
        return [SourceReport(name, None, error=unread.reason)]
    try:
        return _report_each(members(file), known, options)
    except InputError:
        return None


def gone(unread: Iterable[str]) -> list[str]:
    """Those of the files that are no longer there, and of the folders that can be looked into now: neither comes up
    again among files."""
    return [name for name in unread if _is_gone(name)]


def _is_gone(name: str) -> bool:
    if "://" in name or "\\x" in name:  # to look there takes a network; such a name may stand for bytes
        return False
    if os.path.isdir(name):
        return os.access(name, os.R_OK | os.X_OK)
    # A member is there with its archive.
    return not any(
        os.path.lexists(name[:end]) for end in [len(name), *(i for i, sign in enumerate(name) if sign == "!")]
    )


def size_of(file: Named) -> int:
    """In bytes; 0 where that cannot be seen."""
    try:
        return file.state()[0]
    except OSError:
        return 0


def is_stored(state: SourceState | None, n_bytes: int, mtime_ns: int) -> bool:
    """Is what a file holds, as it is now, in the workspace?"""
    return bool(state and state.done and (state.bytes, state.mtime_ns) == (n_bytes, mtime_ns))
