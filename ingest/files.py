"""Which files there are to ingest.

Takes the paths that a person typed, gives the files below them, and the members of archives among them as files
of their own. Opens zips to list them, reads nothing else, knows no log format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..store.errors import InputError
from ..store.workspace import is_workspace
from .remote import files_below, is_uri
from .unpack import members_of

_ZIP: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Named:
    """A file to ingest; ``named`` when the user typed its path, rather than that of a folder above it. ``member`` is
    the one it is of the zip at ``path``."""

    path: Path
    named: bool
    member: str | None = None
    uri: str | None = None
    """Of a file in an object store, whose ``path`` is only for show."""
    n_bytes: int = 0
    """Of a member its size, unpacked; of a file in an object store its size."""
    mtime_ns: int = 0
    """Of a file in an object store."""

    @property
    def name(self) -> str:
        """The path as it is stored: bytes that are no UTF-8 as ``\\xe9``."""
        if self.uri is not None:
            return self.uri
        name = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        return name if self.member is None else f"{name}!{self.member}"

    def state(self) -> tuple[int, int]:
        """Size in bytes and time of modification in ns, by which a change is noticed."""
        if self.uri is not None:
            return self.n_bytes, self.mtime_ns
        stat = self.path.stat()
        return (stat.st_size if self.member is None else self.n_bytes), stat.st_mtime_ns


def walk(paths: Sequence[Path | str]) -> Iterator[Named]:
    """The files below the paths or URIs, in order, each once; not those of workspaces and version control. Raises
    InputError for a path that is not there, and for one that is a workspace."""
    seen = set()
    for given in paths:
        if is_uri(str(given)):
            for uri, n_bytes, mtime_ns in files_below(str(given)):
                if uri not in seen:
                    seen.add(uri)
                    yield Named(Path(uri), uri == given, uri=uri, n_bytes=n_bytes, mtime_ns=mtime_ns)
            continue
        path = Path(given)
        if not os.path.exists(path):  # Path.exists raises where a folder above may not be read.
            raise InputError(f"There is no {path}, or you may not read it; check the path.")
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise InputError(f"{path} is neither a file nor a folder; give one of those.")
        if is_workspace(path):
            raise InputError(f"{path} is a workspace, which holds what was ingested; name the logs, not the workspace.")
        is_folder = os.path.isdir(path)
        for real in _files_below(path) if is_folder else [os.path.realpath(path)]:
            if real not in seen:
                seen.add(real)
                yield Named(Path(real), not is_folder)


def _files_below(folder: Path) -> Iterator[str]:
    """Real paths of the files, and of the folders that may not be looked into: who reads those says so."""
    closed: list[str] = []
    for top, folders, files in os.walk(folder, onerror=lambda error: closed.append(os.path.realpath(error.filename))):
        if not os.access(top, os.X_OK):  # its names can be listed, but nothing in it can be opened
            closed.append(os.path.realpath(top))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name != ".git" and not is_workspace(Path(top, name)))
        real_top = os.path.realpath(top)
        for name in sorted(files):
            path = os.path.join(real_top, name)
            if os.path.isfile(path) and not name.startswith("."):
                # Looking at every folder above costs more than all else here, and is rarely called for.
                yield os.path.realpath(path) if os.path.islink(path) else path
    yield from closed


def is_zip(file: Named) -> bool:
    """Is it a zip, of logs or as the layout of one log?"""
    if file.member is not None or file.uri is not None:
        return False
    try:
        with file.path.open("rb") as opened:
            return opened.read(4) == _ZIP
    except OSError:
        return False


def members(file: Named) -> Iterator[Named]:
    """The members of an archive. Raises InputError where it is broken, or built to harm."""
    for info in members_of(file.path, file.name):
        yield Named(file.path, False, info.filename, n_bytes=info.file_size)
