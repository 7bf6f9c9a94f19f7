"""Which format is this file?

Takes a source, gives the name of the one format that knows it best. Looks at magic bytes, then asks every format's
``sniff``; knows no format itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..store import registry
from ..store.errors import InputError, UsageError
from .format import Format, Source
from .mapping import suggest_mapping
from .parquet_rows import PARQUET, first_rows
from .unpack import head_of, plain, plain_name

HEAD_BYTES: Final = 1 << 16
FORMATS: Final = f"{__package__}.formats"

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = "looks like a Python pickle, which could run code; export it as JSON Lines"
_REFUSED: Final = (
    (b"version https://git-lfs", "is a git-LFS pointer, not the file itself; run `git lfs pull` and ingest again"),
    *((bytes((0x80, version)), _PICKLE) for version in (2, 3, 4, 5)),
    (b"SQLite format 3\x00", "is an SQLite database; export what it holds as JSON Lines"),
    (b"BZh", "is compressed with bzip2; unpack it and ingest what is inside"),
    (b"\xfd7zXZ\x00", "is compressed with xz; unpack it and ingest what is inside"),
)
_TAR_MAGIC, _TAR_PLACE = b"ustar", 257


def format_names() -> tuple[str, ...]:
    """Every format there is."""
    return registry.names(FORMATS)


class RefusedError(InputError):
    """A file is refused for what it is: as long as it stays so, and the readers do, it need not be looked at again."""


def get_format(name: str) -> Format:
    """A format by name. Raises UsageError naming those that exist."""
    if name not in format_names():
        raise UsageError(f"There is no format {name!r}; there are: {', '.join(format_names())}.")
    found: Format = registry.get(FORMATS, name, "FORMAT")
    return found


def detect(path: Path) -> str:
    """The format of a file. Raises InputError when no format knows it, or two know it equally well."""
    return detect_source(Source(path, str(path)))


def detect_source(source: Source) -> str:
    """The same for a file that may be compressed or a member of an archive."""
    head = read_head(source)
    shown = plain_name(Path(source.path.parent, source.member) if source.member else source.path)
    if head.startswith((PARQUET, _ZIP)):
        with plain(source) as unpacked:
            return _best(_preview(unpacked.path, head), unpacked.path, source.name)
    return _best(head, shown, source.name)


def detect_zip(path: Path) -> str | None:
    """The format of a log that is a zip; None for a zip of anything else."""
    try:
        return detect(path)
    except InputError:
        return None


def _best(head: bytes, path: Path, name: str) -> str:
    confidences = {format_name: get_format(format_name).sniff(head, path) for format_name in format_names()}
    best = max(confidences.values())
    if best <= 0:
        suggestion = suggest_mapping(head)
        known = "if it is a log, name one with --format (`--format list` prints them)."
        raise RefusedError(
            f"{name} is in no known format; {f'--map reads rows. {suggestion}' if suggestion else known}"
        )
    winners = [format_name for format_name, confidence in confidences.items() if confidence == best]
    if len(winners) > 1:
        raise RefusedError(f"{name} could be {' or '.join(winners)}; say which with --format.")
    return winners[0]


def _preview(path: Path, head: bytes) -> bytes:
    """What a ``sniff`` is shown: of a Parquet file its first rows as JSON Lines."""
    return first_rows(path, 3)[:HEAD_BYTES] if head.startswith(PARQUET) else head


def read_head(source: Source) -> bytes:
    """The file's first bytes, unpacked. Raises InputError for files that must not or cannot be read."""
    name = source.name
    try:
        head = head_of(source, HEAD_BYTES)
    except OSError as error:
        raise InputError(f"Cannot read {name}: {error.strerror}; check the path and its permissions.") from None
    if not head.strip(b" \t\r\n\x00"):
        raise RefusedError(f"{name} is empty; nothing to ingest.")
    for magic, reason in _REFUSED:
        if head.startswith(magic):
            raise RefusedError(f"{name} {reason}.")
    if head[_TAR_PLACE:].startswith(_TAR_MAGIC):
        raise RefusedError(f"{name} is a tar archive; unpack it and ingest what is inside.")
    return head
