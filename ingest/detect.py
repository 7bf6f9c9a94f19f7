"""Which format is this file?

Takes a path, gives the name of the one format that knows it best. Looks at magic bytes, then asks every format's
``sniff``; knows no format itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..store import registry
from ..store.errors import InputError, UsageError
from .format import Format

HEAD_BYTES: Final = 1 << 16
FORMATS: Final = f"{__package__}.formats"

_REFUSED: Final = (
    (b"version https://git-lfs", "is a git-LFS pointer, not the file itself; run `git lfs pull` and ingest again"),
    (b"\x80\x03", "looks like a Python pickle, which could run code; export it as JSON Lines"),
    (b"\x80\x04", "looks like a Python pickle, which could run code; export it as JSON Lines"),
    (b"\x80\x05", "looks like a Python pickle, which could run code; export it as JSON Lines"),
    (b"\x1f\x8b", "is gzip-compressed; decompress it with `gunzip` and ingest again"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed; decompress it with `unzstd` and ingest again"),
)


def format_names() -> list[str]:
    """Every format there is."""
    return registry.names(FORMATS)


def get_format(name: str) -> Format:
    """A format by name. Raises UsageError naming those that exist."""
    if name not in format_names():
        raise UsageError(f"There is no format {name!r}; there are: {', '.join(format_names())}.")
    found: Format = registry.get(FORMATS, name, "FORMAT")
    return found


def detect(path: Path) -> str:
    """The format's name. Raises InputError when no format knows the file, or two know it equally well."""
    head = read_head(path)
    confidences = {name: get_format(name).sniff(head, path) for name in format_names()}
    best = max(confidences.values())
    if best <= 0:
        raise InputError(f"{path} is in no known format; name one with --format ({', '.join(format_names())}).")
    winners = [name for name, confidence in confidences.items() if confidence == best]
    if len(winners) > 1:
        raise InputError(f"{path} could be {' or '.join(winners)}; say which with --format.")
    return winners[0]


def read_head(path: Path) -> bytes:
    """The file's first bytes. Raises InputError for files that must not or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}; check the path and its permissions.") from None
    if not head.strip():
        raise InputError(f"{path} is empty; nothing to ingest.")
    for magic, reason in _REFUSED:
        if head.startswith(magic):
            raise InputError(f"{path} {reason}.")
    return head
