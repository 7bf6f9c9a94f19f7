"""Reads the members of a zip without trusting it, with the compression that current logs use.

Takes a path or an open file; gives the directory and one member's bytes at a time. Knows zip (PKWARE APPNOTE 6.3.10),
no log format. Python's ``zipfile`` reads the directory; the members are read here, because before 3.14 it cannot open
method 93 (zstandard), and Inspect writes such members in several frames. Names are only ever compared, never used as
paths: nothing is written anywhere.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from ..store.errors import InputError

MAX_ENTRIES: Final = 1_000_000
MAX_MEMBER_BYTES: Final = 4 << 30
"""Uncompressed; a member is held in memory whole, since a JSON parser needs it so."""
MAX_RATIO: Final = 1000
RATIO_FREE_BYTES: Final = 64 << 20
"""A member no larger than this may be compressed as well as it likes: it cannot hurt."""

STORED, DEFLATED, ZSTANDARD = 0, 8, 93

_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_DIRECTORY_ERRORS = (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError)


def read_directory(path: Path, name: str) -> list[zipfile.ZipInfo]:
    """The entries of the central directory, in its order; a name may occur more than once.

    Raises InputError where there is no readable directory (a zip cut short loses it first: it is at the end), and for
    what is built to harm: too many entries, or entries that share bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except _DIRECTORY_ERRORS as error:
        raise InputError(
            f"{name} is a broken zip ({error}): the list of its members, which is its end, cannot be read. "
            "It was probably cut short; copy it again from where it was written."
        ) from None
    if len(members) > MAX_ENTRIES:
        raise InputError(f"{name} lists {len(members):,} members, more than the {MAX_ENTRIES:,} that are read.")
    for before, after in pairwise(sorted(members, key=lambda info: info.header_offset)):
        if before.header_offset + _LOCAL_HEADER_BYTES + before.compress_size > after.header_offset:
            raise InputError(
                f"{name} has members that overlap ({before.filename!r} and {after.filename!r}), as zip bombs do; "
                "it is not read. If you trust it, unpack it and zip it again."
            )
    return members


def read_member(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """The uncompressed bytes of one member of the zip that ``file`` is open on.

    Raises ValueError with a short reason when the member is too big, is packed suspiciously well, lies outside the
    file, does not decompress, or is not what its size and checksum say.
    """
    _check_caps(info)
    packed = _read_packed(file, info)
    try:
        if info.compress_type == STORED:
            content = packed
        elif info.compress_type == DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, info.file_size + 1)
        elif info.compress_type == ZSTANDARD:
            content = _unpack_zstandard(packed, info.file_size + 1)
        else:
            raise ValueError(f"is compressed by method {info.compress_type}, which is not read")
    except (zlib.error, zstandard.ZstdError) as error:
        raise ValueError(f"does not decompress: {error}") from None
    if len(content) != info.file_size:
        raise ValueError(f"is not of the size that the zip lists ({info.file_size:,} bytes)")
    if zlib.crc32(content) != info.CRC:
        raise ValueError("has a wrong checksum (CRC-32): its bytes are damaged")
    return content


def _check_caps(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("is encrypted")
    if info.file_size > MAX_MEMBER_BYTES:
        raise ValueError(f"is too big: {info.file_size:,} bytes uncompressed, of at most {MAX_MEMBER_BYTES:,}")
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise ValueError(f"is compressed more than {MAX_RATIO}:1 ({info.file_size:,} bytes), as zip bombs are")


def _read_packed(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """The compressed bytes: they follow the local header, whose extra field may be longer than the directory's."""
    outside = ValueError("lies outside the file")
    if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > os.fstat(file.fileno()).st_size:
        raise outside
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    if not header.startswith(b"PK\x03\x04"):
        raise ValueError("has no local header where the zip lists one")
    n_name, n_extra = struct.unpack_from("<HH", header, 26)
    file.seek(n_name + n_extra, os.SEEK_CUR)
    packed = file.read(info.compress_size)
    if len(packed) != info.compress_size:
        raise outside
    return packed


def _unpack_zstandard(packed: bytes, limit: int) -> bytes:
    """At most ``limit`` bytes, over all frames."""
    pieces: list[bytes] = []
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
        while limit and (piece := reader.read(min(limit, 1 << 24))):
            pieces.append(piece)
            limit -= len(piece)
    return b"".join(pieces)
